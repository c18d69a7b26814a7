"""Whether a step is taken: not where loss or gradient are NaN or infinite, nor where the loss jumps.

The decision is a tensor, made where the loss and the norm are: on a GPU nobody waits for it. The optimizer's kernels
get it (`gpt2x.train.optim`), and the loop reads it when it reads the loss anyway, at a line of the log, a validation or
a checkpoint. Until then the decision itself keeps the state from harm: after as many refused steps in a row as the
policy allows, no step is taken any more, so weights and moments stay as they were before the step that stops the run.

The running loss is the mean of the first losses and then an exponential mean over about `MEMORY` of them. Refused steps
are no part of it. It belongs to the state of a run, as does how many were refused in a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt2x.train.distributed import Ranks
from gpt2x.train.step import StepResult

MEMORY = 50
"""Losses that the running loss is about the mean of."""

WARM_UP = 50
"""Losses before the first spike: until then the running loss says little."""

MOST_IN_A_ROW = {"stop": 1, "skip": 10}
"""By policy, the refused step in a row at which a run stops. Bad batches come alone or a few together; ten in a row
mean a model or a learning rate that no longer works, and while no weights change, waiting does not help."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A step whose outcome nobody has read yet."""

    step: int
    position: dict[str, int]
    """Where in the data it began."""
    numbers: Tensor
    """Loss and gradient norm, means of the ranks, and the loss that would have been a spike, (3,) in float64."""
    good: Tensor
    losses: Tensor
    """Of this rank's micro-batches, (num_passes,)."""


@dataclass(frozen=True, slots=True)
class BadStep:
    """A step that was not taken."""

    step: int
    position: dict[str, int]
    loss: float
    grad_norm: float
    limit: float
    """A larger loss is a spike; infinite where there is no limit."""
    losses: list[float]
    """Of all micro-batches of all ranks, in the order in which they stand in the data."""

    @property
    def reason(self) -> str:
        """Why it was not taken, as a clause."""
        for name, value in (("loss", self.loss), ("gradient norm", self.grad_norm)):
            if not math.isfinite(value):
                return f"the {name} is {'NaN' if math.isnan(value) else 'infinite'}"
        return f"the loss of {self.loss:.4g} is a spike, above {self.limit:.4g}"


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of the steps since the last time."""

    skipped: list[BadStep]
    stop: BadStep | None
    """The step at which the run stops: weights and moments are those from before it."""
    num_undone: int
    """That step and those after it, none of which changed anything."""


class LossGuard:
    """Decides about each step, and remembers the decisions until they are read.

    Args:
        policy: "stop" or "skip".
        spike_factor: a loss above so many times the running loss is a spike; 0: none is.
        ranks: who agree on the loss.
        state: that of the run so far.

    """

    def __init__(
        self, policy: str, spike_factor: float, ranks: Ranks, state: dict[str, Any] | None = None
    ) -> None:
        self.policy, self.spike_factor, self.ranks = policy, spike_factor, ranks
        self.most = MOST_IN_A_ROW[policy]
        known = state or {}
        self.skipped = int(known.get("skipped", 0))
        self.in_a_row = min(int(known.get("in_a_row", 0)), self.most - 1)  # the policy may be another one now
        self._in_a_row = torch.tensor(self.in_a_row, device=ranks.device)
        self._running = torch.tensor(
            float(known.get("running_loss", 0.0)), dtype=torch.float64, device=ranks.device
        )
        self._num_losses = torch.tensor(int(known.get("num_losses", 0)), device=ranks.device)
        self._numbers, self._good = self._running, self._in_a_row
        self._pending: list[Pending] = []

    @torch.no_grad()
    def accept(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether to take a step with this rank's loss and this gradient norm: 0-dim bool, alike on all ranks."""
        numbers = self.ranks.mean_tensor(torch.stack([loss.double(), norm.double()]))
        limit = self._limit()
        # A NaN is not below anything.
        fine = (numbers[0] <= limit) & numbers.isfinite().all()
        self._good = fine & (self._in_a_row < self.most)
        self._in_a_row = torch.where(self._good, 0, self._in_a_row + 1)
        self._numbers = torch.cat([numbers, limit.view(1)])
        if self.spike_factor:
            self._num_losses = self._num_losses + self._good
            change = (numbers[0] - self._running) / self._num_losses.clamp(1, MEMORY)
            self._running = torch.where(self._good, self._running + change, self._running)
        return self._good

    def _limit(self) -> Tensor:
        """The loss above which there is a spike, infinite where none is looked for."""
        limit = torch.full_like(self._running, math.inf)
        if not self.spike_factor:
            return limit
        return torch.where(self._num_losses >= WARM_UP, self.spike_factor * self._running, limit)

    @property
    def taken(self) -> Tensor:
        """Whether the step that was decided about last was taken, 0-dim bool; nobody waits for it."""
        return self._good

    def note(self, result: StepResult, step: int, position: dict[str, int]) -> Tensor:
        """Remember the step that was decided about last; its loss, or 0 where it was not taken, without waiting."""
        self._pending.append(Pending(step, position, self._numbers, self._good, result.losses))
        return torch.where(self._good, result.loss, 0.0)

    def read(self) -> Found:
        """What was decided since the last time, alike on all ranks; waits for a GPU."""
        pending, self._pending = self._pending, []
        outcomes = torch.stack([one.good for one in pending]).tolist() if pending else []
        skipped: list[BadStep] = []
        for place, (one, good) in enumerate(zip(pending, outcomes, strict=True)):
            if good:
                self.in_a_row = 0
            elif self.in_a_row + 1 == self.most:
                return Found(skipped, self._bad(one), len(pending) - place)
            else:
                self.in_a_row += 1
                self.skipped += 1
                skipped.append(self._bad(one))
        return Found(skipped, None, 0)

    def _bad(self, one: Pending) -> BadStep:
        loss, norm, limit = one.numbers.tolist()
        num_passes, world_size = len(one.losses), self.ranks.world_size
        table = [0.0] * (num_passes * world_size)
        table[self.ranks.rank :: world_size] = one.losses.tolist()
        return BadStep(one.step, one.position, loss, norm, limit, self.ranks.sum(table))

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint's ``state.json``; all has been read."""
        return {
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "running_loss": float(self._running),
            "num_losses": int(self._num_losses),
        }
