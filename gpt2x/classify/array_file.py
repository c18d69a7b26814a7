"""Reading a safetensors file: whole arrays, or some rows of one, and nothing that the file does not really hold.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of a JSON header, the
header, and the arrays one after the other. The header is checked before any array is read, and refused wherever the
library of that name refuses it; a test damages files and compares the two.

Rows are read with `os.preadv`, not through a memory map: a file that another program cuts short in the meantime is an
error here, where a map would end the process.
"""

from __future__ import annotations

import json
import math
import os
import stat
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

LONGEST_HEADER = 100_000_000
"""Bytes, as the library has it."""

_TYPES = {
    name: np.dtype(type)
    for name, type in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4",
        "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
    }.items()
}  # fmt: skip


class Entry(NamedTuple):
    """An array in the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    """Its first byte, counted from the beginning of the file."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file by their names, each read whenever it is asked for.

    The file stays open as long as this lives, so that one which is replaced in the meantime is not half read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file and check its header.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is no regular file, or no whole safetensors file.

        """
        self._path = Path(path)
        # Opening a FIFO would wait for a writer.
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        self.close = weakref.finalize(self, os.close, self._file)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        self._entries = self._read_header(status.st_size)

    def __getitem__(self, name: str) -> np.ndarray:
        """Read a whole array."""
        entry = self._entries[name]
        array = np.empty(entry.shape, entry.dtype)
        self._fill(_bytes_of(array), entry.begin)
        return array

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self._entries)

    def entry(self, name: str) -> Entry:
        """What an array is, without reading it."""
        return self._entries[name]

    def rows(self, name: str, places: np.ndarray) -> np.ndarray:
        """Some rows of an array (F, …): as many as there are `places`, which are from 0 to below F."""
        entry = self._entries[name]
        found = np.empty((len(places), *entry.shape[1:]), entry.dtype)
        if not found.size:
            return found
        rows = _bytes_of(found).reshape(len(places), -1)
        for row, place in zip(rows, places.tolist(), strict=True):
            self._fill(row, entry.begin + place * rows.shape[1])
        return found

    def _read_header(self, size: int) -> dict[str, Entry]:
        length = int.from_bytes(self._read(8, 0), "little")
        if length > min(LONGEST_HEADER, size - 8):
            raise ValueError("its header is longer than the file, or than any header")
        text = self._read(length, 8).decode("utf-8")
        if not text.startswith("{"):
            raise ValueError("its header is no JSON object")
        header = json.loads(text)
        header.pop("__metadata__", None)
        entries = {name: _entry(about, 8 + length) for name, about in header.items()}
        end = 8 + length
        for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.size)):
            if entry.begin != end:
                raise ValueError("its arrays do not stand one after the other")
            end += entry.size
        if end != size:
            raise ValueError(f"it has {size} bytes where its header says {end}")
        return entries

    def _read(self, length: int, begin: int) -> bytes:
        data = bytearray(length)
        self._fill(np.frombuffer(data, np.uint8), begin)
        return bytes(data)

    def _fill(self, target: np.ndarray, begin: int) -> None:
        """Read as many bytes as fit into `target`."""
        done = 0
        while done < len(target):  # a read may give less than it is asked for
            read = os.preadv(self._file, [target[done:].data], begin + done)
            if read == 0:
                raise ValueError("the file ends too soon")
            done += read


def _entry(about: object, start: int) -> Entry:
    """An array as the header describes it; `start` is where the arrays begin."""
    if not isinstance(about, dict):
        raise ValueError("an array in its header is no JSON object")
    dtype, shape, offsets = about.get("dtype"), about.get("shape"), about.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise ValueError("an array in its header is of no known type")
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise ValueError("an array in its header has no shape, or no place")
    entry = Entry(_TYPES[dtype], tuple(shape), start + offsets[0])
    if offsets[1] - offsets[0] != entry.size:
        raise ValueError("an array in its header has another length than its shape says")
    return entry


def _is_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
