"""Data files read as streams, whatever they are packed in: blocks of bytes, text, lines, and a digest of the content.

Nothing here holds a whole file: a block is about a megabyte, a line as long as it is.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path

from gpt2x.errors import InputDataError, OutputError, quoted
from gpt2x.paths import atomic_write, cache_dir, read_blocks, read_text
from gpt2x.paths.reading import PACKED

BLOCK_BYTES = 1 << 20

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def blocks_of(path: Path) -> Iterator[bytes]:
    """The content of a file, block by block; ``.xz``, ``.gz`` and a ``.zip`` of one file are unpacked on the way.

    Raises:
        InputDataError: missing, a folder, damaged, or a ``.zip`` of several files.

    """
    if path.suffix.lower() == ".zip" and path.is_file():
        yield from _zip_blocks(path)
    else:
        yield from read_blocks(path, streamed=True)


def _zip_blocks(path: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            # macOS puts files of its own beside those that are packed.
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1:
                shown = ", ".join(quoted(name) for name in names[:3])
                raise InputDataError(
                    f"{path} holds {len(names)} files{': ' * bool(names)}{shown}; unpack it and give one of them"
                )
            with archive.open(names[0]) as file:
                while block := file.read(BLOCK_BYTES):
                    yield block
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        LZMAError,
        NotImplementedError,
        RuntimeError,
        UnicodeDecodeError,
    ) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"cannot unpack {path}: {error}; is the file complete?") from error


def text_of(path: Path) -> Iterator[str]:
    """The text of a file, block by block, without a byte order mark.

    Raises:
        InputDataError: as `blocks_of`; not UTF-8 (the byte and its offset are named), or a NUL character (its line).

    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    for block in _and_end(blocks_of(path)):
        pending = len(decoder.getstate()[0])
        if offset == 0 and block.startswith(_UTF16):
            raise InputDataError(
                f"{path} is UTF-16 and not UTF-8; convert it first: iconv -f UTF-16 -t UTF-8"
            )
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise InputDataError(
                f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at offset "
                f"{offset - pending + error.start}; convert the file to UTF-8 first"
            ) from error
        if offset == 0:
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise InputDataError(
                f"{path} has a NUL character on line {line}; is it UTF-16, or no text? give UTF-8 text"
            )
        line += text.count("\n")
        offset += len(block)
        if text:
            yield text


def _and_end(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, and an empty one after the last."""
    yield from blocks
    yield b""


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file with the line ends that they have: ``\\n``, ``\\r`` or ``\\r\\n``.

    Raises:
        InputDataError: as `text_of`.

    """
    parts: list[str] = []  # the beginning of a line that goes on in the next block
    for text in text_of(path):
        if "\n" not in text and "\r" not in text:
            parts.append(text)
            continue
        lines = list(io.StringIO("".join(parts) + text, newline=""))
        parts = [] if lines[-1].endswith("\n") else [lines.pop()]
        yield from lines
    if parts:
        yield from io.StringIO("".join(parts), newline="")


def content_digest(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's content, unpacked (songs.csv and songs.csv.xz are the same data), or of all files of a folder.

    What a packed file unpacks to is remembered in the cache under the sha256 of its bytes, since unpacking takes a
    hundred times as long as reading.

    Raises:
        InputDataError: it cannot be read, or is no regular file: what a pipe gives cannot be read again.

    """
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for file in files_below(path):
            name = file.relative_to(path).as_posix()
            digest.update(f"{name}\0{content_digest(file)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    if path.suffix.lower() not in (*PACKED, ".zip"):
        return _digest(read_blocks(path, regular=True))
    memory = cache_dir() / "digests" / _digest(_raw_blocks(path))
    with contextlib.suppress(InputDataError):
        known = read_text(memory, limit=100, regular=True)
        if len(known) == 64:
            return known
    unpacked = _digest(blocks_of(path))
    with (
        contextlib.suppress(OutputError),
        atomic_write(memory, text=True) as out,
    ):  # else it is computed again
        out.write(unpacked)
    return unpacked


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and in those below it, by name; hidden ones are left out.

    Raises:
        InputDataError: the folder cannot be read.

    """
    try:
        found = [path for path in folder.rglob("*") if path.is_file()]
    except OSError as error:
        raise InputDataError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted(
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _digest(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _raw_blocks(path: Path) -> Iterator[bytes]:
    """A packed file as it is; what is no regular file is refused."""
    if path.exists() and not path.is_file():
        raise InputDataError(f"{path} is no regular file; give one in its place")
    try:
        with path.open("rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                yield block
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputDataError(f"cannot read {path}: {reason}; check the name") from error
