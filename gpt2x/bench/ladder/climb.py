"""Climbing the ladder: which rung is measured when, on top of which, and what its row says.

Round 1 goes from rung to rung and settles what each one stands on: a rung that cannot run here, that fails, that breaks
the loss, or that is there for speed and makes the step slower, is passed over, and the next is built on the last good
one. After it come the top without one rung each, and the peers, where they are asked for. Then rounds go over all of
them in turn (`rounds`); from the first such round on, figures and verdicts are taken from these alone. For that the
processes of all rungs stay alive; where memory is too short some are ended, and started again when it is their turn.
Loads no torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gpt2x.bench import effort as shared
from gpt2x.bench.interleave import Listener as Interleaving
from gpt2x.bench.interleave import interleave
from gpt2x.bench.ladder.config import StepConfig, naive_step_bytes
from gpt2x.bench.ladder.contender import Confirmation, StepContender
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.launch import Launch
from gpt2x.bench.ladder.loss_check import Learned, LossCheck, check_loss
from gpt2x.bench.ladder.peer import Peer, as_rung
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.ladder.rounds import Rounds
from gpt2x.bench.ladder.rungs import RUNGS, Rung, built, number_of, start_config
from gpt2x.bench.process import Missing, OutOfMemory, WorkerFailed
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.bench.stats import BUSY_SHARE, MS_PER_SECOND, is_slower, spread

CONFIRMATION_RUNS = 8
"""How often a rung that looks slower is measured again, in turn with the one below it, before it is passed over.

It must be slower each time: a rung that is passed over wrongly takes along those that need it.
"""

REPEATS_OF_A_TURN = 2
"""How often a turn is made again at once because other programs disturbed it."""


class Listener(Interleaving):
    """Hears what the ladder does; this one lets it pass."""

    def row(self, results: Results, row: Row) -> None:
        """A rung has gone through its first round, or cannot."""

    def beside(self, results: Results, row: Row, what: str) -> None:
        """The top without a rung, or a peer, has gone through its first round, or cannot; `what` says which."""


class Climb:
    """One ladder being measured; `results` is right at every moment, so that an interrupt loses nothing.

    Args:
        rungs: those to climb, from the bottom up.
        results: gets the rows.
        launch: starts the process of a step.
        effort: how long to measure.
        listener: hears what goes on.
        clock: seconds.
        ladder: all rungs that there are, from which theirs have their numbers.
        keep_all: also stand on rungs that make the step slower.
        leave_one_out: measure the top without each of its rungs, too.
        peers: measured beside the top.

    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        results: Results,
        launch: Launch,
        *,
        effort: Effort | None = None,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
        ladder: Sequence[Rung] = RUNGS,
        keep_all: bool = False,
        leave_one_out: bool = False,
        peers: Sequence[Peer] = (),
    ) -> None:
        self.rungs, self.results, self.launch, self.effort = rungs, results, launch, effort or Effort()
        self.listener = listener or Listener()
        self.clock = clock
        self.ladder, self.keep_all, self.leave_one_out, self.peers = ladder, keep_all, leave_one_out, peers
        self.contenders: list[StepContender] = []
        """All that has figures, in the order of a round."""
        self.top: StepContender | None = None
        """The last rung that the ladder goes on from."""
        self.newest: StepContender | None = None
        """The one that was measured last."""
        self.free_bytes = 0
        """What its device had left after that, for others beside those that wait."""
        self.rounds = Rounds(results, self.contenders, self.effort, self.listener, clock)
        self.repeated_s = 0.0
        """Time that went into turns that were made again."""

    def run(self) -> None:
        """Measure all rungs; on Ctrl-C the finished ones are in `results`, marked as incomplete."""
        start = self.clock()
        try:
            for rung in self.rungs:
                self._climb_to(rung)
            if self.leave_one_out:
                self._ablate()
            for number, peer in enumerate(self.peers, 1):
                self._meet(number, peer)
            self.rounds.run(start)
        except BaseException:
            self.results.complete = False
            raise
        finally:
            for contender in self.contenders:
                contender.close()
            self.results.duration_s = self.clock() - start

    # Round 1 ------------------------------------------------------------------------------------------------------

    def _climb_to(self, rung: Rung) -> None:
        """Measure a rung on top of the last good one, and stand on it if it is sound and pays."""
        setting = self.results.setting
        row, below = self._row(rung), self._config()
        why_not = rung.why_not(self.results.machine, setting, below)
        contender = self._first_round(row, rung.apply(below, setting), why_not, rung)
        if contender is not None:
            row.loss = check_loss(rung, self._learned(row), self._learned(self.top.row) if self.top else None)
            if row.counts:
                row.pays = self.keep_all or self._pays(contender)
        self.results.rows.append(row)
        if contender is not None and row.carries:
            self.top = contender
        self.listener.row(self.results, row)

    def _config(self) -> StepConfig:
        """The step to build on."""
        return self.top.config if self.top else start_config(self.rungs, self.results.setting)

    def _row(self, rung: Rung) -> Row:
        return Row(
            number=number_of(rung, self.ladder),
            key=rung.key,
            title=rung.title,
            change=rung.change,
            reported=rung.reported,
        )

    def _first_round(
        self, row: Row, config: StepConfig, why_not: str | None, rung: Rung | None
    ) -> StepContender | None:
        """Build a step and measure it for the first time; None, with the reason in the row, where that cannot be."""
        if why_not is not None:
            row.status, row.reason = SKIPPED, why_not
            return None
        self.listener.stage(f"{row.title}: building{' and compiling' if config.compile else ''}")
        contender = StepContender(row, config, rung, self._turn, self.results.machine.cores)
        try:
            self._in_what_memory_there_is(contender)
        except WorkerFailed as failed:
            row.status = SKIPPED if isinstance(failed, Missing) else FAILED
            row.reason = str(failed)
            return None
        self.contenders.append(contender)
        return contender

    def _in_what_memory_there_is(self, contender: StepContender) -> None:
        """Build and measure; when memory is short end those that wait, then compute micro-batches in parts."""
        while True:
            try:
                self._start(contender)
                contender.keep(self._turn(contender, False))
                return
            except OutOfMemory as failed:
                contender.close()
                contender.steps = 0
                if any(other.runner for other in self.contenders):
                    self._close_all()
                elif (smaller := self._in_more_parts(contender.config)) is not None:
                    contender.config = smaller
                else:
                    raise WorkerFailed(f"{failed}: {self._arithmetic()}") from failed
                _forget(contender.row)
            except BaseException:
                contender.close()
                raise

    def _in_more_parts(self, config: StepConfig) -> StepConfig | None:
        """The same step with half as large a micro-batch and twice as many; None where it accumulates nothing yet."""
        split = 2 * config.split
        if config.micro_batches == 1 or self.results.setting.batch % split:
            return None
        return dataclasses.replace(config, split=split)

    def _arithmetic(self) -> str:
        setting, machine = self.results.setting, self.results.machine
        needed = naive_step_bytes(setting.shape, setting.batch, setting.seq)
        there = machine.gpus[0].memory_bytes if setting.device == "cuda" else machine.memory_bytes
        return (
            f"a naive step of {setting.model} with batch × seq = {setting.batch} × {setting.seq} needs about "
            f"{needed / 1e9:.1f} GB of {there / 1e9:.1f} GB; choose a smaller --batch, --seq or --model"
        )

    def _start(self, contender: StepContender) -> None:
        """Start its process, and note in the row what it is that was built."""
        self._free_memory()
        row, setting, start = contender.row, self.results.setting, self.clock()
        contender.runner = self.launch(contender.config)
        ready = contender.runner.prepare()
        contender.start_s = self.clock() - start
        if contender.steps:  # it was measured before, and its row says all this
            return
        row.config = dataclasses.asdict(contender.config)
        row.tokens_per_step = setting.tokens_per_step(contender.config)
        row.parameters, row.token_flops = ready["parameters"], ready["token_flops"]
        row.build_s = ready["build_s"]
        row.compile_s = max(0.0, ready["first_step_s"] - ready["step_ms"] / MS_PER_SECOND)
        if contender.config.split > 1:
            part = setting.batch // contender.config.split
            parts = f"{contender.config.split} parts of {part}"
            row.note = f"each batch of {setting.batch} in {parts}, because memory is short"
        contender.steps = self.effort.steps_in_round(ready["step_ms"])
        contender.warm_steps = self.effort.warm_steps(ready["step_ms"])
        self.listener.stage(f"{row.title}: {contender.steps} step{'s' * (contender.steps != 1)}")

    # One round of one step ----------------------------------------------------------------------------------------

    def _turn(self, contender: StepContender, warm_up: bool) -> dict[str, Any]:
        """A few timed steps; again, at most twice, where other programs took more than a tenth of the cores."""
        measured = self._steps(contender, warm_up)
        for _ in range(REPEATS_OF_A_TURN):
            is_quiet = contender.share_of_others(measured) <= BUSY_SHARE
            if is_quiet or self.repeated_s > self.effort.repeat_share * self.effort.budget_s:
                break
            start = self.clock()
            again = self._steps(contender, warm_up)
            self.repeated_s += self.clock() - start
            contender.row.repeats += 1
            measured = min(measured, again, key=contender.share_of_others)
        return measured

    def _steps(self, contender: StepContender, warm_up: bool) -> dict[str, Any]:
        """A few timed steps of one that may have been ended in the meantime."""
        if contender.runner is None:
            self.listener.stage(f"{contender.row.title}: starting again")
            self._start(contender)
        assert contender.runner is not None
        measured = contender.runner.measure(contender.steps, contender.warm_steps if warm_up else 0)
        row = contender.row
        row.peak_memory_bytes = max(row.peak_memory_bytes, measured["peak_memory_bytes"])
        row.losses = max(measured["losses"], row.losses, key=len)
        self.newest, self.free_bytes = contender, int(measured["free_bytes"])
        return measured

    def _free_memory(self) -> None:
        """Before a process is started: end some that wait, until there is memory for twice the largest so far.

        In the first round the top goes last, since the next rung may be measured against it; in rounds in turn that
        goes first whose next turn is the farthest away.
        """
        largest = max(
            (contender.row.peak_memory_bytes for contender in self.contenders if not contender.reason),
            default=0,
        )
        waiting = [contender for contender in self.contenders if contender.runner]
        if self.rounds.have_begun:
            waiting.sort(key=self.rounds.next_turn_is_far)
        else:
            waiting.sort(key=lambda s: (s is self.newest or s is self.top, s.start_s))
        for contender in waiting:
            if self.free_bytes > 2 * largest:
                return
            contender.close()
            self.free_bytes += contender.row.peak_memory_bytes

    def _close_all(self) -> None:
        for contender in self.contenders:
            contender.close()

    def _learned(self, row: Row) -> Learned:
        return Learned(
            losses=row.losses,
            parameters=row.parameters,
            vocab_size=self.results.setting.shape.vocab_size,
            tokens_per_step=row.tokens_per_step,
        )

    # Does it pay? -------------------------------------------------------------------------------------------------

    def _pays(self, contender: StepContender) -> bool:
        """False for a rung for speed that is slower than the one below, also whenever both are measured again."""
        rung, below = contender.rung, self.top
        if below is None or rung is None or not rung.is_for_speed:
            return True
        first = contender.row.samples_ms[-1]
        reference = [self._scale(below, contender) * ms for ms in below.row.samples_ms[-1]]
        if not is_slower(spread(first), spread(reference)):
            return True
        decided = contender.row.decided_ms = {"with": [], "without": []}
        self.listener.stage(f"{rung.title}: slower, so measured again beside {below.row.title}")
        without = Confirmation(below, self._scale(below, contender), decided["without"])
        again = Confirmation(contender, 1.0, decided["with"])

        def is_slower_again(number: int) -> bool:
            failed = without.reason or again.reason  # then what round 1 said holds
            return not failed and is_slower(spread(again.newest_ms), spread(without.newest_ms))

        runs = shared.Effort(rounds=CONFIRMATION_RUNS)
        interleave([without, again], runs, mirror=True, after_round=is_slower_again)
        if without.reason or again.reason:
            return False
        return not is_slower(spread(again.newest_ms), spread(without.newest_ms))

    def _scale(self, below: StepContender, contender: StepContender) -> float:
        """What times of the step below are multiplied by, to be for as many tokens as a step of this one."""
        return contender.row.tokens_per_step / below.row.tokens_per_step

    # What each rung is worth at the top, and what others are --------------------------------------------------------

    def _ablate(self) -> None:
        """The top without each of its rungs, in turn with the top (A B A C …)."""
        carrying = [s.rung for s in self.contenders if s.rung is not None and s.row.carries]
        for rung in carrying[1:]:
            row = self._row(rung)
            contender = self._first_round(row, *self._without(rung, carrying), rung)
            if contender is not None:
                row.loss = self._held_against_the_top(rung, row)
            self.results.left_out.append(row)
            self.listener.beside(self.results, row, f"the top without {rung.title}")
            self._measure_top()

    def _without(self, left_out: Rung, carrying: Iterable[Rung]) -> tuple[StepConfig, str | None]:
        """The top's step but for one rung, and why it cannot be, if so."""
        assert self.top is not None
        setting = self.results.setting
        if "device" in left_out.changes:
            return self.top.config, "without it all of the ladder would be another machine's"
        foot = start_config(self.rungs, setting)
        config = built((rung for rung in carrying if rung.key != left_out.key), foot, setting)
        config = dataclasses.replace(config, split=self.top.config.split)
        same = "the rungs above do all that it did" if config == self.top.config else None
        return config, same or config.conflict()

    def _held_against_the_top(self, rung: Rung, row: Row) -> LossCheck:
        """The rung's own check, with the top as the step that has the rung."""
        assert self.top is not None
        check = check_loss(rung, self._learned(self.top.row), self._learned(row))
        assert check.before is not None
        return dataclasses.replace(check, loss=check.before, before=check.loss)

    def _measure_top(self) -> None:
        if self.top is not None:
            try:
                self.top.keep(self.top.measure())
            except WorkerFailed:
                self.top.close()  # what it has keeps standing

    def _meet(self, number: int, peer: Peer) -> None:
        """Measure what others use, for the same tokens a step as the top."""
        row = Row(number=number, key=peer.key, title=peer.title, change=peer.change)
        if self.top is None:
            row.status, row.reason = SKIPPED, "there is no rung to hold it against"
        else:
            top = self.top
            config = peer.make(self.results.setting, top.config)
            if self._first_round(row, config, config.conflict(), None) is not None:
                row.loss = check_loss(
                    as_rung(peer, top.config, config), self._learned(row), self._learned(top.row)
                )
            self._measure_top()
        self.results.peers.append(row)
        self.listener.beside(self.results, row, peer.title)


def _forget(row: Row) -> None:
    """Drop what a row has of a step that was too large."""
    row.samples_ms, row.rounds, row.losses, row.peak_memory_bytes = [], [], [], 0
