"""Reading files: one that is held in memory as a whole has a limit, so that an endless one is an error and no hang."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gpt2x.errors import InputDataError

CONFIG_BYTES = 16 << 20
"""The longest configuration or header (TOML, config.json, …) that is read."""

VOCABULARY_BYTES = 256 << 20
"""The longest file of a vocabulary that is read; the largest known ones have some 40 MB."""

UNPACKED_BYTES = 1 << 30
"""How long a file may become by unpacking when it is held in memory."""

PIPE_BYTES = 1 << 30
"""How much is read of a pipe when it is held in memory."""

DEVICE_BYTES = 1 << 20
"""How much is read of a device (a terminal, /dev/zero) when it is held in memory."""

PACKED = (".xz", ".gz")
"""Suffixes of files that are unpacked when they are read."""

_BLOCK_BYTES = 1 << 20


def open_input(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading as bytes, however long it is; ``.xz`` and ``.gz`` are unpacked on the way.

    Raises:
        InputDataError: the file is missing, a folder, or not readable.

    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputDataError(f"{path} is a folder; give a file")
        if path.suffix == ".xz":
            return lzma.open(path, "rb")
        if path.suffix == ".gz":
            return io.BufferedReader(gzip.open(path, "rb"))
        return path.open("rb")
    except InputDataError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise InputDataError(f"cannot read {path}: {reason}; check the name") from error


def read_bytes(path: str | os.PathLike[str], *, limit: int | None = None, regular: bool = False) -> bytes:
    """Read a whole file (``.xz`` and ``.gz`` are unpacked) that has to fit into memory.

    Args:
        path: the file.
        limit: how long it may be, unpacked. Without one, a regular file may have any length; what has none of its own
            is bounded by `UNPACKED_BYTES`, `PIPE_BYTES` or, whatever the limit, `DEVICE_BYTES`.
        regular: refuse what is no regular file, where no pipe or device has any business.

    Raises:
        InputDataError: missing, damaged, longer than it may be, or too long for the memory.

    """
    path = Path(path)
    try:
        return b"".join(read_blocks(path, limit=limit, regular=regular, block_bytes=-1))
    except MemoryError:
        raise InputDataError(f"{path} does not fit into memory; give a smaller file") from None


def read_stream(file: IO[bytes], name: str) -> bytes:
    """Read what is open already, such as standard input, to its end, under the bounds of `read_bytes`.

    Args:
        file: binary, at its start.
        name: what to call it in a message.

    Raises:
        InputDataError: it is a pipe or a device and longer than is read of one.

    """
    try:
        mode = os.fstat(file.fileno()).st_mode
    except OSError:  # no file of the system, so that nobody knows where it ends
        mode = stat.S_IFIFO
    bound = None if stat.S_ISREG(mode) else _most_without_length(mode)
    blocks, length = [], 0
    while block := file.read(_BLOCK_BYTES):
        length += len(block)
        if bound is not None and length > bound:
            raise _too_long(Path(name), bound)
        blocks.append(block)
    return b"".join(blocks)


def read_blocks(
    path: str | os.PathLike[str],
    *,
    limit: int | None = None,
    regular: bool = False,
    block_bytes: int = _BLOCK_BYTES,
    streamed: bool = False,
) -> Iterator[bytes]:
    """What `read_bytes` reads, one block after the other; with -1 for its size, all at once where that is safe.

    With `streamed` a packed file may unpack to any length, because the caller holds no more than a few blocks.

    Raises:
        InputDataError: as `read_bytes`.

    """
    path = Path(path)
    bound, has_length = _bound(path, limit, regular)
    if streamed and path.suffix in PACKED:
        bound = limit
    size = block_bytes if has_length else _BLOCK_BYTES
    with open_input(path) as file:
        try:
            length = 0
            while block := file.read(size):
                length += len(block)
                if bound is not None and length > bound:
                    raise _too_long(path, bound)
                yield block
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            verb = "unpack" if path.suffix in PACKED else "read"
            reason = f"{getattr(error, 'strerror', None) or error}; is the file complete?"
            raise InputDataError(f"cannot {verb} {path}: {reason}") from error


def read_text(
    path: str | os.PathLike[str],
    *,
    errors: str = "strict",
    limit: int | None = None,
    regular: bool = False,
) -> str:
    """Read a whole text file as UTF-8 (``.xz`` and ``.gz`` are unpacked); limits as in `read_bytes`.

    Raises:
        InputDataError: missing, damaged, too long, or not UTF-8 (the message names the byte offset).

    """
    data = read_bytes(path, limit=limit, regular=regular)
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert the file to UTF-8 first"
        ) from error
    except MemoryError:
        raise InputDataError(f"{path} does not fit into memory; give a smaller file") from None


def _bound(path: Path, limit: int | None, regular: bool) -> tuple[int | None, bool]:
    """How much may be read of a file, and whether it has a length of its own."""
    try:
        status = path.stat()
    except OSError:
        return limit, False  # opening it says why
    if stat.S_ISREG(status.st_mode):
        if path.suffix in PACKED:
            return min(limit or UNPACKED_BYTES, UNPACKED_BYTES), False
        if limit is not None and status.st_size > limit:
            raise _too_long(path, limit)
        return limit, status.st_size > 0  # the files of /proc have no size, but an end
    if regular and not stat.S_ISDIR(status.st_mode):
        raise InputDataError(f"{path} is no regular file; give one in its place")
    most = _most_without_length(status.st_mode)
    return min(limit or most, most), False


def _most_without_length(mode: int) -> int:
    """How much is read of a pipe or a device, by its mode."""
    return DEVICE_BYTES if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else PIPE_BYTES


def _too_long(path: Path, bound: int) -> InputDataError:
    size = f"{bound >> 30} GiB" if bound >= 1 << 30 else f"{bound >> 20} MiB"
    verb = "unpacks to" if path.suffix in PACKED else "has"
    return InputDataError(f"{path} {verb} more than {size}, the most that is read of it; give another file")
