"""`gpt2x bench show`, `compare` and `explain`: what can be said about a ladder after it was climbed. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from gpt2x.cli.bench_race import show_race
from gpt2x.cli.options import Json, Out, Quiet, examples
from gpt2x.console import clean, columns, emit, emit_json, say

if TYPE_CHECKING:
    from gpt2x.bench.ladder.report.explain import Page, Source
    from gpt2x.bench.ladder.results import Results

HELP = {
    "file": "A results.json, the folder that holds it, or a report.html.",
    "fail_below": "Exit with 1 if any rung of B is below this many times A, such as 0.95.",
    "rung": "A rung's name or number; without one, all are listed.",
    "results": "Take the figures from this result; by default from the newest below bench-results.",
}

ResultFile = Annotated[Path, typer.Argument(help=HELP["file"], metavar="FILE")]


def add_to(app: typer.Typer) -> None:
    """Make the three commands part of `gpt2x bench`."""
    app.command(
        short_help="Redraw a result from its file.",
        epilog=examples(
            "gpt2x bench show bench-results/before", "gpt2x bench show results.json --out pictures"
        ),
    )(show)
    app.command(
        short_help="Put two results side by side.",
        epilog=examples(
            "gpt2x bench compare before after",
            "gpt2x bench compare before after --fail-below 0.95",
            "gpt2x bench compare a.json b.json --json",
        ),
    )(compare)
    app.command(
        short_help="Explain a rung: idea, code, figures.",
        epilog=examples(
            "gpt2x bench explain",
            "gpt2x bench explain flash",
            "gpt2x bench explain 7 --results bench-results/before",
        ),
    )(explain)


def load_any(path: Path) -> Results:
    """Results from a results.json, its folder, or a report.html.

    Raises:
        InputDataError: it is missing or holds no result.

    """
    from gpt2x.bench.ladder.report import html
    from gpt2x.bench.ladder.results import load

    return html.load(path) if path.suffix == ".html" else load(path)


def write_pictures(results: Results, folder: Path) -> list[Path]:
    """Write report.html, and with matplotlib the chart, into the folder.

    Raises:
        OutputError: a file cannot be written.

    """
    from gpt2x.bench import charts
    from gpt2x.bench.ladder.report import chart, html

    written = [html.write(results, folder)]
    if charts.is_available():
        written += chart.draw(results, folder)
    return written


def say_written(written: list[Path]) -> None:
    """Tell which files there are now, and what the missing ones need."""
    from gpt2x.bench import charts

    say("\nwritten: " + ", ".join(map(str, written)))
    if not charts.is_available():
        say('the chart as PNG and SVG needs matplotlib: pip install "gpt2x[plots]"')


def show_results(results: Results, *, as_json: bool) -> None:
    """Print everything about a result, or its JSON."""
    from gpt2x.bench.ladder.report import text as report
    from gpt2x.bench.records import to_json

    if as_json:
        emit_json(to_json(results))
        return
    say("")
    emit(report.text(results, columns()))


def show(file: ResultFile, out: Out = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Redraw a result from its file: tables, bars and sentence; with --out also report.html and the chart.

    JSON: the result itself, as in results.json.
    """
    from gpt2x.bench import folder
    from gpt2x.bench.race import results as races

    if races.is_race(file):
        if out is not None:
            folder.check(out, folder.RACE_PICTURES)
        show_race(races.load(file), out, [], as_json=as_json)
        return
    results = load_any(file)
    if out is not None:
        folder.check(out, folder.PICTURES)
    written = write_pictures(results, out) if out is not None else []
    show_results(results, as_json=as_json)
    if written:
        say_written(written)


def compare(
    a: ResultFile,
    b: ResultFile,
    fail_below: Annotated[
        float | None, Option(help=HELP["fail_below"], metavar="RATIO", show_default=False)
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put two results side by side, rung by rung: two machines, or before and after a change.

    JSON: {a, b, differences: [text], facts: [{name, a, b}], rungs: [{key, title, a, b, ratio, low, high, verdict, …}]};
    a and b of a rung in tokens per second, ratio b ÷ a.
    """
    from gpt2x.bench.ladder.report import compare as side_by_side
    from gpt2x.bench.ladder.report import text as report

    threshold = None if fail_below is None else side_by_side.check_threshold(fail_below)
    results = load_any(a), load_any(b)
    compared = side_by_side.compare(*results)
    if as_json:
        emit_json({"a": str(a), "b": str(b), **side_by_side.as_dict(*results)})
    else:
        emit(clean(f"A: {a}\nB: {b}\n\n{side_by_side.facts_table(*results, width=columns())}\n"))
        emit(clean(side_by_side.table(compared, columns())))
        for line in [*side_by_side.notes(compared), *side_by_side.differences(*results)]:
            emit(clean(report.wrap(f"Note: {line}.", columns())))
    if threshold is not None:
        side_by_side.fail_below(*results, threshold)


def explain(
    rung: Annotated[
        str | None, typer.Argument(help=HELP["rung"], metavar="[RUNG]", show_default=False)
    ] = None,
    results: Annotated[Path | None, Option(help=HELP["results"], metavar="FILE", show_default=False)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain a rung: the idea, the formula, what moves in memory, our code, the paper, and what was measured here.

    JSON: {key, number, title, idea, sections, quotes, measured}; without a rung a list of {key, number, title, idea}.
    """
    from gpt2x.bench.ladder.report import explain as pages

    if rung is None:
        _list_pages(as_json=as_json)
        return
    found = pages.page(rung)
    source = pages.figures(found.key, results)
    if as_json:
        emit_json({**_about(found), **_more_about(found, source)})
        return
    emit(pages.for_terminal(found, source))


def _list_pages(*, as_json: bool) -> None:
    from gpt2x.bench.ladder.report import explain as pages

    if as_json:
        emit_json([_about(pages.page(key)) for key in pages.known()])
        return
    emit(pages.index())
    say("\none of them: gpt2x bench explain flash")


def _about(page: Page) -> dict[str, Any]:
    return {"key": page.key, "number": page.number, "title": page.title, "idea": page.idea}


def _more_about(page: Page, source: Source | None) -> dict[str, Any]:
    from dataclasses import asdict

    from gpt2x.bench.ladder.report import explain as pages

    measured = None
    if source is not None:
        measured = {
            "file": str(source.file),
            "recorded": source.recorded,
            "lines": pages.figure_lines(source, page.key),
        }
    return {
        "sections": page.sections,
        "quotes": [asdict(quote) for quote in page.quotes],
        "measured": measured,
    }
