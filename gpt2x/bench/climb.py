"""Climbing the ladder: which rung is measured when, on top of which, and what its row says.

Round 1 goes from rung to rung and settles what each one stands on: a rung that cannot run here, that fails, or that
breaks the loss is passed over, and the next is built on the last good one. Then, while the time budget lasts, further
rounds go over all rungs again in turn (A B C A B C …), so that a machine that slows down for a while slows all alike;
once there is such a round, the figures are taken from them alone. For that the processes of all rungs stay alive, as
far as memory allows. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gpt2x.bench.config import StepConfig
from gpt2x.bench.ladder import Rung, number_of, start_config
from gpt2x.bench.measure import MS_PER_SECOND, Learned, check_loss
from gpt2x.bench.process import Launch, RungFailed, Runner
from gpt2x.bench.results import FAILED, SKIPPED, Results, Row

OVERDRAFT = 1.5
"""How far the second round may go beyond the budget, as a factor."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure."""

    steps: int | None = None
    """Steps in a round; by default as many as take `round_s`, at least `min_steps`."""
    rounds: int = 5
    """Rounds at most."""
    budget_s: float = 240.0
    """No further round is started that would end later than this after the start."""
    round_s: float = 1.5
    min_steps: int = 2
    max_steps: int = 50

    def steps_in_round(self, step_ms: float) -> int:
        """How many steps of this length a round has."""
        if self.steps is not None:
            return self.steps
        return max(self.min_steps, min(self.max_steps, int(self.round_s * MS_PER_SECOND / step_ms)))


class Listener:
    """Hears what the ladder does; this one lets it pass."""

    def stage(self, text: str) -> None:
        """Something begins that takes a while."""

    def row(self, results: Results, row: Row) -> None:
        """A rung has gone through its first round, or cannot."""

    def round(self, number: int, of: int) -> None:
        """A further round over all rungs begins."""


@dataclass
class Alive:
    """A measured rung whose process waits for the next round."""

    row: Row
    runner: Runner
    steps: int


class Climb:
    """One ladder being measured; `results` is right at every moment, so that an interrupt loses nothing."""

    def __init__(
        self,
        rungs: Sequence[Rung],
        results: Results,
        launch: Launch,
        *,
        effort: Effort | None = None,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rungs, self.results, self.launch, self.effort = rungs, results, launch, effort or Effort()
        self.listener = listener or Listener()
        self.clock = clock
        self.alive: list[Alive] = []
        self.config: StepConfig = start_config(rungs, results.setting)
        self.ended_early = False

    def run(self) -> None:
        """Measure all rungs; on Ctrl-C the finished ones are in `results`, marked as incomplete."""
        start = self.clock()
        try:
            for rung in self.rungs:
                self._first_round(rung)
            self._further_rounds(start)
        except BaseException:
            self.results.complete = False
            raise
        finally:
            for waiting in self.alive:
                waiting.runner.close()
            self.results.duration_s = self.clock() - start

    # Round 1 ------------------------------------------------------------------------------------------------------

    def _first_round(self, rung: Rung) -> None:
        row = Row(number=number_of(rung), key=rung.key, title=rung.title, change=rung.change, seed=rung.seed)
        reason = rung.applies(self.results.machine, self.results.setting)
        if reason is not None:
            row.status, row.reason = SKIPPED, reason
        else:
            try:
                self._measure(rung, row)
            except RungFailed as failed:
                row.status, row.reason = FAILED, str(failed)
        self.results.rows.append(row)
        self.listener.row(self.results, row)

    def _measure(self, rung: Rung, row: Row) -> None:
        setting = self.results.setting
        config = rung.apply(self.config, setting)
        row.config = dataclasses.asdict(config)
        row.tokens_per_step = setting.tokens_per_step(config)
        self.listener.stage(f"{rung.title}: building{' and compiling' if config.compile else ''}")
        runner = self.launch(config)
        try:
            ready = runner.prepare()
            row.parameters, row.token_flops = ready["parameters"], ready["token_flops"]
            row.build_s = ready["build_s"]
            row.compile_s = max(0.0, ready["first_step_s"] - ready["step_ms"] / MS_PER_SECOND)
            steps = self.effort.steps_in_round(ready["step_ms"])
            self.listener.stage(f"{rung.title}: {steps} step{'s' * (steps != 1)}")
            free = self._round(row, runner, steps, warm_up=False)
            self._judge(rung, row, config)
            if self._fits(row, free):
                self.alive.append(Alive(row, runner, steps))
                return
            # No room for its process to wait in: its other rounds follow at once.
            self.ended_early = True
            for _ in range(min(self.effort.rounds - 1, 2)):
                self._round(row, runner, steps, warm_up=False)
            runner.close()
        except BaseException:
            runner.close()
            raise

    def _round(self, row: Row, runner: Runner, steps: int, *, warm_up: bool) -> int:
        """One round of one rung; returns the memory that is still free on its device."""
        measured = runner.measure(steps, warm_up)
        row.samples_ms.append(measured["samples_ms"])
        for name, samples in measured["phases_ms"].items():
            row.phases_ms.setdefault(name, []).extend(samples)
        row.peak_memory_bytes = max(row.peak_memory_bytes, measured["peak_memory_bytes"])
        row.losses = measured["losses"]
        row.others.append(self._share_of_others(measured))
        return int(measured["free_bytes"])

    def _share_of_others(self, measured: dict[str, Any]) -> float:
        """The share of this machine's cores that other programs kept busy during a round; 0 where nobody knows."""
        cores = self.results.machine.cores
        others_s = measured["machine_cpu_s"] - measured["own_cpu_s"]
        return round(min(1.0, max(0.0, others_s / (cores * measured["wall_s"]))), 3)

    def _judge(self, rung: Rung, row: Row, config: StepConfig) -> None:
        """Hold the loss against that of the rung below, and stand on this one if it is sound."""
        before = self.results.climbed[-1] if self.results.climbed else None
        row.loss = check_loss(rung, self._learned(row), self._learned(before) if before else None)
        if row.loss.counts:
            self.config = config

    def _learned(self, row: Row) -> Learned:
        return Learned(
            losses=row.losses,
            parameters=row.parameters,
            vocab_size=self.results.setting.shape.vocab_size,
            tokens_per_step=row.tokens_per_step,
        )

    def _fits(self, row: Row, free_bytes: int) -> bool:
        """True while the process may wait: twice the largest rung so far still fits beside it."""
        largest = max(other.peak_memory_bytes for other in [*self.results.measured, row])
        return free_bytes > 2 * largest

    # Further rounds -----------------------------------------------------------------------------------------------

    def _further_rounds(self, start: float) -> None:
        for number in range(2, self.effort.rounds + 1):
            # One round in turn is worth a little more time than was planned: a machine that was busy during the first
            # one, and made it slow, is just where it is needed.
            budget_s = self.effort.budget_s * (OVERDRAFT if number == 2 else 1.0)
            if self.clock() - start + self._round_seconds() > budget_s:
                return
            self.listener.round(number, self.effort.rounds)
            for waiting in list(self.alive):
                self.listener.stage(f"{waiting.row.title}: {waiting.steps} steps")
                try:
                    self._round(waiting.row, waiting.runner, waiting.steps, warm_up=True)
                except RungFailed:
                    # It has been measured; what it has keeps standing.
                    waiting.runner.close()
                    self.alive.remove(waiting)
            self._count_rounds_in_turn()

    def _count_rounds_in_turn(self) -> None:
        """From the first whole round in turn on, the figures are those of such rounds; round 1 was time apart."""
        if self.ended_early or any(len(row.samples_ms) < 2 for row in self.results.measured):
            return
        self.results.interleaved = True
        for row in self.results.measured:
            row.first_round_counts = False

    def _round_seconds(self) -> float:
        return sum((w.steps + 1) * w.row.step.median for w in self.alive) / MS_PER_SECOND
