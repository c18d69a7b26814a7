"""From documents to two flat streams of token ids, one to train on and one to validate with.

Documents (not tokens) are split, by a hash of their text: the split does not depend on their order, a song that
occurs twice never stands on both sides, and adding songs hardly moves the others. Each document is preceded by
``<|endoftext|>``, which is how a model learns where one begins. The streams are kept in the cache as plain NumPy
files, keyed by what they are made of, and memory-mapped: ranks share the pages, and a resumed run starts at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import anything, atomic_folder, cache_dir, read_blocks, read_text

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

FORMAT = 1
"""Part of the cache key: raise it when the files of a shard folder change their meaning."""

ENCODE_AT_ONCE = 1024
"""Documents given to the tokenizer together: enough for all cores, few enough to hold their ids as Python lists."""

Tokens = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TokenStreams:
    """The two streams (uint16 or uint32, 1-D) and how many documents went into each."""

    train: Tokens
    validation: Tokens
    num_train_documents: int
    num_validation_documents: int


def split_documents(documents: Sequence[str], share: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """Split into (train, validation); the validation part has about `share` of the documents, and at least one.

    Raises:
        UsageError: `share` is not between 0 and 1.
        InputDataError: there are no two different documents.

    >>> train, validation = split_documents([f"song {i}" for i in range(20)], 0.1)
    >>> len(train), len(validation)
    (18, 2)
    """
    if not 0 < share < 1:
        raise UsageError(
            f"a validation share of {share} leaves one side empty; give a number between 0 and 1"
        )
    hashes = [
        hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in documents
    ]
    different = sorted(set(hashes))
    if len(different) < 2:
        raise InputDataError(
            f"{len(different)} different document{'s' * (len(different) != 1)} cannot be split into a part to train "
            "on and a part to validate with; give at least two"
        )
    count = min(max(1, round(len(different) * share)), len(different) - 1)
    chosen = set(different[:count])
    train = [text for text, key in zip(documents, hashes, strict=True) if key not in chosen]
    validation = [text for text, key in zip(documents, hashes, strict=True) if key in chosen]
    return train, validation


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def to_stream(documents: Iterable[str], tokenizer: Tokenizer) -> Tokens:
    """One stream of ids, with ``<|endoftext|>`` before each document; uint16 where all ids fit, else uint32."""
    dtype = np.uint16 if tokenizer.n_vocab <= 1 << 16 else np.uint32
    start = np.array([tokenizer.eot_token], dtype)
    pieces: list[Tokens] = [np.empty(0, dtype)]
    for batch in _batched(documents, ENCODE_AT_ONCE):
        for ids in tokenizer.encode_ordinary_batch(batch):
            pieces += [start, np.asarray(ids, dtype)]
    return np.concatenate(pieces)


def build(documents: Sequence[str], tokenizer: Tokenizer, share: float, seed: int = 0) -> TokenStreams:
    """Split and tokenise, in memory."""
    train, validation = split_documents(documents, share, seed)
    return TokenStreams(
        to_stream(train, tokenizer), to_stream(validation, tokenizer), len(train), len(validation)
    )


def cached(
    path: Path, documents: Callable[[], Sequence[str]], tokenizer: Tokenizer, share: float, seed: int = 0
) -> TokenStreams:
    """The streams of a file, memory-mapped from the cache; built and kept there the first time.

    Args:
        path: the file that the documents come from; its content is part of the key.
        documents: reads them; called only when the cache has nothing.
        tokenizer: turns them into ids; its vocabulary is part of the key.
        share: how much of the documents is for validation.
        seed: of the split.

    Raises:
        InputDataError: the file cannot be read or split.
        OutputError: the cache cannot be written.

    """
    parts = f"{FORMAT}:{file_digest(path)}:{vocabulary_digest(tokenizer)}:{share}:{seed}"
    folder = cache_dir() / "tokens" / hashlib.sha256(parts.encode()).hexdigest()[:32]
    streams = _open(folder)
    if streams is None:
        _write(build(documents(), tokenizer, share, seed), folder)
        streams = _open(folder)
    if streams is None:
        raise InputDataError(
            f"the cache folder {folder} was changed while it was written; remove it and try again"
        )
    return streams


def file_digest(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's content (unpacked, so that songs.csv and songs.csv.xz are the same data).

    Raises:
        InputDataError: it cannot be read, or is no regular file: what a pipe gives cannot be read again.

    """
    digest = hashlib.sha256()
    for block in read_blocks(path, regular=True):
        digest.update(block)
    return digest.hexdigest()


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """sha256 over each id and its bytes, and the splitting pattern: what decides the ids of a text."""
    digest = hashlib.sha256(tokenizer.pat_str.encode())
    for token in range(tokenizer.n_vocab):
        try:
            token_bytes = tokenizer.decode_single_token_bytes(token)
        except KeyError:  # a hole in the ids
            continue
        digest.update(f"{token}:{len(token_bytes)}:".encode() + token_bytes)
    return digest.hexdigest()


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _write(streams: TokenStreams, folder: Path) -> None:
    with atomic_folder(folder, anything) as temporary:
        np.save(temporary / "train.npy", streams.train)
        np.save(temporary / "validation.npy", streams.validation)
        counts = {"train": streams.num_train_documents, "validation": streams.num_validation_documents}
        (temporary / "documents.json").write_text(json.dumps(counts), encoding="utf-8")


def _open(folder: Path) -> TokenStreams | None:
    """The streams in a cache folder; None if it is not there or damaged, so that it is built (again)."""
    try:
        counts = json.loads(read_text(folder / "documents.json", regular=True))
        train, validation = (
            np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("train", "validation")
        )
        return TokenStreams(train, validation, int(counts["train"]), int(counts["validation"]))
    except (OSError, ValueError, KeyError, EOFError):
        return None
