"""What the ladder's model learns from: a token stream that is the same on every machine with the same vocabulary.

The packaged songs by default. Their ids are GPT-2's where its vocabulary is on this machine (nothing is downloaded);
else a vocabulary of 2,048 tokens is learned from the text itself, which takes a fraction of a second. Its ids are
valid for the model just the same, and no rung's speed depends on which ids they are; only the losses do. Loads no
torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpt2x.data.lyrics import read_songs, song_document
from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.paths import read_text
from gpt2x.tokenizer import Tokenizer, get, registry, train

OWN_VOCABULARY = 2048


def load_documents(path: Path | None) -> list[str]:
    """The packaged songs, the songs of a csv file, or one document of any other text.

    Raises:
        InputDataError: the file is missing, empty or not UTF-8.

    """
    if path is None or ".csv" in path.suffixes:
        return [song_document(song) for song in read_songs(path)]
    text = read_text(path)
    if not text.strip():
        raise InputDataError(f"{path} is empty; give a text to learn from")
    return [text]


def choose_tokenizer(documents: list[str], vocab_size: int) -> tuple[Tokenizer, str]:
    """GPT-2's tokenizer where it is at hand and fits the model, else one of our own; and what to call it."""
    try:
        found = registry.find(download=False)
        tokenizer = get("gpt2", found.path)
        if tokenizer.n_vocab <= vocab_size:
            return tokenizer, "GPT-2's vocabulary"
    except MissingComponentError:
        pass  # not on this machine: any ids will do
    own = train(documents, min(OWN_VOCABULARY, vocab_size), allow_fewer=True)
    return own, f"a vocabulary of {own.n_vocab} tokens learned from it"


def token_stream(path: Path | None, vocab_size: int) -> tuple[np.ndarray, str]:
    """All documents as one array of ids, each followed by the end-of-text token; and a line that says what it is.

    Args:
        path: a text or csv file; None for the packaged songs.
        vocab_size: how many ids the model knows (V); all ids are below.

    """
    documents = load_documents(path)
    tokenizer, vocabulary = choose_tokenizer(documents, vocab_size)
    ids: list[int] = []
    for document in documents:
        ids += tokenizer.encode_ordinary(document)
        ids.append(tokenizer.eot_token)
    name = "the packaged songs" if path is None else path.name
    return np.array(ids, dtype=np.uint32), f"{name}: {len(ids):,} tokens of {vocabulary}"
