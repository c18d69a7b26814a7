"""Talking to the person at the terminal: talk and progress on stderr, results on stdout.

Progress bars and colour appear only where stderr is a terminal; in a pipe or a log file each message is one
plain line. `rich` draws and is imported at the first use, so that no command pays for it at start-up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say` and `progress` for the rest of the process (``--quiet``); errors are still printed."""
    global _quiet  # noqa: PLW0603  (the one switch that belongs to the process as a whole)
    _quiet = quiet


def is_quiet() -> bool:
    """True after ``set_quiet(True)``."""
    return _quiet


def clean(text: str) -> str:
    """Text that may hold somebody else's words (a file's name, a label, a title), made safe for a terminal.

    Whatever could steer a terminal or cannot be printed becomes U+FFFD; line ends and tabs stay.

    >>> clean("label \\x1b[2J")
    'label \ufffd[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def say(message: str = "") -> None:
    """Print one line of talk on stderr, cleaned."""
    if not _quiet:
        print(clean(message), file=sys.stderr, flush=True)


def emit(text: str) -> None:
    """Print one line of a result on stdout."""
    print(text, flush=True)


def emit_json(value: Any) -> None:
    """Print a result as JSON on stdout; the shape of each command's object is documented in docs/reference."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False), flush=True)


def on_terminal() -> bool:
    """True where progress bars and colour make sense."""
    return not _quiet and sys.stderr.isatty()


@contextmanager
def progress(description: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show a progress bar while the block runs; yields ``advance(amount=1, note="")``.

    On a terminal the bar shows the share done, speed and time left, and vanishes at the end; elsewhere it is silent.

    >>> with progress("counting", total=3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    if not on_terminal():
        yield lambda amount=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total, note="")

        def advance(amount: float = 1, note: str = "") -> None:
            fields: dict[str, Any] = {"note": note} if note else {}
            bar.update(task, advance=amount, **fields)

        yield advance


def format_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[bool] | None = None
) -> str:
    """Lay out rows under column heads with plain spaces: readable in a terminal, a log and a mail.

    Args:
        columns: the heads.
        rows: the cells, one sequence a row, as long as `columns`.
        right: which columns are set flush right; by default those whose cells are all numbers.

    >>> print(format_table(["rung", "ms"], [["naive", 12.5], ["fused", 3.0]]))
    rung     ms
    -----  ----
    naive  12.5
    fused   3.0
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if right is None:
        right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]

    def lay_out(line: Sequence[str]) -> str:
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return "\n".join([lay_out(columns), "  ".join("-" * w for w in widths), *map(lay_out, cells)])


def format_count(number: float) -> str:
    """A large count for people: 1234567 -> '1.2M', 50257 -> '50.3k', 999 -> '999'."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.1f}{suffix}"
    return f"{number:.4g}"


def key_value_lines(values: Mapping[str, object]) -> str:
    """Lay out names and values in two aligned columns."""
    width = max((len(key) for key in values), default=0)
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in values.items())
