"""One trainer a run folder: a lock that the system gives back whenever its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from gpt2x.errors import UsageError
from gpt2x.paths import output_errors

LOCK = "lock"


class RunLock:
    """Held from the first write to a run until `release`.

    A file system without locks (some network ones) gives none; then nobody is kept out.

    Args:
        folder: the run's trainer folder; it is made.

    Raises:
        UsageError: another process holds it, which is named.
        OutputError: the folder cannot be written.

    """

    def __init__(self, folder: Path) -> None:
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.descriptor: int | None = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(self.descriptor):
            holder = os.read(self.descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise UsageError(
                f"another process trains in {folder.parent} (pid {holder}); wait for it, or give another --out"
            )
        with output_errors(folder):
            os.truncate(self.descriptor, 0)
            os.write(self.descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others in. The file stays: who removed it could take it from under one that has just locked it."""
        descriptor, self.descriptor = getattr(self, "descriptor", None), None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __del__(self) -> None:
        """A lock that nobody holds any more is none."""
        self.release()


def _try_lock(file: int) -> bool:
    """Lock a file without waiting; False if another process, or another opening in this one, has it."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True
