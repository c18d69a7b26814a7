"""The chart: tokens per second up the ladder, where the time of a token goes, and memory; PNG and SVG. No torch.

matplotlib is optional (the extra ``plots``) and imported here only, when a chart is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt2x.bench import report
from gpt2x.bench.measure import MS_PER_SECOND
from gpt2x.bench.results import Results, Row
from gpt2x.errors import MissingComponentError
from gpt2x.paths import atomic_write

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BAR, TOP, BROKEN = "#9fb3c8", "#2b6cb0", "#d9a08b"
PHASES = {"forward": "#2b6cb0", "backward": "#7fb2e5", "optimizer": "#f2a65a"}


def is_available() -> bool:
    """True where matplotlib is installed."""
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``ladder.png`` and ``ladder.svg`` into the folder.

    Raises:
        MissingComponentError: matplotlib is not installed.
        OutputError: a file cannot be written.

    """
    if not is_available():
        raise MissingComponentError('charts need matplotlib; install it with: pip install "gpt2x[plots]"')
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = results.rows
    figure = Figure(figsize=(13, 2.1 + 0.42 * len(rows)), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)  # no window system, and no global state of pyplot
    speed, time, memory = figure.subplots(1, 3, sharey=True, gridspec_kw={"width_ratios": [5, 4.3, 2.2]})
    _speed_panel(speed, results)
    _time_panel(time, results)
    _memory_panel(memory, results)
    speed.set_yticks(range(len(rows)), [f"{row.title}  {row.number}" for row in rows], color=INK)
    for place, row in enumerate(rows):
        if not row.counts:
            speed.get_yticklabels()[place].set_color(FAINT)
    speed.invert_yaxis()
    _titles(figure, results, len(rows))
    written = []
    for suffix in ("png", "svg"):
        path = folder / f"ladder.{suffix}"
        with atomic_write(path) as file:
            figure.savefig(file, format=suffix)
        written.append(path)
    return written


def _speed_panel(axes: Any, results: Results) -> None:
    measured = results.measured
    most = max((row.tokens_per_second for row in measured), default=1.0)
    top = results.climbed[-1] if results.climbed else None
    for place, row in enumerate(results.rows):
        if not row.is_measured:
            axes.text(most * 0.01, place, row.reason, va="center", color=FAINT, fontsize=8.5, style="italic")
            continue
        color = BROKEN if not row.counts else TOP if row is top else BAR
        low, high = (row.tokens_per_step * MS_PER_SECOND / ms for ms in (row.step.q3, row.step.q1))
        rate = row.tokens_per_second
        axes.barh(
            place,
            rate,
            color=color,
            height=0.66,
            xerr=[[rate - low], [high - rate]],
            error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 2},
        )
        label = f"{results.speedup_start(row):.2f} ×" + (
            "" if row.counts else "  loss is off: does not count"
        )
        axes.text(max(high, rate) + most * 0.015, place, label, va="center", color=INK, fontsize=9)
    axes.set_xlim(0, most * 1.24)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _style(axes, "tokens per second (× the start)")


def _time_panel(axes: Any, results: Results) -> None:
    for place, row in enumerate(results.rows):
        if not row.is_measured:
            continue
        left = 0.0
        for phase, color in PHASES.items():
            width = _ms_per_kilotoken(row, row.phase_ms(phase))
            axes.barh(place, width, left=left, color=color, height=0.66)
            left += width
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    before = _style(axes, "ms per 1,000 tokens:")
    for phase, color in PHASES.items():  # the title is the legend: its words have the colours of the bars
        before = axes.annotate(
            f" {phase}", (1, 0), xycoords=before, va="bottom", fontsize=10, color=color, weight="bold"
        )


def _ms_per_kilotoken(row: Row, ms: float) -> float:
    return ms / row.tokens_per_step * 1000


def _memory_panel(axes: Any, results: Results) -> None:
    for place, row in enumerate(results.rows):
        if row.is_measured:
            axes.barh(place, row.peak_memory_bytes / 1e9, color=BAR, height=0.66)
    _style(axes, f"peak memory, GB ({'GPU' if results.setting.device == 'cuda' else 'process'})")


def _style(axes: Any, title: str) -> Any:
    """Take away what is not data; returns the title, for words that follow it."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.set_title(title, loc="left", fontsize=10, color=INK, pad=8)


def _titles(figure: Any, results: Results, num_rows: int) -> None:
    """A headline that says the result, the setting below it, and what the figures rest on at the foot."""
    import textwrap

    height = figure.get_figheight()
    headline = report.sentence(results).split(";")[0].rstrip(".")
    figure.text(0.012, 1 - 0.30 / height, headline, fontsize=14, weight="bold", color=INK, va="center")
    figure.text(0.012, 1 - 0.58 / height, report.setting_line(results), fontsize=10, color=FAINT, va="center")
    versions = ", ".join(f"{name} {version}" for name, version in results.machine.versions.items())
    foot = [
        "Bars: median; whiskers: the middle half of all steps. "
        f"Measured peak: {report.peak_line(results)}. {versions}.",
        *(line[0].upper() + line[1:] + "." for line in report.warnings(results)),
    ]
    text = "\n".join(textwrap.fill(line, 190) for line in foot)
    figure.text(0.012, 0.10 / height, text, fontsize=7.5, color=FAINT, va="bottom", linespacing=1.4)
    lines = text.count("\n") + 1
    figure.subplots_adjust(
        left=0.165, right=0.985, wspace=0.07, top=1 - 1.1 / height, bottom=(0.5 + 0.16 * lines) / height
    )
