"""The curves of a run, read from its ``metrics.jsonl`` and thinned to what a drawing can show. Loads no torch.

A record of any length becomes at most two points a pixel column, the lowest and the highest value in it, so that no
spike is lost. The columns divide the run's own steps: drawn beside a longer run they are narrower than a pixel, and the
extremes still hold.

What a run wrote with an index (`metric_index`) is read from that. Another long record is read whole once; what became
of it is kept in the cache, under a name that depends on the record's place, size and time of change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import atomic_write, cache_dir, read_bytes
from gpt2x.train.metric_index import NAMES, columns_of, read_index

COLUMNS = 400
"""Pixel columns of a curve: about as many as a drawing has."""

AXES = ("steps", "tokens", "seconds")
"""What a curve can be drawn against; seconds count training alone."""

_LINES_AT_ONCE = 4096
_LONG = 1 << 20
"""Bytes from which a record is worth a place in the cache."""

_CACHE_FORMAT = 1
_STEPS = "▁▂▃▄▅▆▇█"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Values, each with its step, its tokens (NaN where unknown) and its seconds of training; all of shape (n,)."""

    steps: Floats
    tokens: Floats
    seconds: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def best(self) -> float | None:
        """The lowest value."""
        return float(self.values.min()) if len(self) else None

    def last(self) -> float | None:
        """The value logged last."""
        return float(self.values[-1]) if len(self) else None

    def take(self, where: Any) -> Curve:
        """Some of the points."""
        return Curve(self.steps[where], self.tokens[where], self.seconds[where], self.values[where])


@dataclass(frozen=True, slots=True)
class Curves:
    """What a run logged: how far it came, and its thinned curves.

    Attributes:
        steps, tokens: of the last line; tokens are NaN where it does not tell.
        seconds: of training, by the times of the steps.

    """

    steps: int
    tokens: float
    seconds: float
    loss: Curve
    validation: Curve

    def tokens_per_second(self) -> float | None:
        """Over the whole run, of training alone."""
        speed = self.tokens / self.seconds if self.seconds > 0 else math.nan
        return speed if math.isfinite(speed) else None


def read_curves(path: Path) -> Curves:
    """Read a record by its index, or whole, or take from the cache what became of it.

    Raises:
        InputDataError: as of `parse_curves`.

    """
    indexed = read_index(path)
    if indexed is not None:
        return _curves(
            path, np.concatenate([indexed.table, _table_after(path, indexed.num_bytes)], axis=1), COLUMNS
        )
    place = _place_in_cache(path)
    if place is None:
        return parse_curves(path)
    with contextlib.suppress(OSError, ValueError), place.open("rb") as kept:
        return _from_table(np.lib.format.read_array(kept, allow_pickle=False))
    curves = parse_curves(path)
    if _place_in_cache(path) == place:  # it did not grow while it was read
        with contextlib.suppress(OSError, OutputError), atomic_write(place) as file:
            np.save(file, _to_table(curves))
    return curves


def parse_curves(path: Path, columns: int = COLUMNS) -> Curves:
    """Read a record; a last line that was cut off, and lines that hold no step, are left out.

    Raises:
        InputDataError: the file cannot be read, or no line of it is an object with a step.

    """
    return _curves(path, _parsed_table(read_bytes(path, regular=True)), columns)


def _parsed_table(data: bytes) -> Floats:
    """(names, lines) of a record or a part of it."""
    blocks = [columns_of(objects) for objects in _objects(data)]
    return np.concatenate(blocks, axis=1) if blocks else np.empty((len(NAMES), 0))


def _table_after(path: Path, num_bytes: int) -> Floats:
    """The lines of a record that its index does not cover; few, where there are any."""
    try:
        with path.open("rb") as file:
            file.seek(num_bytes)
            return _parsed_table(file.read())
    except OSError as error:
        raise InputDataError(f"{path} cannot be read: {error.strerror}") from error


def _curves(path: Path, table: Floats, columns: int) -> Curves:
    known = np.isfinite(table[0])
    table = table if known.all() else table[:, known]
    if not table.shape[1]:
        raise InputDataError(f"{path} has no line with a step; give a run that has logged something")
    if (np.diff(table[0]) < 0).any():
        table = table[:, np.argsort(table[0], kind="stable")]
    steps, tokens, step_ms, loss, validation = table
    seconds = np.cumsum(np.diff(steps, prepend=0.0) * np.nan_to_num(step_ms)) / 1000
    curves = [Curve(steps, tokens, seconds, values) for values in (loss, validation)]
    finite = [curve.take(np.isfinite(curve.values)) for curve in curves]
    thin = [curve.take(envelope(curve.steps, curve.values, columns)) for curve in finite]
    return Curves(int(steps[-1]), float(tokens[-1]), float(seconds[-1]), *thin)


def envelope(x: Floats, y: Floats, columns: int) -> NDArray[np.intp]:
    """Which points to keep: first and last, and of each column of x the first lowest and the first highest.

    Args:
        x: (n,), rising.
        y: (n,), finite.
        columns: into how many equal parts the range of `x` is cut.

    Returns:
        Their indices, rising; all where there are no more than two a column.

    """
    if len(x) <= 2 * columns:
        return np.arange(len(x))
    span = (x[-1] - x[0]) or 1.0
    column = np.minimum((x - x[0]) * (columns / span), columns - 1).astype(np.intp)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    counts = np.diff(starts, append=len(x))
    kept = [np.array([0, len(x) - 1])]
    for extreme in (np.minimum, np.maximum):
        found = np.flatnonzero(y == np.repeat(extreme.reduceat(y, starts), counts))
        kept.append(found[np.diff(column[found], prepend=-1) > 0])
    return np.unique(np.concatenate(kept))


def sparkline(values: Floats, width: int = 40) -> str:
    """A curve as one line of blocks: the mean of each part, from the lowest to the highest of them.

    >>> sparkline(np.array([4.0, 3.0, 2.0, 1.0]))
    '█▆▃▁'
    """
    if not len(values):
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    span = (means.max() - means.min()) or 1.0
    return "".join(_STEPS[round(float(share) * 7)] for share in (means - means.min()) / span)


def plot(curve: Curve, width: int = 64, height: int = 12) -> list[str]:
    """A curve in a terminal: lines of `width` characters of Braille, each two dots wide and four high."""
    if not len(curve):
        return []
    rows, columns = 4 * height, 2 * width
    steps = np.union1d(np.linspace(curve.steps[0], curve.steps[-1], 16 * columns), curve.steps)
    x = _places(steps, columns)
    y = rows - 1 - _places(np.interp(steps, curve.steps, curve.values), rows)
    cells = np.zeros((height, width), dtype=np.int64)
    np.bitwise_or.at(cells, (y // 4, x // 2), _DOTS[y % 4, x % 2])
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]


_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot in a Braille character (Unicode, block U+2800)."""


def _places(values: Floats, count: int) -> NDArray[np.intp]:
    span = (values.max() - values.min()) or 1.0
    return np.minimum((values - values.min()) / span * count, count - 1).astype(np.intp)


def _place_in_cache(path: Path) -> Path | None:
    """Where the thinned curves of a long record are kept; None for a short one, or one that cannot be looked at."""
    try:
        about = path.stat()
        whole = str(path.resolve())
    except OSError:
        return None
    if about.st_size < _LONG:
        return None
    key = f"{_CACHE_FORMAT} {COLUMNS} {about.st_size} {about.st_mtime_ns} {whole}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return cache_dir() / "curves" / f"{digest[:32]}.npy"


def _to_table(curves: Curves) -> Floats:
    """(4, 2 + points): steps, tokens, seconds of the run and the lengths of its curves; then the curves' points."""
    loss, validation = curves.loss, curves.validation
    first = [[curves.steps, len(loss)], [curves.tokens, len(validation)], [curves.seconds, 0], [0, 0]]
    parts = [np.stack([c.steps, c.tokens, c.seconds, c.values]) for c in (loss, validation)]
    return np.concatenate([np.array(first, dtype=np.float64), *parts], axis=1)


def _from_table(table: Floats) -> Curves:
    """The reverse of `_to_table`.

    Raises:
        ValueError: it is no such table.

    """
    if table.ndim != 2 or len(table) != 4 or table.shape[1] < 2 or table.dtype != np.float64:
        raise ValueError("not a table of curves")
    split = 2 + int(table[0, 1])
    if table.shape[1] != split + int(table[1, 1]):
        raise ValueError("a table of curves that was cut off")
    loss, validation = (Curve(*part) for part in (table[:, 2:split], table[:, split:]))
    return Curves(int(table[0, 0]), float(table[1, 0]), float(table[2, 0]), loss, validation)


def _objects(data: bytes) -> Iterator[list[dict[str, Any]]]:
    """The objects of the lines, block by block; one parse a block, line by line only where that fails."""
    lines = data.split(b"\n")
    for first in range(0, len(lines), _LINES_AT_ONCE):
        block = [line for line in lines[first : first + _LINES_AT_ONCE] if line.strip()]
        values = _parsed(b"[" + b",".join(block) + b"]")
        if values is None or len(values) != len(block):
            values = [_parsed(line) for line in block]
        yield [value for value in values if isinstance(value, dict)]


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
