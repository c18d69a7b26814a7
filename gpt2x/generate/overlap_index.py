"""All runs of three words of many songs, in a file that is memory-mapped: where in which song do these words stand?

A run of three words is one number, its fingerprint; the file holds the fingerprints in order, each with the place of
its first word among the words of all songs. 8 bytes a word: 32 bits of the fingerprint (12 more are the bucket that it
stands in) and 32 of the place, which are 64 where there are more than 2^32 words. Two runs of words have the same
fingerprint by chance once in 2^44 pairs.

Layout, little-endian: a header of 4,096 bytes (JSON, filled up with blanks), the buckets' ends, the first word and the
end of the title of each song, all uint64; the entries; the titles as UTF-8.

Songs are read one after the other, sorted a million words at a time and merged bucket by bucket. That takes about
130 MB (measured with 9 million words), and more only where one bucket has over a million places; on average it has a
4,096th of all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpt2x.errors import InputDataError
from gpt2x.paths import atomic_write, output_errors

RUN = 3
"""Words of a run; fewer are no borrowing, they are English."""

FORMAT, VERSION = "gpt2x-songs-index", 1
_HEADER_BYTES = 4096
_BUCKETS = 1 << 12
_REST_BITS = 32
_ENTRIES_AT_ONCE = 1 << 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_WORD_OR_MARKER = re.compile(r"\[[^\]\n]*\]|[^\W_]+(?:['’][^\W_]+)*")

Numbers = npt.NDArray[np.uint64]
_SPILLED = np.dtype([("key", "<u8"), ("place", "<u8")])


def words_in(text: str) -> list[tuple[str, slice]]:
    """The words as they are compared, and where each stands; a marker such as [Chorus] is none.

    >>> words_in("[Intro]\\nDON’T go")
    [("don't", slice(8, 13, None)), ('go', slice(14, 16, None))]
    """
    return [
        (_folded(match.group()), slice(*match.span()))
        for match in _WORD_OR_MARKER.finditer(text)
        if not match.group().startswith("[")
    ]


def _folded(word: str) -> str:
    return word.casefold().replace("’", "'")


def fingerprints(words: Iterable[str]) -> Numbers:
    """One number of 44 bits for each run of three words."""
    hashes = np.array([_hash(word) for word in words], dtype=np.uint64)
    count = max(0, len(hashes) - RUN + 1)
    runs = np.zeros(count, dtype=np.uint64)
    for offset in range(RUN):
        runs = runs * _MULTIPLIER + hashes[offset : offset + count]
    return runs >> np.uint64(64 - _REST_BITS - _BUCKETS.bit_length() + 1)


@functools.lru_cache(1 << 16)
def _hash(word: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


# Reading ------------------------------------------------------------------------------------------------------------


class SongIndex:
    """An index that was written by `write_index`.

    Args:
        file: open for reading; it may have no name.
        name: for errors.

    Raises:
        InputDataError: it is no such file, or not whole.

    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        about, size = _read_header(file, name), os.fstat(file.fileno()).st_size
        try:
            self.digest, self.num_words = str(about["digest"]), int(about["words"])
            self.num_songs, num_runs = int(about["songs"]), int(about["runs"])
            entry = _entry(self.num_words)
            sizes = 8 * (_BUCKETS + 1), 8 * self.num_songs, 8 * self.num_songs, num_runs * entry.itemsize
            *starts, titles = np.cumsum([_HEADER_BYTES, *sizes]).tolist()
            if min(sizes) < 0 or titles + int(about["title_bytes"]) != size:
                raise ValueError
            data = np.memmap(file, dtype=np.uint8, mode="r")
            self._buckets, self._first_words, self._title_ends, self._entries = (
                data[start : start + length].view(kind)
                for start, length, kind in zip(starts, sizes, ("<u8", "<u8", "<u8", entry), strict=True)
            )
            self._titles = data[titles:]
            if int(self._buckets[-1]) != num_runs or np.any(self._buckets[1:] < self._buckets[:-1]):
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputDataError(f"{name} is damaged; remove it, and it is made again") from error

    @classmethod
    def open(cls, path: Path) -> SongIndex:
        """The index in a file.

        Raises:
            InputDataError: there is none, or it is not whole.

        """
        try:
            with path.open("rb") as file:
                return cls(file, str(path))
        except OSError as error:
            raise InputDataError(f"cannot read {path}: {error.strerror}; is it there?") from error

    @classmethod
    def of(cls, songs: Iterable[tuple[str, str]]) -> SongIndex:
        """The index of songs, given as (title, text), in a temporary file without a name."""
        with output_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
            _write(file, songs, "", None)
            file.flush()
            file.seek(0)
            return cls(file, "a temporary index of songs")

    def places_of(self, run: int) -> Numbers:
        """The places of a run, by its fingerprint, in order."""
        bucket, rest = divmod(run, 1 << _REST_BITS)
        entries = self._entries[int(self._buckets[bucket]) : int(self._buckets[bucket + 1])]
        keys = entries["key"]
        left, right = (int(np.searchsorted(keys, np.uint32(rest), side)) for side in ("left", "right"))
        return entries["place"][left:right].astype(np.uint64)

    def title_at(self, place: int) -> str:
        """The title of the song that has a place; "song 7" for the seventh where it has none."""
        song = int(np.searchsorted(self._first_words, place, "right")) - 1
        start = int(self._title_ends[song - 1]) if song else 0
        title = self._titles[start : int(self._title_ends[song])].tobytes().decode("utf-8", "replace")
        return title or f"song {song + 1}"


def _entry(num_words: int) -> np.dtype[Any]:
    return np.dtype([("key", "<u4"), ("place", "<u4" if num_words <= 1 << 32 else "<u8")])


def _read_header(file: IO[bytes], name: str) -> dict[str, Any]:
    try:
        about = json.loads(file.read(_HEADER_BYTES))
        if (about["format"], about["version"]) == (FORMAT, VERSION):
            return dict(about)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputDataError(f"{name} is no index of songs of this gpt2x; remove it, and it is made again")


# Writing ------------------------------------------------------------------------------------------------------------


def write_index(path: Path, songs: Iterable[tuple[str, str]], digest: str) -> None:
    """Write the index of songs into a file that is there as a whole or not at all.

    Args:
        path: the file.
        songs: title and text of each; taken one at a time.
        digest: of the data that they come from, to be recognised by.

    Raises:
        OutputError: it cannot be written.

    """
    with atomic_write(path) as file:
        _write(file, songs, digest, path.parent)


def _write(file: IO[bytes], songs: Iterable[tuple[str, str]], digest: str, folder: Path | None) -> None:
    with tempfile.TemporaryFile(dir=folder) as spilled, tempfile.TemporaryFile(dir=folder) as titles:
        gathered = _Gathered(spilled, titles)
        for title, text in songs:
            gathered.add(title, text)
        gathered.spill()
        totals = sum((piece.counts for piece in gathered.pieces), np.zeros(_BUCKETS, np.int64))
        about = {
            "format": FORMAT,
            "version": VERSION,
            "digest": digest,
            "words": gathered.num_words,
            "songs": len(gathered.first_words),
            "runs": int(totals.sum()),
            "title_bytes": titles.tell(),
        }
        file.write(json.dumps(about).encode().ljust(_HEADER_BYTES))
        file.write(np.concatenate([[0], np.cumsum(totals)]).astype("<u8").tobytes())
        for numbers in (gathered.first_words, gathered.title_ends):
            file.write(np.array(numbers, dtype="<u8").tobytes())
        for entries in _merged(gathered.pieces, totals, spilled, _entry(gathered.num_words)):
            file.write(entries)
        titles.seek(0)
        shutil.copyfileobj(titles, file, 1 << 20)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Entries that are sorted among themselves: where they begin, and how many each bucket has."""

    start: int
    counts: npt.NDArray[np.int64]


@dataclass(slots=True)
class _Gathered:
    """The songs that were read so far: entries in sorted pieces on disk, titles in a file of their own."""

    spilled: IO[bytes]
    titles: IO[bytes]
    pieces: list[_Piece] = field(default_factory=list)
    first_words: array[int] = field(default_factory=lambda: array("Q"))
    title_ends: array[int] = field(default_factory=lambda: array("Q"))
    num_words: int = 0
    _num_spilled: int = 0
    _waiting: list[tuple[int, Numbers]] = field(default_factory=list)
    _num_waiting: int = 0

    def add(self, title: str, text: str) -> None:
        """Read a song."""
        words = [_folded(word) for word in _WORD_OR_MARKER.findall(text) if word[0] != "["]
        runs = fingerprints(words)
        self.first_words.append(self.num_words)
        self._waiting.append((self.num_words, runs))
        self._num_waiting += len(runs)
        self.num_words += len(words)
        self.titles.write(title.encode("utf-8", "replace"))
        self.title_ends.append(self.titles.tell())
        if self._num_waiting >= _ENTRIES_AT_ONCE:
            self.spill()

    def spill(self) -> None:
        """Sort what waits and write it down."""
        if not self._num_waiting:
            return
        keys = np.concatenate([runs for _, runs in self._waiting])
        places = np.concatenate(
            [np.arange(at, at + len(runs), dtype=np.uint64) for at, runs in self._waiting]
        )
        self.spilled.write(_sorted(keys, places).tobytes())
        counts = np.bincount((keys >> np.uint64(_REST_BITS)).astype(np.int64), minlength=_BUCKETS)
        self.pieces.append(_Piece(self._num_spilled, counts))
        self._num_spilled += len(keys)
        self._waiting, self._num_waiting = [], 0


def _sorted(keys: Numbers, places: Numbers) -> npt.NDArray[Any]:
    order = np.argsort(keys, kind="stable")  # places stay in order
    entries = np.empty(len(keys), _SPILLED)
    entries["key"], entries["place"] = keys[order], places[order]
    return entries


def _merged(
    pieces: list[_Piece], totals: npt.NDArray[np.int64], spilled: IO[bytes], entry: np.dtype[Any]
) -> Iterator[bytes]:
    """All entries in order: of as many buckets at a time as may be held, the part that each piece has of them."""
    spilled.flush()
    begins = [np.concatenate([[piece.start], piece.start + np.cumsum(piece.counts)]) for piece in pieces]
    first = 0
    while first < _BUCKETS:
        last = first + 1
        while last < _BUCKETS and totals[first : last + 1].sum() <= _ENTRIES_AT_ONCE:
            last += 1
        parts = [_read_part(spilled, int(begin[first]), int(begin[last])) for begin in begins]
        if parts:
            together = np.concatenate(parts)
            merged = _sorted(together["key"], together["place"])
            entries = np.empty(len(merged), entry)
            entries["key"], entries["place"] = (
                merged["key"] & np.uint64((1 << _REST_BITS) - 1),
                merged["place"],
            )
            yield entries.tobytes()
        first = last


def _read_part(file: IO[bytes], start: int, end: int) -> npt.NDArray[Any]:
    file.seek(start * _SPILLED.itemsize)
    return np.frombuffer(file.read((end - start) * _SPILLED.itemsize), _SPILLED)
