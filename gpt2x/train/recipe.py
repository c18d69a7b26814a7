"""What is particular to one kind of data: the trainer itself knows tokens and steps only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2x.data.files import content_digest
from gpt2x.data.lyrics import iterate_songs, song_document
from gpt2x.data.shards import Source, prepared
from gpt2x.data.text import text_documents
from gpt2x.data.token_files import open_token_files, token_files_digest
from gpt2x.errors import UsageError

if TYPE_CHECKING:
    from gpt2x.data.shards import TokenStreams
    from gpt2x.model import GPT
    from gpt2x.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How data becomes documents, and how a model shows what it learned from them.

    Attributes:
        name: what the command line calls it.
        documents: reads the documents of a file or folder one after the other; None where the data are tokens already.
        documents_word: what they are called, in the plural.
        sample: (model, tokenizer, seed) -> what the model writes at this point, for a person to read.
        next_command: what to do with a finished run; ``{run}`` stands for its folder.
        songs: whether the data are songs, which `gpt2x sing --originality` compares with.

    """

    name: str
    documents: Callable[[Path], Iterable[str]] | None
    documents_word: str
    sample: Callable[[GPT, Tokenizer, int], str]
    next_command: str
    songs: bool = False

    def digest(self, data: Path) -> str:
        """What changes with the content of the data.

        Raises:
            InputDataError: it cannot be read.

        """
        digest = token_files_digest(data) if self.documents is None else content_digest(data)
        # Songs came first, and their checkpoints hold the bare digest.
        return digest if self.name == "lyrics" else f"{self.name}:{digest}"

    def streams(
        self, data: Path, digest: str, tokenizer: Tokenizer | int, share: float, seed: int
    ) -> tuple[Tokenizer, TokenStreams]:
        """The tokens to train on and to validate with, and the tokenizer; see `gpt2x.data.shards.prepared`.

        Raises:
            InputDataError: the data cannot be read or split.
            OutputError: the cache cannot be written.
            UsageError: a vocabulary should be learned from what are tokens already.

        """
        read = self.documents
        if read is not None:
            source = Source(
                digest=digest, kind=self.name, documents=lambda: read(data), word=self.documents_word
            )
            return prepared(source, tokenizer, share, seed)
        if isinstance(tokenizer, int):
            raise UsageError(
                f"{data} holds tokens, from which no vocabulary can be learned; give --tokenizer the one that made "
                "them, such as gpt2"
            )
        return tokenizer, open_token_files(data, tokenizer.n_vocab, share)


def _songs(file: Path) -> Iterable[str]:
    return map(song_document, iterate_songs(file))


def _planned_songs(file: Path) -> Iterable[str]:
    return (song_document(song, end_words=True) for song in iterate_songs(file))


def _sing(model: GPT, tokenizer: Tokenizer, seed: int) -> str:
    from gpt2x.generate import Engine
    from gpt2x.generate.lyrics import sing

    return "".join(sing(Engine(model, tokenizer), "home", max_tokens=100, seed=seed))


def _write(model: GPT, tokenizer: Tokenizer, seed: int) -> str:
    from gpt2x.generate import Engine
    from gpt2x.generate.stops import at_end_of_text

    stops = at_end_of_text(tokenizer)
    stream = Engine(model, tokenizer).stream(
        [tokenizer.eot_token], max_new_tokens=100, seed=seed, stops=stops
    )
    return "".join(stream)


LYRICS = Recipe(
    name="lyrics",
    documents=_songs,
    documents_word="songs",
    sample=_sing,
    next_command='gpt2x sing "ex-girlfriend" --run {run}',
    songs=True,
)
"""Songs from a table (columns artist, song, link, text and tags)."""

RHYMED_LYRICS = replace(LYRICS, name="rhymed-lyrics", documents=_planned_songs)
"""The same songs, each line after the word that it ends with (`gpt2x.data.lines`)."""

TEXT = Recipe(
    name="text",
    documents=text_documents,
    documents_word="documents",
    sample=_write,
    next_command="gpt2x eval {run}",
)
"""Text files, folders of them, JSON lines."""

TOKENS = Recipe(
    name="tokens",
    documents=None,
    documents_word="files",
    sample=_write,
    next_command="gpt2x eval {run}",
)
"""Files of token ids, as nanoGPT and llm.c write them."""

RECIPES = {recipe.name: recipe for recipe in (LYRICS, RHYMED_LYRICS, TEXT, TOKENS)}


def recipe_for(path: Path) -> Recipe:
    """The recipe for data whose kind nobody told, by the end of the name.

    >>> recipe_for(Path("songs.csv.xz")).name, recipe_for(Path("book.txt")).name
    ('lyrics', 'text')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if any(suffix in (".csv", ".tsv", ".parquet") for suffix in suffixes[-2:]):
        return LYRICS
    if suffixes[-1:] == [".bin"] or (path.is_dir() and any(path.glob("*.bin"))):
        return TOKENS
    return TEXT
