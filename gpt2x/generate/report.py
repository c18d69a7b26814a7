"""What can be counted in a song: rhymes, repeats, unknown words, and whether it is about its topic.

No judge of songs, only of what goes wrong in songs of small models. Labels such as ``[Chorus]`` and the title are left
out. Goals and the figures of songs by people: docs/benchmarks/songs.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpt2x.data.lines import is_sung, last_word, words_of
from gpt2x.generate.rhyme import Rhymes

REACH = 4
"""Lines of a stanza between which a rhyme is heard."""
_ENDINGS = ("ing", "in'", "'s", "s'", "es", "ed", "ly", "er", "s")
_EMPTY = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "my",
        "your",
        "our",
        "his",
        "her",
        "of",
        "in",
        "on",
        "to",
        "at",
        "an",
        "a",
        "i",
    ]
)


@dataclass(frozen=True, slots=True)
class SongReport:
    """Counts of one song.

    Attributes:
        lines: sung lines.
        words: sung words.
        rhymed: share of lines whose last word rhymes with another line's within `REACH` lines of the stanza; the same
            word again is no rhyme.
        scheme: of each stanza, a letter a line: lines of one letter rhyme or end on the same word.
        unknown: share of words that the table of rhymes does not know, which are mostly no words.
        repeated: share of lines that came before.
        distinct_2: different pairs of words among the first 200, as a share of all.
        has_topic: a word of the topic, or its stem, is sung; None without a topic.

    """

    lines: int
    words: int
    rhymed: float
    scheme: tuple[str, ...]
    unknown: float
    repeated: float
    distinct_2: float
    has_topic: bool | None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        topic = {None: "", True: ", sings of its topic", False: ", does not name its topic"}[self.has_topic]
        return (
            f"{self.lines} lines, {self.words} words; {self.rhymed:.0%} of the lines rhyme ({' '.join(self.scheme)}), "
            f"{self.repeated:.0%} repeat, {self.unknown:.1%} of the words are in no dictionary{topic}"
        )


def report(text: str, rhymes: Rhymes, topic: str = "") -> SongReport:
    """Count what is in a song.

    >>> table = Rhymes("AY T\\tnight light\\nEY\\tday say")
    >>> found = report("all night\\nall day\\nno light\\nI say", table, "lights")
    >>> found.rhymed, found.scheme, found.has_topic
    (1.0, ('ABAB',), True)
    """
    stanzas = [[line for line in part.split("\n") if is_sung(line)] for part in text.split("\n\n")]
    stanzas = [stanza for stanza in stanzas if stanza]
    lines = [line.strip() for stanza in stanzas for line in stanza]
    words = [word.lower().replace("’", "'") for line in lines for word in words_of(line)]
    pairs = list(itertools.pairwise(words[:200]))
    return SongReport(
        lines=len(lines),
        words=len(words),
        rhymed=_share(sum(_rhymed(stanza, rhymes) for stanza in stanzas), len(lines)),
        scheme=tuple(_scheme(stanza, rhymes) for stanza in stanzas),
        unknown=_share(sum(not rhymes.knows(word) for word in words), len(words)),
        repeated=1 - _share(len(set(lines)), len(lines)) if lines else 0.0,
        distinct_2=_share(len(set(pairs)), len(pairs)),
        has_topic=_names(words, topic) if topic.strip() else None,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _rhymed(stanza: Sequence[str], rhymes: Rhymes) -> int:
    ends = [last_word(line) for line in stanza]
    return sum(
        any(rhymes.rhyme(end, other) for other in ends[max(0, place - REACH) : place + REACH + 1])
        for place, end in enumerate(ends)
    )


def _scheme(stanza: Sequence[str], rhymes: Rhymes) -> str:
    heads: list[str] = []  # the first word of each letter
    letters = ""
    for end in map(last_word, stanza):
        same = (i for i, head in enumerate(heads) if end.lower() == head.lower() or rhymes.rhyme(end, head))
        place = next(same, len(heads))
        if place == len(heads):
            heads.append(end)
        letters += chr(ord("A") + min(place, 25))
    return letters


def _names(words: Sequence[str], topic: str) -> bool:
    """Whether one of the topic's words, in any of its forms, is among the words."""
    asked = [word.replace("’", "'") for word in words_of(topic.lower())]
    wanted = {_stem(word) for word in asked if word not in _EMPTY} or {_stem(word) for word in asked}
    return not wanted.isdisjoint({_stem(word) for word in words})


def _stem(word: str) -> str:
    """A word without its ending, enough to find "rains" and "raining" for "rain"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            return word.removesuffix(ending)
    return word
