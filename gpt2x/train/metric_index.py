"""An index of ``metrics.jsonl``: the numbers that curves are drawn from, as float64 in a file beside the checkpoints.

A hundred runs of a hundred thousand lines are two gigabytes of JSON, of which a page shows a few thousand points. The
run writes those numbers a second time, 48 bytes a line, so that nobody has to parse the text. The text stays what
holds: an index that is older than its record is not believed, nor one of whose rows some, compared with their lines,
differ; what it does not cover is read as ever. Loads no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gpt2x.model.runs import METRIC_INDEX, TRAINER

NAMES = ("step", "tokens", "step_ms", "loss", "validation_loss")
"""The numbers of a line that curves are drawn from."""

CHECKED = 16
"""Rows that are compared with their lines, evenly spaced, the first and the last among them."""

_ROW = len(NAMES) + 1  # the byte at which the line ends is the last
_BYTES = np.dtype("<f8")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an index tells of a record.

    Attributes:
        table: (names, lines), in the order of `NAMES`; NaN for what a line does not tell.
        num_bytes: how much of the record it covers.

    """

    table: Floats
    num_bytes: int


class IndexWriter:
    """Writes the index of a record that is being written; a disk that is full ends the index and not the run.

    Args:
        record: the ``metrics.jsonl`` of a run folder.
        lines: what is in it so far, each with its length in bytes.

    """

    def __init__(self, record: Path, lines: Sequence[tuple[Mapping[str, Any], int]]) -> None:
        self.end = 0
        self.file: IO[bytes] | None = None
        place = index_of(record)
        if not place.parent.is_dir():
            return
        with contextlib.suppress(OSError):
            self.file = place.open("wb")
        self._write(lines)

    def add(self, values: Mapping[str, Any], num_bytes: int) -> None:
        """Take note of a line that has been written."""
        self._write([(values, num_bytes)])

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()
            self.file = None

    def _write(self, lines: Sequence[tuple[Mapping[str, Any], int]]) -> None:
        if self.file is None or not lines:
            return
        ends = self.end + np.cumsum([num_bytes for _, num_bytes in lines], dtype=np.float64)
        rows = np.vstack([columns_of([values for values, _ in lines]), ends]).T
        self.end = int(ends[-1])
        try:
            self.file.write(rows.astype(_BYTES).tobytes())
            self.file.flush()
        except OSError:
            self.close()


def index_of(record: Path) -> Path:
    """Where the index of a record is."""
    return record.parent / TRAINER / METRIC_INDEX


def read_index(record: Path) -> Indexed | None:
    """What the index of a record tells; None where there is none, or it is not of this record."""
    try:
        rows = np.fromfile(index_of(record), _BYTES).astype(np.float64, copy=False)
        about = record.stat()
        if index_of(record).stat().st_mtime_ns < about.st_mtime_ns:
            return None
        rows = rows[: len(rows) // _ROW * _ROW].reshape(-1, _ROW)
        rows = rows[: int(np.searchsorted(rows[:, -1], about.st_size, side="right"))]
        if not len(rows) or not _agrees(record, rows):
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return Indexed(np.ascontiguousarray(rows[:, :-1].T), int(rows[-1, -1]))


def _agrees(record: Path, rows: Floats) -> bool:
    """Whether some rows, evenly spaced, are what their lines say."""
    ends = rows[:, -1]
    if not np.isfinite(ends).all() or ends[0] <= 0 or (np.diff(ends) <= 0).any():
        return False
    with record.open("rb") as file:
        for place in np.unique(np.linspace(0, len(rows) - 1, CHECKED).round().astype(int)):
            begin = int(ends[place - 1]) if place else 0
            file.seek(begin)
            line = file.read(int(ends[place]) - begin)
            values = json.loads(line)
            if not line.endswith(b"\n") or not isinstance(values, dict):
                return False
            if not np.array_equal(columns_of([values])[:, 0], rows[place, :-1], equal_nan=True):
                return False
    return True


def columns_of(lines: Sequence[Mapping[str, Any]]) -> Floats:
    """(names, lines): the numbers of some lines; NaN for what is missing, infinite or not a number."""
    table = np.empty((len(NAMES), len(lines)))
    for row, name in enumerate(NAMES):
        values = [value.get(name) for value in lines]
        try:
            table[row] = values
        except (ValueError, TypeError, OverflowError):
            table[row] = [_number(value) for value in values]
    table[~(np.abs(table) < 1e300)] = np.nan
    return table


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan
