"""Telling processes apart that want to write the same file."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, without waiting; False where another process, or another opening, has it.

    Where files cannot be locked (Windows, some network file systems) the answer is True.
    """
    return _flock(file, wait=False) is not False


def lock(file: IO[Any], must_wait: Callable[[], None]) -> bool:
    """Lock an open file until it is closed, when it is free; False where files cannot be locked, without waiting.

    Args:
        file: the file.
        must_wait: called before a wait, where another process has it.

    """
    held = _flock(file, wait=False)
    if held is False:
        must_wait()
        held = _flock(file, wait=True)
    return held is True


def _flock(file: IO[Any], *, wait: bool) -> bool | None:
    """Whether the lock is held now; None where files cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
