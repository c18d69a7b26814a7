"""A whole run: texts, rounds over all trainers in turn, results.

Every sample is a process of its own, so that no trainer profits or suffers from what came before, and its memory can be
read. Within a round all trainers take their turn (A B C …), so that what else happens on the machine touches all alike.
What is timed is learning alone: modules are imported before, and a text that a trainer takes from memory is there.
One that takes longer than its share of the time is measured fewer times, a slow one just once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpt2x.bench import effort as shared
from gpt2x.bench.bpe.encode.measure import cores_for, verdict_of
from gpt2x.bench.bpe.encode.peers import environment
from gpt2x.bench.bpe.encode.results import ALL, ONE
from gpt2x.bench.bpe.training.corpus import Text, gather
from gpt2x.bench.bpe.training.merges import Judge
from gpt2x.bench.bpe.training.results import Cell, TaskState, TrainerState, TrainResults
from gpt2x.bench.bpe.training.trainers import Trainer
from gpt2x.bench.bpe.training.worker import read_merges
from gpt2x.bench.contender import Contender
from gpt2x.bench.interleave import Listener, interleave
from gpt2x.bench.machine import without_torch
from gpt2x.bench.process import WorkerFailed, run_worker, worker_environment
from gpt2x.bench.records import MEASURED, SKIPPED


@dataclass(frozen=True, kw_only=True)
class Effort(shared.Effort):
    """How much to learn, and how long to measure."""

    small_bytes: int = 10_000_000
    small_vocab: int = 8192
    large_bytes: int | None = None
    """None means all there is."""
    large_vocab: int = 32768
    share_s: float = 30.0
    """No trainer is measured again on a task after it has taken that long on it."""
    timeout_s: float = 180.0
    """One that takes longer is given up."""
    budget_s: float = 270.0


QUICK = Effort(
    small_bytes=1_000_000, large_bytes=3_000_000, rounds=3, share_s=2.0, timeout_s=20.0, budget_s=24.0
)


def bench_training(
    trainers: Sequence[Trainer],
    *,
    data: Sequence[Path] = (),
    effort: Effort,
    command: Sequence[str] = (),
    listener: Listener | None = None,
    show: Callable[[TrainResults], None] = lambda results: None,
) -> TrainResults:
    """Measure all trainers on both tasks: a smaller text on one core, a larger one on all.

    Args:
        trainers: who takes part; those that are not installed are listed as such.
        data: texts of your own; see `corpus.gather`.
        effort: how much, and how long.
        command: the command line, for the record.
        listener: hears what is measured.
        show: called with the results at the end, and after an interrupt with what is finished by then.

    Raises:
        InputDataError: a file is missing, empty or of another kind.

    """
    listener = listener or Listener()
    start = time.monotonic()
    listener.stage("reading the texts")
    texts = gather(data, effort.small_bytes, effort.large_bytes)
    results = _new_results(trainers, texts, effort, list(command))
    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-bpe-") as name:
        bench = _Bench(trainers, texts, Path(name), results, effort, listener, start)
        results.complete = False
        try:
            bench.run()
            results.complete = True
        finally:
            results.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            results.duration_s = time.monotonic() - start
            if any(cell.is_measured for cell in results.cells):
                show(results)
    return results


@dataclass
class _Bench:
    trainers: Sequence[Trainer]
    texts: Sequence[Text]
    folder: Path
    """Where texts and merges are kept meanwhile."""
    results: TrainResults
    effort: Effort
    listener: Listener
    start: float
    """Since when the time budget runs."""

    def __post_init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.judges: dict[str, Judge] = {}
        for task, text in zip(self.results.tasks, self.texts, strict=True):
            self.files[task.name] = self.folder / f"{task.name}.txt"
            self.files[task.name].write_bytes(text.text.encode())
            self.judges[task.name] = Judge(self.files[task.name], task.num_merges)

    def run(self) -> None:
        """Measure everything; what is finished is in `results`, also after an interrupt."""
        trainers = {trainer.name: trainer for trainer in self.trainers}
        contenders = [
            TrainerContender(self, task, cell, trainers[cell.trainer])
            for task in self.results.tasks
            for cell in self.results.cells
            if cell.task == task.name and cell.status == MEASURED
        ]
        interleave(
            contenders, self.effort, listener=_Turns(self.listener), clock=time.monotonic, start=self.start
        )


class _Turns(Listener):
    """Tells of every turn, since each takes a while."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def turn(self, contender: Contender, number: int) -> None:
        head, _, trainer = contender.title.rpartition(": ")
        self.listener.stage(f"{head}, round {number}: {trainer}")


class TrainerContender(Contender):
    """One trainer on one task, in a fresh process each time; its figures go into a `Cell`."""

    def __init__(self, bench: _Bench, task: TaskState, cell: Cell, trainer: Trainer) -> None:
        super().__init__(cell.trainer, f"{_called(task)}: {cell.trainer}")
        self.bench, self.task, self.cell, self.trainer = bench, task, cell, trainer
        self.merges = bench.folder / "merges.json"

    def is_due(self, effort: shared.Effort) -> bool:
        """Until it has taken its share of the time; the last one may go beyond it."""
        return sum(self.seconds) < effort.share_s

    def measure(self) -> dict[str, Any]:
        """One training."""
        cores = cores_for(self.task.threads)
        variables = worker_environment(self.bench.folder, None) | environment(len(cores))
        process = run_worker("gpt2x.bench.bpe.training.worker", variables, self.bench.folder / "log")
        try:
            process.send(
                {
                    "do": "train",
                    "trainer": self.trainer.address,
                    "file": str(self.bench.files[self.task.name]),
                    "num_merges": self.task.num_merges,
                    "cores": cores,
                    "merges": str(self.merges) if self.cell.verdict is None else "",
                }
            )
            return process.receive(time.monotonic() + self.bench.effort.timeout_s)
        finally:
            process.kill()

    def keep(self, measured: dict[str, Any]) -> float:
        """Add a sample, and judge the merges of the first."""
        cell = self.cell
        cell.samples_s.append(measured["s"])
        cell.cpu_s.append(measured["cpu_s"])
        cell.grown_bytes.append(measured["grown_bytes"])
        cell.num_merges = measured["num_merges"]
        if cell.verdict is None:
            cell.verdict = self.bench.judges[self.task.name].judge(read_merges(self.merges))
        return float(measured["s"])

    def drop(self, reason: WorkerFailed) -> None:
        """Say why in the cell."""
        super().drop(reason)
        self.cell.status, self.cell.reason = verdict_of(reason), self.reason


def _called(task: TaskState) -> str:
    cores = "one core" if task.threads == ONE else "all cores"
    return f"{task.num_bytes / 1e6:.1f} MB, {task.vocab_size:,} tokens, {cores}"


def _new_results(
    trainers: Sequence[Trainer], texts: tuple[Text, Text], effort: Effort, command: list[str]
) -> TrainResults:
    """Results in which nothing is measured yet."""
    small, large = texts
    tasks = [
        TaskState(
            name="small",
            what=small.what,
            num_bytes=len(small.text.encode()),
            vocab_size=effort.small_vocab,
            threads=ONE,
        ),
        TaskState(
            name="large",
            what=large.what,
            num_bytes=len(large.text.encode()),
            vocab_size=effort.large_vocab,
            threads=ALL,
        ),
    ]
    states = [
        TrainerState(name=trainer.name, version=trainer.version, given=trainer.given, uses=trainer.uses)
        for trainer in trainers
    ]
    for state in states:
        if state.version is None:
            state.status, state.reason = SKIPPED, "not installed"
    return TrainResults(
        machine=without_torch(),
        command=command,
        tasks=tasks,
        trainers=states,
        cells=[
            Cell(task=task.name, trainer=state.name, status=state.status, reason=state.reason)
            for task in tasks
            for state in states
        ],
        timeout_s=effort.timeout_s,
    )
