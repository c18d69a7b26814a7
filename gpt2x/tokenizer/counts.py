"""Files of piece counts: what machines that each count some of the text hand to the one that learns.

A file is lines of text: a header in JSON, a line ``base64(piece) count`` for each distinct piece, the most frequent
first and equally frequent ones in the order of their bytes, and an end in JSON with the totals and the sha256 of all
lines before it::

    {"format": "gpt2x piece counts", "version": 1, "pattern": "gpt2", "unicode_version": "16.0.0", "split_lines": false}
    IHRoZQ== 1873
    ...
    {"unique_pieces": 5025, "pieces": 32196, "bytes": 142836, "sha256": "9f86d0..."}

Reading takes two passes, so that no count of a damaged file is ever added; neither holds the file in memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from gpt2x.errors import InputDataError
from gpt2x.paths import atomic_write, open_input

if TYPE_CHECKING:
    from gpt2x._bpe import PieceCounter

FORMAT = "gpt2x piece counts"
VERSION = 1

LARGEST_TOTAL = 1 << 63
"""Totals stay below this, so that no 64-bit count can overflow."""

_BATCH_BYTES = 1 << 20
_LONGEST_LINE = 64 << 20  # one piece: a stretch of text without any place to cut


START = b'{"format": "gpt2x piece counts"'
"""How a file of counts begins; here so that one that is taken for text is noticed."""


class Counted(Protocol):
    """What a `Corpus` has that is kept in a file."""

    pattern: str
    split_lines: bool
    counter: PieceCounter

    @property
    def num_unique(self) -> int:
        """How many different pieces."""
        ...

    @property
    def num_pieces(self) -> int:
        """How many pieces."""
        ...

    @property
    def num_bytes(self) -> int:
        """How many bytes of text."""
        ...

    def items(self) -> list[tuple[bytes, int]]:
        """Each piece and how often it occurs."""
        ...


class Summary(NamedTuple):
    """What a file of counts says of itself."""

    pattern: str
    unicode_version: str
    split_lines: bool
    unique_pieces: int
    pieces: int
    bytes: int


def write(corpus: Counted, path: str | os.PathLike[str]) -> None:
    """Write a corpus's counts; the file appears when it is complete.

    Raises:
        OutputError: it cannot be written.

    """
    with atomic_write(path) as file:
        checksum = hashlib.sha256()
        for lines in _lines(corpus):
            checksum.update(lines)
            file.write(lines)
        end = {
            "unique_pieces": corpus.num_unique,
            "pieces": corpus.num_pieces,
            "bytes": corpus.num_bytes,
            "sha256": checksum.hexdigest(),
        }
        file.write(_json_line(end))


def _lines(corpus: Counted) -> Iterator[bytes]:
    from gpt2x._bpe import unicode_version

    yield _json_line(
        {
            "format": FORMAT,
            "version": VERSION,
            "pattern": corpus.pattern,
            "unicode_version": unicode_version,
            "split_lines": corpus.split_lines,
        }
    )
    items = corpus.items()
    for start in range(0, len(items), 1 << 14):
        batch = items[start : start + (1 << 14)]
        yield b"".join(b"%s %d\n" % (base64.b64encode(piece), count) for piece, count in batch)


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def read_summary(path: str | os.PathLike[str]) -> Summary:
    """Check a file of counts from its first to its last byte and say what is in it.

    Raises:
        InputDataError: it is missing, damaged, no file of counts, or of a later version.

    """
    checksum = hashlib.sha256()
    with open_input(path) as file:
        batches = _batches(file, path)
        first = next(batches, [])
        header = _read_header(first[0] if first else b"", path)
        last = first
        checksum.update(b"".join(first[:-1]))
        for batch in batches:
            checksum.update(last[-1])
            checksum.update(b"".join(batch[:-1]))
            last = batch
    end = _read_json(last[-1])
    if end.get("sha256") != checksum.hexdigest():
        raise InputDataError(
            f"{path} is damaged or cut off: its checksum is not that of its lines; count again"
        )
    try:
        return Summary(
            str(header["pattern"]),
            str(header["unicode_version"]),
            bool(header["split_lines"]),
            int(end["unique_pieces"]),
            int(end["pieces"]),
            int(end["bytes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputDataError(f"{path} lacks a part of its header or end: {error!r}; count again") from error


def _read_header(line: bytes, path: object) -> dict[str, Any]:
    header = _read_json(line) if line.startswith(START) else {}
    if header.get("format") != FORMAT:
        raise InputDataError(
            f"{path} holds no counts of pieces; make such a file with `gpt2x bpe count-pieces`"
        )
    if header.get("version") != VERSION:
        raise InputDataError(
            f"{path} is of version {header.get('version')!r}, and this gpt2x reads {VERSION}; use the gpt2x that "
            "wrote it"
        )
    return header


def _read_json(line: bytes) -> dict[str, Any]:
    """The object on a line; empty where there is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def add(corpus: Counted, path: str | os.PathLike[str]) -> None:
    """Add a file's counts to a corpus; see `Corpus.add_counts`."""
    summary = read_summary(path)
    _check_fits(corpus, summary, path)
    with open_input(path) as file:
        for batch in _batches(file, path):
            try:
                corpus.counter.add_counts([_item(line) for line in batch if not line.startswith(b"{")])
            except (ValueError, TypeError, binascii.Error) as error:
                raise InputDataError(f"{path} has a damaged line: {error}; count again") from error


def _item(line: bytes) -> tuple[bytes, int]:
    piece, count = line.split()
    return base64.b64decode(piece, validate=True), int(count)


def _check_fits(corpus: Counted, summary: Summary, path: object) -> None:
    """Raise InputDataError where these counts cannot be added to those of the corpus."""
    from gpt2x._bpe import unicode_version

    if summary.pattern != corpus.pattern:
        raise InputDataError(
            f"{path} was counted with the pattern {summary.pattern!r}, not {corpus.pattern!r}; count all text with "
            "one pattern"
        )
    if summary.unicode_version != unicode_version:
        raise InputDataError(
            f"{path} was counted by Unicode {summary.unicode_version}, and this gpt2x splits by {unicode_version}; "
            "count again with this version"
        )
    if summary.split_lines != corpus.split_lines:
        raise InputDataError(
            f"{path} was counted {'line by line' if summary.split_lines else 'by whole files'}, the others were not; "
            "count all text with --split-lines, or none"
        )
    if corpus.num_bytes + summary.bytes >= LARGEST_TOTAL:
        raise InputDataError(
            f"with {path} the corpus would have {corpus.num_bytes + summary.bytes:,} bytes; fewer than 2^63 can be "
            "counted"
        )


def _batches(file: IO[bytes], path: object) -> Iterator[list[bytes]]:
    """The lines of a file, about a megabyte of them at a time; of a file that is none of counts, only its start."""
    rest = b""
    is_first = True
    try:
        while block := file.read(_BATCH_BYTES):
            if is_first and not block.startswith(START):
                yield [block[: len(START)]]
                return
            is_first = False
            block = rest + block
            end = block.rfind(b"\n") + 1
            rest = block[end:]
            if len(rest) > _LONGEST_LINE:
                raise InputDataError(f"{path} has a line without end; count again")
            if end:
                yield io.BytesIO(block[:end]).readlines()
        if rest:
            yield [rest]
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputDataError(f"cannot read {path}: {error}; is the file complete?") from error
