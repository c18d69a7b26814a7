"""The chart: tokens per second up the ladder, where the time of a token goes, and memory; PNG and SVG. No torch.

matplotlib is optional (the extra ``plots``) and imported here only, when a chart is drawn.
"""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

from gpt2x.bench.charts import FAINT, GRID, INK, new_figure
from gpt2x.bench.ladder.report import formatting, marks
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.console import clean
from gpt2x.paths import atomic_write

# Okabe and Ito's palette, which all common colour deficiencies can tell apart; what does not pay is grey.
COLORS = {"top": "#0072b2", "rung": "#56b4e9", "idle": "#c3cad2", "broken": "#d55e00", "peer": "#cc79a7"}
LINE = 0.16
"""Inches that a line of the foot takes."""
NAMES = 2.55
"""Inches for the names of the rungs, of 32 letters and a number at most."""
HEADLINE_FITS = 105.0
"""Points of type for each inch of a line's width and each letter of it."""
PHASES = {"forward": "#0072b2", "backward": "#56b4e9", "optimizer": "#e69f00"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``ladder.png`` and ``ladder.svg`` into the folder.

    Raises:
        MissingComponentError: matplotlib is not installed.
        OutputError: a file cannot be written.

    """
    rows = [*results.rows, *results.peers]
    worths = {row.key: worth for row in results.left_out if (worth := results.worth(row)) is not None}
    ratios = [5, 4.3, 2.2, 2.2] if worths else [5, 4.3, 2.2]
    foot = _foot(results)
    height = 1.6 + 0.42 * len(rows) + LINE * (foot.count("\n") + 1)
    figure = new_figure(15.5 if worths else 13, height, dpi=150)
    panels = figure.subplots(1, len(ratios), sharey=True, gridspec_kw={"width_ratios": ratios})
    _speed_panel(panels[0], results)
    _time_panel(panels[1], results)
    _memory_panel(panels[2], results)
    if worths:
        _worth_panel(panels[3], results, worths)
    names = [_plain(textwrap.shorten(row.title, 32, placeholder=" …")) for row in rows]
    for place, row in enumerate(results.rows):
        names[place] += f"  {row.number}"
    panels[0].set_yticks(range(len(rows)), names, color=INK)
    for label, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        if not row.is_measured or marks.kind(results, row) in ("idle", "broken"):
            label.set_color(FAINT)
    if results.peers:
        for panel in panels:
            panel.axhline(len(results.rows) - 0.5, color=GRID, linewidth=1.2)
    panels[0].invert_yaxis()
    _titles(figure, results, foot)
    written = []
    for suffix in ("png", "svg"):
        path = folder / f"ladder.{suffix}"
        with atomic_write(path) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font has not got
            figure.savefig(file, format=suffix)
        written.append(path)
    return written


def _speed_panel(axes: Any, results: Results) -> None:
    rows = [*results.rows, *results.peers]
    most = max((row.tokens_per_second for row in rows if row.is_measured), default=1.0)
    for place, row in enumerate(rows):
        if not row.is_measured:
            reason = _plain(textwrap.shorten(marks.without_figures(row), 58, placeholder=" …"))
            axes.text(most * 0.01, place, reason, va="center", color=FAINT, fontsize=8.5, style="italic")
            continue
        low, rate, high = marks.rates(results, row)
        axes.barh(
            place,
            rate,
            color=COLORS[marks.kind(results, row)],
            height=0.66,
            xerr=[[max(0.0, rate - low)], [max(0.0, high - rate)]],
            error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 2},
        )
        times = f"{formatting.format_times(results.speedup_start(row))} ×"
        axes.text(max(high, rate) + most * 0.015, place, times, va="center", color=INK, fontsize=9)
        if place < len(results.rows) and not row.carries:
            axes.text(most * 0.015, place, marks.remark(results, row), va="center", color=INK, fontsize=8.5)
    axes.set_xlim(0, most * 1.24)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _style(axes, "tokens per second (× the start)")


def _worth_panel(axes: Any, results: Results, worths: dict[str, float]) -> None:
    """Tokens per second of the top ÷ those of the top without the rung; the bars stand on 1."""
    for place, row in enumerate(results.rows):
        worth = worths.get(row.key)
        if worth is None:
            continue
        axes.barh(place, worth - 1, left=1, color=COLORS["top" if worth >= 1 else "idle"], height=0.66)
        axes.text(
            max(worth, 1) + 0.02, place, formatting.format_times(worth), va="center", color=INK, fontsize=8
        )
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_xlim(min([*worths.values(), 0.9]), 1 + (max([*worths.values(), 1.1]) - 1) * 1.35)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    _style(axes, "worth at the top, ×")


def _time_panel(axes: Any, results: Results) -> None:
    for place, row in enumerate([*results.rows, *results.peers]):
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
    for place, row in enumerate([*results.rows, *results.peers]):
        if row.is_measured:
            axes.barh(place, row.peak_memory_bytes / 1e9, color=COLORS[marks.kind(results, row)], height=0.66)
    _style(axes, f"memory, GB ({'GPU' if results.setting.device == 'cuda' else 'process'})")


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


def _plain(text: str) -> str:
    """Text as it stands: no formulas between dollar signs, and nothing that has no picture."""
    return clean(text).replace("$", r"\$")


def _titles(figure: Any, results: Results, foot: str) -> None:
    """A headline that says the result, the setting below it, and what the figures rest on at the foot."""
    height = figure.get_figheight()
    headline = _plain(report.headline(results))
    size = min(14.0, HEADLINE_FITS * figure.get_figwidth() / len(headline))
    figure.text(0.012, 1 - 0.30 / height, headline, fontsize=size, weight="bold", color=INK, va="center")
    figure.text(
        0.012, 1 - 0.58 / height, _plain(report.setting_line(results)), fontsize=10, color=FAINT, va="center"
    )
    figure.text(0.012, 0.10 / height, foot, fontsize=7.5, color=FAINT, va="bottom", linespacing=1.4)
    bottom = 0.5 + LINE * (foot.count("\n") + 1)
    left = NAMES / figure.get_figwidth()
    figure.subplots_adjust(left=left, right=0.985, wspace=0.07, top=1 - 1.1 / height, bottom=bottom / height)


def _foot(results: Results) -> str:
    """What the figures rest on, and what the notes of the table say."""
    versions = ", ".join(f"{name} {version}" for name, version in results.machine.versions.items())
    lines = [
        "Bars: median; whiskers: the 90% interval of × start, or the middle half of all steps where there is none. "
        f"Measured peak: {report.peak_line(results)}. {versions}.",
        *(line[0].upper() + line[1:] + "." for line in [*report.notes(results), *report.warnings(results)]),
    ]
    return _plain("\n".join(textwrap.fill(line, 190) for line in lines))
