"""What the commands of `gpt2x bench` share: the text to learn from, a look at the machine, and how they are stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.console import say

if TYPE_CHECKING:
    from gpt2x.bench.machine import Machine

MODEL = "small, micro, mini, gpt2, gpt2-medium …; by default small on a CPU, gpt2 on a GPU."
DATA = "A text or csv file to learn from; by default the packaged songs."


class Text:
    """What the models learn from: read and tokenized before anything is measured, since it may be missing.

    Args:
        data: a text or csv file; None for the packaged songs.
        vocab_size: of the model that is most likely trained.

    """

    def __init__(self, data: Path | None, vocab_size: int) -> None:
        self.data, self.vocab_size = data, vocab_size
        self.found = self._read()

    def tokens(self, vocab_size: int) -> tuple[Any, str]:
        """The ids for a model with that vocabulary, and a line that says what they are."""
        if vocab_size != self.vocab_size:
            self.vocab_size = vocab_size
            self.found = self._read()
        return self.found

    def _read(self) -> tuple[Any, str]:
        from gpt2x.bench.text import token_stream

        return token_stream(self.data, self.vocab_size)


def look_at_machine(kind: str, visible_gpu: str | None) -> Machine:
    """What there is to compute with, measured in a process of its own.

    Raises:
        Gpt2xError: torch does not work here.

    """
    from dataclasses import replace

    from gpt2x.bench.machine import load_average
    from gpt2x.bench.process import WorkerFailed, probe
    from gpt2x.errors import Gpt2xError

    say("looking at this machine and measuring its peak …")
    busy = load_average()
    try:
        return replace(probe(kind, visible_gpu=visible_gpu), load_average=busy)
    except WorkerFailed as failed:
        raise Gpt2xError(f"torch does not work here: {failed}") from failed


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: keep what is finished, and leave no process behind."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # `timeout` sends it twice; the second must not stop the writing
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is interrupt:
            signal.signal(signal.SIGTERM, before)
