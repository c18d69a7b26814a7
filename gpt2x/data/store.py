"""Documents on disk while they become tokens, so that memory does not grow with them.

Preparing data takes documents three times: to split them, to learn a vocabulary from one side, to tokenise both. They
are read and unpacked once, and written one after the other into a file, from which any can be read again.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpt2x.console import progress
from gpt2x.tokenizer.utf8 import to_utf8


class DocumentStore:
    """Documents in a file, in their order, each with a hash.

    Args:
        documents: the texts; taken one at a time.
        path: the file to write, which the caller removes.
        seed: goes into the hashes.
        word: what the documents are called, in the plural.

    Raises:
        OSError: the file cannot be written.

    """

    def __init__(self, documents: Iterable[str], path: Path, seed: int = 0, word: str = "documents") -> None:
        self.path = path
        ends, hashes, position = array("q"), array("Q"), 0
        prefix = f"{seed}:".encode()
        with path.open("wb") as file, progress("reading", unit=word) as advance:
            for text in documents:
                data = to_utf8(text)
                file.write(data)
                position += len(data)
                ends.append(position)
                hashes.append(_hash(prefix + text.encode("utf-8", "surrogatepass")))
                advance()
        self._ends = np.frombuffer(ends, np.int64) if ends else np.empty(0, np.int64)
        self.hashes: npt.NDArray[np.uint64] = (
            np.frombuffer(hashes, np.uint64) if hashes else np.empty(0, np.uint64)
        )

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def num_bytes(self) -> int:
        """The length of all documents, as UTF-8."""
        return int(self._ends[-1]) if len(self) else 0

    def read(self, which: npt.NDArray[np.bool_]) -> Iterator[bytes]:
        """The chosen documents, in their order, as UTF-8; a lone surrogate is U+FFFD, as for the tokenizer."""
        with self.path.open("rb", buffering=1 << 20) as file:
            for number in np.flatnonzero(which):
                yield self._read_one(file, int(number))

    def _read_one(self, file: IO[Any], number: int) -> bytes:
        start = int(self._ends[number - 1]) if number else 0
        if file.tell() != start:
            file.seek(start)
        data: bytes = file.read(int(self._ends[number]) - start)
        return data


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
