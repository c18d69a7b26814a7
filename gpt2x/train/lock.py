"""One trainer a run folder: a lock that the system gives back whenever its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

from gpt2x.errors import UsageError
from gpt2x.paths import output_errors, try_lock

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
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        self.file: IO[bytes] | None = os.fdopen(descriptor, "r+b", buffering=0)
        if not try_lock(self.file):
            holder = self.file.read(20).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise UsageError(
                f"another process trains in {folder.parent} (pid {holder}); wait for it, or give another --out"
            )
        with output_errors(folder):
            self.file.truncate(0)
            self.file.write(f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others in. The file stays: who removed it could take it from under one that has just locked it."""
        file, self.file = getattr(self, "file", None), None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def __del__(self) -> None:
        """A lock that nobody holds any more is none."""
        self.release()
