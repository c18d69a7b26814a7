"""A step that has been built, as a contender of the rounds: its figures go into its row. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.ladder.config import StepConfig
from gpt2x.bench.ladder.launch import Runner
from gpt2x.bench.ladder.results import Row
from gpt2x.bench.ladder.rungs import Rung
from gpt2x.bench.process import WorkerFailed
from gpt2x.bench.stats import MS_PER_SECOND

Turn = Callable[["StepContender", bool], dict[str, Any]]
"""Makes the timed steps of one round, with a warm-up or without; starts a process that was ended again."""


class StepContender(Contender):
    """A step that is measured again whenever it is its turn.

    Args:
        row: gets its figures.
        config: the step.
        rung: what it was built for; None for a peer.
        turn: makes one round of it.
        cores: of this machine.

    """

    def __init__(self, row: Row, config: StepConfig, rung: Rung | None, turn: Turn, cores: int) -> None:
        super().__init__(row.key, row.title)
        self.row, self.config, self.rung, self.turn, self.cores = row, config, rung, turn, cores
        self.runner: Runner | None = None
        """Its process; None while it is ended because memory is short."""
        self.steps = 0
        self.warm_steps = 1
        self.start_s = 0.0
        """How long its process takes to be ready."""
        self.round = 1
        """The number of the round that it is measured for; 1 before there are rounds in turn."""
        self.last_turn = 0
        """Which turn of all of those its last one was."""

    def measure(self) -> dict[str, Any]:
        """The steps of one round, after some that are not timed."""
        return self.turn(self, True)

    def keep(self, measured: dict[str, Any]) -> float:
        """Add a round to the row."""
        row = self.row
        row.samples_ms.append(measured["samples_ms"])
        row.rounds.append(self.round)
        for name, samples in measured["phases_ms"].items():
            row.phases_ms.setdefault(name, []).extend(samples)
        step_s = sum(measured["samples_ms"]) / MS_PER_SECOND
        row.others.append(self.share_of_others(measured))
        row.between.append(round(1.0 - step_s / measured["wall_s"], 5))
        if measured["energy_j"] is not None:
            row.energy_j.append(measured["energy_j"])
        return step_s

    def share_of_others(self, measured: dict[str, Any]) -> float:
        """The share of this machine's cores that other programs kept busy during a round; 0 where nobody knows."""
        others_s = measured["machine_cpu_s"] - measured["own_cpu_s"]
        return round(min(1.0, max(0.0, others_s / (self.cores * measured["wall_s"]))), 3)

    def is_due(self, effort: Effort) -> bool:
        """In every round."""
        return True

    def expected_s(self) -> float:
        """The steps of a round, and the start of a process where there is none."""
        steps_s = (self.steps + self.warm_steps) * self.row.step.median / MS_PER_SECOND
        return steps_s + (0.0 if self.runner else self.start_s)

    def drop(self, reason: WorkerFailed) -> None:
        """Keep the figures that there are, and say in the row why there are no more."""
        super().drop(reason)
        stopped = f"failed in round {self.round}, so that its figures are those before: {reason}"
        self.row.note = f"{self.row.note}; {stopped}" if self.row.note else stopped

    def close(self) -> None:
        """End its process; it can be started again."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None


class Confirmation(Contender):
    """A step that is measured once more beside another, to decide whether a rung pays; no round of the ladder.

    Args:
        of: the step.
        scale: what its times are multiplied by, so that both are for as many tokens.
        samples_ms: gets the times.

    """

    def __init__(self, of: StepContender, scale: float, samples_ms: list[float]) -> None:
        super().__init__(of.name, of.title)
        self.of, self.scale, self.samples_ms = of, scale, samples_ms
        self.newest_ms: list[float] = []

    def measure(self) -> dict[str, Any]:
        """The steps of one round."""
        return self.of.measure()

    def keep(self, measured: dict[str, Any]) -> float:
        """Add the times."""
        self.newest_ms = [self.scale * ms for ms in measured["samples_ms"]]
        self.samples_ms += self.newest_ms
        return sum(self.newest_ms) / MS_PER_SECOND

    def close(self) -> None:
        """End the step's process: it may still be at what was asked for here."""
        self.of.close()
