"""Where two vocabularies, or two ways of splitting, differ, and what that costs in tokens.

Both sides cut the same bytes, so a text is walked along the places at which both cut: between two such places lies
either one token that both have, or a stretch that they cut differently. Such stretches are what is counted and shown.
"""

from __future__ import annotations

import bisect
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.added import AddedCore
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.fitting import check_complete, token_ends
from gpt2x.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer.added import Core
    from gpt2x.tokenizer.patterns import PlainCore

PATTERN_PREFIX = "pattern:"
REGEX_SUFFIX = "@regex"

_SLICE_BYTES = 1 << 20  # compared at a time; bounds memory
_CONTEXT_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things that are compared: a vocabulary with its pattern, or a pattern alone."""

    name: str
    tokenizer: Tokenizer
    """Of the 256 bytes only, for a pattern alone."""
    has_vocabulary: bool
    by_regex: bool
    """Whether the `regex` package splits, by its Unicode version."""

    @classmethod
    def parse(cls, spec: str, load: Callable[[str], Tokenizer] = Tokenizer.load) -> Side:
        """A side by its name.

        Args:
            spec: what `load` takes, or ``pattern:NAME``; with ``@regex`` at the end, the `regex` package splits.
            load: gives the vocabulary of a name or path.

        Raises:
            UsageError: an unknown pattern.
            InputDataError, MissingComponentError: the vocabulary is damaged, or is not here.

        """
        name = spec.removesuffix(REGEX_SUFFIX)
        by_regex = name != spec
        if not name.startswith(PATTERN_PREFIX):
            return cls(spec, load(name), has_vocabulary=True, by_regex=by_regex)
        pat_str = patterns.named(name.removeprefix(PATTERN_PREFIX))
        ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
        plain = Tokenizer(spec, pat_str=pat_str, mergeable_ranks=ranks, special_tokens={})
        return cls(spec, plain, has_vocabulary=False, by_regex=by_regex)

    @staticmethod
    def vocabulary_of(spec: str) -> str | None:
        """What `parse` would load for a side; None for a pattern alone."""
        return None if spec.startswith(PATTERN_PREFIX) else spec.removesuffix(REGEX_SUFFIX)

    @property
    def core(self) -> Core:
        """What splits and encodes."""
        core = self.tokenizer._core
        if isinstance(core, AddedCore):
            return AddedCore(self._splitting(core.core), core.ids)
        return self._splitting(core)

    def _splitting(self, core: PlainCore) -> PlainCore:
        """The core, or before it the `regex` package, if that is to split."""
        if not self.by_regex or isinstance(core, patterns.RegexCore):
            return core
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # that splitting is slow and by another Unicode: wanted
            return patterns.RegexCore(core, self.tokenizer.pat_str)

    def describe(self) -> dict[str, Any]:
        """Name, size and splitting, for a report."""
        return {
            "name": self.name,
            "vocab_size": self.tokenizer.n_vocab if self.has_vocabulary else None,
            "pattern": patterns.NATIVE.get(self.tokenizer.pat_str, self.tokenizer.pat_str),
            "unicode": self._unicode(),
        }

    def _unicode(self) -> str:
        from gpt2x._bpe import unicode_version

        core = self.core.core if isinstance(self.core, AddedCore) else self.core
        if not isinstance(core, patterns.RegexCore):
            return unicode_version
        import importlib.metadata

        return f"that of regex {importlib.metadata.version('regex')}"


def compare(a: Side, b: Side, text: bytes | None = None, *, limit: int = 10) -> dict[str, Any]:
    """Compare two vocabularies or two patterns, with themselves and, if one is given, on a text.

    Args:
        a: one side.
        b: the other.
        text: UTF-8, held in memory as a whole.
        limit: how many examples to give of each kind.

    Returns:
        The object that `gpt2x bpe diff --json` prints; docs/reference/bpe.md has its shape.

    Raises:
        UsageError: a vocabulary is compared with a pattern, or two patterns without a text.

    """
    if a.has_vocabulary != b.has_vocabulary:
        raise UsageError(f"{a.name} and {b.name} are a vocabulary and a pattern; compare two of a kind")
    if text is None and not a.has_vocabulary:
        raise UsageError("two patterns differ only on a text; give one")
    vocabulary = compare_vocabularies(a.tokenizer, b.tokenizer, limit=limit) if a.has_vocabulary else None
    return {
        "a": a.describe(),
        "b": b.describe(),
        "vocabulary": vocabulary,
        "text": None if text is None else compare_on_text(a, b, text, limit=limit),
    }


# ----------------------------------------------------------------------------------------------------------------
# Vocabularies


def compare_vocabularies(a: Tokenizer, b: Tokenizer, *, limit: int = 10) -> dict[str, Any]:
    """Which tokens only one of them has, which have another id, and how the order of merges differs."""
    ranks_a, ranks_b = dict(a.mergeable_ranks), dict(b.mergeable_ranks)
    only_a = sorted(ranks_a.keys() - ranks_b.keys(), key=ranks_a.__getitem__)
    only_b = sorted(ranks_b.keys() - ranks_a.keys(), key=ranks_b.__getitem__)
    shared = sorted(ranks_a.keys() & ranks_b.keys(), key=ranks_a.__getitem__)
    return {
        "shared": len(shared),
        "other_ids": sum(ranks_a[token] != ranks_b[token] for token in shared),
        "only_a": len(only_a),
        "only_b": len(only_b),
        "first_only_a": [_token(ranks_a[token], token) for token in only_a[:limit]],
        "first_only_b": [_token(ranks_b[token], token) for token in only_b[:limit]],
        "special_tokens": {
            "only_a": sorted(a.special_tokens_set - b.special_tokens_set),
            "only_b": sorted(b.special_tokens_set - a.special_tokens_set),
        },
        "merges": _compare_merges(a, b, limit),
    }


def _compare_merges(a: Tokenizer, b: Tokenizer, limit: int) -> dict[str, Any] | None:
    """How the lists of merges differ; None where one of the vocabularies has none."""
    try:
        merges_a, merges_b = a.vocabulary.merges, b.vocabulary.merges
    except InputDataError:
        return None
    pairs = itertools.zip_longest(merges_a, merges_b)
    same = next((i for i, (one, other) in enumerate(pairs) if one != other), len(merges_a))
    place_a = {left + right: i for i, (left, right) in enumerate(merges_a)}
    place_b = {left + right: i for i, (left, right) in enumerate(merges_b)}
    shared = sorted(place_a.keys() & place_b.keys(), key=place_a.__getitem__)
    order = [place_b[token] for token in shared]
    farthest = sorted(shared, key=lambda token: (-abs(place_a[token] - place_b[token]), place_a[token]))
    other_parts = [token for token in shared if merges_a[place_a[token]] != merges_b[place_b[token]]]
    return {
        "same_at_first": same,
        "first_difference": None
        if same == len(merges_a) == len(merges_b)
        else {"a": _merge_at(merges_a, same), "b": _merge_at(merges_b, same)},
        "shared": len(shared),
        "out_of_order": len(shared) - _longest_rising(order),
        "other_parts": len(other_parts),
        "farthest_moved": [
            {"text": readable(token), "a": place_a[token], "b": place_b[token]}
            for token in farthest[:limit]
            if place_a[token] != place_b[token]
        ],
    }


def _merge_at(merges: list[tuple[bytes, bytes]], index: int) -> list[str] | None:
    return [readable(part) for part in merges[index]] if index < len(merges) else None


def _longest_rising(numbers: list[int]) -> int:
    """The length of the longest rising subsequence: all others must move for the order to be the same.

    >>> _longest_rising([0, 1, 5, 2, 3])
    4
    """
    ends: list[int] = []  # the smallest number that a rising subsequence of each length ends with
    for number in numbers:
        place = bisect.bisect_left(ends, number)
        ends[place : place + 1] = [number]
    return len(ends)


# ----------------------------------------------------------------------------------------------------------------
# Text


def compare_on_text(a: Side, b: Side, text: bytes, *, limit: int = 10) -> dict[str, Any]:
    """Where two sides cut a text differently: into tokens, or, for patterns alone, into pieces."""
    core_a, core_b = a.core, b.core
    ends = token_ends if a.has_vocabulary else _piece_ends
    units = _Stretches(text, limit)
    pieces = _Stretches(text, limit)
    splits_differ = a.has_vocabulary and (a.tokenizer.pat_str, a.by_regex) != (
        b.tokenizer.pat_str,
        b.by_regex,
    )
    for start, end in _slices(a.tokenizer._core, b.tokenizer._core, text):
        part = text[start:end]
        units.add(ends(core_a, part), ends(core_b, part), start)
        if splits_differ:
            pieces.add(_piece_ends(core_a, part), _piece_ends(core_b, part), start)
    report = {
        "bytes": len(text),
        "unit": "tokens" if a.has_vocabulary else "pieces",
        "bytes_per_unit_a": round(len(text) / units.num_a, 4) if units.num_a else None,
        "bytes_per_unit_b": round(len(text) / units.num_b, 4) if units.num_b else None,
        **units.report(),
    }
    return report | {"pieces": pieces.report() if splits_differ else None}


class _Stretches:
    """Counts the stretches of a text that two sides cut differently, and keeps the first ones."""

    def __init__(self, text: bytes, limit: int) -> None:
        self._text = text
        self._limit = limit
        self.num_a = self.num_b = 0
        self._num_different = self._num_bytes = self._fewer_a = self._fewer_b = 0
        self._first: list[dict[str, Any]] = []

    def add(self, ends_a: npt.NDArray[np.int64], ends_b: npt.NDArray[np.int64], offset: int) -> None:
        """Compare the cuts in one slice of the text, which begins at `offset`."""
        import numpy as np

        common = np.intersect1d(ends_a, ends_b, assume_unique=True)
        num_a = np.diff(np.searchsorted(ends_a, common, side="right"), prepend=0)
        num_b = np.diff(np.searchsorted(ends_b, common, side="right"), prepend=0)
        different = np.flatnonzero((num_a != 1) | (num_b != 1))
        starts = np.concatenate([np.zeros(1, dtype=np.int64), common])
        self.num_a += len(ends_a)
        self.num_b += len(ends_b)
        self._num_different += len(different)
        self._num_bytes += int((common[different] - starts[different]).sum())
        self._fewer_a += int((num_a < num_b).sum())
        self._fewer_b += int((num_b < num_a).sum())
        for i in different[: self._limit - len(self._first)]:
            start, end = int(starts[i]) + offset, int(common[i]) + offset
            inside = [ends[(ends > starts[i]) & (ends <= common[i])] + offset for ends in (ends_a, ends_b)]
            self._first.append(self._example(start, end, *(cuts.tolist() for cuts in inside)))

    def _example(self, start: int, end: int, cuts_a: list[int], cuts_b: list[int]) -> dict[str, Any]:
        before = self._text[max(0, start - 4 * _CONTEXT_CHARACTERS) : start].decode("utf-8", "ignore")
        after = self._text[end : end + 4 * _CONTEXT_CHARACTERS].decode("utf-8", "ignore")
        return {
            "offset": start,
            "before": before[-_CONTEXT_CHARACTERS:],
            "text": self._text[start:end].decode("utf-8", "backslashreplace"),
            "after": after[:_CONTEXT_CHARACTERS],
            "a": self._parts(start, cuts_a),
            "b": self._parts(start, cuts_b),
        }

    def _parts(self, start: int, cuts: list[int]) -> list[str]:
        return [readable(self._text[one:other]) for one, other in itertools.pairwise([start, *cuts])]

    def report(self) -> dict[str, Any]:
        """All of it."""
        return {
            "a": self.num_a,
            "b": self.num_b,
            "different": self._num_different,
            "different_bytes": self._num_bytes,
            "fewer_in_a": self._fewer_a,
            "fewer_in_b": self._fewer_b,
            "first": self._first,
        }


def _slices(core_a: Core, core_b: Core, text: bytes) -> Iterator[tuple[int, int]]:
    """Parts of a text that each side can cut on its own.

    The places are those of the core's own patterns. They hold for `regex`, too: whether a character is a letter may
    change with the Unicode version, whether it is a space does not.
    """
    start = 0
    while start < len(text):
        end = min(start + _SLICE_BYTES, len(text))
        while (cut := core_b.find_safe_cut(text, core_a.find_safe_cut(text, end))) != core_a.find_safe_cut(
            text, cut
        ):
            end = cut + 1
        yield start, cut
        start = cut


def _piece_ends(core: Core, text: bytes) -> npt.NDArray[np.int64]:
    import numpy as np

    ends = np.fromiter(map(len, core.split(text)), dtype=np.int64).cumsum()
    check_complete(ends, text)
    return ends


def readable(token: bytes) -> str:
    r"""A token for people: quoted text, or quoted bytes where it is only a part of a character.

    >>> readable(b" low"), readable("é".encode()[:1])
    ("' low'", "b'\\xc3'")
    """
    try:
        return repr(token.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(token)


def _token(token_id: int, token: bytes) -> dict[str, Any]:
    return {"id": token_id, "text": readable(token)}
