"""What all entrants of one race have in common. Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gpt2x.errors import UsageError
from gpt2x.model.config import GPTConfig
from gpt2x.settings import check_number

VOCABULARY = 512
"""Tokens are learned from the text itself: a small output layer leaves the time to the blocks, as in a large model."""

SHAPE = GPTConfig(vocab_size=VOCABULARY, block_size=128, n_layer=4, n_head=5, n_embd=160)
"""1.3M parameters, 1.2M of them in the blocks: one core of a Xeon with AMX takes 50 ms for a step of 1,024 tokens in
bfloat16 and 80 to 110 ms in float32."""

RATES = (1e-3, 2e-3, 4e-3)
"""The learning rates of AdamW that are tried for every entrant. The baseline's best lies between them: with one seed it
comes to 3.67, 3.55 and 3.59 nats, and with 3e-3 to 3.54."""

MUON_RATIO = 10.0
"""Muon's learning rate over AdamW's, as the trainer's defaults have it beside a preset's 2e-3. With one seed and 2e-3
it comes to 3.38 nats with a ratio of 5, 3.35 with 10, 3.41 with 20."""

STEPS, QUICK_STEPS, LEAST_STEPS = 200, 60, 20
SEEDS, QUICK_SEEDS = 5, 3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Model, data and lengths of a race."""

    shape: GPTConfig = SHAPE
    batch: int = 8
    """Windows in a step (B), each of `shape.block_size` tokens (T)."""
    steps: int = STEPS
    """Of the baseline, and the most that another gets (N)."""
    rates: tuple[float, ...] = RATES
    muon_ratio: float = MUON_RATIO
    slice_steps: int = 25
    """Steps of the baseline in one slice."""
    eval_every: int = 5
    """Steps between two measurements of the held-out loss."""
    eval_windows: int = 32
    """Windows of T tokens in a held-out loss; always the same ones."""
    seed: int = 0
    """Of the sweep; the seeds of the race itself are those after it."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        for name in ("steps", "seed"):
            check_number(name, getattr(self, name))
        if self.steps < LEAST_STEPS:
            raise UsageError(f"--steps {self.steps} is too short a race; give at least {LEAST_STEPS}")

    @property
    def num_slices(self) -> int:
        """Slices that every run is cut into."""
        return -(-self.steps // self.slice_steps)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step learns from."""
        return self.batch * self.shape.block_size

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Setting:
        """The inverse of `as_dict`."""
        return cls(**{**values, "shape": GPTConfig(**values["shape"]), "rates": tuple(values["rates"])})


def window_of(step: int, steps: int, longest: int, *, short_first: bool) -> int:
    """Tokens in a window of a step: `longest`, or of a run with short windows first a quarter, then half of it.

    >>> [window_of(step, 9, 128, short_first=True) for step in (0, 2, 3, 5, 6, 8)]
    [32, 32, 64, 64, 128, 128]
    """
    third = 3 * step // steps if short_first else 2
    return max(1, longest >> (2 - third))
