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

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer import patterns, splitting
from gpt2x.tokenizer.alphabet import from_characters, to_characters
from gpt2x.tokenizer.dialects import Dialect, neutral, reads_alike
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
    """The pattern of a pre-tokenizer: a well-known one, or what stands before its ByteLevel, as JSON."""
    try:
        splits = _splits_before_byte_level(pre_tokenizer)
        steps = [step for split in splits for step in splitting.steps_of(split)]
        if (name := _native_name(steps)) is not None:
            return patterns.BY_NAME[name]
        for step in steps:
            step.check()
    except UsageError as error:
        raise InputDataError(f"{path} has a pre_tokenizer that cannot be used: {error}") from error
    if len(steps) == 1 and _keeps_only_matches(steps[0]) and reads_alike(steps[0].pattern):
        return steps[0].pattern
    return json.dumps(_in_a_row(splits))


def _splits_before_byte_level(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """What divides text before the ByteLevel at the end, and what that does itself.

    Raises:
        UsageError: it does not end in a ByteLevel, does not split at all, or is damaged.

    """
    flat = splitting.flatten(pre_tokenizer)
    if not flat or flat[-1]["type"] != "ByteLevel":
        kinds = [one["type"] for one in flat]
        raise UsageError(f"it is to end in a ByteLevel, and has {quoted(kinds)}; give a byte-level BPE")
    *splits, byte_level = flat
    if byte_level.get("add_prefix_space", True) is not False:
        raise UsageError(
            "its ByteLevel puts a space before each text (add_prefix_space), which is not done here"
        )
    own_split = byte_level.get("use_regex", True)
    if not isinstance(own_split, bool):
        raise UsageError(f"its ByteLevel has use_regex = {quoted(own_split)}, which is to be true or false")
    if own_split:
        splits.append(_split(patterns.GPT2_ORIGINAL))
    if not splits:
        raise UsageError("it does not split text at all; give one that does")
    return splits


def _native_name(steps: list[splitting.Step]) -> str | None:
    """The name under which the core knows these steps; all such patterns match everything, so nothing is between."""
    isolated = all(step.behavior == splitting.ISOLATED for step in steps)
    if not isolated and not (len(steps) == 1 and _keeps_only_matches(steps[0])):
        return None
    return patterns.HUGGING_FACE_NATIVE.get(tuple(step.pattern for step in steps))


def _keeps_only_matches(step: splitting.Step) -> bool:
    return step.behavior == splitting.REMOVED and step.invert


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
    """The pre-tokenizer that gives the pieces of a pattern."""
    name = patterns.NATIVE.get(pat_str)
    if name == "gpt2":
        return byte_level
    if name is not None:
        splits = [_split(regex) for regex in patterns.HUGGING_FACE[name]]
    elif (found := splitting.as_pre_tokenizer(pat_str)) is not None:
        splits = splitting.flatten(found)
    else:
        # tiktoken drops what a pattern does not match, and the pattern is spelled for its engine.
        regex = pat_str if reads_alike(pat_str) else neutral(pat_str, Dialect.RUST)
        splits = [_split(regex, behavior=splitting.REMOVED, invert=True)]
    return _in_a_row([*splits, byte_level | {"use_regex": False}])


def _split(regex: str, *, behavior: str = splitting.ISOLATED, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def _in_a_row(pre_tokenizers: list[dict[str, Any]]) -> dict[str, Any]:
    if len(pre_tokenizers) == 1:
        return pre_tokenizers[0]
    return {"type": "Sequence", "pretokenizers": pre_tokenizers}
