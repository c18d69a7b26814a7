"""The report as one HTML file that opens anywhere: no script, no font, no picture, nothing from the network.

Pictures are inline SVG (`svg`), colours follow the reader's light or dark setting, and the results themselves lie in
the page as JSON, so that `load` reads from it what results.json would give. Every text goes through `markup.tag`,
which escapes it. Loads no torch.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from gpt2x.bench.ladder.report import explain, formatting, marks, svg
from gpt2x.bench.ladder.report import table as tables
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results, Row, parse
from gpt2x.bench.records import REPORT_DATA, to_json
from gpt2x.errors import InputDataError
from gpt2x.markup import Markup, join, json_script, tag
from gpt2x.paths import atomic_write, read_text

FILE = "report.html"
STYLE = Markup(
    """
:root{color-scheme:light dark;--ink:#1f2933;--faint:#616e7c;--line:#d9dee4;--paper:#fff;--card:#f5f7fa;--idle:#b0b8c1}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--faint:#9aa5b1;--line:#3e4c59;--paper:#14181d;--card:#1f262e;
--idle:#616e7c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem;max-width:1180px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.55rem;line-height:1.25;margin:.3rem 0 .6rem} h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0;max-width:46rem} .faint,.setting{color:var(--faint)} code{font:.88em ui-monospace,monospace}
pre{overflow-x:auto;background:var(--card);padding:.7rem;border-radius:6px}
.charts{display:grid;gap:1.4rem;margin-top:1.4rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr))}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.28rem .55rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th{color:var(--faint);font-weight:500} .l{text-align:left} .text{text-align:left;white-space:normal;min-width:9rem}
td.text:not([colspan]){white-space:nowrap} tr.is-top td{font-weight:600}
tr.is-idle td,tr.is-none td{color:var(--faint)} tr.is-broken td{color:#d55e00}
details{border-bottom:1px solid var(--line);padding:.45rem 0} summary{cursor:pointer}
summary b{display:inline-block;min-width:13rem} dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}
dt{color:var(--faint)} dd{margin:0;overflow-wrap:anywhere}
"""
    + svg.STYLE
)


def write(results: Results, folder: Path) -> Path:
    """Write ``report.html`` into the folder.

    Raises:
        OutputError: it cannot be written; nothing half-written is left.

    """
    path = folder / FILE
    with atomic_write(path, text=True) as file:
        file.write(page(results))
    return path


def page(results: Results) -> str:
    """The whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"gpt2x bench: {report.headline(results)}"),
        tag("style", STYLE),
    )
    body = tag(
        "body",
        tag("h1", _capital(report.headline(results)), "."),
        tag("p", report.setting_line(results), class_="setting"),
        tag("p", _capital(report.sentence(results).removeprefix(report.headline(results)).strip("; "))),
        _charts(results),
        tag("h2", "The ladder"),
        _wide(_table(results)),
        _notes([*report.notes(results), *report.warnings(results)]),
        _left_out(results),
        _peers(results),
        tag("h2", "Rung by rung"),
        *(_rung(results, row) for row in results.rows),
        tag("h2", "What this was measured on"),
        _facts(results),
        json_script(REPORT_DATA, to_json(results)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def load(path: Path) -> Results:
    """The results that lie in a report.

    Raises:
        InputDataError: the file is missing, or no report of ours.

    """
    found = re.search(
        rf'<script type="application/json" id="{REPORT_DATA}">(.*?)</script>', read_text(path), re.DOTALL
    )
    if found is None:
        raise InputDataError(f"{path} holds no results of `gpt2x bench`; give the report.html that it wrote")
    try:
        values = json.loads(found[1])
    except (ValueError, RecursionError) as error:
        raise InputDataError(f"{path} is damaged: {error}; give the results.json beside it") from error
    return parse(values, path)


# ----------------------------------------------------------------------------------------------------------------
# Parts


def _charts(results: Results) -> Markup:
    pictures = [
        svg.speed_chart(results),
        svg.ratio_chart(results),
        svg.time_chart(results),
        svg.memory_chart(results),
    ]
    if any(row.is_measured for row in results.left_out):
        pictures.append(svg.worth_chart(results))
    return tag("div", *pictures, class_="charts") if results.measured else Markup("")


def _table(results: Results) -> Markup:
    columns = tables.columns(results)
    heads = [tag("th", "#"), tag("th", "rung", class_="l"), *(tag("th", column.head) for column in columns)]
    lines = []
    for row in results.rows:
        cells = [tag("td", row.number), tag("td", row.title, class_="l")]
        if row.is_measured:
            name = marks.kind(results, row)
            cells += [
                tag("td", column.cell(results, row), class_=None if column.right else "text")
                for column in columns
            ]
        else:
            name = "none"
            cells.append(tag("td", marks.without_figures(row), colspan=len(columns), class_="text"))
        lines.append(tag("tr", *cells, class_=f"is-{name}", title=row.change))
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines))


def _wide(table: Markup) -> Markup:
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label="table")


def _notes(lines: Sequence[str]) -> Markup:
    return join(*(tag("p", f"{_capital(line)}.", class_="faint") for line in lines))


def _left_out(results: Results) -> Markup:
    if not results.left_out:
        return Markup("")
    lines = [_sentence_without(results, row) for row in results.left_out]
    return join(tag("h2", "The top without one rung"), tag("ul", *(tag("li", line) for line in lines)))


def _sentence_without(results: Results, row: Row) -> Markup:
    worth = results.worth(row)
    if worth is None:
        return join("without ", tag("b", row.title), f": {marks.without_figures(row)}")
    return join(
        "without ",
        tag("b", row.title),
        f": {row.tokens_per_second:,.0f} tokens/s; it is worth {formatting.format_times(worth)} × at the top",
    )


def _peers(results: Results) -> Markup:
    if not results.peers:
        return Markup("")
    lines = []
    for row in results.peers:
        worth = results.worth(row)
        if worth is None:
            lines.append(join(tag("b", row.title), f": {marks.without_figures(row)}"))
            continue
        figures = f"{row.tokens_per_second:,.0f} tokens/s, {formatting.format_memory(row.peak_memory_bytes)}"
        loss = marks.loss_of(results, row)
        lines.append(
            join(
                tag("b", row.title),
                f": {figures}" + (f", loss {loss:.3f}" if loss is not None else ""),
                f"; the top of the ladder is {formatting.format_times(worth)} × as fast",
            )
        )
    return join(tag("h2", "Beside what others use"), tag("ul", *(tag("li", line) for line in lines)))


def _rung(results: Results, row: Row) -> Markup:
    """One rung: its name and what it brought; opened, the idea behind it, its figures and all of its steps."""
    if row.is_measured and results.before(row) is not None:
        brought = formatting.format_ratio(results.before_ratio(row), " ×")
    else:
        brought = "" if row.is_measured else "–"
    about = explain.find(row.key)
    inside: list[Markup] = [tag("p", row.change, class_="faint")]
    if about is not None:
        inside.append(tag("p", inline(about.idea)))
    if row.is_measured:
        inside += [_figures(results, row), svg.samples_strip(row)]
    else:
        inside.append(tag("p", _capital(marks.without_figures(row)), "."))
    if about is not None and explain.PAPER in about.sections:
        inside.append(tag("p", inline(about.sections[explain.PAPER].split("\n\n")[0]), class_="faint"))
    return tag("details", tag("summary", tag("b", row.title), f" {brought}"), *inside)


def _figures(results: Results, row: Row) -> Markup:
    step, floor_ms = row.step, results.floor_ms(row)
    phases = ", ".join(f"{phase} {formatting.format_ms(row.phase_ms(phase))}" for phase in svg.PHASES)
    facts = {
        "step": f"{formatting.format_ms(step.median)} ms, the middle half of {step.count} steps "
        f"from {formatting.format_ms(step.q1)} to {formatting.format_ms(step.q3)}",
        "of which, ms": phases,
        "floor": f"{formatting.format_ms(floor_ms)} ms" if floor_ms is not None else "",
        "parameters": f"{row.parameters:,}",
        "until it stood": f"{row.build_s:.1f} s"
        + (f", first step {row.compile_s:.1f} s longer" if row.compile_s else ""),
        "losses": " → ".join(
            formatting.format_loss(loss) for loss in dict.fromkeys((row.losses[0], row.losses[-1]))
        )
        + f" in {len(row.losses)} steps"
        if row.losses
        else "",
        "loss": f"{row.loss.verdict}: {row.loss.reason}" if row.loss is not None else "",
        "the playground reported": row.reported,
        "note": row.note,
    }
    return _list(facts)


def _facts(results: Results) -> Markup:
    machine = results.machine
    gpus = ", ".join(gpu.name for gpu in machine.gpus)
    return _list(
        {
            "machine": machine.describe("cpu"),
            "GPU": gpus,
            "instructions": ", ".join(machine.instruction_sets),
            "memory": formatting.format_memory(machine.memory_bytes) if machine.memory_bytes else "",
            "system": machine.system,
            "measured peak": report.peak_line(results),
            "versions": ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
            "learned from": results.text,
            "command": shlex.join(results.command),
            "ended": f"{results.created}, after {results.duration_s:.0f} s" if results.created else "",
            "others on the machine": f"{report.busy_share(results):.0%} of the cores",
            "rounds": "over all rungs in turn" if results.interleaved else "one rung after the other",
        }
    )


def _list(facts: dict[str, str]) -> Markup:
    shown = ((name, value) for name, value in facts.items() if value)
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in shown))


def inline(markdown: str) -> Markup:
    """A paragraph of a page: code and strong words marked, links by their words alone.

    >>> inline("**V** < `Vp`, see [here](x.md)")
    '<b>V</b> &lt; <code>Vp</code>, see here'
    """
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*)", text)
    return join(*(_marked(part) for part in parts))


def _marked(part: str) -> Markup | str:
    if part.startswith("`"):
        return tag("code", part.strip("`"))
    return tag("b", part.strip("*")) if part.startswith("**") else part


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
