"""Which of several drafts of a line is kept: pure functions of their words and of what the model says of them.

A small model finds one good line among several bad ones more easily than it draws it at once. What counts is how likely
the line is, a token on average; likelihood alone prefers what was said before (Holtzman et al. 2020, §4), so pairs of
words that the song already has cost something, and so does what a line of a song should not have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpt2x.data.lines import words_of

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class LineTaste:
    """What the faults of a line cost, in nats a token, the unit of its likelihood.

    Attributes:
        old_pairs: if all of its pairs of words stand in the song already.
        loops: for each pair of words that the line has twice.
        known_line: the whole line was sung before.
        open_quote: an odd number of quotation marks.
        unknown_word: for each word that is none.
        broken_plan: it does not end with its planned word, or does not rhyme.

    """

    old_pairs: float = 2.0
    loops: float = 0.5
    known_line: float = 3.0
    open_quote: float = 0.5
    unknown_word: float = 2.0
    broken_plan: float = 10.0


TASTE = LineTaste()


def pairs_of(line: str) -> list[Pair]:
    """The neighbouring words of a line, in small letters.

    >>> pairs_of("All day, all day")
    [('all', 'day'), ('day', 'all'), ('all', 'day')]
    """
    return list(itertools.pairwise(word.lower() for word in words_of(line)))


def old_share(line: str, sung: Collection[Pair]) -> float:
    """The share of a line's pairs of words that the song has, or that the line had before.

    >>> old_share("all day, all day", {("day", "all")})
    0.6666666666666666
    """
    pairs = pairs_of(line)
    old = sum(pair in sung or pair in pairs[:place] for place, pair in enumerate(pairs))
    return old / len(pairs) if pairs else 0.0


def loops(line: str) -> int:
    """How many of a line's pairs of words stand in it for a second time, or a third.

    >>> loops("for a year for a year for a while"), loops("a year and a day")
    (4, 0)
    """
    pairs = pairs_of(line)
    return len(pairs) - len(set(pairs))


def cost_of(
    line: str, sung_lines: Sequence[str], sung_pairs: Collection[Pair], taste: LineTaste = TASTE
) -> float:
    """What the line's faults cost, in nats a token, but for those that need a dictionary or a plan."""
    return (
        taste.old_pairs * old_share(line, sung_pairs)
        + taste.loops * loops(line)
        + taste.known_line * (line.strip() in sung_lines)
        + taste.open_quote * (line.count('"') % 2)
    )


def best(scores: Sequence[float]) -> int:
    """The place of the highest score, the first of those that tie; NaN is the lowest.

    >>> best([1.0, 3.0, math.nan, 3.0])
    1
    """
    return max(
        range(len(scores)), key=lambda place: -math.inf if math.isnan(scores[place]) else scores[place]
    )
