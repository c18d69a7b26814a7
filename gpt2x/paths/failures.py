"""What the system says when something could not be written, as one sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from gpt2x.errors import OutputError, quoted
from gpt2x.paths.places import nearest

ELSEWHERE = "choose another place"


@contextlib.contextmanager
def output_errors(path: Path, remedy: str = ELSEWHERE) -> Iterator[None]:
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


def why_not(error: OSError, path: Path, remedy: str = ELSEWHERE) -> str:
    """The reason why `path` could not be written, and what to do about it, for the end of a sentence.

    The system's own words often mislead: "No such file or directory" is what /proc says to every new name.
    """
    words = error.strerror or str(error) or type(error).__name__
    real = Path(os.path.realpath(path))
    existing = nearest(real)
    reason = f"{words}; {remedy}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = f"{words}; {remedy} or free some space"
    elif error.errno == errno.EISDIR:
        reason = "it is a folder; give the name of a file"
    elif error.errno == errno.ELOOP:
        reason = f"its symbolic links lead in a circle; {remedy}"
    elif error.errno == errno.ENAMETOOLONG:
        reason = f"{words}; choose a shorter name"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST) and not existing.is_dir():
        reason = f"{existing} is no folder; {remedy}"
    elif error.errno == errno.ENOENT and existing.is_dir():
        reason = f"nothing can be made in {existing}; {remedy}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and existing != real:
        reason = f"{words} in {existing}; {remedy}"
    return reason
