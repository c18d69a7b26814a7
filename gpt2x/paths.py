"""Where things are on disk, how files are written so that none is ever half there, and how much is read of one.

Writing a file: what stands under the name decides. `atomic_write` replaces a regular file at once, under a temporary
name and a rename, so that a reader sees the old file or the new one and an interrupt, a full disk or a crash leaves the
old one as it was. It follows a symbolic link, and writes through to whatever else there is (a device, a FIFO, a
descriptor such as /dev/stdout): those are places, and a rename would put a file in their stead.

Writing a folder: `atomic_folder` replaces only what gpt2x wrote. Who calls it says which names those are.

Reading: a file that a loader holds in memory as a whole has a limit, so that an endless one is an error and no hang.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

from gpt2x.errors import InputDataError, OutputError, UsageError, quoted

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

_VARIABLES = ("GPT2X_CACHE", "GPT2X_HOME", "GPT2X_RUNS")
_BLOCK_BYTES = 1 << 20
_LINKS_AT_MOST = 40  # as Linux follows


# ----------------------------------------------------------------------------------------------------------------
# Places


def cache_dir() -> Path:
    """Where downloads and derived files are kept: ``GPT2X_CACHE``, else ``$XDG_CACHE_HOME/gpt2x``.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _folder("GPT2X_CACHE", "XDG_CACHE_HOME", ".cache")


def data_home() -> Path:
    """Where models that gpt2x trained for itself are kept: ``GPT2X_HOME``, else ``$XDG_DATA_HOME/gpt2x``.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _folder("GPT2X_HOME", "XDG_DATA_HOME", ".local/share")


def runs_dir() -> Path:
    """Where training runs are kept: ``GPT2X_RUNS``, else ``runs`` in the current folder.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _named_folder("GPT2X_RUNS") or Path("runs")


def assets_dir() -> Path:
    """The folder of files that ship inside the package."""
    return Path(__file__).parent / "data" / "assets"


def check_can_write(folder: str | os.PathLike[str], variable: str = "") -> None:
    """Refuse a folder in which nothing can be written, before work is done for it; nothing is left behind.

    Args:
        folder: it, or the folders on the way to it, need not exist.
        variable: the environment variable that moves it elsewhere, for the message; one that names a folder above it
            is found without being told.

    Raises:
        OutputError: it, or the folder in which it would be made, cannot be written to.

    """
    variable = variable or next(filter(lambda name: _is_below(folder, name), _VARIABLES), "")
    remedy = f"set {variable} to a folder that can be written to" if variable else _ELSEWHERE
    with output_errors(Path(folder), remedy):
        place = _nearest(_real(Path(folder)))
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        Path(tempfile.mkdtemp(prefix=".gpt2x.", dir=place)).rmdir()


def _is_below(folder: str | os.PathLike[str], variable: str) -> bool:
    named = os.environ.get(variable)
    return bool(named) and Path(folder).absolute().is_relative_to(Path(str(named)).absolute())


def _folder(variable: str, xdg_variable: str, below_home: str) -> Path:
    named = _named_folder(variable)
    if named is not None:
        return named
    xdg = _named_folder(xdg_variable)
    try:
        return (xdg or Path.home() / below_home) / "gpt2x"
    except RuntimeError as error:
        raise UsageError(f"this user has no home folder; set {variable} to a folder") from error


def _named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    found = _nearest(Path(os.path.realpath(value)))
    if not found.is_dir():
        subject = "which" if found == Path(os.path.realpath(value)) else f"and {found}"
        raise UsageError(f"{variable} is {value}, {subject} is no folder; set it to a folder")
    return Path(value)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest of the folders above it that exists."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)


# ----------------------------------------------------------------------------------------------------------------
# Writing a file


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
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        return
    _give_to(temporary, old)
    try:
        temporary.replace(target)
    except OSError:  # another file system, a file that is mounted by itself, a folder that is not ours
        with temporary.open("rb") as new, target.open("r+b") as file:
            shutil.copyfileobj(new, file, _BLOCK_BYTES)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _give_to(path: Path, old: os.stat_result) -> None:
    """Set the mode and, where that is allowed, the owner and group of what `path` is going to replace."""
    new = path.stat()
    if hasattr(os, "chown") and (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        for user in (old.st_uid, -1):
            with contextlib.suppress(OSError):
                os.chown(path, user, old.st_gid)
                break
    path.chmod(stat.S_IMODE(old.st_mode) & 0o777)


# ----------------------------------------------------------------------------------------------------------------
# Writing a folder

Ours = Callable[[Path], Collection[str]]
"""Says which files in a folder gpt2x wrote: their names below it, with ``/`` between; none where it wrote none."""


def anything(folder: Path) -> Collection[str]:
    """`Ours` for folders that only gpt2x uses, such as those in its cache: all that is there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str],
    ours: Ours | None = None,
    what: str = "",
    *,
    keep_foreign: bool = False,
) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends without an error.

    A folder that is there is replaced as a whole if nothing foreign is in it; a symbolic link to one is followed.

    Args:
        path: the final name; missing parent folders are made.
        ours: tells what gpt2x wrote in a folder; without it, only an empty folder may be there.
        what: what `ours` belongs to, for the message.
        keep_foreign: foreign files at the top are kept beside the new ones instead of refused.

    Raises:
        OutputError: the folder cannot be written, or something foreign is in it, which is named; what stood there
            before is untouched.

    """
    path = Path(path)
    with output_errors(path):
        target = _real(path)
        if not keep_foreign:
            check_folder(path, ours, what)
        inside = target.is_dir() and _must_stay(target)
        place = target if inside else target.parent
        place.mkdir(parents=True, exist_ok=True)
        prefix = f".{os.fsdecode(os.fsencode(target.name)[:100])}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=place))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync(file)
            foreign = _foreign_at_top(target, ours, temporary.name) if keep_foreign else set()
            if not keep_foreign:  # once more: it may have come in while the block ran
                check_folder(path, ours, what, but=temporary.name)
            if not target.is_dir():
                temporary.rename(target)
                return
            if not inside:
                _give_to_folder(temporary, target)
            _swap(target, temporary, foreign, inside=inside)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_folder(
    path: str | os.PathLike[str],
    ours: Ours | None = None,
    what: str = "",
    *,
    but: str = "",
) -> None:
    """Refuse a folder in which there is anything that gpt2x did not write; what is missing or empty is fine.

    Args:
        path: the folder, or a symbolic link to it.
        ours: tells what gpt2x wrote in it.
        what: what that belongs to, for the message.
        but: a name in it that does not count.

    Raises:
        OutputError: `path` is no folder, or holds something else, of which the first is named.

    """
    path = Path(path)
    with output_errors(path):
        folder = _real(path)
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise OutputError(f"{path} is there already and is no folder; choose another place")
        names = ours(folder) if ours is not None else ()
        foreign = next((name for name in _foreign(folder, names) if name.split("/")[0] != but), None)
    if foreign is not None and ours is None:
        raise OutputError(f"{path} is there already and not an empty folder; choose another place")
    if foreign is not None:
        raise OutputError(f"{path} holds {foreign}, which is no part of {what}; choose another place")


def remove_ours(folder: Path, names: Collection[str]) -> None:
    """Remove these files from a folder, and the folders that become empty by it, the folder itself among them."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    below = {folder / parent for name in names for parent in Path(name).parents}
    for emptied in sorted(below, key=lambda place: -len(place.parts)):
        with contextlib.suppress(OSError):
            emptied.rmdir()


def _foreign(folder: Path, ours: Collection[str], prefix: str = "") -> Iterator[str]:
    """Names in a folder that are not among `ours`, and folders that hold none of them."""
    for entry in sorted(folder.iterdir()):
        name = prefix + entry.name
        if entry.is_symlink() or not entry.is_dir():
            if name not in ours:
                yield name
        elif any(our.startswith(f"{name}/") for our in ours):
            yield from _foreign(entry, ours, f"{name}/")
        else:
            yield name


def _foreign_at_top(target: Path, ours: Ours | None, but: str) -> set[str]:
    if not target.is_dir():
        return set()
    return {name.split("/")[0] for name in _foreign(target, ours(target) if ours else ())} - {but}


def _real(path: Path) -> Path:
    """A folder's own path, without symbolic links; it need not exist."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():  # only a circle leaves one
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return real


def _must_stay(folder: Path) -> bool:
    """True for a folder that is better filled than replaced by another: empty, in use, or not to be renamed."""
    with contextlib.suppress(OSError):
        if Path.cwd().is_relative_to(folder):
            return True
    return not any(folder.iterdir()) or os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)


def _give_to_folder(temporary: Path, target: Path) -> None:
    old = target.stat()
    _give_to(temporary, old)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def _swap(target: Path, temporary: Path, foreign: Collection[str], *, inside: bool) -> None:
    """Put a new folder where an old one is, but for the old one's foreign files, and remove the old one."""
    beside = target if inside else target.parent
    aside = Path(tempfile.mkdtemp(prefix=".gpt2x.", suffix=".old", dir=beside))
    try:
        if inside:
            _move_entries(target, aside, but={temporary.name, aside.name, *foreign})
            _move_entries(temporary, target)
        else:
            target.rename(aside / target.name)
            temporary.rename(target)
            for name in foreign:
                if not os.path.lexists(target / name):
                    (aside / target.name / name).rename(target / name)
    except BaseException:
        with contextlib.suppress(OSError):  # what cannot be put back stays aside
            if inside:
                _move_entries(aside, target)
            elif not target.exists():
                (aside / target.name).rename(target)
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _move_entries(source: Path, target: Path, but: Collection[str] = ()) -> None:
    for entry in list(source.iterdir()):
        if entry.name not in but:
            entry.rename(target / entry.name)


def sync(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ----------------------------------------------------------------------------------------------------------------
# What could not be written, and why

_ELSEWHERE = "choose another place"


@contextlib.contextmanager
def output_errors(path: Path, remedy: str = _ELSEWHERE) -> Iterator[None]:
    """Turn what the system says to writing `path` into one sentence with the reason and what to do about it.

    Raises:
        OutputError: in place of any other OSError but BrokenPipeError, which is no failure of ours.

    """
    if "\0" in os.fspath(path):
        raise OutputError(f"cannot write {quoted(os.fspath(path))}: a name holds no null character; {remedy}")
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError | BrokenPipeError):
            raise
        raise OutputError(f"cannot write {path}: {why_not(error, path, remedy)}") from error


def why_not(error: OSError, path: Path, remedy: str = _ELSEWHERE) -> str:
    """The reason why `path` could not be written, and what to do about it, for the end of a sentence.

    The system's own words often mislead: "No such file or directory" is what /proc says to every new name.
    """
    words = error.strerror or str(error) or type(error).__name__
    real = Path(os.path.realpath(path))
    nearest = _nearest(real)
    reason = f"{words}; {remedy}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = f"{words}; {remedy} or free some space"
    elif error.errno == errno.EISDIR:
        reason = "it is a folder; give the name of a file"
    elif error.errno == errno.ELOOP:
        reason = f"its symbolic links lead in a circle; {remedy}"
    elif error.errno == errno.ENAMETOOLONG:
        reason = f"{words}; choose a shorter name"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST) and not nearest.is_dir():
        reason = f"{nearest} is no folder; {remedy}"
    elif error.errno == errno.ENOENT and nearest.is_dir():
        reason = f"nothing can be made in {nearest}; {remedy}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and nearest != real:
        reason = f"{words} in {nearest}; {remedy}"
    return reason


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ----------------------------------------------------------------------------------------------------------------
# Reading


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
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    most = DEVICE_BYTES if is_device else PIPE_BYTES
    return min(limit or most, most), False


def _too_long(path: Path, bound: int) -> InputDataError:
    size = f"{bound >> 30} GiB" if bound >= 1 << 30 else f"{bound >> 20} MiB"
    verb = "unpacks to" if path.suffix in PACKED else "has"
    return InputDataError(f"{path} {verb} more than {size}, the most that is read of it; give another file")
