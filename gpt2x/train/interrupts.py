"""Ctrl-C, a polite kill, a closed terminal and a scheduler's warning end a run with a checkpoint, at a step."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from gpt2x.console import say

POLITE = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""SIGUSR1 is what Slurm and others send some time before they kill (`#SBATCH --signal=USR1@120`)."""

SECOND_INTERRUPT_S = 2.0  # torchrun passes a Ctrl-C on that its ranks have had already; a later one is meant


class Stop:
    """Set when the run should end: between two micro-batches on one rank, between two steps on several."""

    def __init__(self) -> None:
        self.requested = False
        self.at = 0.0

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks to stop after the step, a second one stops at once."""
        now = time.monotonic()
        if self.requested and now - self.at > SECOND_INTERRUPT_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self.at = True, now
            with contextlib.suppress(OSError):  # the terminal that was closed
                say("stopping, once a checkpoint is saved; Ctrl-C again stops at once")


@contextlib.contextmanager
def interrupts() -> Iterator[Stop]:
    """Let Ctrl-C and a polite kill end the run at a step, not in the middle of one."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, stop)
        for number in POLITE
        if signal.getsignal(number) != signal.SIG_IGN  # nohup, or a job in the background of a script
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
