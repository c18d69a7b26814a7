"""Ctrl-C while a command is still being loaded. Imports next to nothing, since it has to be there before all else."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn


def leave() -> None:
    """While a command is being loaded, let Ctrl-C end the process at once: there is nothing yet to clean up.

    An exception in the middle of an import may come out as another one, or be lost. Where the parent has SIGINT ignored
    (``nohup``, a job in the background of a script), it stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_at_once)


def be_raised() -> None:
    """From now on Ctrl-C is an exception again, so that a command can clean up."""
    if signal.getsignal(signal.SIGINT) is _leave_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave_at_once(number: int, frame: object) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"gpt2x: interrupted\n")
    os._exit(130)  # ExitCode.INTERRUPTED
