"""A run as it is kept: held-out losses and the training time up to each; where it first came to a loss. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement of the held-out loss."""

    step: int
    """Steps that were taken before it."""
    seconds: float
    """What those took; measuring losses is not counted."""
    loss: float
    """Nats a token, over the held-out windows."""


@dataclass(kw_only=True)
class Curve:
    """All measurements of a run, in order."""

    points: list[Point] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.points[-1].step if self.points else 0

    @property
    def final_loss(self) -> float:
        """The last loss; infinite where it is not a number or there is none."""
        loss = self.points[-1].loss if self.points else math.inf
        return loss if math.isfinite(loss) else math.inf

    @property
    def is_broken(self) -> bool:
        """True once the loss is NaN or infinite."""
        return bool(self.points) and not math.isfinite(self.points[-1].loss)

    def reached(self, target: float) -> Point | None:
        """The first measurement at or below a loss; None where none is.

        >>> curve = Curve(points=[Point(step=5, seconds=1.0, loss=4.0), Point(step=10, seconds=2.0, loss=3.0)])
        >>> curve.reached(3.5).step
        10
        """
        return next((point for point in self.points if point.loss <= target), None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: three lists of the same length; `from_dict` reads it."""
        return {
            "steps": [point.step for point in self.points],
            "seconds": [round(point.seconds, 4) for point in self.points],
            "losses": [point.loss for point in self.points],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Curve:
        """The inverse of `as_dict`; a loss that JSON does not have is NaN.

        Raises:
            KeyError, TypeError, ValueError: the values are no curve.

        """
        lists = zip(values["steps"], values["seconds"], values["losses"], strict=True)
        return cls(
            points=[
                Point(step=int(s), seconds=float(t), loss=math.nan if x is None else float(x))
                for s, t, x in lists
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of the sweep."""

    lr: float
    curve: Curve


def best_trial(trials: Sequence[Trial], goal: float | None) -> Trial:
    """The trial that came to the goal in the fewest steps, among equals the lower loss there.

    Where none came to it, or there is no goal yet, the one with the lowest final loss.
    """

    def rank(trial: Trial) -> tuple[float, float]:
        point = None if goal is None else trial.curve.reached(goal)
        return (math.inf, trial.curve.final_loss) if point is None else (point.step, point.loss)

    return min(trials, key=rank)


def horizon_of(trial: Trial, goal: float | None, steps: int, every: int) -> int:
    """How many steps an entrant's runs have: half again as many as its best trial took to the goal, or all of them.

    A multiple of `every`, so that a loss is measured at the end. The margin is for seeds that take longer.
    """
    point = None if goal is None else trial.curve.reached(goal)
    return steps if point is None else min(steps, -(-3 * point.step // (2 * every)) * every)
