"""Writing a file so that none is ever half there.

What stands under the name decides. `atomic_write` replaces a regular file at once, under a temporary name and a rename,
so that a reader sees the old file or the new one and an interrupt, a full disk or a crash leaves the old one as it was.
It follows a symbolic link, and writes through to whatever else there is (a device, a FIFO, a descriptor such as
/dev/stdout): those are places, and a rename would put a file in their stead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gpt2x.paths.failures import output_errors

_BLOCK_BYTES = 1 << 20
_LINKS_AT_MOST = 40  # as Linux follows


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under `path` only when the block ends without an error.

    A regular file is replaced and keeps its mode and, where that is allowed, its owner; of several hard links only
    this one. Where its folder allows no rename, its content is overwritten once all of the new one is there. A symbolic
    link is followed. A device, a FIFO or an open descriptor (/dev/stdout, /dev/fd/N) is written to as the block goes.

    Args:
        path: the final name; missing parent folders are made.
        text: UTF-8 text with ``\\n`` line ends instead of bytes.

    Raises:
        OutputError: the file cannot be written; a regular file that stood there before is untouched.
        BrokenPipeError: what reads the other end of a FIFO went away.

    """
    path = Path(path)
    with output_errors(path):
        target, opened = _open_place(path)
        if opened is not None:
            with _as_file(opened, text) as file:
                yield file
            return
        with _staged(target) as temporary, _as_file(os.open(temporary, os.O_WRONLY), text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_write` for writers that take the name of a file: yield a temporary one to write.

    Raises:
        OutputError, BrokenPipeError: as `atomic_write`.

    """
    path = Path(path)
    with output_errors(path):
        target, opened = _open_place(path)
        if opened is None:
            with _staged(target) as temporary:
                yield temporary
                sync(temporary)
            return
        with (
            _as_file(opened, text=False) as through,
            tempfile.TemporaryDirectory(prefix="gpt2x.") as folder,
        ):
            staged = Path(folder) / "file"
            yield staged
            with staged.open("rb") as file:
                shutil.copyfileobj(file, through, _BLOCK_BYTES)


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """True when `path` is where stdout goes, so that nothing else should be printed there.

    >>> is_standard_output("songs.csv")
    False
    """
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def _open_place(path: Path) -> tuple[Path, int | None]:
    """Where links lead, and a descriptor if that is a place to write through to, not a file to replace."""
    target, descriptor = _follow(path)
    if descriptor is not None:
        return target, os.dup(descriptor)
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return target, None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISREG(mode) and not target.is_symlink():
        return target, None
    return target, os.open(target, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOCTTY", 0))


def _follow(path: Path) -> tuple[Path, int | None]:
    """The end of a chain of symbolic links, which need not exist; with its number if it is a descriptor of ours.

    The entries of /proc/PID/fd look like links and are none: what they point at may have no name. One of this process
    is duplicated instead of opened, since a file that is opened again is written from its start.
    """
    place = os.fspath(path)
    own = {os.path.realpath(f"/proc/{name}/fd") for name in ("self", "thread-self")} | {"/dev/fd"}
    for _ in range(_LINKS_AT_MOST):
        parent, name = os.path.split(place)
        parent = os.path.realpath(parent or os.curdir)
        place = os.path.join(parent, name)
        if parent in own and name.isdecimal():
            return Path(place), int(name)
        is_descriptor = parent.startswith("/proc/") and os.path.basename(parent) == "fd"
        if is_descriptor or not os.path.islink(place):
            return Path(place), None
        place = os.path.join(parent, os.readlink(place))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _as_file(descriptor: int, text: bool) -> IO[Any]:
    if text:
        return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
    return os.fdopen(descriptor, "wb")


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield an empty temporary file that takes the name of a regular file, or of none, when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.stat() if target.exists() else None
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    prefix = f".{os.fsdecode(os.fsencode(target.name)[:100])}."  # names have 255 bytes at most
    try:
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".partial", dir=target.parent)
    except OSError:
        if old is None:
            raise
        descriptor, name = tempfile.mkstemp(prefix="gpt2x.")  # a folder that takes no new file
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _put_in_place(temporary, target, old)
    finally:
        temporary.unlink(missing_ok=True)


def _put_in_place(temporary: Path, target: Path, old: os.stat_result | None) -> None:
    if old is None:
        temporary.chmod(0o666 & ~umask())
        temporary.replace(target)
        return
    give_to(temporary, old)
    try:
        temporary.replace(target)
    except OSError:  # another file system, a file that is mounted by itself, a folder that is not ours
        with temporary.open("rb") as new, target.open("r+b") as file:
            shutil.copyfileobj(new, file, _BLOCK_BYTES)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def give_to(path: Path, old: os.stat_result) -> None:
    """Set the mode and, where that is allowed, the owner and group of what `path` is going to replace."""
    new = path.stat()
    if hasattr(os, "chown") and (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        for user in (old.st_uid, -1):
            with contextlib.suppress(OSError):
                os.chown(path, user, old.st_gid)
                break
    path.chmod(stat.S_IMODE(old.st_mode) & 0o777)


def sync(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """The permissions that a new file of this process does not get; reading it takes setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
