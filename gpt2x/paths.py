"""Where things are on disk, and how files are written so that none is ever half there.

`atomic_write` writes to a temporary name in the same folder, syncs, and renames: a reader sees the old file or
the new one, and an interrupt, a full disk or a crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gpt2x.errors import InputDataError, OutputError


def cache_dir() -> Path:
    """Where downloads and derived files are kept: ``GPT2X_CACHE``, else ``$XDG_CACHE_HOME/gpt2x``."""
    return _folder("GPT2X_CACHE", "XDG_CACHE_HOME", ".cache")


def data_home() -> Path:
    """Where models that gpt2x trained for itself are kept: ``GPT2X_HOME``, else ``$XDG_DATA_HOME/gpt2x``."""
    return _folder("GPT2X_HOME", "XDG_DATA_HOME", ".local/share")


def runs_dir() -> Path:
    """Where training runs are kept: ``GPT2X_RUNS``, else ``runs`` in the current folder."""
    return Path(os.environ.get("GPT2X_RUNS") or "runs")


def assets_dir() -> Path:
    """The folder of files that ship inside the package."""
    return Path(__file__).parent / "data" / "assets"


def _folder(variable: str, xdg_variable: str, below_home: str) -> Path:
    if os.environ.get(variable):
        return Path(os.environ[variable])
    xdg = os.environ.get(xdg_variable)
    return (Path(xdg) if xdg else Path.home() / below_home) / "gpt2x"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under `path` only when the block ends without an error.

    Args:
        path: the final name; missing parent folders are made.
        text: UTF-8 text with ``\\n`` line ends instead of bytes.

    Raises:
        OutputError: the file cannot be written; what stood under `path` before is untouched.

    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        temporary = Path(name)
        os.fchmod(descriptor, 0o666 & ~_umask())
        file: IO[Any]
        file = (
            os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
            if text
            else os.fdopen(descriptor, "wb")
        )
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        if isinstance(error, OutputError | BrokenPipeError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its name when the block ends without an error.

    An existing folder under `path` is replaced as a whole.

    Raises:
        OutputError: the folder cannot be written; what stood under `path` before is untouched.

    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                sync(file)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.rename(old / path.name)
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(path)
        temporary = None
    except OSError as error:
        if isinstance(error, OutputError | BrokenPipeError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_input(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading as bytes; ``.xz`` and ``.gz`` are unpacked on the way.

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
    except OSError as error:
        raise InputDataError(f"cannot read {path}: {error.strerror or error}; check the name") from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file (``.xz`` and ``.gz`` are unpacked).

    Raises:
        InputDataError: missing or damaged.

    """
    with open_input(path) as file:
        try:
            return file.read()
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise InputDataError(f"cannot unpack {path}: {error}; is the file complete?") from error


def read_text(path: str | os.PathLike[str], *, errors: str = "strict") -> str:
    """Read a whole text file as UTF-8 (``.xz`` and ``.gz`` are unpacked).

    Raises:
        InputDataError: missing, damaged, or not UTF-8 (the message names the byte offset).

    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert the file to UTF-8 first"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
