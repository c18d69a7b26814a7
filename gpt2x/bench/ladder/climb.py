"""Climbing the ladder: which rung is measured when, on top of which, and what its row says.

Round 1 goes from rung to rung and settles what each one stands on: a rung that cannot run here, that fails, that breaks
the loss, or that is there for speed and makes the step slower, is passed over, and the next is built on the last good
one. After it come the top without one rung each, and the peers, where they are asked for. Then once, and again while
the time budget lasts, a round goes over all of them in turn (A B C A B C …), so that a machine that slows down for a
while slows all alike; from the first such round on, the figures are taken from these rounds alone. For that the
processes of all rungs stay alive; where memory is too short some are ended, and started again when it is their turn.
Loads no torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gpt2x.bench.ladder.config import Setting, StepConfig, naive_step_bytes
from gpt2x.bench.ladder.launch import Launch, Runner
from gpt2x.bench.ladder.loss_check import Learned, LossCheck, check_loss
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.ladder.rungs import RUNGS, Rung, built, number_of, start_config
from gpt2x.bench.process import Missing, OutOfMemory, WorkerFailed
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.bench.stats import LONG_STEP_S, MS_PER_SECOND, is_slower, spread

MAX_ROUNDS = 20
"""More rounds than this make no figure better."""

CONFIRMATION_RUNS = 4
"""How often a rung that looks slower is measured again, in turn with the one below it, before it is passed over.

It must be slower each time: a rung that is passed over wrongly takes along those that need it.
"""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure."""

    steps: int | None = None
    """Steps in a round; by default as many as take `round_s`, at least `min_steps`."""
    rounds: int = MAX_ROUNDS
    """Rounds at most."""
    budget_s: float = 240.0
    """No round after the second is started that would end later than this after the start."""
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


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What somebody would use in place of the ladder's top."""

    key: str
    title: str
    change: str
    """What it is, in a few words."""
    make: Callable[[Setting, StepConfig], StepConfig]
    """Its step, for a setting and the ladder's top, of which it takes the tokens of a step and the dtype."""
    loss_bound: float = 0.05


class Listener:
    """Hears what the ladder does; this one lets it pass."""

    def stage(self, text: str) -> None:
        """Something begins that takes a while."""

    def row(self, results: Results, row: Row) -> None:
        """A rung has gone through its first round, or cannot."""

    def beside(self, results: Results, row: Row, what: str) -> None:
        """The top without a rung, or a peer, has gone through its first round, or cannot; `what` says which."""

    def round(self, number: int, of: int) -> None:
        """A further round over all rungs begins."""


@dataclass
class Contender:
    """A step that has been built, and is measured again whenever it is its turn."""

    row: Row
    config: StepConfig
    rung: Rung | None = None
    """None for a peer."""
    runner: Runner | None = None
    """Its process; None while it is ended because memory is short."""
    steps: int = 0
    warm_steps: int = 1
    start_s: float = 0.0
    """How long its process takes to be ready."""

    def close(self) -> None:
        """End its process; it can be started again."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None


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
        self.contenders: list[Contender] = []
        """All that has figures, in the order of a round."""
        self.top: Contender | None = None
        """The last rung that the ladder goes on from."""
        self.newest: Contender | None = None
        """The one that was measured last."""
        self.free_bytes = 0
        """What its device had left after that, for others beside those that wait."""
        self.is_in_turn = False
        """True in the rounds over all in turn."""

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
            self._further_rounds(start)
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
    ) -> Contender | None:
        """Build a step and measure it for the first time; None, with the reason in the row, where that cannot be."""
        if why_not is not None:
            row.status, row.reason = SKIPPED, why_not
            return None
        self.listener.stage(f"{row.title}: building{' and compiling' if config.compile else ''}")
        contender = Contender(row=row, config=config, rung=rung)
        try:
            self._in_what_memory_there_is(contender)
        except WorkerFailed as failed:
            row.status = SKIPPED if isinstance(failed, Missing) else FAILED
            row.reason = str(failed)
            return None
        self.contenders.append(contender)
        return contender

    def _in_what_memory_there_is(self, contender: Contender) -> None:
        """Build and measure; when memory is short end those that wait, then compute micro-batches in parts."""
        while True:
            try:
                self._start(contender)
                self._measure(contender, warm_up=False)
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

    def _start(self, contender: Contender) -> None:
        """Start its process, and note in the row what it is that was built."""
        self._make_room()
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

    def _measure(self, contender: Contender, *, warm_up: bool) -> None:
        """One round of one step, into its row."""
        row, measured = contender.row, self._turn(contender, warm_up=warm_up)
        row.samples_ms.append(measured["samples_ms"])
        for name, samples in measured["phases_ms"].items():
            row.phases_ms.setdefault(name, []).extend(samples)
        row.others.append(self._share_of_others(measured))
        row.between.append(round(1.0 - sum(measured["samples_ms"]) / MS_PER_SECOND / measured["wall_s"], 5))
        if measured["energy_j"] is not None:
            row.energy_j.append(measured["energy_j"])

    def _turn(self, contender: Contender, *, warm_up: bool) -> dict[str, Any]:
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

    def _make_room(self) -> None:
        """Before a process is started: end some that wait, until there is memory for twice the largest so far.

        In the first round the top goes last, since the next rung may be measured against it; in rounds in turn the one
        that was just measured goes first, since its next turn is the farthest away.
        """
        largest = max((contender.row.peak_memory_bytes for contender in self.contenders), default=0)
        kept = [self.newest, self.top] if not self.is_in_turn else []
        waiting = [contender for contender in self.contenders if contender.runner]
        waiting.sort(
            key=lambda s: (any(s is k for k in kept), self.is_in_turn and s is not self.newest, s.start_s)
        )
        for contender in waiting:
            if self.free_bytes > 2 * largest:
                return
            contender.close()
            self.free_bytes += contender.row.peak_memory_bytes

    def _close_all(self) -> None:
        for contender in self.contenders:
            contender.close()

    def _share_of_others(self, measured: dict[str, Any]) -> float:
        """The share of this machine's cores that other programs kept busy during a round; 0 where nobody knows."""
        cores = self.results.machine.cores
        others_s = measured["machine_cpu_s"] - measured["own_cpu_s"]
        return round(min(1.0, max(0.0, others_s / (cores * measured["wall_s"]))), 3)

    def _learned(self, row: Row) -> Learned:
        return Learned(
            losses=row.losses,
            parameters=row.parameters,
            vocab_size=self.results.setting.shape.vocab_size,
            tokens_per_step=row.tokens_per_step,
        )

    # Does it pay? -------------------------------------------------------------------------------------------------

    def _pays(self, contender: Contender) -> bool:
        """False for a rung for speed that is slower than the one below, also whenever both are measured again."""
        rung, below = contender.rung, self.top
        if below is None or rung is None or not rung.is_for_speed:
            return True
        first, reference = (
            contender.row.samples_ms[-1],
            self._per_tokens(below, contender, below.row.samples_ms[-1]),
        )
        if not is_slower(spread(first), spread(reference)):
            return True
        decided = contender.row.decided_ms = {"with": [], "without": []}
        self.listener.stage(f"{rung.title}: slower, so measured again beside {below.row.title}")
        try:
            for _ in range(CONFIRMATION_RUNS):
                reference = self._per_tokens(below, contender, self._turn(below, warm_up=True)["samples_ms"])
                again = self._turn(contender, warm_up=True)["samples_ms"]
                decided["without"] += reference
                decided["with"] += again
                if not is_slower(spread(again), spread(reference)):
                    return True
        except WorkerFailed:
            pass  # what round 1 said holds
        return False

    def _per_tokens(self, below: Contender, contender: Contender, samples_ms: Sequence[float]) -> list[float]:
        """Times of the step below for as many tokens as a step of this one learns from."""
        scale = contender.row.tokens_per_step / below.row.tokens_per_step
        return [scale * ms for ms in samples_ms]

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
                self._measure(self.top, warm_up=True)
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
                    _as_rung(peer, top.config, config), self._learned(row), self._learned(top.row)
                )
            self._measure_top()
        self.results.peers.append(row)
        self.listener.beside(self.results, row, peer.title)

    # Further rounds -----------------------------------------------------------------------------------------------

    def _further_rounds(self, start: float) -> None:
        self.is_in_turn = True
        for number in range(2, self.effort.rounds + 1):
            # One round in turn is made whatever it costs: without it a machine that was busy for a while during the
            # first would decide what the figures are.
            if number > 2 and self.clock() - start + self._round_seconds() > self.effort.budget_s:
                return
            self.listener.round(number, self.effort.rounds)
            for contender in list(self.contenders):
                self.listener.stage(f"{contender.row.title}: {contender.steps} steps")
                try:
                    self._measure(contender, warm_up=True)
                except WorkerFailed:
                    # It has been measured; what it has keeps standing.
                    contender.close()
                    self.contenders.remove(contender)
            self._count_rounds_in_turn()

    def _count_rounds_in_turn(self) -> None:
        """From the first whole round in turn on, the figures are those of such rounds; round 1 was time apart."""
        results = self.results
        rows = [row for row in [*results.rows, *results.left_out, *results.peers] if row.is_measured]
        if any(len(row.samples_ms) < 2 for row in rows):
            return
        results.interleaved = True
        for row in rows:
            row.first_round_counts = False

    def _round_seconds(self) -> float:
        return sum(
            (contender.steps + contender.warm_steps) * contender.row.step.median / MS_PER_SECOND
            + (0.0 if contender.runner else contender.start_s)
            for contender in self.contenders
        )


def _forget(row: Row) -> None:
    """Drop what a row has of a step that was too large."""
    row.samples_ms, row.losses, row.peak_memory_bytes = [], [], 0


def _as_rung(peer: Peer, top: StepConfig, config: StepConfig) -> Rung:
    """A peer as a rung, for the check of its loss: the bound holds where the top follows the same recipe."""
    recipe = ("tie_weights", "init", "grad_clip", "decay_groups")
    is_same = all(getattr(top, name) == getattr(config, name) for name in recipe)
    return Rung(
        key=peer.key,
        title=peer.title,
        change=peer.change,
        why="What others use.",
        loss_bound=peer.loss_bound if is_same else None,
        alters="" if is_same else "a recipe that the ladder's top does not follow",
        expect="" if is_same else "is_finite",
    )
