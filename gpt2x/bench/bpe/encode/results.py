"""What `gpt2x bench bpe` leaves behind: every sample, and beside it what follows from that.

The shape is documented in docs/reference/bench-bpe.md; it only grows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpt2x.bench.bpe.encode.inputs import GENERATED, NATURAL
from gpt2x.bench.bpe.encode.peers import ORACLE, OURS
from gpt2x.bench.machine import Machine
from gpt2x.bench.records import MEASURED, head
from gpt2x.bench.stats import spread

SCHEMA = 1
FORMAT = "gpt2x-bench-bpe"

TIMED_OUT = "timed out"

ONE, ALL = "one", "all"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One thing that is measured of every peer on every text that it applies to."""

    name: str
    call: str
    """A field of `peers.Calls`."""
    threads: str = ONE
    """one, or all cores of this machine."""
    cold: bool = False
    """Whether it is the first call of a fresh process."""
    kinds: tuple[str, ...] = (NATURAL,)
    """The kinds of text that it is measured on."""
    ratio_to: str = ""
    """The measure of tiktoken that counts as 1: the one that gives Python lists."""


_BOTH = (NATURAL, GENERATED)

MEASURES = (
    Measure(name="list", call="encode", kinds=_BOTH, ratio_to="list"),
    Measure(name="array", call="encode_array", kinds=_BOTH, ratio_to="list"),
    Measure(name="batch list", call="batch", ratio_to="batch list"),
    Measure(name="batch array", call="batch_array", ratio_to="batch list"),
    Measure(name="decode list", call="decode", ratio_to="decode list"),
    Measure(name="decode array", call="decode_array", ratio_to="decode list"),
    Measure(name="batch list, all cores", call="batch", threads=ALL, ratio_to="batch list, all cores"),
    Measure(name="batch array, all cores", call="batch_array", threads=ALL, ratio_to="batch list, all cores"),
    Measure(name="cold list", call="encode", cold=True, kinds=_BOTH, ratio_to="cold list"),
    Measure(name="cold array", call="encode_array", cold=True, kinds=_BOTH, ratio_to="cold list"),
)


class Timed(Protocol):
    """Samples of something that ran on one core."""

    samples_s: list[float]
    cpu_s: list[float]


def share_of_others(timed: Iterable[Timed]) -> float:
    """The share of the core that other programs took meanwhile."""
    wall_s = cpu_s = 0.0
    for one in timed:
        wall_s += sum(one.samples_s)
        cpu_s += sum(map(min, one.samples_s, one.cpu_s))
    return 1 - cpu_s / wall_s if wall_s else 0.0


@dataclass(kw_only=True)
class Cell:
    """One measure of one peer on one text."""

    input: str
    measure: str
    peer: str
    status: str = MEASURED
    """measured, skipped (the peer has no such call), timed out, or failed."""
    reason: str = ""
    num_bytes: int = 0
    """How much text a sample is about, as UTF-8."""
    samples_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Processor time of each sample, all threads together."""
    fault: str | None = ""
    """Where the result differs from tiktoken's; None when that is not known."""

    @property
    def is_measured(self) -> bool:
        """True when there are figures."""
        return self.status == MEASURED and bool(self.samples_s)

    @property
    def seconds(self) -> float:
        """The median sample."""
        return spread(self.samples_s).median


@dataclass(kw_only=True)
class PeerState:
    """One peer in a result: what it is, and whether it took part."""

    name: str
    version: str | None
    uses: str
    status: str = MEASURED
    """measured, skipped (not installed), timed out, or failed (it could not be built from a vocabulary file)."""
    reason: str = ""
    build_s: list[float] = field(default_factory=list)
    """How long it took to import it and to load the vocabulary, process by process."""


@dataclass(kw_only=True)
class InputState:
    """One text in a result."""

    name: str
    kind: str
    what: str
    num_bytes: int
    num_tokens: int = 0


@dataclass(kw_only=True)
class StartUp:
    """A whole process that counts the tokens of a file."""

    name: str
    what: str
    samples_s: list[float] = field(default_factory=list)
    output: str = ""
    reason: str = ""
    """Why there are no figures."""


@dataclass(kw_only=True)
class FloorRow:
    """One peer on documents that are encoded one at a time, each by a tokenizer that was built for it."""

    name: str
    rounds: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of each document, the best of the rounds."""
    num_tokens: int = 0
    reason: str = ""
    """Why there are no figures."""


@dataclass(kw_only=True)
class Floor:
    """Documents one at a time; what counts is the slowest."""

    what: str
    """The file that they are from."""
    documents: list[str]
    """Their names."""
    num_bytes: list[int]
    rows: list[FloorRow] = field(default_factory=list)

    def rates(self, row: FloorRow) -> list[tuple[float, str]]:
        """MB/s and name of each document, the slowest first."""
        measured = zip(self.num_bytes, row.seconds, self.documents, strict=True)
        return sorted((size / 1e6 / seconds, name) for size, seconds, name in measured)


@dataclass(kw_only=True)
class BpeResults:
    """All cells, with what is needed to judge them or to measure them again."""

    machine: Machine
    vocabulary: str
    command: list[str]
    peers: list[PeerState]
    inputs: list[InputState]
    cells: list[Cell] = field(default_factory=list)
    start_up: list[StartUp] = field(default_factory=list)
    start_up_bytes: int = 0
    floor: Floor | None = None
    timeout_s: float = 0.0
    created: str = ""
    duration_s: float = 0.0
    complete: bool = True

    def cell(self, text: str, measure: str, peer: str) -> Cell | None:
        """The one with these names."""
        found = (c for c in self.cells if (c.input, c.measure, c.peer) == (text, measure, peer))
        return next(found, None)

    def mb_per_second(self, cell: Cell) -> float | None:
        """Megabytes of text (10⁶ bytes of UTF-8) in a second of the median sample."""
        return cell.num_bytes / 1e6 / cell.seconds if cell.is_measured else None

    def ratio(self, cell: Cell) -> float | None:
        """How many times as fast as tiktoken's call that gives Python lists."""
        measure = next(measure for measure in MEASURES if measure.name == cell.measure)
        base = self.cell(cell.input, measure.ratio_to, ORACLE)
        if not cell.is_measured or base is None or not base.is_measured:
            return None
        return base.seconds / cell.seconds

    def beside_best(self, text: str, measure: str) -> tuple[float, str] | None:
        """How many times as fast as the fastest other peer with the right tokens ours is, and which that is."""
        own = self.cell(text, measure, OURS)
        exact = [
            cell
            for cell in self.cells
            if (cell.input, cell.measure) == (text, measure) and cell.is_measured and cell.fault == ""
        ]
        others = [cell for cell in exact if cell.peer != OURS]
        if own is None or not any(cell is own for cell in exact) or not others:
            return None
        best = min(others, key=lambda cell: cell.seconds)
        return best.seconds / own.seconds, best.peer

    def busy_share(self) -> float:
        """The share of the one core that other programs took while it was measured on."""
        one = {measure.name for measure in MEASURES if measure.threads == ONE}
        return share_of_others(cell for cell in self.cells if cell.is_measured and cell.measure in one)

    def faults(self, text: str, peer: str) -> Iterable[Cell]:
        """The cells of a peer whose result is not tiktoken's, or of which that is not known."""
        return (
            c for c in self.cells if (c.input, c.peer) == (text, peer) and c.is_measured and c.fault != ""
        )

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON shape."""
        return {
            **head(self, FORMAT, SCHEMA),
            "machine": self.machine.as_dict(),
            "vocabulary": self.vocabulary,
            "timeout_s": self.timeout_s,
            "busy_share": self.busy_share(),
            "measures": [dataclasses.asdict(measure) for measure in MEASURES],
            "peers": [dataclasses.asdict(peer) for peer in self.peers],
            "inputs": [dataclasses.asdict(text) for text in self.inputs],
            "cells": [self._cell_as_dict(cell) for cell in self.cells],
            "start_up": {
                "num_bytes": self.start_up_bytes,
                "programs": [dataclasses.asdict(program) for program in self.start_up],
            },
            "floor": None if self.floor is None else dataclasses.asdict(self.floor),
        }

    def _cell_as_dict(self, cell: Cell) -> dict[str, Any]:
        return {
            **dataclasses.asdict(cell),
            "exact": None if not cell.is_measured or cell.fault is None else not cell.fault,
            "mb_per_second": self.mb_per_second(cell),
            "ratio": self.ratio(cell),
        }
