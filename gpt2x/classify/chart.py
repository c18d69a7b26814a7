"""Pictures of a comparison: accuracies with their intervals, and what the best classifier confuses.

Needs matplotlib (``pip install "gpt2x[plots]"``), which is imported when a picture is drawn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpt2x.classify import matrix
from gpt2x.classify.report import ComparisonReport, ModelResult
from gpt2x.errors import MissingComponentError
from gpt2x.paths import atomic_write

OWN_FONT = "DejaVu Sans"
"""Comes with matplotlib."""

MOST_WITH_NUMBERS = 45
"""A matrix of more classes has no room for numbers."""


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
    confusion = np.array(result.confusion)
    order = matrix.shown_classes(confusion)
    num = len(order)
    size = min(16.0, 3.5 + 0.24 * num)
    figure = _figure(size + 1, size)
    axes = figure.add_subplot()
    rows = matrix.shares_of(confusion)[np.ix_(order, order)]
    image = axes.imshow(rows, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [matrix.cut_label(report.classes[k]) for k in order]
    family = _families(names)
    names = [_plain(_drawable(name, family)) for name in names]
    font = 9 if num <= 12 else 6.5
    axes.set_xticks(range(num), names, rotation=90, fontsize=font, fontfamily=list(family))
    axes.set_yticks(range(num), names, fontsize=font, fontfamily=list(family))
    if num <= MOST_WITH_NUMBERS:
        _write_shares(axes, rows, font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    which = "" if num == len(confusion) else f", the {num} classes with the most mistakes"
    axes.set_title(f"{result.title}: share of each true class in percent{which}")
    figure.colorbar(image, shrink=0.7)
    return figure


def _write_shares(axes: Any, rows: np.ndarray, font: float) -> None:
    """The shares (K, K) in percent, white on dark cells; less than half a percent is left out."""
    for i, row in enumerate(rows):
        for j, share in enumerate(row):
            if share >= 0.005:
                colour = "white" if share > 0.5 else "#222222"
                axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=font, color=colour)


# -- labels in any script -------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """A text in which matplotlib sees no formula: it would set what stands between two dollar signs as one."""
    return text.replace("$", r"\$")


def _families(texts: Iterable[str]) -> dict[str, frozenset[int]]:
    """Fonts of this machine that have the characters of these texts, and what each has: matplotlib's own first."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    missing = {ord(char) for text in texts for char in text}
    found: dict[str, frozenset[int]] = {}
    listed = sorted(
        fontManager.ttflist, key=lambda font: (font.name != OWN_FONT, font.weight != 400, font.name)
    )
    for font in listed:
        _take_font(font.name, font.fname, found, missing)
    if missing:  # the list is a cache, which does not know of fonts that were installed since
        for file in sorted(set(findSystemFonts()) - {font.fname for font in listed}):
            with contextlib.suppress(OSError, RuntimeError):
                fontManager.addfont(file)
                _take_font(fontManager.ttflist[-1].name, file, found, missing)
    return found


def _take_font(name: str, file: str, found: dict[str, frozenset[int]], missing: set[int]) -> None:
    """Add a font to those that were found if it is matplotlib's own or has what is missing yet."""
    from matplotlib.ft2font import FT2Font

    if name in found or name.startswith("Last Resort") or not (missing or name == OWN_FONT):
        return  # Last Resort has a box in the place of each character
    try:
        has = frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return  # a file that is gone, or is no font
    if name == OWN_FONT or missing & has:
        found[name] = has
        missing -= has


def _drawable(text: str, family: dict[str, frozenset[int]]) -> str:
    """The text, with its code points in the place of characters that no font has."""
    has = frozenset().union(*family.values())
    return "".join(char if ord(char) in has else ascii(char)[1:-1] for char in text)
