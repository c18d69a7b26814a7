"""Hugging Face's `tokenizer.json`: read with every assumption checked, written so that others encode the same ids.

Their BPE applies a list of merges, ours ranks of tokens. The two agree when the ids follow the order of the merges and
the merges make each token in one way, which is checked; parts of the format that would change the ids or the decoded
text (normalizers, prefix spaces, dropout, templates with a first token, truncation …) are refused by name rather than
ignored.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer import patterns, splitting
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters, to_characters
from gpt2x.tokenizer.dialects import neutral, reads_alike
from gpt2x.tokenizer.engines import Dialect
from gpt2x.tokenizer.huggingface_added import check_numbers, check_order, is_id, read_added_tokens
from gpt2x.tokenizer.special import LARGEST_ID
from gpt2x.tokenizer.vocabulary import Vocabulary, check_bytes, first_odd_merge

# Settings of a BPE model that change what it encodes, and the values under which it encodes what we do.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False, True),  # of a token that the merges make, both give the same
}
_BYTE_CHARACTERS = frozenset(map(to_characters, SINGLE_BYTES))


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
        raise InputDataError(
            f"{path} holds no BPE model (its model type is {quoted(kind)}); give a byte-level BPE"
        )
    for key, harmless in _HARMLESS.items():
        if model.get(key) not in harmless:
            raise InputDataError(
                f"{path} sets {key} = {quoted(model[key])}, which this tokenizer does not do"
            )
    _refuse_other_steps(data, path)
    pat_str = _read_pattern(data.get("pre_tokenizer"), path)
    ids = _read_ids(model.get("vocab"), path)
    added = read_added_tokens(data.get("added_tokens"), path)
    check_order(added, path)
    check_numbers(added, ids, path)
    ranks = _read_ranks(ids, model["merges"], {token.content for token in added}, path)
    return Vocabulary(
        name,
        pat_str,
        ranks,
        {token.content: token.id for token in added if token.special},
        added_tokens={token.content: token.id for token in added if not token.special},
    )


def parse_json(text: str, path: Path) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InputDataError: it is none, or says one thing twice; the sentence names file and line.

    """
    try:
        data = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputDataError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputDataError(f"{path} holds a JSON {type(data).__name__}, not an object")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; which of two values of one key counts is another with each reader."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quoted(twice)} is there twice")
    return found


def _refuse_other_steps(data: dict[str, Any], path: Path) -> None:
    """Refuse what changes the text before or the ids after the steps that we have."""
    if data.get("normalizer") is not None:
        raise InputDataError(
            f"{path} has a normalizer, which this tokenizer does not apply; give one without"
        )
    for key, does in (
        ("truncation", "cuts texts that are longer"),
        ("padding", "fills texts up that are shorter"),
    ):
        if data.get(key) is not None:
            raise InputDataError(
                f"{path} has {key} = {quoted(data[key])}, which {does}; set it to null in the file, since this "
                "tokenizer encodes whole texts"
            )
    if (step := _first_unknown(data.get("post_processor"), "processors", _is_harmless_processor)) is not None:
        raise InputDataError(
            f"{path} has the post_processor {quoted(step)}, which adds tokens to each text; set it to null in the "
            "file, since this tokenizer adds none, and add them to the ids yourself"
        )
    if (step := _first_unknown(data.get("decoder"), "decoders", _is_harmless_decoder)) is not None:
        raise InputDataError(
            f"{path} has the decoder {quoted(step)}; this tokenizer decodes byte-level tokens and nothing else"
        )


def _first_unknown(step: Any, parts: str, is_harmless: Any, depth: int = 0) -> Any:
    """The first step of a sequence that does something; None if there is none."""
    if step is None or is_harmless(step):
        return None
    if isinstance(step, dict) and step.get("type") == "Sequence" and isinstance(step.get(parts), list):
        found = (_first_unknown(part, parts, is_harmless, depth + 1) for part in step[parts])
        return next((one for one in found if one is not None), None) if depth < 100 else step
    return step


def _is_harmless_processor(step: Any) -> bool:
    """Whether it leaves the ids of a text as they are."""
    if not isinstance(step, dict):
        return False
    if step.get("type") == "TemplateProcessing":
        single = step.get("single")
        return isinstance(single, list) and [_sequence_of(piece) for piece in single] == ["A"]
    return step.get("type") == "ByteLevel"


def _sequence_of(piece: Any) -> Any:
    sequence = piece.get("Sequence") if isinstance(piece, dict) and len(piece) == 1 else None
    return sequence.get("id") if isinstance(sequence, dict) else None


def _is_harmless_decoder(step: Any) -> bool:
    return isinstance(step, dict) and step.get("type") in ("ByteLevel", "Fuse")


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


# ----------------------------------------------------------------------------------------------------------------
# Added tokens


# ----------------------------------------------------------------------------------------------------------------
# Model


def _read_ids(vocab: Any, path: Path) -> dict[str, int]:
    if not isinstance(vocab, dict):
        raise InputDataError(f"{path} has a damaged BPE model: its vocab is {quoted(vocab)}")
    check_ids(vocab, path, "has a damaged BPE model: ")
    return vocab


def check_ids(ids: Mapping[str, Any], path: Path, finding: str = "") -> None:
    """See that each token has a number that a token can have.

    Raises:
        InputDataError: one has not.

    """
    wrong = next((spelling for spelling, token in ids.items() if not is_id(token)), None)
    if wrong is not None:
        raise InputDataError(
            f"{path} {finding}the id of {quoted(wrong)} is {quoted(ids[wrong])}, no whole number between 0 and "
            f"{LARGEST_ID}"
        )


def _read_ranks(ids: dict[str, int], merges: Any, added: set[str], path: Path) -> dict[bytes, int]:
    pairs = _read_merges(merges, path)
    made = []
    for number, (left, right) in enumerate(pairs, 1):
        if left not in ids or right not in ids or left + right not in ids:
            raise InputDataError(
                f"{path}: merge {number} ({quoted(f'{left} {right}')[1:-1]}) is not made of known tokens"
            )
        made.append(ids[left + right])
    if any(first >= second for first, second in itertools.pairwise(made)):
        raise InputDataError(
            f"{path} has ids that do not follow the order of its merges, so ranks cannot express it"
        )
    reachable = {left + right for left, right in pairs}
    reachable |= _BYTE_CHARACTERS
    left_out = {token for token in added if token not in reachable}
    unmade = [token for token in ids if len(token) > 1 and token not in reachable and token not in left_out]
    if unmade:
        others = f" (nor {len(unmade) - 1:,} others: its merges are cut off)" if len(unmade) > 1 else ""
        raise InputDataError(
            f"{path} has the token {quoted(unmade[0])} (id {ids[unmade[0]]}), which no merge makes{others}"
        )
    ranks = _spelled(ids, left_out, path)
    if len(set(ranks.values())) != len(ranks):
        raise InputDataError(f"{path} gives two tokens the same id")
    _check_shared(added - left_out, path)
    check_bytes(ranks, path)
    check_merges([(from_characters(left), from_characters(right)) for left, right in pairs], path)
    return ranks


def _read_merges(merges: Any, path: Path) -> list[tuple[str, str]]:
    """The merges, which are written as "a b" or as ["a", "b"]."""
    if not isinstance(merges, list):
        raise InputDataError(f"{path} has a damaged BPE model: its merges are {quoted(merges)}")
    pairs = []
    for number, merge in enumerate(merges, 1):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or not all(isinstance(part, str) for part in pair):
            raise InputDataError(f"{path} has a damaged BPE model: merge {number} is {quoted(merge)}")
        if len(pair) != 2 or not all(pair):
            raise InputDataError(
                f"{path}: merge {number} ({quoted(' '.join(pair))[1:-1]}) is not made of known tokens"
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def _spelled(ids: dict[str, int], left_out: set[str], path: Path) -> dict[bytes, int]:
    ranks = {}
    for spelling, rank in ids.items():
        if spelling in left_out:
            continue
        try:
            ranks[from_characters(spelling)] = rank
        except KeyError:
            raise InputDataError(
                f"{path} has the token {quoted(spelling)} (id {rank}), which does not spell bytes"
            ) from None
    return ranks


def _check_shared(texts: Iterable[str], path: Path) -> None:
    """See that an added token that the model makes, too, is the same bytes in both ways.

    Raises:
        InputDataError: it is not.

    """
    for text in texts:
        if from_characters(text) != text.encode():
            raise InputDataError(
                f"{path} has the added token {quoted(text)}, which spells {quoted(from_characters(text))} in the "
                "vocabulary, so that its id would stand for two texts; give it an id of its own"
            )


def check_merges(merges: list[tuple[bytes, bytes]], source: object) -> None:
    """See that ranks encode as these merges do.

    Raises:
        InputDataError: they do not.

    """
    odd = first_odd_merge(merges)
    if odd is not None:
        left, right = (quoted(to_characters(part)) for part in merges[odd])
        raise InputDataError(
            f"{source}: merge {odd + 1} ({left} {right}) makes a token that earlier merges make in another way, or not "
            "at all, so ranks cannot express it"
        )


# ----------------------------------------------------------------------------------------------------------------
# Writing


def tokenizer_json(vocabulary: Vocabulary) -> str:
    """Write a vocabulary as `tokenizer.json`.

    Raises:
        InputDataError: a token that no merge makes, or an added one that reads as another token there: the format
            cannot express it.

    """
    spelled = {to_characters(token): rank for token, rank in vocabulary.mergeable_ranks.items()}
    texts = vocabulary.special_tokens | vocabulary.added_tokens
    for text, token in texts.items():
        if text in spelled and (spelled[text] != token or not text.isascii()):
            raise InputDataError(
                f"the added token {quoted(text)} of {quoted(vocabulary.name)} is spelled as another token is in "
                f"{_FORMAT}; keep it as a rank file"
            )
    ids = spelled | texts
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
                "normalized": text not in vocabulary.special_tokens,
                "special": text in vocabulary.special_tokens,
            }
            # Of two texts with one id the last counts when it is decoded, so that ours comes last.
            for text, token in sorted(sorted(texts.items(), reverse=True), key=lambda item: item[1])
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


_FORMAT = "tokenizer.json"


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
