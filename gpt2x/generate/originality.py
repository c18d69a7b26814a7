"""How much of a song is copied: the longest run of words that it shares with any song of a corpus.

Words are compared without case and punctuation, across line ends and markers such as [Chorus]. The corpus is one
array of word numbers; runs of three words are looked up in a sorted array of their hashes, and the places found are
extended all at once. Memory: about 20 bytes a word; a lookup is a binary search, so a song is checked against 45,000
others in milliseconds, once the index stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_WORD_OR_MARKER = re.compile(r"\[[^\]\n]*\]|[^\W_]+(?:['’][^\W_]+)*")
_SHORTEST = 3  # shorter runs are no borrowing, they are English
_BETWEEN = -1  # stands between two songs, so that no run goes across
_UNKNOWN = -2  # a word that the corpus does not have


@dataclass(frozen=True, slots=True)
class SharedRun:
    """The longest run of words that a text shares with a corpus.

    Attributes:
        words: its length in words; 0 when no three words in a row are shared.
        share: its length against that of the text, 0 to 1.
        text: the words, as they stand in the text that was checked.
        title: the song of the corpus that has them, "" when there is none.

    """

    words: int
    share: float
    text: str
    title: str

    def __str__(self) -> str:
        if not self.words:
            return f"no {_SHORTEST} words in a row are in any of the songs"
        return f'longest run shared with a song: {self.words} words ("{self.text}") with "{self.title}"'


class OverlapIndex:
    """All runs of three words of a corpus, ready to be looked up.

    >>> index = OverlapIndex([("Rain", "I walk alone in the falling rain")])
    >>> run = index.longest_shared_run("We dance! Alone in the FALLING\\nsnow")
    >>> run.words, run.text, run.title
    (4, 'Alone in the FALLING', 'Rain')
    """

    def __init__(self, songs: Iterable[tuple[str, str]]) -> None:
        """Take the songs as (title, text)."""
        self._numbers: dict[str, int] = {}
        self._titles: list[str] = []
        self._starts: list[int] = []
        flat: list[int] = []
        for title, text in songs:
            self._titles.append(title)
            self._starts.append(len(flat))
            flat.extend(self._numbers.setdefault(word, len(self._numbers)) for word, _ in _words(text))
            flat.extend([_BETWEEN] * _SHORTEST)
        self._flat = np.array(flat, dtype=np.int32)
        hashes = _hashes(self._flat)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def longest_shared_run(self, text: str) -> SharedRun:
        """Find the longest run of words that `text` shares with one song; of equally long ones, the first."""
        words = _words(text)
        mine = np.array([self._numbers.get(word, _UNKNOWN) for word, _ in words], dtype=np.int32)
        best, best_mine, best_theirs = 0, 0, 0
        for start, key in enumerate(_hashes(mine)):
            left, right = (
                np.searchsorted(self._hashes, key, "left"),
                np.searchsorted(self._hashes, key, "right"),
            )
            length, theirs = self._extend(mine[start:], self._order[left:right])
            if length > best:
                best, best_mine, best_theirs = length, start, theirs
        if best < _SHORTEST:
            return SharedRun(0, 0.0, "", "")
        shared = " ".join(text[words[best_mine][1].start : words[best_mine + best - 1][1].stop].split())
        song = int(np.searchsorted(self._starts, best_theirs, "right")) - 1
        return SharedRun(best, best / len(mine), shared, self._titles[song])

    def _extend(self, run: npt.NDArray[np.int32], places: npt.NDArray[np.int64]) -> tuple[int, int]:
        """How many words of `run` stand at the best of `places` in the corpus, and where that is."""
        length, best = 0, 0
        for number in run:
            places = places[places + length < len(self._flat)]
            places = places[self._flat[places + length] == number]
            if number < 0 or not len(places):
                break
            length, best = length + 1, int(places[0])
        return length, best


def _words(text: str) -> list[tuple[str, slice]]:
    """The words as they are compared, and where each stands; a marker such as [Chorus] is none."""
    return [
        (match.group().casefold().replace("’", "'"), slice(*match.span()))
        for match in _WORD_OR_MARKER.finditer(text)
        if not match.group().startswith("[")
    ]


def _hashes(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """One number for each run of three words; different runs may share one, so whoever looks up compares words."""
    wide = words.astype(np.int64).astype(np.uint64)
    count = max(0, len(words) - _SHORTEST + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(_SHORTEST):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + wide[offset : offset + count]
    return hashes
