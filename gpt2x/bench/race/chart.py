"""The chart of a race: held-out loss against training seconds, and where each entrant meets the target. No torch.

matplotlib is optional (the extra ``plots``) and imported here only, when a chart is drawn.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from gpt2x.bench.charts import FAINT, GRID, INK, new_figure
from gpt2x.bench.folder import RACE_PICTURES
from gpt2x.bench.race import report
from gpt2x.bench.race.results import Entry, Results
from gpt2x.paths import atomic_write

# Okabe and Ito's palette, which all common colour deficiencies can tell apart; after its end the lines are dashed.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a89d00")
STYLES = ("-", (0, (4, 2)))


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``race.png`` and ``race.svg`` into the folder; nothing where no round is done.

    Raises:
        MissingComponentError: matplotlib is not installed.
        OutputError: a file cannot be written.

    """
    figure = new_figure(11, 6.2, dpi=130)
    if results.target is None:
        return []
    axes = figure.subplots()
    others = [entry for entry in results.ranking if entry is not results.baseline]
    for place, entry in enumerate(others):
        style = STYLES[min(place // len(COLORS), len(STYLES) - 1)]
        _line(axes, results, entry, color=COLORS[place % len(COLORS)], linestyle=style)
    _line(axes, results, results.baseline, color=INK, linestyle="-")
    axes.axhline(results.target, color=FAINT, linewidth=0.9)
    axes.annotate(
        f"target {results.target:.3f}", (1, results.target), xycoords=("axes fraction", "data"),
        xytext=(-2, 3), textcoords="offset points", ha="right", color=FAINT, fontsize=8.5,
    )  # fmt: skip
    _finish(figure, axes, results)
    written = []
    for name in RACE_PICTURES:
        with atomic_write(folder / name) as file:
            figure.savefig(file, format=name.rpartition(".")[2])
        written.append(folder / name)
    return written


def middle(results: Results, entry: Entry) -> tuple[list[float], list[float]]:
    """Seconds and losses of an entrant: the medians over its seeds, measurement by measurement."""
    runs = [entry.runs[seed].points for seed in results.rounds]
    return (
        [statistics.median(point.seconds for point in points) for points in zip(*runs, strict=True)],
        [statistics.median(point.loss for point in points) for points in zip(*runs, strict=True)],
    )


def _line(axes: Any, results: Results, entry: Entry, **style: Any) -> None:
    """The median curve, the range of the seeds around it, and a dot where the target is met."""
    seconds, losses = middle(results, entry)
    runs = [entry.runs[seed].points for seed in results.rounds]
    low, high = (
        [edge(point.loss for point in points) for points in zip(*runs, strict=True)] for edge in (min, max)
    )
    figures = results.figures(entry)
    label = entry.entrant.title
    if figures.reaches:
        label += f"  {figures.seconds:.1f} s"
        if entry is not results.baseline:
            label += f", {report.share(figures.seconds_ratio)} of the baseline's"
    axes.plot(seconds, losses, linewidth=1.6, label=label, **style)
    axes.fill_between(seconds, low, high, color=style["color"], alpha=0.12, linewidth=0)
    if figures.reaches:
        axes.plot([figures.seconds], [results.target], "o", color=style["color"], markersize=5)


def _finish(figure: Any, axes: Any, results: Results) -> None:
    """Axes, legend, a headline that says the result, and the setting below it."""
    _, losses = middle(results, results.baseline)
    target = results.target or 0.0
    axes.set_ylim(target - 0.12 * (losses[0] - target), target + 0.75 * (losses[0] - target))
    axes.set_xlim(left=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("training seconds (measuring losses not counted)", color=INK, fontsize=10)
    axes.set_ylabel("held-out loss, nats a token", color=INK, fontsize=10)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right")
    figure.text(
        0.02,
        0.965,
        _plain(report.sentence(results)),
        fontsize=11,
        weight="bold",
        color=INK,
        va="center",
        wrap=True,
    )
    figure.text(0.02, 0.925, _plain(report.setting_line(results)), fontsize=8.5, color=FAINT, va="center")
    figure.subplots_adjust(left=0.07, right=0.985, top=0.895, bottom=0.085)


def _plain(text: str) -> str:
    """Text as it stands: no formulas between dollar signs."""
    return text.replace("$", r"\$")
