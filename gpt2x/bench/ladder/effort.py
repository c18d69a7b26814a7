"""How long a ladder measures: rounds, budget, and how many steps a round has. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2x.bench import effort
from gpt2x.bench.stats import MS_PER_SECOND

MAX_ROUNDS = 40
"""More rounds than this make no figure better."""

ROUNDS_IN_BUDGET = 16
"""A round is so short that about as many fit into the budget, starting the processes aside."""


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
    width: float = 0.03
    """An interval of a ratio is narrow enough when this is its width, as a share of the ratio."""
    least_rounds: int = 5
    """Rounds in turn before an interval is believed to be narrow."""
    whole_rounds: int = 6
    """Rounds over all in turn, after which the pairs with the widest intervals are measured alone."""
    sharpens: bool = False
    """Whether they are; without, all rounds go over all."""
    repeat_share: float = 0.1
    """The share of the budget that may be spent on making turns again that other programs disturbed."""
    round_s: float = 0.4
    """How long the timed steps of one rung take in a round, where two steps are shorter. What is compared are rounds,
    so that many short ones say more than a few long ones."""
    min_steps: int = 2
    max_steps: int = 50
    slow_step_s: float = 1.0
    """A step that takes longer is one round by itself, after one that is not timed: on a slow machine a ladder of twice
    as many would take twice the budget for its first two rounds."""
    warm_s: float = 0.6
    """How long a step that has waited for its turn is made, at least twice, before it is timed: what it needs has been
    used by others since, and pages that it frees and takes again come back slowly at first."""

    @classmethod
    def within(cls, budget_s: float, num_rungs: int, **options: Any) -> Effort:
        """Rounds so short that, starting the processes aside, about `ROUNDS_IN_BUDGET` of them fit into the budget."""
        round_s = max(0.1, min(cls.round_s, budget_s / (ROUNDS_IN_BUDGET * num_rungs)))
        return cls(budget_s=budget_s, round_s=round_s, **options)

    def steps_in_round(self, step_ms: float) -> int:
        """How many steps of this length a round has."""
        if self.steps is not None:
            return self.steps
        if self._is_slow(step_ms):
            return 1
        return max(self.min_steps, min(self.max_steps, int(self.round_s * MS_PER_SECOND / step_ms)))

    def warm_steps(self, step_ms: float) -> int:
        """How many steps of this length come before them, untimed."""
        if self._is_slow(step_ms):
            return 1
        return max(2, min(self.max_steps, int(self.warm_s * MS_PER_SECOND / step_ms)))

    def _is_slow(self, step_ms: float) -> bool:
        return step_ms > self.slow_step_s * MS_PER_SECOND
