"""Pictures of a comparison: accuracies with their intervals, and what the best classifier confuses.

Needs matplotlib (``pip install "gpt2x[plots]"``), which is imported when a picture is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt2x.classify.report import ComparisonReport, ModelResult
from gpt2x.errors import MissingComponentError
from gpt2x.paths import atomic_write


def write_charts(report: ComparisonReport, folder: Path) -> list[Path]:
    """Draw accuracy.png, and confusion-NAME.png for each classifier that ran; returns what was written.

    Raises:
        MissingComponentError: matplotlib is not installed.
        OutputError: a picture cannot be written.

    """
    ran = [result for result in report.models if result.ok]
    pictures = [("accuracy.png", _draw_accuracy(report, ran))]
    pictures += [(f"confusion-{result.name}.png", _draw_confusion(report, result)) for result in ran]
    paths = []
    for name, figure in pictures:
        with atomic_write(folder / name) as file:
            figure.savefig(file, format="png", dpi=120, metadata={"Software": "gpt2x"})
        paths.append(folder / name)
    return paths


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system, no global state
    except ImportError as error:
        raise MissingComponentError(
            'charts need matplotlib; install it: pip install "gpt2x[plots]"'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _draw_accuracy(report: ComparisonReport, ran: list[ModelResult]) -> Any:
    figure = _figure(7.5, 1.7 + 0.55 * max(1, len(ran)))
    axes = figure.add_subplot()
    shares = [100 * (result.accuracy or 0) for result in ran]
    below = [100 * ((result.accuracy or 0) - (result.accuracy_low or 0)) for result in ran]
    above = [100 * ((result.accuracy_high or 0) - (result.accuracy or 0)) for result in ran]
    titles = [result.title for result in ran]
    bars = axes.barh(
        titles, shares, xerr=[below, above], color="#4c78a8", ecolor="#222222", capsize=4, height=0.6
    )
    axes.bar_label(bars, labels=[f"{share:.1f} %" for share in shares], padding=8)
    axes.axvline(
        100 * report.majority_accuracy, color="#888888", linestyle=":", label="always the largest class"
    )
    axes.invert_yaxis()
    axes.set_xlim(0, min(100, 1.2 * max([*shares, 100 * report.majority_accuracy, 1])))
    axes.set_xlabel(f"top-1 accuracy on {report.test_rows:,} test texts, % (bar: 95 % interval)")
    axes.set_title(f"{len(report.classes)} classes, {report.train_rows:,} training texts")
    figure.legend(loc="outside lower right", fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_confusion(report: ComparisonReport, result: ModelResult) -> Any:
    num = len(report.classes)
    size = min(16.0, 3.5 + 0.24 * num)
    figure = _figure(size + 1, size)
    axes = figure.add_subplot()
    rows = [[count / max(1, sum(row)) for count in row] for row in result.confusion or []]
    image = axes.imshow(rows, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [str(label)[:24] for label in report.classes]
    font = 9 if num <= 12 else 6.5
    axes.set_xticks(range(num), names, rotation=90, fontsize=font)
    axes.set_yticks(range(num), names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{result.title}: share of each true class")
    figure.colorbar(image, shrink=0.7)
    return figure
