"""Hugging Face's `tokenizer.json`: read with every assumption checked, written so that others encode the same ids.

Their BPE applies a list of merges, ours ranks of tokens. The two agree when the ids follow the order of the merges,
which is checked; parts of the format that would change the ids (normalizers, prefix spaces, dropout …) are refused
by name rather than ignored.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import from_characters, to_characters
from gpt2x.tokenizer.vocabulary import Vocabulary, check_bytes

# Settings of a BPE model that change what it encodes, and the values under which it encodes what we do.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


def read_tokenizer_json(text: str, path: Path, name: str) -> Vocabulary:
    """Read a `tokenizer.json` of a byte-level BPE.

    Args:
        text: what the file holds.
        path: for messages.
        name: what to call the vocabulary.

    Raises:
        InputDataError: it is damaged, or encodes in a way that is not ours.

    """
    data = parse_json(text, path)
    model = data.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or "merges" not in model:
        kind = model.get("type") if isinstance(model, dict) else None
        raise InputDataError(f"{path} holds no BPE model (its model type is {kind!r}); give a byte-level BPE")
    for key, harmless in _HARMLESS.items():
        if model.get(key) not in harmless:
            raise InputDataError(f"{path} sets {key} = {model[key]!r}, which this tokenizer does not do")
    if data.get("normalizer") is not None:
        raise InputDataError(
            f"{path} has a normalizer, which this tokenizer does not apply; give one without"
        )
    pat_str = _read_pattern(data.get("pre_tokenizer"), path)
    special_tokens = _read_added_tokens(data.get("added_tokens") or [], path)
    return Vocabulary(name, pat_str, _read_ranks(model, special_tokens, path), special_tokens)


def parse_json(text: str, path: Path) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InputDataError: it is none; the sentence names file and line.

    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputDataError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputDataError(f"{path} holds a JSON {type(data).__name__}, not an object")
    return data


def _read_pattern(pre_tokenizer: Any, path: Path) -> str:
    """The splitting pattern: ByteLevel's own (GPT-2's), or a Split by a regular expression before a ByteLevel."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers") or []
    kinds = [step.get("type") if isinstance(step, dict) else None for step in steps]
    if not kinds or kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space", True):
        raise InputDataError(
            f"{path} is not byte-level without a prefix space (its pre-tokenizer is {kinds})"
        )
    own_split = steps[-1].get("use_regex", True)
    if len(steps) == 1 and own_split:
        return patterns.GPT2
    if kinds == ["Split", "ByteLevel"] and not own_split:
        split = steps[0]
        regex = split["pattern"].get("Regex") if isinstance(split.get("pattern"), dict) else None
        if isinstance(regex, str) and split.get("behavior") == "Isolated" and not split.get("invert"):
            return patterns.CL100K if regex == patterns.CL100K_ONIGURUMA else regex
    raise InputDataError(
        f"{path} splits text in a way that this tokenizer does not know (pre-tokenizers: {kinds})"
    )


def _read_added_tokens(added: Any, path: Path) -> dict[str, int]:
    special_tokens = {}
    try:
        for token in added:
            for option in ("single_word", "lstrip", "rstrip"):
                if token.get(option):
                    raise InputDataError(
                        f"{path} has the token {token['content']!r} with {option}, which we do not do"
                    )
            special_tokens[str(token["content"])] = int(token["id"])
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{path} has a damaged list of added tokens: {error!r}") from error
    return special_tokens


def _read_ranks(model: dict[str, Any], special_tokens: dict[str, int], path: Path) -> dict[bytes, int]:
    try:
        ids = {str(token): int(rank) for token, rank in model["vocab"].items()}
        merges = [
            tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputDataError(f"{path} has a damaged BPE model: {error!r}") from error
    made = []
    for number, merge in enumerate(merges, 1):
        if len(merge) != 2 or any(part not in ids for part in (*merge, "".join(map(str, merge)))):
            raise InputDataError(
                f"{path}: merge {number} ({' '.join(map(str, merge))}) is not made of known tokens"
            )
        made.append(ids["".join(merge)])
    if any(first >= second for first, second in itertools.pairwise(made)):
        raise InputDataError(
            f"{path} has ids that do not follow the order of its merges, so ranks cannot express it"
        )
    ranks: dict[bytes, int] = {}
    reachable = {"".join(merge) for merge in merges}
    for token, rank in ids.items():
        if token in special_tokens:
            continue
        if len(token) > 1 and token not in reachable:
            raise InputDataError(f"{path} has the token {token!r} (id {rank}), which no merge makes")
        try:
            ranks[from_characters(token)] = rank
        except KeyError:
            raise InputDataError(
                f"{path} has the token {token!r} (id {rank}), which does not spell bytes"
            ) from None
    if len(set(ranks.values())) != len(ranks):
        raise InputDataError(f"{path} gives two tokens the same id")
    return check_bytes(ranks, path)


def tokenizer_json(vocabulary: Vocabulary) -> str:
    """Write a vocabulary as `tokenizer.json`.

    Raises:
        InputDataError: a token that no merge makes, which the format cannot express.

    """
    spelled = {to_characters(token): rank for token, rank in vocabulary.mergeable_ranks.items()}
    ids = spelled | vocabulary.special_tokens
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for text, token in sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(vocabulary.pat_str, byte_level),
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(ids.items(), key=lambda item: item[1])),
            "merges": [f"{to_characters(left)} {to_characters(right)}" for left, right in vocabulary.merges],
        },
    }
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _pre_tokenizer(pat_str: str, byte_level: dict[str, Any]) -> dict[str, Any]:
    if patterns.NATIVE.get(pat_str) == "gpt2":
        return byte_level
    regex = patterns.CL100K_ONIGURUMA if pat_str == patterns.CL100K else pat_str
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level | {"use_regex": False}]}
