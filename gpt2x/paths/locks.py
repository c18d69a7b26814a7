"""Telling processes apart that want to write the same file."""

from __future__ import annotations

from typing import IO, Any


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, without waiting; False where another process, or another opening, has it.

    Where files cannot be locked (Windows, some network file systems) the answer is True.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
