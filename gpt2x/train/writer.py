"""Checkpoints are written beside the training: a copy of the weights and moments, and one thread that writes it.

The loop stops for the copy alone; the last state of a run, which nothing changes any more, is written without one. At
most one copy is in memory and at most one write is under way; who wants the next waits for it. What goes wrong in the
thread is raised in the loop, and nobody leaves before the write has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from torch import Tensor

from gpt2x.console import say
from gpt2x.model import GPT
from gpt2x.model.device import shapes_only

if TYPE_CHECKING:
    from gpt2x.train.average import WeightAverage
    from gpt2x.train.optim import Optimizer

WORTH_SAYING_S = 5.0
"""A longer wait for the write before is said: checkpoints follow one another faster than the disk takes them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a training step changes, as it was after one step; in the memory of the CPU."""

    model: GPT
    moments: dict[str, Tensor]
    average: GPT | None = None
    """The averaged weights, where there are some."""

    @property
    def evaluated(self) -> GPT:
        """The weights that were validated and are to be published."""
        return self.model if self.average is None else self.average


def snapshot(
    model: GPT, optimizer: Optimizer | None, average: WeightAverage | None = None, *, copy: bool = True
) -> Snapshot:
    """The weights, and moments and averages where they are given, in the memory of the CPU; waits for a GPU.

    Args:
        model: the weights.
        optimizer: the moments.
        average: the averaged weights.
        copy: whether steps may follow; without, what is in the memory of the CPU already stays where it is.

    """
    return Snapshot(
        _taken_model(model, copy),
        {} if optimizer is None else _taken(optimizer.state_dict(), copy),
        None if average is None else _taken_model(average.model, copy),
    )


def _taken_model(model: GPT, copy: bool) -> GPT:
    with shapes_only():
        taken = GPT(model.config)
    weights = model.state_dict()
    if model.config.tie_weights:  # one matrix, the largest of a small model, under two names
        del weights["wte.weight"]
    weights = _taken(weights, copy)
    if model.config.tie_weights:
        weights["wte.weight"] = weights["lm_head.weight"]
    taken.load_state_dict(weights, assign=True)
    taken.finish()
    return taken


def _taken(tensors: dict[str, Tensor], copy: bool) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=copy) for name, tensor in tensors.items()}


class Writer:
    """Runs one job at a time in a thread of its own.

    >>> with Writer() as writer:
    ...     writer.start(lambda: None)
    >>> writer.failed
    False
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """True when a job has raised something that nobody was told yet."""
        return self._error is not None

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job, after the one before.

        Raises:
            Gpt2xError: what the one before raised.

        """
        self.wait()
        # A daemon: after a second Ctrl-C nothing waits for it, and what it leaves half written is swept.
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint", daemon=True)
        self._thread.start()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def wait_for_the_one_before(self) -> None:
        """Wait for the job that is under way, and say so if that takes long.

        Raises:
            Gpt2xError: what it raised.

        """
        started = time.perf_counter()
        self.wait()
        waited = time.perf_counter() - started
        if waited > WORTH_SAYING_S:
            say(
                f"waited {waited:.0f} s for the checkpoint before to be written; a larger --save-every costs less"
            )

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            Gpt2xError: what the job raised.

        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what is under way end, except after a second Ctrl-C; `wait` raises what it failed with."""
        stopped_at_once = kind is not None and issubclass(kind, KeyboardInterrupt)
        if self._thread is not None and not stopped_at_once:
            self._thread.join()
