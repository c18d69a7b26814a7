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
import stat
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from gpt2x.errors import InputDataError, quoted
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
    if not (stat.S_ISREG(mode := _mode(path)) or stat.S_ISDIR(mode)):
        raise InputDataError(
            f"{path} is no regular file, and counts are read twice; save them in a file and give that"
        )
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
    return Summary(
        _field(header, "pattern", str, path),
        _field(header, "unicode_version", str, path),
        _field(header, "split_lines", bool, path),
        _field(end, "unique_pieces", int, path),
        _field(end, "pieces", int, path),
        _field(end, "bytes", int, path),
    )


def _mode(path: str | os.PathLike[str]) -> int:
    """The kind of a file; that of a regular one where there is none, since opening it says why."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return stat.S_IFREG


Value = TypeVar("Value", str, bool, int)


def _field(record: dict[str, Any], name: str, kind: type[Value], path: object) -> Value:
    """A value of the header or the end.

    Raises:
        InputDataError: it is missing, of another type, or negative.

    """
    value = record.get(name)
    if type(value) is kind and not (isinstance(value, int) and value < 0):
        return value
    raise InputDataError(
        f"{path} has {name} = {quoted(value)} in its header or end, which is to be {_KINDS[kind]}; count again"
    )


_KINDS = {str: "a text", bool: "true or false", int: "a whole number, 0 or more"}


def _read_header(line: bytes, path: object) -> dict[str, Any]:
    header = _read_json(line) if line.startswith(START) else {}
    if header.get("format") != FORMAT:
        raise InputDataError(
            f"{path} holds no counts of pieces; make such a file with `gpt2x bpe count-pieces`"
        )
    if header.get("version") != VERSION:
        raise InputDataError(
            f"{path} is of version {quoted(header.get('version'))}, and this gpt2x reads {VERSION}; use the gpt2x that "
            "wrote it"
        )
    return header


def _read_json(line: bytes) -> dict[str, Any]:
    """The object on a line; empty where there is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def add(corpus: Counted, path: str | os.PathLike[str]) -> None:
    """Add a file's counts to a corpus; see `Corpus.add_counts`."""
    summary = read_summary(path)
    _check_fits(corpus, summary, path)
    num_bytes = 0
    with open_input(path) as file:
        for batch in _batches(file, path):
            items = [_item(line, path) for line in batch if not line.startswith(b"{")]
            num_bytes += sum(len(piece) * count for piece, count in items)
            if num_bytes > summary.bytes:
                raise InputDataError(
                    f"{path} has more than the {summary.bytes:,} bytes of pieces that its end says; count again"
                )
            corpus.counter.add_counts(items)


def _item(line: bytes, path: object) -> tuple[bytes, int]:
    """The piece and the count on a line.

    Raises:
        InputDataError: it is no such line.

    """
    try:
        spelled, digits = line.split()
        piece, count = base64.b64decode(spelled, validate=True), int(digits)
    except (ValueError, binascii.Error):
        piece, count = b"", 0
    if not piece or count < 0:
        raise InputDataError(f"{path} has the damaged line {quoted(line)}; count again")
    return piece, count


def _check_fits(corpus: Counted, summary: Summary, path: object) -> None:
    """Raise InputDataError where these counts cannot be added to those of the corpus."""
    from gpt2x._bpe import unicode_version

    if summary.pattern != corpus.pattern:
        raise InputDataError(
            f"{path} was counted with the pattern {quoted(summary.pattern)}, not {corpus.pattern!r}; count all text "
            "with one pattern"
        )
    if summary.unicode_version != unicode_version:
        raise InputDataError(
            f"{path} was counted by Unicode {quoted(summary.unicode_version)}, and this gpt2x splits by "
            f"{unicode_version}; count again with this version"
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
