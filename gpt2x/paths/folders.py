"""Writing a folder as a whole, which replaces only what gpt2x wrote: who calls it says which names those are."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from gpt2x.errors import OutputError
from gpt2x.paths.failures import ELSEWHERE, output_errors
from gpt2x.paths.files import give_to, sync, umask
from gpt2x.paths.places import nearest

_VARIABLES = ("GPT2X_CACHE", "GPT2X_HOME", "GPT2X_RUNS")
Ours = Callable[[Path], Collection[str]]
"""Says which files in a folder gpt2x wrote: their names below it, with ``/`` between; none where it wrote none."""


def anything(folder: Path) -> Collection[str]:
    """`Ours` for folders that only gpt2x uses, such as those in its cache: all that is there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def check_can_write(folder: str | os.PathLike[str], variable: str = "", remedy: str = "") -> None:
    """Refuse a folder in which nothing can be written, before work is done for it; nothing is left behind.

    Args:
        folder: it, or the folders on the way to it, need not exist.
        variable: the environment variable that moves it elsewhere, for the message; one that names a folder above it
            is found without being told.
        remedy: what to do about it, for the message; by default to set that variable, or to choose another place.

    Raises:
        OutputError: it, or the folder in which it would be made, cannot be written to.

    """
    variable = variable or next(filter(lambda name: _is_below(folder, name), _VARIABLES), "")
    moved = f"set {variable} to a folder that can be written to" if variable else ELSEWHERE
    with output_errors(Path(folder), remedy or moved):
        place = nearest(real_folder(Path(folder)))
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        Path(tempfile.mkdtemp(prefix=".gpt2x.", dir=place)).rmdir()


def _is_below(folder: str | os.PathLike[str], variable: str) -> bool:
    named = os.environ.get(variable)
    return bool(named) and Path(folder).absolute().is_relative_to(Path(str(named)).absolute())


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
        target = real_folder(path)
        if not keep_foreign:
            check_folder(path, ours, what)
        inside = target.is_dir() and _must_stay(target)
        place = target if inside else target.parent
        place.mkdir(parents=True, exist_ok=True)
        prefix = f".{os.fsdecode(os.fsencode(target.name)[:100])}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=place))
        try:
            temporary.chmod(0o777 & ~umask())
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
        folder = real_folder(path)
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


def real_folder(path: Path) -> Path:
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
    give_to(temporary, old)
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
