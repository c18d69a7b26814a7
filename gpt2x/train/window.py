"""What happened since the last line of the log: time, losses, tokens."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from gpt2x.model.peak import utilisation
from gpt2x.train.mfu import flops_a_token
from gpt2x.train.setup import Setup


class Window:
    """Time and losses since the last line of the log.

    The clock runs while training alone: validating, saving and sampling do not count as slow steps.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.seconds = setup.seconds_before
        self.flops_a_token = flops_a_token(setup.model.config)
        self.started = time.perf_counter()
        self.trained_seconds = 0.0
        self._reset()
        if setup.window_before is not None:
            self.num_steps = int(setup.window_before["num_steps"])
            self.window_seconds = float(setup.window_before["seconds"])
            self.num_skipped = int(setup.window_before.get("num_skipped", 0))
            self.loss_sum += float(setup.window_before["loss_sum"])

    def _reset(self) -> None:
        self.num_steps, self.num_skipped, self.window_seconds = 0, 0, 0.0
        self.loss_sum = torch.zeros((), device=self.setup.ranks.device)

    def state_dict(self) -> dict[str, float]:
        """What the next line of the log still has to tell of the steps so far; the losses are means of the ranks."""
        loss_sum = self.setup.ranks.mean([float(self.loss_sum)])[0]
        return {
            "num_steps": self.num_steps,
            "num_skipped": self.num_skipped,
            "seconds": self.window_seconds,
            "loss_sum": loss_sum,
        }

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Take the time of one step."""
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self._count(elapsed)

    def _count(self, elapsed: float) -> None:
        self.seconds += elapsed
        self.trained_seconds += elapsed
        self.window_seconds += elapsed

    def add(self, loss: Tensor) -> None:
        """Take a step's loss, without waiting for it; 0 of one that `num_skipped` is to count."""
        self.loss_sum += loss
        self.num_steps += 1

    def read(self) -> dict[str, float]:
        """Mean loss over all ranks (NaN if no step was taken), time a step, tokens a second since the last call."""
        waiting_since = time.perf_counter()
        num_losses = self.num_steps - self.num_skipped
        loss = float(self.loss_sum) / num_losses if num_losses else math.nan  # waits for a GPU
        mean_loss = self.setup.ranks.mean([loss])[0]
        self._count(time.perf_counter() - waiting_since)
        tokens = self.num_steps * self.setup.tokens_per_step
        metrics = {
            "loss": mean_loss,
            "step_ms": 1000 * self.window_seconds / self.num_steps,
            "tokens_per_second": tokens / self.window_seconds,
        }
        mfu = utilisation(tokens / self.window_seconds, self.flops_a_token, self.setup.peak_flops)
        self._reset()
        return metrics if mfu is None else metrics | {"mfu": mfu}
