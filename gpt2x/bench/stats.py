"""The arithmetic of measuring: pure functions from samples to the figures that people see. Loads no torch.

Times are milliseconds (names end in ``_ms``), rates are for one second (``_per_second``); the one place where the two
meet is `tokens_per_second`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MS_PER_SECOND = 1000.0

LONG_STEP_S = 20.0
"""A step that takes longer needs no second one to be warm: what the first does more is lost in it."""

BUSY_SHARE = 0.1
"""From this share of the cores on, other programs are said to disturb the measurement."""

LOST_SHARE = 0.05
"""A rung for speed whose steps take longer than those below it by more than this does not pay."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    q1: float
    q3: float
    count: int

    @property
    def relative(self) -> float:
        """The interquartile range as a share of the median."""
        return (self.q3 - self.q1) / self.median if self.median else 0.0


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles: neither moves when one sample in four is disturbed.

    >>> spread([1.0, 2.0, 3.0, 4.0, 100.0])
    Spread(median=3.0, q1=2.0, q3=4.0, count=5)
    """
    if len(samples) == 1:
        return Spread(median=samples[0], q1=samples[0], q3=samples[0], count=1)
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median=median, q1=q1, q3=q3, count=len(samples))


def tokens_per_second(num_tokens: int, step_ms: float) -> float:
    """The rate of steps that learn from `num_tokens` tokens in `step_ms` milliseconds each.

    >>> tokens_per_second(512, 250.0)
    2048.0
    """
    return num_tokens * MS_PER_SECOND / step_ms


def is_slower(after: Spread, before: Spread) -> bool:
    """Longer by more than `LOST_SHARE`, and so clearly that the middle halves of the samples lie apart.

    >>> is_slower(spread([120.0, 121.0, 122.0]), spread([100.0, 101.0, 140.0]))
    False
    >>> is_slower(spread([120.0, 121.0, 122.0]), spread([100.0, 101.0, 102.0]))
    True
    """
    return after.median > (1.0 + LOST_SHARE) * before.median and after.q1 > before.q3
