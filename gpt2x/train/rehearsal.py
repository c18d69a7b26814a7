"""Two questions before a long run: can this model learn at all, and at what learning rate?

Both train the run's own model on its own data with its own step, on one rank, in a temporary folder that is gone
afterwards. `overfit_batch` shows one batch over and over until it is known by heart: where that fails, something is
wrong with the model, the data or the learning rate (Karpathy 2019, "A Recipe for Training Neural Networks").
`find_lr` lets the learning rate grow from step to step and watches the loss (Smith 2015, "Cyclical Learning Rates for
Training Neural Networks", section 3.3; exponentially, as in fast.ai's version of it).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt2x.console import progress
from gpt2x.errors import Gpt2xError, UsageError
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import all_ranks
from gpt2x.train.recipe import Recipe
from gpt2x.train.schedule import fitted_warmup
from gpt2x.train.setup import Setup, prepare

KNOWN_BY_HEART = 0.1
"""Nats a token at which a batch counts as learned."""

LOWEST_RATE, HIGHEST_RATE = 1e-7, 1.0
SMOOTHING = 0.9
"""What the smoothed loss of a sweep keeps of itself at each step."""

DIVERGED = 1.5
"""A smoothed loss above so many times the lowest one ends a sweep."""

FEWEST_STEPS = 20
"""Of a sweep: with fewer, neighbouring rates lie further apart than a factor of two."""


@dataclasses.dataclass(frozen=True, slots=True)
class Overfit:
    """What became of one batch.

    Attributes:
        reached: whether the loss fell below `KNOWN_BY_HEART`.
        steps: how many were taken.
        losses: after each of them, in nats a token.

    """

    reached: bool
    steps: int
    losses: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reached": self.reached,
            "threshold": KNOWN_BY_HEART,
            "steps": self.steps,
            "first_loss": self.losses[0],
            "loss": self.losses[-1],
        }


@dataclasses.dataclass(frozen=True, slots=True)
class RateSweep:
    """The loss at learning rates that grow.

    Attributes:
        rates: of each step.
        losses: before that step's update, in nats a token.
        smoothed: their running mean.

    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest; None where it never falls."""
        slopes = np.diff(self.smoothed)
        place = int(np.argmin(slopes)) if len(slopes) else 0
        return self.rates[place] if len(slopes) and slopes[place] < 0 else None

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is lowest: there it is about to rise."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss falls fastest, in one figure; None where it never falls."""
        return None if self.steepest is None else float(f"{self.steepest:.0e}")

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "suggestion": self.suggestion,
            "steepest": self.steepest,
            "lowest": self.lowest,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
        }


def overfit_batch(config: TrainConfig, recipe: Recipe) -> Overfit:
    """Train on the first batch of a run, without dropout and at its highest rate, until it is known by heart.

    Args:
        config: the settings of the run; at most `steps` steps are taken.
        recipe: how the data becomes documents.

    Raises:
        Gpt2xError: the settings cannot work, or the loss is NaN or infinite.

    """
    still = dataclasses.replace(config, dropout=0.0, attention_dropout=0.0)
    with _rehearsed(still, recipe) as setup:
        batch = list(itertools.islice(setup.device_batches(), setup.training.options.num_passes))
        warmup = fitted_warmup(config.warmup, setup.steps)
        losses: list[float] = []
        with progress("overfitting", setup.steps, "steps") as advance:
            for step in range(setup.steps):
                rate = config.lr * min(1.0, (step + 1) / max(1, warmup))
                losses.append(float(setup.training(batch, rate).loss))
                advance(note=f"loss {losses[-1]:.3f}")
                if not math.isfinite(losses[-1]):
                    raise Gpt2xError(
                        f"the loss is {losses[-1]} after {step} steps on one batch; try a smaller --lr than "
                        f"{config.lr:g}, or --dtype float32"
                    )
                if losses[-1] < KNOWN_BY_HEART:
                    break
    return Overfit(losses[-1] < KNOWN_BY_HEART, len(losses), tuple(losses))


def find_lr(config: TrainConfig, recipe: Recipe, steps: int) -> RateSweep:
    """Train while the learning rate grows, step by step, from `LOWEST_RATE` to `HIGHEST_RATE` or until the loss rises.

    Args:
        config: the settings of the run; with Muon, its rate grows in the same proportion.
        recipe: how the data becomes documents.
        steps: from the lowest rate to the highest.

    Raises:
        UsageError: too few steps.
        Gpt2xError: the settings cannot work.

    """
    if steps < FEWEST_STEPS:
        raise UsageError(
            f"--find-lr {steps} is too few steps for a sweep; give {FEWEST_STEPS} or more, such as 100"
        )
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    with _rehearsed(config, recipe) as setup, progress("sweeping", steps, "steps") as advance:
        batches = setup.device_batches()
        for step in range(steps):
            rate = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (step / (steps - 1))
            torch.manual_seed(config.seed + step)
            loss = float(setup.training(batches, rate).loss)
            if not math.isfinite(loss):
                break
            rates.append(rate)
            losses.append(loss)
            smoothed.append(_running_mean(losses))
            advance(note=f"lr {rate:.1e}, loss {loss:.3f}")
            if smoothed[-1] > DIVERGED * min(smoothed):
                break
    if not rates:
        raise Gpt2xError(
            "the loss of the first step is not a number; give --dtype float32, or look at the data"
        )
    return RateSweep(tuple(rates), tuple(losses), tuple(smoothed))


def _running_mean(losses: list[float]) -> float:
    """The exponential mean of the losses so far, corrected for its start as Adam's moments are.

    >>> round(_running_mean([4.0, 4.0, 4.0]), 6)
    4.0
    """
    weights = SMOOTHING ** np.arange(len(losses) - 1, -1, -1)
    return float(np.average(losses, weights=weights))


@contextmanager
def _rehearsed(config: TrainConfig, recipe: Recipe) -> Iterator[Setup]:
    """All parts of a run on one rank, in a folder that is removed.

    Raises:
        UsageError: several ranks are asked for.

    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("--overfit-batch and --find-lr compute on one rank; start them without torchrun")
    with tempfile.TemporaryDirectory(prefix="gpt2x-rehearsal-") as folder, all_ranks(config.device) as ranks:
        setup = prepare(dataclasses.replace(config, out=str(Path(folder) / "run")), recipe, ranks)
        try:
            yield setup
        finally:
            if setup.lock is not None:
                setup.lock.release()
