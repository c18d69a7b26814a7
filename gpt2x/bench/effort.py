"""How long a benchmark measures: the limits that all benchmarks share. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure; a benchmark that has more to choose adds it in a subclass."""

    rounds: int = 5
    """Rounds over all contenders, at most."""
    min_rounds: int = 1
    """Rounds that are made whatever they cost."""
    warm_up: int = 0
    """Rounds before those, which count for nothing."""
    budget_s: float = math.inf
    """No round beyond `min_rounds` is begun that would end later than this after the start."""
    share_s: float = math.inf
    """No contender goes on for longer than that, once it has been measured `min_samples` times."""
    min_samples: int = 1
    """Rounds of each contender that are made whatever its share."""
