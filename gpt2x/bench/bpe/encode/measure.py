"""Which call of which tokenizer is timed when.

Warm figures: each peer has one process that stays, with the text in it. A call is made once to warm up, and its result
compared; then all peers make it in turn (A B C A B C …), so that what else happens on the machine touches all alike.
While one works, the others wait for a request and use no processor. Cold figures: the first call of a process that has
only built the tokenizer; each peer in turn has a process of its own for every sample. One thread means one core, which
the process is bound to where the system can do that.

A call that takes longer than a peer's share of the time is measured once, one that does not come back is given up, and
a process that dies is replaced; each is said in the table, and the rest goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.bench.bpe.encode.inputs import NATURAL, Input
from gpt2x.bench.bpe.encode.peers import ORACLE, Peer, Vocabulary, environment
from gpt2x.bench.bpe.encode.results import (
    ALL,
    MEASURES,
    ONE,
    TIMED_OUT,
    BpeResults,
    Cell,
    InputState,
    Measure,
    PeerState,
)
from gpt2x.bench.machine import usable_cores, without_torch
from gpt2x.bench.process import Process, TookTooLong, WorkerFailed, run_worker, worker_environment
from gpt2x.bench.records import FAILED, MEASURED, SKIPPED

BUILD_TIMEOUT_S = 60.0
MIN_SAMPLES = 2
"""Samples of a call that takes less than its share of the time."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure."""

    natural_bytes: int = 10_000_000
    generated_bytes: int = 1_000_000
    rounds: int = 5
    """Warm rounds over all peers, at most."""
    share_s: float = 0.5
    """No peer goes on with a call for longer than that, after it has made it `MIN_SAMPLES` times."""
    cold_rounds: int = 3
    """Fresh processes of each peer, for a natural text; a generated one gets one."""
    thorough_inputs: int | None = None
    """How many texts are also measured cold and on all cores; None means all."""
    start_up_rounds: int = 11
    timeout_s: float = 20.0
    """A call that takes longer is given up."""
    budget_s: float = 280.0
    """Fresh processes are started until then; the first round of lists is made in any case."""


QUICK = Effort(
    natural_bytes=250_000,
    generated_bytes=50_000,
    rounds=3,
    share_s=0.05,
    cold_rounds=1,
    thorough_inputs=1,
    start_up_rounds=3,
    timeout_s=5.0,
    budget_s=25.0,
)


class Listener:
    """Hears how it goes; this one does nothing."""

    def step(self, text: str) -> None:
        """What is measured now."""


class Runner:
    """One peer's process, which is started when it is needed and again after it was lost."""

    def __init__(self, peer: Peer, state: PeerState, bench: Bench, cores: list[int]) -> None:
        self.peer, self.state, self.bench, self.cores = peer, state, bench, cores
        self.process: Process | None = None
        self.calls: list[str] = []
        self.loaded: Input | None = None

    def build(self) -> None:
        """Start the process and build the tokenizer.

        Raises:
            WorkerFailed: it cannot be built.

        """
        self.close()
        variables = worker_environment(self.bench.folder, None) | environment(len(self.cores))
        log = self.bench.folder / f"{self.peer.name}.log"
        self.process = run_worker("gpt2x.bench.bpe.encode.worker", variables, log)
        request = {
            "do": "build",
            "peer": self.peer.address,
            "vocabulary": str(self.bench.vocabulary.folder),
            "cores": self.cores,
        }
        reply = self._ask(request, BUILD_TIMEOUT_S)
        self.calls = reply["calls"]
        self.state.build_s.append(reply["build_s"])

    def call(self, text: Input, call: str, *, compare: bool = False, keep: bool = False) -> dict[str, Any]:
        """Make a call on a text.

        Raises:
            TookTooLong: it did not come back in time; the process is gone.
            WorkerFailed: it failed; the process is gone.

        """
        if self.process is None:
            self.build()
        if self.loaded is not text:
            file = self.bench.files[text.name]
            self._ask({"do": "load", "text": str(file), "right": str(file.with_suffix(""))}, BUILD_TIMEOUT_S)
            self.loaded = text
        return self._ask(
            {"do": "call", "call": call, "compare": compare, "keep": keep}, self.bench.effort.timeout_s
        )

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self.process is not None
        self.process.send(request)
        try:
            return self.process.receive(time.monotonic() + timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
        self.process = self.loaded = None


@dataclass
class Bench:
    """One run."""

    peers: Sequence[Peer]
    inputs: Sequence[Input]
    vocabulary: Vocabulary
    folder: Path
    """Where texts, right ids and logs are kept meanwhile."""
    results: BpeResults
    effort: Effort = field(default_factory=Effort)
    listener: Listener = field(default_factory=Listener)
    start: float = field(default_factory=time.monotonic)
    """Since when the time budget runs."""

    def __post_init__(self) -> None:
        self.files: dict[str, Path] = {}
        for text in self.inputs:
            self.files[text.name] = self.folder / f"input-{len(self.files)}.txt"
            self.files[text.name].write_bytes(text.text.encode())

    def run(self) -> None:
        """Measure everything; what is finished is in `results`, also after an interrupt."""
        self._warm(ONE)
        self._warm(ALL)
        self._cold()

    # ------------------------------------------------------------------------------------------------------------
    # Warm

    def _warm(self, threads: str) -> None:
        measures = [m for m in MEASURES if m.threads == threads and not m.cold]
        inputs = self.inputs if threads == ONE else self._thorough_inputs()
        with ExitStack() as stack:
            runners = self._build_all(cores_for(threads), stack)
            for text in inputs:
                for measure in measures:
                    if text.kind in measure.kinds:
                        self.listener.step(f"{text.name}: {measure.name}")
                        self._measure(text, measure, runners)

    def _build_all(self, cores: list[int], stack: ExitStack) -> list[Runner]:
        """A process of each peer that is here; one that cannot be built is out, with the reason in its row."""
        runners = []
        for peer, state in zip(self.peers, self.results.peers, strict=True):
            if state.status == MEASURED:
                runner = Runner(peer, state, self, cores)
                stack.callback(runner.close)
                try:
                    runner.build()
                except WorkerFailed as failed:
                    state.status, state.reason = verdict_of(failed), str(failed)
                else:
                    runners.append(runner)
        return runners

    def _measure(self, text: Input, measure: Measure, runners: Sequence[Runner]) -> None:
        """Warm up and compare, then round by round all peers in turn."""
        first: list[tuple[Runner, Cell, float]] = []
        for runner in runners:
            cell = self._cell(text, measure, runner)
            reply = self._try(runner, cell, text, measure, compare=True)
            if reply is None:
                continue
            if reply["s"] > self.effort.share_s * MIN_SAMPLES:
                _note(cell, reply)  # slow enough that warming up does not matter
            else:
                first.append((runner, cell, reply["s"]))
        for number in range(self.effort.rounds):
            for runner, cell, seconds in first:
                spent = sum(cell.samples_s)
                if number < MIN_SAMPLES or spent + seconds <= self.effort.share_s:
                    reply = self._try(runner, cell, text, measure)
                    if reply is not None:
                        _note(cell, reply)

    def _cell(self, text: Input, measure: Measure, runner: Runner) -> Cell:
        cell = Cell(input=text.name, measure=measure.name, peer=runner.peer.name)
        self.results.cells.append(cell)
        return cell

    def _try(
        self, runner: Runner, cell: Cell, text: Input, measure: Measure, *, compare: bool = False
    ) -> dict[str, Any] | None:
        """Make a call; where that fails, say so in the cell, and do not try this peer on it again."""
        if cell.status != MEASURED:
            return None
        if runner.calls and measure.call not in runner.calls:
            cell.status, cell.reason = SKIPPED, "it has no such call"
            return None
        keep = (
            compare
            and runner.peer.name == ORACLE
            and measure.call in ("encode", "batch")
            and not measure.cold
        )
        try:
            reply = runner.call(text, measure.call, compare=compare, keep=keep)
        except WorkerFailed as failed:
            cell.status, cell.reason = verdict_of(failed), str(failed)
            return None
        if compare:
            cell.fault = reply["fault"]
        if "num_tokens" in reply and measure.call == "encode":
            self._state(text).num_tokens = reply["num_tokens"]
        return reply

    def _thorough_inputs(self) -> Sequence[Input]:
        return self.inputs[: self.effort.thorough_inputs]

    def _state(self, text: Input) -> InputState:
        return next(state for state in self.results.inputs if state.name == text.name)

    # ------------------------------------------------------------------------------------------------------------
    # Cold

    def _cold(self) -> None:
        """Fresh processes, round by round over everything, as far as there is time."""
        measures = [m for m in MEASURES if m.cold]
        for number in range(self.effort.cold_rounds):
            for measure in measures:
                for text in self._thorough_inputs():
                    late = time.monotonic() - self.start > self.effort.budget_s
                    if late and (number or measure is not measures[0]):
                        return
                    if number == 0 or text.kind == NATURAL:
                        self.listener.step(f"{text.name}: {measure.name}, round {number + 1}")
                        self._cold_round(text, measure)

    def _cold_round(self, text: Input, measure: Measure) -> None:
        for peer, state in zip(self.peers, self.results.peers, strict=True):
            warm = self.results.cell(text.name, measure.name.removeprefix("cold "), peer.name)
            if warm is None:
                continue
            runner = Runner(peer, state, self, cores_for(ONE))
            cell = self.results.cell(text.name, measure.name, peer.name)
            if cell is None:
                cell = self._cell(text, measure, runner)
                cell.status, cell.reason = warm.status, warm.reason
            elif cell.samples_s and cell.samples_s[0] > self.effort.share_s * MIN_SAMPLES:
                continue
            try:
                reply = self._try(runner, cell, text, measure, compare=True)
            finally:
                runner.close()
            if reply is not None:
                _note(cell, reply)


def _note(cell: Cell, reply: dict[str, Any]) -> None:
    cell.num_bytes = reply["num_bytes"]
    cell.samples_s.append(reply["s"])
    cell.cpu_s.append(reply["cpu_s"])


def verdict_of(failed: WorkerFailed) -> str:
    """The status of what failed: timed out, or failed."""
    return TIMED_OUT if isinstance(failed, TookTooLong) else FAILED


def cores_for(threads: str) -> list[int]:
    """The cores that a process is bound to: all, or one (the last, since the first is the system's favourite)."""
    usable = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    )
    return usable[-1:] if threads == ONE else usable


def new_results(
    peers: Sequence[Peer], inputs: Sequence[Input], *, vocabulary: str, command: list[str], effort: Effort
) -> BpeResults:
    """Results without a cell: the machine, the texts, and which peers are installed."""
    states = []
    for peer in peers:
        state = PeerState(name=peer.name, version=peer.version, uses=peer.uses)
        if state.version is None:
            state.status, state.reason = SKIPPED, "not installed"
        states.append(state)
    return BpeResults(
        machine=without_torch(),
        vocabulary=vocabulary,
        command=command,
        peers=states,
        inputs=[
            InputState(name=text.name, kind=text.kind, what=text.what, num_bytes=text.num_bytes)
            for text in inputs
        ],
        timeout_s=effort.timeout_s,
    )
