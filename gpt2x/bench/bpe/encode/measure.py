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

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.bench import effort as shared
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
from gpt2x.bench.contender import Contender
from gpt2x.bench.interleave import Listener, interleave
from gpt2x.bench.machine import usable_cores, without_torch
from gpt2x.bench.process import Process, TookTooLong, WorkerFailed, run_worker, worker_environment
from gpt2x.bench.records import FAILED, MEASURED, SKIPPED

BUILD_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Effort(shared.Effort):
    """How much to encode, and how long to measure."""

    natural_bytes: int = 10_000_000
    generated_bytes: int = 1_000_000
    warm_up: int = 1
    """A call that is slow enough counts all the same, and is not made again; see `CallContender`."""
    share_s: float = 0.5
    min_samples: int = 2
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


class PeerProcess:
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

    def first_calls(self, texts: Path, start: int, stop: int) -> dict[str, Any]:
        """Encode some of the documents of a file, each with a new tokenizer.

        Raises:
            TookTooLong: they did not come back in time; the process is gone.
            WorkerFailed: one failed; the process is gone.

        """
        request = {"do": "first_calls", "texts": str(texts), "start": start, "stop": stop}
        return self._ask(request, BUILD_TIMEOUT_S)

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
                        self.listener.stage(f"{text.name}: {measure.name}")
                        self._measure(text, measure, runners)

    def _build_all(self, cores: list[int], stack: ExitStack) -> list[PeerProcess]:
        """A process of each peer that is here; one that cannot be built is out, with the reason in its row."""
        runners = []
        for peer, state in zip(self.peers, self.results.peers, strict=True):
            if state.status == MEASURED:
                runner = PeerProcess(peer, state, self, cores)
                stack.callback(runner.close)
                try:
                    runner.build()
                except WorkerFailed as failed:
                    state.status, state.reason = verdict_of(failed), str(failed)
                else:
                    runners.append(runner)
        return runners

    def _measure(self, text: Input, measure: Measure, processes: Sequence[PeerProcess]) -> None:
        """Warm up and compare, then round by round all peers in turn."""
        contenders = []
        for process in processes:
            cell = self._new_cell(text, measure, process.peer.name)
            contenders.append(CallContender(self, text, measure, cell, process))
        # The budget of a run is that of its fresh processes: a warm call has its share, whatever came before.
        interleave(contenders, dataclasses.replace(self.effort, budget_s=math.inf))

    def _new_cell(self, text: Input, measure: Measure, peer: str) -> Cell:
        cell = Cell(input=text.name, measure=measure.name, peer=peer)
        self.results.cells.append(cell)
        return cell

    def _thorough_inputs(self) -> Sequence[Input]:
        return self.inputs[: self.effort.thorough_inputs]

    def count_tokens(self, text: Input, num_tokens: int) -> None:
        """Note how many tokens a text has."""
        state = next(state for state in self.results.inputs if state.name == text.name)
        state.num_tokens = num_tokens

    # ------------------------------------------------------------------------------------------------------------
    # Cold

    def _cold(self) -> None:
        """Fresh processes, round by round over everything, as far as there is time."""
        measures = [m for m in MEASURES if m.cold]
        groups = {
            (measure.name, text.name): self._cold_contenders(text, measure)
            for measure in measures
            for text in self._thorough_inputs()
        }
        for number in range(1, self.effort.cold_rounds + 1):
            for measure in measures:
                for text in self._thorough_inputs():
                    late = time.monotonic() - self.start > self.effort.budget_s
                    if late and (number > 1 or measure is not measures[0]):
                        return
                    if number == 1 or text.kind == NATURAL:
                        self.listener.stage(f"{text.name}: {measure.name}, round {number}")
                        once = shared.Effort(rounds=number)
                        interleave(groups[measure.name, text.name], once, first=number)

    def _cold_contenders(self, text: Input, measure: Measure) -> list[ColdContender]:
        """Those whose warm call there is a cell for; nobody waits again for one that failed or took too long."""
        contenders = []
        for peer, state in zip(self.peers, self.results.peers, strict=True):
            warm = self.results.cell(text.name, measure.name.removeprefix("cold "), peer.name)
            if warm is not None:
                process = PeerProcess(peer, state, self, cores_for(ONE))
                cell = Cell(
                    input=text.name,
                    measure=measure.name,
                    peer=peer.name,
                    status=warm.status,
                    reason=warm.reason,
                )
                contenders.append(ColdContender(self, text, measure, cell, process))
        return contenders


class CallContender(Contender):
    """One call of one peer on one text; its figures go into a `Cell`.

    The first call warms up, and its result is compared. Where it takes longer than the peer's share of the time it is
    slow enough that warming up does not matter: it is the one sample.
    """

    def __init__(self, bench: Bench, text: Input, measure: Measure, cell: Cell, process: PeerProcess) -> None:
        super().__init__(process.peer.name)
        self.bench, self.text, self.call = bench, text, measure
        self.cell, self.process = cell, process
        self.first_s: float | None = None
        self.compare = True

    @property
    def slow_s(self) -> float:
        """From this time on a call is measured once."""
        return self.bench.effort.share_s * self.bench.effort.min_samples

    def is_due(self, effort: shared.Effort) -> bool:
        """Until its share of the time is used up, or its one sample is there."""
        return (self.first_s is None or self.first_s <= self.slow_s) and super().is_due(effort)

    def expected_s(self) -> float:
        """As long as the first call."""
        return self.first_s or 0.0

    def measure(self) -> dict[str, Any]:
        """Make the call, and compare what the first one gives."""
        if self.cell.status != MEASURED:
            raise AlreadyOut(self.cell.reason)
        if self.process.calls and self.call.call not in self.process.calls:
            self.cell.status = SKIPPED
            raise AlreadyOut("it has no such call")
        is_oracle = self.process.peer.name == ORACLE and self.call.call in ("encode", "batch")
        keep = self.compare and is_oracle and not self.call.cold
        reply = self.process.call(self.text, self.call.call, compare=self.compare, keep=keep)
        if self.compare:
            self.cell.fault = reply["fault"]
        if "num_tokens" in reply and self.call.call == "encode":
            self.bench.count_tokens(self.text, reply["num_tokens"])
        return reply

    def warmed_up(self, measured: dict[str, Any]) -> None:
        """Keep a sample that is slow."""
        self.first_s, self.compare = measured["s"], False
        if measured["s"] > self.slow_s:
            self.seconds.append(self.keep(measured))

    def keep(self, measured: dict[str, Any]) -> float:
        """Add a sample."""
        self.cell.num_bytes = measured["num_bytes"]
        self.cell.samples_s.append(measured["s"])
        self.cell.cpu_s.append(measured["cpu_s"])
        return float(measured["s"])

    def drop(self, reason: WorkerFailed) -> None:
        """Say why in the cell; the process serves other calls, and is started again where it is lost."""
        self.reason = self.cell.reason = str(reason)
        if not isinstance(reason, AlreadyOut):
            self.cell.status = verdict_of(reason)


class ColdContender(CallContender):
    """The first call of a process that has only built the tokenizer: a process of its own for every sample."""

    def is_due(self, effort: shared.Effort) -> bool:
        """Once, where that one is slow; else in every round."""
        return not self.seconds or self.seconds[0] <= self.slow_s

    def measure(self) -> dict[str, Any]:
        """Start a process, make one call, end the process."""
        if not any(cell is self.cell for cell in self.bench.results.cells):
            self.bench.results.cells.append(self.cell)  # in the order of the rounds
        try:
            return super().measure()
        finally:
            self.process.close()


class AlreadyOut(WorkerFailed):
    """Nothing failed now: the cell has its verdict already."""


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
