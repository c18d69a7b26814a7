"""Runs as one HTML file that opens anywhere: inline SVG, no script, no font, nothing from the network. Loads no torch.

Colours follow the reader's light or dark setting; on a phone the charts stand below one another. Every text goes
through `markup.tag`, which escapes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2x.console import format_count, say
from gpt2x.errors import Gpt2xError
from gpt2x.markup import Markup, join, tag
from gpt2x.paths import atomic_write
from gpt2x.train import chart
from gpt2x.train.chart import Line, line_chart
from gpt2x.train.checkpoint import CURVES, REPORT
from gpt2x.train.curves import AXES, sparkline
from gpt2x.train.records import Record, differing_settings, read_record

NOTHING = "–"
COLUMNS = ("recipe", "parameters", "steps", "last", "best", "tokens/s", "when")

STYLE = Markup(
    chart.LIGHT
    + chart.DARK
    + """
:root{color-scheme:light dark;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#14181d}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem;max-width:1500px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.3rem 0;overflow-wrap:anywhere} h2{font-size:1.1rem;margin:1.8rem 0 .5rem}
.faint{color:var(--faint)} .wide{overflow-x:auto} .swatch{display:inline-block;width:26px;margin-right:.5rem}
.charts{display:grid;gap:1.2rem;margin-top:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr))}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th{color:var(--faint);font-weight:500} th:first-child,td:first-child{text-align:left}
"""
    + chart.STYLE
)


def figures(record: Record) -> list[str]:
    """What a list of runs tells of one, in the order of `COLUMNS`."""
    curves = record.curves
    speed = curves.tokens_per_second()
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.modified))
    return [
        record.recipe or NOTHING,
        format_count(record.parameters) if record.parameters is not None else NOTHING,
        str(curves.steps),
        _loss(curves.validation.last()),
        _loss(curves.validation.best()),
        format_count(speed) if speed is not None else NOTHING,
        when,
    ]


def show_setting(record: Record, name: str) -> str:
    """The value of a setting in a table."""
    value: Any = record.settings.get(name)
    return NOTHING if value is None else str(value)


def comparison(records: Sequence[Record]) -> str:
    """A page on several runs: figures, curves against steps, tokens and seconds, and the settings that differ."""
    names = differing_settings(list(records))
    settings = [
        tag("h2", "Settings that differ"),
        _table(["run", *names], records, lambda record: [show_setting(record, name) for name in names]),
    ]
    title = f"{len(records)} runs of gpt2x train"
    return _page(
        title,
        _table(["run", *COLUMNS], records, figures),
        _charts(records, "validation loss"),
        _charts(records, "loss"),
        *(settings if names else [tag("p", "All settings are alike.", class_="faint")]),
    )


def run_page(record: Record) -> str:
    """A page on one run: figures, curves, and all its settings."""
    rows = [tag("tr", tag("td", name), tag("td", show_setting(record, name))) for name in record.settings]
    return _page(
        f"{record.name}: a run of gpt2x train",
        _table(["run", *COLUMNS], [record], figures),
        tag("p", "Thin: loss in training. Dotted: validation loss. Nats a token.", class_="faint"),
        tag("div", *(both_losses(record, axis) for axis in AXES), class_="charts"),
        tag("h2", "Settings"),
        tag("div", tag("table", *rows), class_="wide"),
    )


def both_losses(record: Record, axis: str) -> Markup:
    """The loss of one run, thin, and its validation loss."""
    curves = record.curves
    lines = [
        Line(curves.loss, 0, "loss", thin=True),
        Line(curves.validation, 1, "validation loss"),
    ]
    return line_chart(f"loss and validation loss against {axis}", lines, axis)


def write_page(path: Path, page: str) -> None:
    """Write a page.

    Raises:
        OutputError: it cannot be written; nothing half-written is left.

    """
    with atomic_write(path, text=True) as file:
        file.write(page)


def show_curves(folder: Path) -> None:
    """At the end of a training run: draw its curves into its folder, and show them as a line; never fails the run."""
    try:
        record = write_run_report(folder)
    except Gpt2xError as error:
        say(f"curves     not drawn: {error}")
        return
    say(f"curves     loss {sparkline(record.curves.loss.values)}  {folder / REPORT}")


def write_run_report(folder: Path) -> Record:
    """Write the report and the curves of a run into its folder, and return what was read of it.

    Raises:
        InputDataError: the run cannot be read.
        OutputError: a file cannot be written.

    """
    record = read_record(folder)
    write_page(folder / REPORT, run_page(record))
    write_page(folder / CURVES, chart.standalone(both_losses(record, "steps")))
    return record


# ----------------------------------------------------------------------------------------------------------------


def _charts(records: Sequence[Record], what: str) -> Markup:
    def lines() -> list[Line]:
        return [
            Line(
                record.curves.loss if what == "loss" else record.curves.validation,
                place,
                record.name,
                thin=what == "loss",
            )
            for place, record in enumerate(records)
        ]

    return tag(
        "div", *(line_chart(f"{what} against {axis}", lines(), axis) for axis in AXES), class_="charts"
    )


def _table(heads: Sequence[str], records: Sequence[Record], cells: Any) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", chart.swatch(place) if len(records) > 1 else None, record.name),
            *(tag("td", cell) for cell in cells(record)),
        )
        for place, record in enumerate(records)
    ]
    return tag("div", tag("table", tag("tr", *(tag("th", head) for head in heads)), *rows), class_="wide")


def _page(title: str, *parts: Markup) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", STYLE),
    )
    return (
        "<!doctype html>\n" + tag("html", head, tag("body", tag("h1", title), join(*parts)), lang="en") + "\n"
    )


def _loss(value: float | None) -> str:
    return f"{value:.4f}" if value is not None and math.isfinite(value) else NOTHING
