"""The vocabulary of the lyric writer: 2,048 tokens from our songs, four times over, and a third of the verse.

    python benchmarks/lyric_writer/vocabulary.py --out vocabulary pretraining.csv

Our songs are a sixth of the verse, and they are what the model will write. Each line stands
after the word that it ends with, as the model reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.tokenizer import train

SIZE = 2048
OWN = 4
"""How often each song of ours counts."""
EVERY = 3
"""Of the verse, each third song."""


def main() -> None:
    """Learn and save it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verse", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    own = [song_document(song, end_words=True) for song in read_songs()]
    verse = [song_document(song, end_words=True) for song in read_songs(arguments.verse)[::EVERY]]
    train([*own * OWN, *verse], SIZE, special_tokens=("<|endoftext|>",)).save(arguments.out)


if __name__ == "__main__":
    main()
