"""Which words rhyme: those that sound alike from the last stressed vowel on.

The table that ships, ``rhymes.txt.xz``, was made from the CMU Pronouncing Dictionary (its notice: ``rhymes.LICENSE``)
and holds the 40,000 of its words that songs use. A word that it does not know rhymes with none.
"""

from __future__ import annotations

import functools
import lzma

from gpt2x.paths import assets_dir

_ENDINGS = (("'s", ""), ("in'", "ing"), ("in", "ing"), ("'", ""))
"""What is left off a word that is not in the table: possessives, and the g that singers drop."""


class Rhymes:
    """A table of rhymes.

    Args:
        text: one line a rhyme: its sounds, a tab, the words that end so.

    >>> table = Rhymes("AY T\\tbite night\\nEY\\tday say")
    >>> table.rhyme("night", "Bite"), table.rhyme("night", "night"), table.rhyme("day", "night")
    (True, False, False)
    """

    def __init__(self, text: str) -> None:
        self._sounds: dict[str, tuple[str, ...]] = {}
        self._words: dict[str, list[str]] = {}
        for line in text.splitlines():
            sounds, _, words = line.partition("\t")
            self._words[sounds] = words.split()
            for word in self._words[sounds]:
                self._sounds[word] = (*self._sounds.get(word, ()), sounds)

    def sounds(self, word: str) -> tuple[str, ...]:
        """How a word ends, once for each way to say it; nothing for a word that the table does not know."""
        return self._sounds.get(self._entry(word), ())

    def rhymes_of(self, word: str) -> list[str]:
        """All words of the table that rhyme with a word."""
        entry = self._entry(word)
        found = dict.fromkeys(other for sounds in self.sounds(entry) for other in self._words[sounds])
        return [other for other in found if other != entry]

    def _entry(self, word: str) -> str:
        """The word as the table has it: in small letters, and without an ending that it does not know."""
        word = word.lower().replace("’", "'")
        shorter = (
            word.removesuffix(ending) + instead for ending, instead in _ENDINGS if word.endswith(ending)
        )
        return next((entry for entry in (word, *shorter) if entry in self._sounds), word)

    def knows(self, word: str) -> bool:
        """Whether the word is in the table, as it is or without an ending."""
        return bool(self.sounds(word))

    def rhyme(self, word: str, other: str) -> bool:
        """Whether two different words sound alike from the last stressed vowel on."""
        one, two = self._entry(word), self._entry(other)
        return one != two and not set(self.sounds(one)).isdisjoint(self.sounds(two))


@functools.cache
def packaged_rhymes() -> Rhymes:
    """The table that ships with gpt2x, read once (about 40 ms)."""
    return Rhymes(lzma.decompress((assets_dir() / "rhymes.txt.xz").read_bytes()).decode("ascii"))
