"""What a run tells while it runs: loggers behind one call, ``log(metrics, step)``.

Add a logger by writing a class with `log` and `close` and putting it into `Loggers`; the loop knows only the call.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from gpt2x.console import format_count, say
from gpt2x.errors import OutputError, describe_os_error
from gpt2x.paths import atomic_write, read_text
from gpt2x.train.metric_index import IndexWriter

Metrics = Mapping[str, float]


class Logger(Protocol):
    """Something that takes numbers."""

    def log(self, metrics: Metrics, step: int) -> None:
        """Take the numbers of one step."""

    def close(self) -> None:
        """Nothing more will come."""


class Loggers:
    """Hands everything on to several loggers."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = loggers

    def log(self, metrics: Metrics, step: int) -> None:
        """Hand on the numbers of one step."""
        for logger in self.loggers:
            logger.log(metrics, step)

    def close(self) -> None:
        """Close all."""
        for logger in self.loggers:
            logger.close()


class JsonLines:
    """One JSON object a call in ``metrics.jsonl``, as it happens: the record from which charts are drawn.

    Args:
        path: the file.
        first_step: lines of steps after this one are dropped first; they are of a future that a resumed run
            lives again.

    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        self.path = path
        kept = forget_after(path, first_step)
        self.index = IndexWriter(path, kept)
        try:
            self.file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {describe_os_error(error)}") from error

    def log(self, metrics: Metrics, step: int) -> None:
        """Append one line and hand it to the operating system."""
        # A loss that is not finite has no place in JSON; null says that there was one.
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = {"step": step, **finite}
        text = json.dumps(line, allow_nan=False) + "\n"
        try:
            self.file.write(text)
            self.file.flush()
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {describe_os_error(error)}; free some space"
            ) from error
        self.index.add(line, len(text))  # ASCII

    def close(self) -> None:
        """Close the files."""
        with contextlib.suppress(OSError):  # each line is flushed: what is left is one that `log` has refused
            self.file.close()
        self.index.close()


class Console:
    """One line a call on stderr.

    Args:
        steps: how many there will be.
        advance: moves a progress bar, where there is one.

    """

    def __init__(self, steps: int, advance: Callable[..., None] | None = None) -> None:
        self.steps = steps
        self.width = len(str(steps))
        self.advance = advance

    def log(self, metrics: Metrics, step: int) -> None:
        """Print the numbers that are there."""
        parts = [f"step {step:{self.width}d}/{self.steps}"]
        parts += [text(metrics[name]) for name, text in _CONSOLE_FORMATS.items() if name in metrics]
        say("  ".join(parts))

    def close(self) -> None:
        """Nothing to do."""


_CONSOLE_FORMATS: dict[str, Callable[[float], str]] = {
    "loss": lambda v: f"loss {v:.4f}",
    "validation_loss": lambda v: f"validation loss {v:.4f}",
    "learning_rate": lambda v: f"lr {v:.2e}",
    "grad_norm": lambda v: f"norm {v:.2f}",
    "skipped": lambda v: f"skipped {v:.0f}",
    "step_ms": lambda v: f"{v:.0f} ms",
    "tokens_per_second": lambda v: f"{format_count(round(v))} tokens/s",
    "mfu": lambda v: f"MFU {v:.0%}",
}


def forget_after(path: Path, step: int) -> list[tuple[dict[str, float], int]]:
    """Drop from a record of JSON lines those of later steps; one that does not exist is made.

    Returns:
        The lines that are left, each with its length in bytes.

    Raises:
        OutputError: it cannot be written.

    """
    lines = [line for line in _read_lines(path) if line["step"] <= step]
    texts = [json.dumps(line) + "\n" for line in lines]
    with atomic_write(path, text=True) as file:
        file.writelines(texts)
    return [(line, len(text)) for line, text in zip(lines, texts, strict=True)]  # ASCII


def _read_lines(path: Path) -> list[dict[str, float]]:
    """The whole lines of an earlier record; a last one that was cut off is dropped."""
    if not path.exists():
        return []
    lines = []
    for line in read_text(path, errors="replace", regular=True).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines
