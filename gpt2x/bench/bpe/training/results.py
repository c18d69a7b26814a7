"""What `gpt2x bench bpe --train` leaves behind: every sample, and beside it what follows from that.

The shape is documented in docs/reference/bench-bpe.md; it only grows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from gpt2x.bench.bpe.encode.results import ONE, share_of_others
from gpt2x.bench.bpe.training.merges import Verdict
from gpt2x.bench.bpe.training.trainers import BASE
from gpt2x.bench.machine import Machine
from gpt2x.bench.records import MEASURED, head
from gpt2x.bench.stats import spread

SCHEMA = 1
FORMAT = "gpt2x-bench-bpe-train"


@dataclass(kw_only=True)
class TaskState:
    """One text and the size of the vocabulary that is learned from it."""

    name: str
    what: str
    num_bytes: int
    vocab_size: int
    """The 256 bytes and the merges."""
    threads: str = ONE
    """one, or all cores of this machine."""

    @property
    def num_merges(self) -> int:
        """How many merges are asked for."""
        return self.vocab_size - 256


@dataclass(kw_only=True)
class TrainerState:
    """One trainer in a result: what it is, and whether it is here."""

    name: str
    version: str | None
    given: str
    uses: str
    status: str = MEASURED
    """measured, or skipped (not installed)."""
    reason: str = ""


@dataclass(kw_only=True)
class Cell:
    """One trainer on one task."""

    task: str
    trainer: str
    status: str = MEASURED
    """measured, skipped (not installed), timed out, or failed."""
    reason: str = ""
    samples_s: list[float] = field(default_factory=list)
    """One for each fresh process."""
    cpu_s: list[float] = field(default_factory=list)
    """Processor time of each sample, all threads together."""
    grown_bytes: list[int] = field(default_factory=list)
    """How far resident memory rose during each sample."""
    num_merges: int = 0
    verdict: Verdict | None = None
    """What the first sample's merges are, compared with ours."""

    @property
    def is_measured(self) -> bool:
        """True when there are figures."""
        return self.status == MEASURED and bool(self.samples_s)

    @property
    def seconds(self) -> float:
        """The median sample."""
        return spread(self.samples_s).median

    @property
    def memory_bytes(self) -> float:
        """The median growth."""
        return spread([float(grown) for grown in self.grown_bytes]).median


@dataclass(kw_only=True)
class TrainResults:
    """All cells, with what is needed to judge them or to measure them again."""

    machine: Machine
    command: list[str]
    tasks: list[TaskState]
    trainers: list[TrainerState]
    cells: list[Cell] = field(default_factory=list)
    timeout_s: float = 0.0
    created: str = ""
    duration_s: float = 0.0
    complete: bool = True

    def cell(self, task: str, trainer: str) -> Cell | None:
        """The one with these names."""
        return next((c for c in self.cells if (c.task, c.trainer) == (task, trainer)), None)

    def ratio(self, cell: Cell) -> float | None:
        """How many times as fast as Hugging Face's trainer that reads the file."""
        base = self.cell(cell.task, BASE)
        if not cell.is_measured or base is None or not base.is_measured:
            return None
        return base.seconds / cell.seconds

    def busy_share(self) -> float:
        """The share of the one core that other programs took while it was measured on."""
        one = {task.name for task in self.tasks if task.threads == ONE}
        return share_of_others(cell for cell in self.cells if cell.is_measured and cell.task in one)

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON shape."""
        return {
            **head(self, FORMAT, SCHEMA),
            "machine": self.machine.as_dict(),
            "timeout_s": self.timeout_s,
            "busy_share": self.busy_share(),
            "trainers": [dataclasses.asdict(trainer) for trainer in self.trainers],
            "tasks": [dataclasses.asdict(task) for task in self.tasks],
            "cells": [self._cell_as_dict(cell) for cell in self.cells],
        }

    def _cell_as_dict(self, cell: Cell) -> dict[str, Any]:
        return {
            **dataclasses.asdict(cell),
            "verdict": None if cell.verdict is None else cell.verdict._asdict(),
            "seconds": cell.seconds if cell.is_measured else None,
            "memory_bytes": cell.memory_bytes if cell.is_measured else None,
            "ratio": self.ratio(cell),
        }
