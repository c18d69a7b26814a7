"""From documents to two flat streams of token ids, one to train on and one to validate with.

Documents (not tokens) are split, by a hash of their text: the split does not depend on their order, a song that
occurs twice never stands on both sides, and adding songs hardly moves the others. Each document is preceded by
``<|endoftext|>``, which is how a model learns where one begins.

The streams are kept in the cache as files of bare ids, keyed by what they are made of, and memory-mapped: ranks share
the pages, and a resumed run starts at once. So is a vocabulary that was learned from the documents. Neither documents
nor ids are ever held in memory as a whole. One process prepares data at a time; it removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpt2x.console import progress, say
from gpt2x.data.store import DocumentStore
from gpt2x.errors import Gpt2xError, InputDataError, UsageError
from gpt2x.paths import anything, atomic_folder, cache_dir, lock, output_errors, read_text

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

FORMAT = 2
"""Part of the cache keys: raise it when the files change their meaning."""

ENCODE_BYTES = 4 << 20
"""How much text is given to the tokenizer together: enough for all cores, little enough to hold."""

END_OF_TEXT = "<|endoftext|>"
PARTS = ("train", "validation")

Tokens = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TokenStreams:
    """The two streams (uint16 or uint32, 1-D) and how many documents went into each."""

    train: Tokens
    validation: Tokens
    num_train_documents: int
    num_validation_documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents come from.

    Attributes:
        digest: of the content that they are made of.
        kind: how they are made of it: the name of the recipe.
        documents: reads them; called only when the cache has nothing.
        word: what they are called, in the plural.

    """

    digest: str
    kind: str
    documents: Callable[[], Iterable[str]]
    word: str = "documents"


def is_validation(hashes: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Which documents validate: about `share` of the different ones, those with the smallest hashes, at least one.

    Raises:
        UsageError: `share` is not between 0 and 1.
        InputDataError: there are no two different documents.

    >>> is_validation(np.array([7, 3, 9, 3], np.uint64), 0.3).tolist()
    [False, True, False, True]
    """
    if not 0 < share < 1:
        raise UsageError(
            f"a validation share of {share} leaves one side empty; give a number between 0 and 1"
        )
    different = np.unique(hashes)
    if len(different) < 2:
        raise InputDataError(
            f"{len(different)} different document{'s' * (len(different) != 1)} cannot be split into a part to train "
            "on and a part to validate with; give at least two"
        )
    count = min(max(1, round(len(different) * share)), len(different) - 1)
    return hashes <= different[count - 1]


def prepared(
    source: Source, tokenizer: Tokenizer | int, share: float, seed: int = 0
) -> tuple[Tokenizer, TokenStreams]:
    """The tokenizer and the streams of some documents, from the cache; built and kept there the first time.

    Args:
        source: the documents; their digest and kind are part of the key.
        tokenizer: turns them into ids, and its vocabulary is part of the key; or the size of a vocabulary to learn
            from the documents that are trained on: what validates the model must not have shaped it.
        share: how much of the documents is for validation.
        seed: of the split.

    Raises:
        InputDataError: the documents cannot be read or split.
        OutputError: the cache cannot be written.

    """
    work = _Preparation(source, tokenizer, share, seed)
    found = work.find()
    if found is not None:
        return found
    place = cache_dir() / "tokens"
    with output_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        found = work.find()  # another process may have been faster
        if found is None:
            with output_errors(place):
                folder = Path(tempfile.mkdtemp(prefix=".gpt2x.", suffix=".partial", dir=place))
            try:
                work.build(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            found = work.find()
    if found is None:
        raise InputDataError(
            f"the cache in {place} was changed while it was written; remove it and try again"
        )
    return found


class _Preparation:
    """What `prepared` is asked for, and the two places in the cache where it is."""

    def __init__(self, source: Source, tokenizer: Tokenizer | int, share: float, seed: int) -> None:
        self.source, self.tokenizer, self.share, self.seed = source, tokenizer, share, seed

    def find(self) -> tuple[Tokenizer, TokenStreams] | None:
        """Both, if they are in the cache."""
        tokenizer = self._find_tokenizer()
        streams = _open(self._tokens_folder(tokenizer)) if tokenizer is not None else None
        return (tokenizer, streams) if tokenizer is not None and streams is not None else None

    def build(self, folder: Path) -> None:
        """Put into the cache what is missing; `folder` takes the documents meanwhile."""
        with output_errors(folder):
            store = DocumentStore(self.source.documents(), folder / "documents", self.seed, self.source.word)
        validation = is_validation(store.hashes, self.share)
        tokenizer = self._find_tokenizer()
        if tokenizer is None:
            tokenizer = _learn(store.read(~validation), self.tokenizer)  # type: ignore[arg-type]
            with atomic_folder(self._vocabulary_folder(), anything) as temporary:
                tokenizer.save(temporary)
        with (
            atomic_folder(self._tokens_folder(tokenizer), anything) as temporary,
            progress("tokenising", total=store.num_bytes, unit="bytes") as advance,
        ):
            about: dict[str, Any] = {"dtype": token_dtype(tokenizer.n_vocab).name}
            for part, chosen in zip(PARTS, (~validation, validation), strict=True):
                with (temporary / f"{part}.bin").open("wb") as file:
                    num_tokens = write_stream(store.read(chosen), tokenizer, file, advance)
                about[part] = {"documents": int(chosen.sum()), "tokens": num_tokens}
            (temporary / "documents.json").write_text(json.dumps(about), encoding="utf-8")

    def _find_tokenizer(self) -> Tokenizer | None:
        from gpt2x.tokenizer import Tokenizer

        if not isinstance(self.tokenizer, int):
            return self.tokenizer
        try:
            return Tokenizer.load(self._vocabulary_folder())
        except Gpt2xError:
            return None

    def _vocabulary_folder(self) -> Path:
        return cache_dir() / "vocabularies" / self._key(f"learn {self.tokenizer}")

    def _tokens_folder(self, tokenizer: Tokenizer) -> Path:
        return cache_dir() / "tokens" / self._key(vocabulary_digest(tokenizer))

    def _key(self, vocabulary: str) -> str:
        s = self.source
        parts = f"{FORMAT}:{s.kind}:{s.digest}:{vocabulary}:{self.share}:{self.seed}"
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _learn(texts: Iterator[bytes], size: int) -> Tokenizer:
    from gpt2x.tokenizer import train

    return train(texts, size, special_tokens=(END_OF_TEXT,), allow_fewer=True)


def token_dtype(n_vocab: int) -> np.dtype[Any]:
    """uint16 where all ids of a vocabulary fit, else uint32; little-endian, as in the files."""
    return np.dtype("<u2" if n_vocab <= 1 << 16 else "<u4")


def write_stream(
    documents: Iterable[bytes],
    tokenizer: Tokenizer,
    file: IO[bytes],
    advance: Callable[..., None] = lambda amount=1: None,
) -> int:
    """Write the ids of documents (UTF-8), each preceded by ``<|endoftext|>``, and give how many they are."""
    dtype = token_dtype(tokenizer.n_vocab)
    start = np.array([tokenizer.eot_token], dtype).tobytes()
    num_tokens = 0
    for batch in _batched(documents):
        for ids in _encode(batch, tokenizer, dtype):
            if ids is None:
                file.write(start)
                num_tokens += 1
            else:
                file.write(ids.astype(dtype, copy=False).tobytes())
                num_tokens += len(ids)
        advance(sum(map(len, batch)))
    return num_tokens


def _encode(batch: list[bytes], tokenizer: Tokenizer, dtype: np.dtype[Any]) -> Iterator[Tokens | None]:
    """None where a document begins, then its ids; a document that is a batch by itself in several arrays."""
    if len(batch) == 1 and len(batch[0]) > ENCODE_BYTES:
        yield None
        reader = tokenizer.text_reader(disallowed_special=())
        for ids, _ in reader.encode(io.BytesIO(batch[0]), "document", dtype, os.cpu_count() or 1):
            yield ids
        return
    texts = [data.decode() for data in batch]
    for ids in tokenizer.encode_ordinary_batch_to_numpy(texts, dtype=dtype.name):
        yield None
        yield ids


def _batched(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Documents of about `ENCODE_BYTES` together; one that is longer comes alone."""
    batch: list[bytes] = []
    size = 0
    for data in documents:
        if batch and size + len(data) > ENCODE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(data)
        size += len(data)
    if batch:
        yield batch


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


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Be the only process that prepares data in this cache, and begin with removing what others left half-written.

    Where files cannot be locked (Windows, some network file systems) nothing waits and nothing is removed.
    """
    with output_errors(place):
        opened = (place / ".lock").open("wb")
    with opened:
        alone = lock(
            opened, lambda: say("another process prepares data in the same cache; waiting for it to finish …")
        )
        if alone:
            for left in itertools.chain(
                place.glob(".*.partial"), place.parent.glob("vocabularies/.*.partial")
            ):
                shutil.rmtree(left, ignore_errors=True)
        yield


def _open(folder: Path) -> TokenStreams | None:
    """The streams in a cache folder; None if it is not there or damaged, so that it is built (again)."""
    try:
        about = json.loads(read_text(folder / "documents.json", regular=True))
        dtype = np.dtype(about["dtype"]).newbyteorder("<")
        train, validation = (np.memmap(folder / f"{part}.bin", dtype, "r") for part in PARTS)
        if (len(train), len(validation)) != tuple(about[part]["tokens"] for part in PARTS):
            return None
        return TokenStreams(
            train, validation, int(about["train"]["documents"]), int(about["validation"]["documents"])
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
