"""A comparison as one HTML file that opens offline: no script, no font, no picture, nothing from the network.

The chart is inline SVG, colours follow the reader's light or dark setting, and the results lie in the page as JSON.
Every text goes through `markup.tag`, which escapes it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gpt2x.classify import matrix
from gpt2x.classify.metrics import per_class
from gpt2x.classify.report import ComparisonReport, ModelResult, summary
from gpt2x.console import display_width, format_count
from gpt2x.markup import Markup, join, json_script, tag
from gpt2x.paths import atomic_write

STYLE = Markup("""
:root{color-scheme:light dark;--ink:#1f2933;--faint:#616e7c;--line:#d9dee4;--paper:#fff;--dot:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--faint:#9aa5b1;--line:#3e4c59;--paper:#14181d;--dot:#56b4e9}}
body{margin:0 auto;padding:1.2rem;max-width:1180px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25} h2{font-size:1.15rem;margin:2rem 0 .6rem} .faint{color:var(--faint)}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th{color:var(--faint);font-weight:500} .l{text-align:left} .text{text-align:left;white-space:normal;min-width:20rem}
svg{display:block;width:100%;height:auto;max-width:640px;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)} svg .faint{fill:var(--faint)} svg line{stroke:var(--line)} svg .whisker{stroke:var(--dot)}
svg circle{fill:var(--dot)} svg .peer{fill:var(--paper);stroke:var(--dot);stroke-width:2}
.chart{min-width:600px} .matrix{width:auto;max-width:none;font-size:11px} .matrix rect{fill:var(--dot)}
.matrix .frame{fill:none;stroke:var(--line)} .matrix .number{font-size:10px;pointer-events:none}
.matrix text.strong{fill:var(--paper)} .tag{color:var(--faint);border:1px solid var(--line);border-radius:.3rem;
padding:0 .3rem;margin-left:.4rem;font-size:.75rem} details{margin:.6rem 0} summary{cursor:pointer}
@media(max-width:600px){body{padding:.8rem} h1{font-size:1.2rem} .text{min-width:14rem}}
""")

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 340, 52, 150, 16, 44
"""The chart: its size, and the room for the scales and for the names at the right."""

CHARACTER, LINE = 7, 13
"""About how wide a character of a name is, and how far apart two lines of names are."""

LEAST_SECONDS = 1e-3


def write(report: ComparisonReport, path: Path) -> None:
    """Write the page.

    Raises:
        OutputError: it cannot be written; nothing half-written is left.

    """
    with atomic_write(path, text=True) as file:
        file.write(page(report))


def page(report: ComparisonReport) -> str:
    """The whole page."""
    headline = summary(report, chart=False).splitlines()[0]
    ran = sorted((one for one in report.models if one.ok), key=lambda one: -(one.accuracy or 0))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"gpt2x classify: {headline}"),
        tag("style", STYLE),
    )
    body = tag(
        "body",
        tag("h1", headline),
        tag("p", _setting(report), class_="faint"),
        tag("h2", "The classifiers, the most accurate first"),
        _table(report, ran),
        tag("h2", "Accuracy against cost"),
        tag("div", chart(ran), class_="wide"),
        tag("h2", "Category by category (F1)"),
        _categories(report, ran),
        tag("h2", "What is taken for what"),
        *(_confusions(report, one, is_open=one is ran[0]) for one in ran),
        tag("h2", "What this was measured with"),
        tag("p", ", ".join(f"{name} {value}" for name, value in report.environment.items())),
        json_script("comparison", report.to_dict()),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _setting(report: ComparisonReport) -> str:
    source = "" if report.source is None else f"{report.source}: "
    return (
        f"{source}{report.train_rows:,} texts to learn from, {report.test_rows:,} to test on, {len(report.classes)} "
        f"classes; split {report.split}, seed {report.seed}. The largest class alone gives "
        f"{report.majority_accuracy:.1%}. Duplicates between the parts: {report.test_texts_in_training:,} test texts "
        f"({report.test_texts_in_training / max(report.test_rows, 1):.2%}) stand word for word among the training "
        "texts, too."
    )


def _table(report: ComparisonReport, ran: list[ModelResult]) -> Markup:
    heads = (
        *("classifier", "top-1", "95 % interval", "macro-F1", "ECE", "parameters", "training", "processor"),
        *("prediction", "texts/s", "peak memory", "McNemar vs next"),
    )
    rows = [
        (
            _name(one),
            f"{one.accuracy:.2%}",
            f"{one.accuracy_low:.1%}–{one.accuracy_high:.1%}",
            f"{one.macro_f1:.3f}",
            "" if one.calibration_error is None else f"{one.calibration_error:.3f}",
            format_count(one.parameters or 0),
            f"{one.train_seconds:.1f} s",
            f"{one.cpu_seconds or 0:.1f} s",
            "" if one.predict_seconds is None else f"{one.predict_seconds:.2f} s",
            format_count(round(one.predict_texts_per_second or 0)),
            "" if not one.peak_memory_bytes else f"{one.peak_memory_bytes / 2**20:,.0f} MiB",
            _against_next(one),
        )
        for one in ran
    ]
    lines = [
        tag("tr", *(tag("td", cell, class_="l" if k == 0 else None) for k, cell in enumerate(row)))
        for row in rows
    ]
    lines += [
        tag(
            "tr",
            tag("td", _name(one), class_="l"),
            tag("td", f"did not run: {one.reason}", class_="text", colspan=len(heads) - 1),
        )
        for one in report.models
        if not one.ok
    ]
    return _wide([tag("th", head, class_="l" if k == 0 else None) for k, head in enumerate(heads)], lines)


def _name(one: ModelResult) -> Markup:
    return join(one.title, tag("span", "peer", class_="tag") if one.peer else None)


def _against_next(one: ModelResult) -> str:
    if one.p_versus_next is None:
        return ""
    sign = "better" if one.p_versus_next < 0.05 else "a tie"
    return f"{sign}, p = {one.p_versus_next:.2g}"


def _wide(heads: list[Markup], lines: list[Markup]) -> Markup:
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines))
    return tag("div", table, class_="wide")


def _categories(report: ComparisonReport, ran: list[ModelResult]) -> Markup:
    if not ran:
        return tag("p", "No classifier ran.")
    precision, recall, _ = per_class(np.array(ran[0].confusion))
    f1 = [per_class(np.array(one.confusion))[2] for one in ran]
    counts = np.array(ran[0].confusion).sum(axis=1)
    heads = ["category", "test texts", *(one.title for one in ran)]
    heads += [f"precision of {ran[0].title}", f"recall of {ran[0].title}"]
    order = sorted(range(len(report.classes)), key=lambda k: -counts[k])
    lines = [
        tag(
            "tr",
            tag("td", str(report.classes[k]), class_="l"),
            tag("td", f"{counts[k]:,}"),
            *(tag("td", f"{own[k]:.3f}") for own in (*f1, precision, recall)),
        )
        for k in order
    ]
    return _wide([tag("th", head, class_="l" if k == 0 else None) for k, head in enumerate(heads)], lines)


def _confusions(report: ComparisonReport, one: ModelResult, *, is_open: bool) -> Markup:
    """The most confused pairs with an example each, and the matrix, folded away for all but the first."""
    examples = {(entry["label"], entry["predicted"]): entry["text"] for entry in one.examples}
    lines = [
        tag(
            "tr",
            tag("td", str(true), class_="l"),
            tag("td", str(taken), class_="l"),
            tag("td", f"{count:,} of {there:,}"),
            tag("td", examples.get((true, taken), ""), class_="text"),
        )
        for true, taken, count, there in report.confusions(one)
    ]
    heads = [tag("th", head, class_="l") for head in ("category", "taken for", "how often", "such as")]
    pairs = _wide(heads, lines) if lines else tag("p", "No mistake.")
    confusion = np.array(one.confusion)
    shown = min(len(confusion), matrix.MOST_SHOWN)
    which = (
        "" if shown == len(confusion) else f"The {shown} of {len(confusion)} classes with the most mistakes. "
    )
    legend = (
        f"{which}A row is a true class, a column what it was taken for, a number the share of the row in percent; "
        "classes that are taken for each other stand side by side."
    )
    picture = tag(
        "details",
        tag("summary", f"confusion matrix of {one.title}"),
        tag("p", legend, class_="faint"),
        tag("div", matrix.draw(confusion, report.classes), class_="wide"),
        open="open" if is_open else None,
    )
    return join(tag("h3", _name(one)), pairs, picture)


def chart(ran: list[ModelResult]) -> Markup:
    """Accuracy with its interval over the processor time of learning, on a logarithmic scale."""
    if not ran:
        return Markup("")
    seconds = [max(one.cpu_seconds or 0, LEAST_SECONDS) for one in ran]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)) + 1e-9)
    high = max(high, low + 1)
    bottom = min(one.accuracy_low or 0 for one in ran)
    top = max(one.accuracy_high or 0 for one in ran)
    span = max(top - bottom, 0.01)

    def across(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(share: float) -> float:
        return TOP + (bottom + span - share) / span * (HEIGHT - TOP - BOTTOM)

    parts = []
    for power in range(low, high + 1):
        x = across(10.0**power)
        parts += [
            tag("line", x1=x, y1=TOP, x2=x, y2=HEIGHT - BOTTOM),
            tag(
                "text",
                f"{10.0**power:g} s",
                x=x,
                y=HEIGHT - BOTTOM + 16,
                text_anchor="middle",
                class_="faint",
            ),
        ]
    for share in (bottom, bottom + span / 2, bottom + span):
        parts += [
            tag("line", x1=LEFT, y1=down(share), x2=WIDTH - RIGHT, y2=down(share)),
            tag("text", f"{share:.1%}", x=LEFT - 6, y=down(share) + 4, text_anchor="end", class_="faint"),
        ]
    for one, value in zip(ran, seconds, strict=True):
        x, y = across(value), down(one.accuracy or 0)
        parts += [
            tag(
                "line",
                x1=x,
                y1=down(one.accuracy_low or 0),
                x2=x,
                y2=down(one.accuracy_high or 0),
                class_="whisker",
            ),
            tag(
                "circle",
                tag("title", f"{one.title}: {one.accuracy:.2%}, {value:.1f} s"),
                cx=x,
                cy=y,
                r=5,
                class_="peer" if one.peer else None,
            ),
        ]
    points = [(across(value), down(one.accuracy or 0)) for one, value in zip(ran, seconds, strict=True)]
    for one, (x, y) in zip(ran, place_labels(points, [one.title for one in ran]), strict=True):
        parts.append(tag("text", one.title, x=x, y=y))
    rings = "; rings are peers" if any(one.peer for one in ran) else ""
    legend = f"top-1 accuracy (95 % interval) over the processor time of learning{rings}"
    parts.append(tag("text", legend, x=LEFT, y=HEIGHT - 8, class_="faint"))
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=legend,
        xmlns="http://www.w3.org/2000/svg",
    )


def place_labels(points: list[tuple[float, float]], names: list[str]) -> list[tuple[float, float]]:
    """Where the names of points begin: to their right, and lower or higher where another name is in the way.

    >>> place_labels([(0.0, 50.0), (5.0, 52.0)], ["one", "two"])
    [(9.0, 54.0), (14.0, 67.0)]
    """
    placed: list[tuple[float, float, float]] = []
    found: dict[int, tuple[float, float]] = {}
    for k in sorted(range(len(points)), key=lambda k: points[k][1]):
        x, y = points[k][0] + 9, points[k][1] + 4
        width = CHARACTER * display_width(names[k])
        while blocking := [
            other
            for left, other, wide in placed
            if abs(other - y) < LINE and left < x + width and x < left + wide
        ]:
            y = max(blocking) + LINE
        placed.append((x, y, width))
        found[k] = (x, y)
    return [found[k] for k in range(len(points))]
