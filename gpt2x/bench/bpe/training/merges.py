"""Whether two trainers learned the same merges, and if not, where they part and why.

The first thing that differs decides all that follows, so a number of equal merges would say little. What is said is
the first merge that differs; and a reason only where it was tried: the same text is learned again by ours in the other
trainer's way, and gives exactly its merges; or what it merged there occurs exactly as often (a tie).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from gpt2x.bench.bpe.training.trainers import Merge, merged_bytes
from gpt2x.tokenizer.alphabet import BYTE_ORDER, to_characters

EQUAL, KNOWN, DIFFERS = "equal", "equal, another way", "differs"


class Verdict(NamedTuple):
    """What became of a comparison."""

    kind: str
    """equal; equal, another way (to our merges when we do it that way); or differs."""
    first_difference: int | None = None
    """The number of the first merge that differs, from 0 on."""
    reason: str = ""
    """Which other way, or what was merged instead."""


@dataclass(frozen=True)
class Learned:
    """Our merges, and how often each pair occurred when it was merged."""

    merges: Sequence[Merge]
    counts: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of learning that another trainer may have."""

    what: str
    by_lines: bool = False
    byte_order: Literal["gpt2", "raw"] = "gpt2"


OUR_WAY = Way(what="the whole text, bytes in the order of GPT-2's characters")
OTHER_WAYS = (
    Way(what="it takes each line as a text", by_lines=True),
    Way(what="its bytes are in the order of their values, which decides ties", byte_order="raw"),
    Way(
        what="it takes each line as a text, its bytes are in the order of their values",
        by_lines=True,
        byte_order="raw",
    ),
)


class Judge:
    """Compares with our merges of one text; other ways are tried when they are needed."""

    def __init__(self, file: Path, num_merges: int) -> None:
        self._file, self._num_merges = file, num_merges
        self._learned: dict[Way, Learned] = {}

    def learned(self, way: Way = OUR_WAY) -> Learned:
        """Our merges, learned in a certain way."""
        if way not in self._learned:
            self._learned[way] = learn(self._file, self._num_merges, way)
        return self._learned[way]

    def judge(self, merges: Sequence[Merge]) -> Verdict:
        """Compare."""
        ours = self.learned()
        at = first_difference(merges, ours.merges)
        if at is None:
            return Verdict(EQUAL)
        for way in OTHER_WAYS:
            if first_difference(merges, self.learned(way).merges) is None:
                return Verdict(KNOWN, at, way.what)
        return Verdict(DIFFERS, at, _what_differs(merges, ours, at))


def learn(file: Path, num_merges: int, way: Way = OUR_WAY) -> Learned:
    """Learn merges from a file in a certain way."""
    from gpt2x._bpe import learn_merges
    from gpt2x.tokenizer.corpus import Corpus

    corpus = Corpus(split_lines=way.by_lines)
    corpus.add_file(file)
    learned = learn_merges(corpus.counter, num_merges, 1, None, byte_order=way.byte_order, consume=True)
    order = BYTE_ORDER if way.byte_order == "gpt2" else range(256)
    merges = merged_bytes([(left, right) for left, right, _ in learned], order)
    return Learned(merges, [count for _, _, count in learned])


def first_difference(merges: Sequence[Merge], right: Sequence[Merge]) -> int | None:
    """The number of the first merge that is not the right one, or of the first that is missing on either side.

    >>> first_difference([(b"a", b"b"), (b"abc",)], [(b"a", b"b"), (b"ab", b"c")])
    >>> first_difference([(b"a", b"b")], [(b"a", b"b"), (b"ab", b"c")])
    1
    """
    common = min(len(merges), len(right))
    wrong = (i for i in range(common) if not _same(merges[i], right[i]))
    return next(wrong, None if len(merges) == len(right) else common)


def _same(merge: Merge, right: Merge) -> bool:
    return merge == right or (len(merge) == 1 and merge[0] == b"".join(right))


def _what_differs(merges: Sequence[Merge], ours: Learned, at: int) -> str:
    if at >= len(merges) or at >= len(ours.merges):
        return f"there are {len(merges):,} instead of {len(ours.merges):,}"
    what = f"{_spelled(merges[at])} instead of {_spelled(ours.merges[at])}"
    if any(_same(merges[at], merge) for merge in _tied(ours, at)):
        return f"{what}, which occurs as often"
    return what


def _tied(ours: Learned, at: int) -> Iterator[Merge]:
    """The merges from there on that were made with the same count."""
    for merge, count in zip(ours.merges[at:], ours.counts[at:], strict=True):
        if count != ours.counts[at]:
            return
        yield merge


def _spelled(merge: Merge) -> str:
    return " + ".join(map(to_characters, merge))
