"""Token ids that others have written: nanoGPT's bare uint16 files, llm.c's with a header, `gpt2x bpe encode`'s.

Files are memory-mapped one by one and read as one stream, in the order of their names; nothing is copied. Which of
them validate is told by their names, as those projects name them: ``val.bin``, ``fineweb_val_000000.bin``.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2x.data.shards import TokenStreams, token_dtype
from gpt2x.errors import InputDataError

HEADER_BYTES = 1024
"""256 int32: magic, version, number of tokens, and zeros."""

MAGICS = {20240520: "<u2", 20240801: "<u4"}
"""What llm.c's files begin with, and what an id is in them: of GPT-2's vocabulary, of Llama 3's."""

_VALIDATION = re.compile(r"(?:^|[^a-z])(?:val|valid|validation)(?:[^a-z]|$)")
_DIGESTED = 1 << 20


class JoinedTokens:
    """Several arrays of ids as one, as far as batches need it: its length, and the ids at an array of places.

    Args:
        arrays: 1-D, memory-mapped or not.
        names: what each is called, for errors.
        n_vocab: ids must be below this.

    >>> JoinedTokens([np.array([1, 2]), np.array([3])], ["a", "b"], 4)[np.array([[0, 2]])].tolist()
    [[1, 3]]
    """

    def __init__(self, arrays: list[npt.NDArray[Any]], names: list[str], n_vocab: int) -> None:
        self._arrays, self._names, self._n_vocab = arrays, names, n_vocab
        self._ends = np.cumsum([len(array) for array in arrays])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The ids at `places` (int64 of any shape), which may be in any order.

        Raises:
            InputDataError: one of them is not in the vocabulary.

        """
        found = np.empty(places.shape, np.int64)
        owners = np.searchsorted(self._ends, places, side="right")
        for owner in np.unique(owners):
            mine = owners == owner
            start = int(self._ends[owner]) - len(self._arrays[owner])
            ids = self._arrays[owner][places[mine] - start]
            if int(ids.max()) >= self._n_vocab:
                raise InputDataError(
                    f"{self._names[owner]} holds the token {int(ids.max())}, and the tokenizer has {self._n_vocab} "
                    "tokens; give --tokenizer the vocabulary that made the file"
                )
            found[mine] = ids
        return found


def open_token_files(path: Path, n_vocab: int, share: float) -> TokenStreams:
    """The streams of a ``.bin`` file, or of the ``.bin`` files of a folder.

    Where no file is named for validation, the end of the stream validates. The numbers of documents are those of files.

    Args:
        path: a file, whose namesake with ``val`` for ``train`` validates if there is one; or a folder.
        n_vocab: how many ids there are; files without a header hold uint16, or uint32 above 65,536 ids.
        share: how much of the stream validates where no file is named for it.

    Raises:
        InputDataError: missing, damaged, empty, or with ids that are not in the vocabulary.

    """
    train, validation = find_token_files(path)
    if not train:
        raise InputDataError(f"{path} has no .bin file to train on; its name should not say val")
    joined = _join(train, n_vocab)
    if validation:
        return TokenStreams(joined, _join(validation, n_vocab), len(train), len(validation))  # type: ignore[arg-type]
    cut = len(joined) - max(2, round(len(joined) * share))
    return TokenStreams(
        _Range(joined, 0, cut),  # type: ignore[arg-type]
        _Range(joined, cut, len(joined)),  # type: ignore[arg-type]
        len(train),
        0,
    )


def open_all(path: Path, n_vocab: int) -> JoinedTokens:
    """All ids of a file; of a folder those that validate, or all where none is named for it.

    Raises:
        InputDataError: as `open_token_files`.

    """
    train, validation = find_token_files(path)
    return _join(validation if path.is_dir() and validation else train, n_vocab)


class _Range:
    """A part of joined tokens."""

    def __init__(self, tokens: JoinedTokens, start: int, stop: int) -> None:
        self._tokens, self._start, self._stop = tokens, start, stop

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self._tokens[places + self._start]


def find_token_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The files to train on and to validate with, each in the order of their names.

    Raises:
        InputDataError: a folder without any ``.bin`` file.

    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix == ".bin" and file.is_file())
        if not files:
            raise InputDataError(f"{path} holds no .bin file; give a folder of token files")
        return [f for f in files if not _validates(f)], [f for f in files if _validates(f)]
    sibling = path.with_name(path.name.replace("train", "val"))
    return [path], [sibling] if sibling != path and sibling.is_file() else []


def token_files_digest(path: Path) -> str:
    """sha256 over the names, lengths, beginnings and ends of the files: their whole content may be terabytes.

    Raises:
        InputDataError: one cannot be read.

    """
    digest = hashlib.sha256()
    for files in find_token_files(path):
        for file in files:
            try:
                with file.open("rb") as opened:
                    digest.update(f"{file.name}:{file.stat().st_size}:".encode() + opened.read(_DIGESTED))
                    opened.seek(max(0, file.stat().st_size - _DIGESTED))
                    digest.update(opened.read(_DIGESTED))
            except OSError as error:
                raise InputDataError(f"cannot read {file}: {error.strerror or error}") from error
        digest.update(b"|")
    return digest.hexdigest()


def _validates(file: Path) -> bool:
    return _VALIDATION.search(file.stem.lower()) is not None


def _join(files: list[Path], n_vocab: int) -> JoinedTokens:
    return JoinedTokens([_map(file, n_vocab) for file in files], [str(file) for file in files], n_vocab)


def _map(file: Path, n_vocab: int) -> npt.NDArray[Any]:
    """The ids of one file, memory-mapped."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            header = np.frombuffer(opened.read(HEADER_BYTES), "<i4", count=min(size, HEADER_BYTES) // 4)
        if len(header) == HEADER_BYTES // 4 and int(header[0]) in MAGICS:
            dtype, start, count = np.dtype(MAGICS[int(header[0])]), HEADER_BYTES, int(header[2])
        else:
            dtype, start = token_dtype(n_vocab), 0
            count, rest = divmod(size, dtype.itemsize)
            if rest:
                raise InputDataError(
                    f"{file} has {size} bytes, no multiple of {dtype.itemsize}; is it complete, and of {dtype.name}?"
                )
        if size != start + count * dtype.itemsize:
            raise InputDataError(
                f"{file} should hold {count} tokens and has {size} bytes, not {start + count * dtype.itemsize}; is it "
                "complete?"
            )
        if not count:
            raise InputDataError(f"{file} holds no tokens; give another file")
        return np.memmap(file, dtype, "r", start, (count,))
    except OSError as error:
        raise InputDataError(f"cannot read {file}: {error.strerror or error}; check the name") from error
