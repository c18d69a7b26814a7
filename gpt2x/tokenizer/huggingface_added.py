"""The ``added_tokens`` of a `tokenizer.json`: read one by one, and refused where they are looked for in another way."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from gpt2x.errors import InputDataError, quoted
from gpt2x.tokenizer.special import LARGEST_ID, finder


class AddedToken(NamedTuple):
    """An entry of ``added_tokens``, in the file's words."""

    content: str
    id: int
    special: bool
    normalized: bool
    """Looked for only where no other was found."""


def read_added_tokens(added: Any, path: Path) -> list[AddedToken]:
    """The entries of ``added_tokens``.

    Raises:
        InputDataError: one is damaged, comes twice, or is matched in a way that is not ours.

    """
    if added is None:
        return []
    if not isinstance(added, list):
        raise InputDataError(f"{path} has a damaged list of added tokens: {quoted(added)}")
    tokens = _plain_tokens(added) or [read_added_token(entry, path) for entry in added]
    if len({token.content for token in tokens}) != len(tokens):
        seen: set[str] = set()
        twice = next(one.content for one in tokens if one.content in seen or seen.add(one.content))  # type: ignore[func-returns-value]
        raise InputDataError(f"{path} has the added token {quoted(twice)} twice; keep one of them")
    return tokens


_FIELDS = operator.itemgetter(*AddedToken._fields, "single_word", "lstrip", "rstrip")


def _plain_tokens(added: list[Any]) -> list[AddedToken]:
    """All entries at once, where nothing is wrong or missing: there may be a hundred thousand. Else an empty list."""
    try:
        texts, ids, special, late, *options = zip(*map(_FIELDS, added), strict=True)
        "".join(texts).encode()
        kinds = set(map(type, ids)), set(map(type, special)) | set(map(type, late))
        if kinds != ({int}, {bool}) or not all(texts) or any(map(any, options)) or not min(ids) >= 0:
            return []
    except (LookupError, TypeError, ValueError):
        return []
    return list(map(AddedToken, texts, ids, special, late)) if max(ids) <= LARGEST_ID else []


def read_added_token(entry: Any, path: Path) -> AddedToken:
    """One entry.

    Raises:
        InputDataError: it is damaged, or matched in a way that is not ours.

    """
    if not isinstance(entry, dict):
        raise InputDataError(f"{path} has a damaged list of added tokens: {quoted(entry)}")
    text, token, special = entry.get("content"), entry.get("id"), entry.get("special", False)
    normalized = entry.get("normalized", not special)
    if not is_text(text) or not is_id(token) or type(special) is not bool or type(normalized) is not bool:
        raise InputDataError(
            f"{path} has a damaged list of added tokens: {quoted(entry)} (a text of its own, an id between 0 and "
            f"{LARGEST_ID}, special, normalized)"
        )
    for option in ("single_word", "lstrip", "rstrip"):
        if entry.get(option):
            raise InputDataError(f"{path} has the token {quoted(text)} with {option}, which we do not do")
    return AddedToken(text, token, special, normalized)


def is_text(text: Any) -> TypeGuard[str]:
    """Whether it is a text that a token can stand for: not empty, and without half a character."""
    return isinstance(text, str) and text != "" and (text.isascii() or not any(map(_is_surrogate, text)))


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def is_id(token: Any) -> TypeGuard[int]:
    """Whether it is a number that a token can have."""
    return type(token) is int and 0 <= token <= LARGEST_ID


def check_order(added: list[AddedToken], path: Path) -> None:
    """See that special tokens may be looked for first, and the others in what is left.

    Hugging Face looks first for the tokens that are not "normalized", then for those that are. That is the same where
    the two divisions are, and where no two tokens can ever overlap that stand on different sides of one of them.

    Raises:
        InputDataError: it is not.

    """
    if all(token.normalized is not token.special for token in added):
        return
    for side in (lambda token: token.special, lambda token: token.normalized):
        one_side = [token.content for token in added if side(token)]
        the_other = [token.content for token in added if not side(token)]
        if (pair := _overlapping(one_side, the_other) or _overlapping(the_other, one_side)) is not None:
            raise InputDataError(
                f"{path} has the added tokens {quoted(pair[0])} and {quoted(pair[1])}, which can overlap, and an order "
                "of looking for them that we do not have: special ones that are not normalized, then the others"
            )


def _overlapping(some: list[str], others: list[str]) -> tuple[str, str] | None:
    """A text that is in one of the others, or begins with what one of them ends with; None if there is none."""
    if not some or not others:
        return None
    find = finder(frozenset(some))
    beginnings = {text[:size]: text for text in some for size in range(1, len(text) + 1)}
    for text in others:
        if match := find(text):
            return match.group(), text
        for start in range(len(text)):
            if text[start:] in beginnings:
                return beginnings[text[start:]], text
    return None


def check_numbers(added: list[AddedToken], ids: dict[str, int], path: Path) -> None:
    """See that the ids of added tokens are those that Hugging Face gives them, which are not always those in the file.

    A token that the model knows keeps its id; the others are numbered on from the end.

    Raises:
        InputDataError: one has another id in the file.

    """
    following = len(ids)
    for token in added:
        expected = ids.get(token.content, following)
        if token.id != expected:
            raise InputDataError(
                f"{path} has the added token {quoted(token.content)} with the id {token.id}, but by the vocabulary it "
                f"is {expected}, and libraries differ in which they take; save it again with the one that is meant"
            )
        if token.id >= following:
            following = token.id + 1
    texts: dict[int, str] = {}
    for text, number, *_ in added:
        if text > texts.setdefault(number, text):
            raise InputDataError(
                f"{path} has {quoted(texts[number])} before {quoted(text)} for the id {number}; of two texts the one "
                "that is decoded comes last and is the first in the alphabet here"
            )
