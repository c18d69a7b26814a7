"""How long a ladder measures: rounds, budget, and how many steps a round has. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2x.bench import effort
from gpt2x.bench.stats import LONG_STEP_S, MS_PER_SECOND

MAX_ROUNDS = 20
"""More rounds than this make no figure better."""


@dataclass(frozen=True, kw_only=True)
class Effort(effort.Effort):
    """How long to measure, and how many steps a round has."""

    rounds: int = MAX_ROUNDS
    min_rounds: int = 2
    """One round in turn is made whatever it costs: without it a machine that was busy for a while during the first
    would decide what the figures are."""
    budget_s: float = 240.0
    steps: int | None = None
    """Steps in a round; by default as many as take `round_s`, at least `min_steps`."""
    round_s: float = 1.5
    min_steps: int = 2
    max_steps: int = 50
    warm_s: float = 0.6
    """How long a step that has waited for its turn is made, at least twice, before it is timed: what it needs has been
    used by others since, and pages that it frees and takes again come back slowly at first."""

    @classmethod
    def within(cls, budget_s: float, num_rungs: int, **options: Any) -> Effort:
        """Rounds so short that, starting the processes aside, about four of them fit into the budget."""
        return cls(
            budget_s=budget_s, round_s=max(0.2, min(cls.round_s, budget_s / (4 * num_rungs))), **options
        )

    def steps_in_round(self, step_ms: float) -> int:
        """How many steps of this length a round has."""
        if self.steps is not None:
            return self.steps
        return max(self.min_steps, min(self.max_steps, int(self.round_s * MS_PER_SECOND / step_ms)))

    def warm_steps(self, step_ms: float) -> int:
        """How many steps of this length come before them, untimed."""
        if step_ms > LONG_STEP_S * MS_PER_SECOND:
            return 1
        return max(2, min(self.max_steps, int(self.warm_s * MS_PER_SECOND / step_ms)))
