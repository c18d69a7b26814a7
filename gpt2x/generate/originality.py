"""How much of a song is copied: the longest spans of words that it shares with the songs of an index.

Words are compared without case and punctuation, across line ends and markers such as [Chorus]. Each run of three words
is looked up in the index (`overlap_index`); a span goes on where the next run stands one word further in the same song.
A lookup is a binary search in a part of the file, so the time hardly depends on how many songs there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt2x.generate.overlap_index import RUN, SongIndex, fingerprints, words_in

SPANS = 3
"""How many spans a report names at most."""


@dataclass(frozen=True, slots=True)
class Span:
    """Words in a row that a text shares with a song.

    Attributes:
        words: how many.
        text: as they stand in the text that was compared.
        title: of the song.

    """

    words: int
    text: str
    title: str

    def __str__(self) -> str:
        return f'{self.words} words, "{self.text}", of "{self.title}"'


@dataclass(frozen=True, slots=True)
class Copied:
    """What a text shares with the songs of an index.

    Attributes:
        spans: the longest first, of equally long ones the first of the text; none is shorter than three words. They do
            not overlap, and the words of none are part of another's.
        num_words: of the text.
        num_songs: of the index.

    """

    spans: tuple[Span, ...]
    num_words: int
    num_songs: int

    @property
    def longest(self) -> int:
        """Words of the longest span; 0 where no three words in a row are shared."""
        return self.spans[0].words if self.spans else 0

    @property
    def share(self) -> float:
        """The longest span against the text, 0 to 1."""
        return self.longest / self.num_words if self.num_words else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``: words, share, text and title of the longest span, and all `spans`."""
        first = self.spans[0] if self.spans else Span(0, "", "")
        return {
            "words": first.words,
            "share": round(self.share, 4),
            "text": first.text,
            "title": first.title,
            "spans": [{"words": span.words, "text": span.text, "title": span.title} for span in self.spans],
        }

    def __str__(self) -> str:
        if not self.spans:
            return f"no {RUN} words in a row are in any of the {self.num_songs:,} songs"
        first, *others = map(str, self.spans)
        return f"of {self.num_songs:,} songs, {self.share:.0%} in a row: {'; '.join([first, *others])}"


def copied_spans(text: str, index: SongIndex, *, at_most: int = SPANS) -> Copied:
    r"""Find the longest spans of words that a text shares with one of the songs.

    >>> index = SongIndex.of([("Rain", "I walk alone in the falling rain")])
    >>> copied_spans("We dance! Alone in the FALLING\nsnow", index).spans
    (Span(words=4, text='Alone in the FALLING', title='Rain'),)
    """
    words = words_in(text)
    folded = [word for word, _ in words]
    spans: list[Span] = []
    taken = np.zeros(len(words), dtype=bool)
    seen: list[str] = []  # the words of the spans
    for length, start, place in sorted(_longest_at(folded, index), key=lambda found: (-found[0], found[1])):
        if len(spans) == at_most:
            break
        same = f" {' '.join(folded[start : start + length])} "
        if taken[start : start + length].any() or any(same in span for span in seen):
            continue
        taken[start : start + length] = True
        seen.append(same)
        shown = " ".join(text[words[start][1].start : words[start + length - 1][1].stop].split())
        spans.append(Span(length, shown, index.title_at(place)))
    return Copied(tuple(spans), len(words), index.num_songs)


def _longest_at(words: Sequence[str], index: SongIndex) -> Iterator[tuple[int, int, int]]:
    """Of the spans that end at each word, the longest: its words, where it begins, and its place in the index."""
    before = np.empty(0, np.uint64)  # the places of the run one word earlier
    lengths = np.empty(0, np.int64)  # how many words are shared up to the end of each
    for start, run in enumerate(fingerprints(words).tolist()):
        places = index.places_of(run)
        found = np.full(len(places), RUN)
        if len(before):
            at = np.searchsorted(before, places - np.uint64(1))  # place 0 wraps to one that there is not
            at[at == len(before)] = 0
            goes_on = before[at] == places - np.uint64(1)
            found[goes_on] = lengths[at[goes_on]] + 1
        if len(found):
            best = int(found.argmax())
            length = int(found[best])
            begin = length - RUN
            yield length, start - begin, int(places[best]) - begin
        before, lengths = places, found
