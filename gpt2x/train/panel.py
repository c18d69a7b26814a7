"""What a person sees of a run while it trains: on a terminal a panel that stays in place, elsewhere a line a log step.

The panel keeps the last losses and nothing else; `metrics.jsonl` has all. `rich` draws it four times a second from what
was logged last, so that neither drawing nor a slow terminal holds up a step.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gpt2x.console import format_count, on_terminal, progress
from gpt2x.process_memory import peak_memory
from gpt2x.train.curves import sparkline
from gpt2x.train.metrics import Console, Logger, Metrics

if TYPE_CHECKING:
    from rich.panel import Panel as Drawing

COLUMNS = 80
SMOOTHING = 0.9
"""What a smoothed loss keeps of itself at each line of the log."""

KEPT = 20_000
"""Losses that the sparkline is drawn from, at most; then every second one is dropped."""

REFRESHES_PER_SECOND = 4


class Panel:
    """The numbers of a run, ready to be drawn.

    Args:
        steps: how many there will be.
        first_step: how many were done before this process.
        flops_a_token: of the model, forward and backward; 0 where unknown.
        clock: seconds that only rise.

    """

    def __init__(
        self,
        steps: int,
        first_step: int = 0,
        flops_a_token: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps, self.first_step, self.done = steps, first_step, first_step
        self.clock, self.flops_a_token = clock, flops_a_token
        self.started = clock()
        self.latest: dict[str, float] = {}
        self.losses: list[float] = []
        self.smoothed = math.nan
        self.best_validation = math.inf

    def log(self, metrics: Metrics, step: int) -> None:
        """Take the numbers of one step."""
        self.latest.update(metrics)
        loss = metrics.get("loss", math.nan)
        if math.isfinite(loss):
            before = self.smoothed if math.isfinite(self.smoothed) else loss
            self.smoothed = SMOOTHING * before + (1 - SMOOTHING) * loss
            self.losses.append(loss)
            if len(self.losses) > KEPT:
                self.losses = self.losses[::2]
        self.best_validation = min(self.best_validation, metrics.get("validation_loss", math.inf))

    def close(self) -> None:
        """Nothing to do."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count steps."""
        self.done += int(amount)

    def seconds_left(self) -> float | None:
        """By the pace of this process so far, validating and saving included; None before its first step."""
        here = self.done - self.first_step
        return (self.clock() - self.started) / here * (self.steps - self.done) if here > 0 else None

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What the panel says: two names and values a row."""
        known = self.latest
        best = f"  (best {self.best_validation:.4f})" if math.isfinite(self.best_validation) else ""
        validation, rate = _number(known.get("validation_loss"), ".4f"), known.get("learning_rate")
        return [
            ("loss", _number(known.get("loss"), ".4f"), "smoothed", _number(self.smoothed, ".4f")),
            ("validation", validation + best, "lr", _number(rate, ".2e")),
            (
                "tokens/s",
                _count(known.get("tokens_per_second")),
                "norm",
                _number(known.get("grad_norm"), ".2f"),
            ),
            ("computes", _computes(self.flops_a_token, known), *_skipped(known)),
            ("memory", _memory(), "left", format_seconds(self.seconds_left())),
        ]

    def __rich__(self) -> Drawing:
        """The drawing, at most 80 columns wide."""
        from rich.panel import Panel as Drawing
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column(no_wrap=True)
        for name, value, other, its in self.rows():
            table.add_row(Text(name, "dim"), Text(value), Text(other, "dim"), Text(its))
        whole = Table.grid()
        whole.add_row(table)
        whole.add_row(Text(sparkline(np.array(self.losses), COLUMNS - 8), no_wrap=True))
        share = self.done / self.steps if self.steps else 1.0
        title = f"training  step {self.done}/{self.steps}  {share:.0%}"
        return Drawing(whole, title=Text(title), title_align="left", width=COLUMNS)


@contextmanager
def watch(
    steps: int, first_step: int, *, panel: bool, flops_a_token: float = 0
) -> Iterator[tuple[Logger, Callable[..., None]]]:
    """Show a run while the block runs.

    Args:
        steps: how many there will be.
        first_step: how many are done.
        panel: draw the panel where stderr is a terminal; False gives lines there too.
        flops_a_token: of the model, forward and backward; 0 where unknown.

    Yields:
        A logger, and ``advance(amount=1, note="")`` to count steps.

    """
    if not (panel and on_terminal()):
        with progress("training", steps, "steps") as advance:
            advance(first_step)
            yield Console(steps), advance
        return
    from rich.console import Console as Terminal
    from rich.live import Live

    shown = Panel(steps, first_step, flops_a_token)
    terminal = Terminal(stderr=True)
    with Live(shown, console=terminal, refresh_per_second=REFRESHES_PER_SECOND, transient=True):
        yield shown, shown.advance


def format_seconds(seconds: float | None) -> str:
    """A time for people.

    >>> format_seconds(59.6), format_seconds(3700), format_seconds(None)
    ('1:00', '1:01:40', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _number(value: float | None, form: str) -> str:
    return format(value, form) if value is not None and math.isfinite(value) else "–"


def _count(value: float | None) -> str:
    return format_count(round(value)) if value is not None and math.isfinite(value) else "–"


def _skipped(known: Metrics) -> tuple[str, str]:
    """How many steps were not taken, where there are any."""
    return ("skipped", f"{known['skipped']:.0f}") if known.get("skipped") else ("", "")


def _computes(flops_a_token: float, known: Metrics) -> str:
    """Operations of the model's matrix products a second, as `mfu.flops_a_token` counts them, and their MFU."""
    rate = flops_a_token * known.get("tokens_per_second", 0)
    if not (math.isfinite(rate) and rate > 0):
        return "–"
    return f"{rate / 1e12:.3g} TFLOP/s" + (f" (MFU {known['mfu']:.0%})" if "mfu" in known else "")


def _memory() -> str:
    """The peak so far: of the GPU where torch uses one, else of this process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB (GPU, peak)"
    peak = peak_memory()
    return f"{peak / 2**30:.1f} GiB (peak)" if peak else "–"
