"""The words that songs use, which ships with gpt2x: what a planned rhyme is chosen from, and which words are words.

    python benchmarks/lyric_writer/song_words.py --out gpt2x/data/assets/song-words.txt.xz verse.csv

Two lines. The first holds the common words, those of `COMMON_OURS` of the packaged songs, or of one and `COMMON_VERSE`
of the songs given (verse alone would bring "spake"). The second holds the others that are still words: they occur
`KNOWN_OURS` times in the packaged songs or in `KNOWN_VERSE` of those given, or seldom, and the table of rhymes has them
too. A dictionary is no help here: half of its words are names, and it does not say how rare one is.
"""

from __future__ import annotations

import argparse
import collections
import lzma
import re
from pathlib import Path

from gpt2x.data.lyrics import Song, read_songs
from gpt2x.generate.rhyme import packaged_rhymes

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
COMMON_OURS, COMMON_VERSE = 2, 20
KNOWN_OURS, KNOWN_VERSE = 2, 10
KNOWN_VERSE_AND_SOUNDS = 3
"""Of the songs given; one of ours is enough."""


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    packaged = read_songs()
    ours = songs_with(packaged)
    often = collections.Counter(word for song in packaged for word in words_of(song))
    verse = songs_with([song for file in arguments.files for song in read_songs(file)])
    sounds = packaged_rhymes()
    words = sorted({*ours, *verse})
    common = [w for w in words if ours[w] >= COMMON_OURS or (ours[w] and verse[w] >= COMMON_VERSE)]
    known = [
        word
        for word in words
        if often[word] >= KNOWN_OURS
        or verse[word] >= KNOWN_VERSE
        or ((ours[word] or verse[word] >= KNOWN_VERSE_AND_SOUNDS) and sounds.knows(word))
    ]
    others = sorted(set(known).difference(common))
    text = f"{' '.join(common)}\n{' '.join(others)}\n"
    arguments.out.write_bytes(lzma.compress(text.encode("ascii"), preset=9))
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {len(common)} common words, {len(others)} others, {size:,} bytes")


def songs_with(songs: list[Song]) -> collections.Counter[str]:
    """In how many songs each word occurs."""
    counts: collections.Counter[str] = collections.Counter()
    for song in songs:
        counts.update(set(words_of(song)))
    return counts


def words_of(song: Song) -> list[str]:
    """The words of a song in small letters, as often as it has them."""
    return WORD.findall(song.text.lower().replace("’", "'"))


if __name__ == "__main__":
    main()
