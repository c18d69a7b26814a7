"""What is particular to one kind of text: the trainer itself knows documents, tokens and steps only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2x.model import GPT
    from gpt2x.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a file becomes documents, and how a model shows what it learned from them.

    Attributes:
        name: what the command line calls it.
        documents: reads the documents of a file, each a text.
        documents_word: what they are called, in the plural.
        sample: (model, tokenizer, seed) -> what the model writes at this point, for a person to read.
        next_command: what to do with a finished run; ``{run}`` stands for its folder.

    """

    name: str
    documents: Callable[[Path], Sequence[str]]
    documents_word: str
    sample: Callable[[GPT, Tokenizer, int], str]
    next_command: str


def _songs(file: Path) -> list[str]:
    from gpt2x.data.lyrics import read_songs, song_document

    return [song_document(song) for song in read_songs(file)]


def _sing(model: GPT, tokenizer: Tokenizer, seed: int) -> str:
    from gpt2x.generate import Engine
    from gpt2x.generate.lyrics import sing

    return "".join(sing(Engine(model, tokenizer), "home", max_tokens=100, seed=seed))


LYRICS = Recipe(
    name="lyrics",
    documents=_songs,
    documents_word="songs",
    sample=_sing,
    next_command='gpt2x sing "ex-girlfriend" --run {run}',
)
"""Songs from a csv file (columns artist, song, link, text)."""
