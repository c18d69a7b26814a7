"""`gpt2x runs`: list training runs, draw one, compare several. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Json, Out, Quiet, examples
from gpt2x.console import complain, emit, emit_json, say
from gpt2x.errors import Gpt2xError, InputDataError
from gpt2x.tables import emit_table

if TYPE_CHECKING:
    from gpt2x.train.records import Record

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List training runs, draw one, compare several.",
)

PAGE = Path("compare.html")


@app.callback(
    invoke_without_command=True,
    epilog=examples("gpt2x runs", "gpt2x runs compare runs/a runs/b", "gpt2x runs show lyrics"),
)
def list_runs(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("--in", metavar="FOLDER", help="Where the runs are; by default GPT2X_RUNS, or runs."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List training runs, the newest last; `compare` draws several together, `show` draws one.

    JSON: a list of {run, recipe, parameters, steps, tokens, seconds, loss, validation_loss, best_validation_loss,
    tokens_per_second, modified}; what is unknown is null.
    """
    if context.invoked_subcommand is not None:
        return
    from gpt2x.paths import runs_dir

    place = runs_dir() if folder is None else folder
    if not place.is_dir():
        raise InputDataError(
            f"there is no folder {place}; give one with --in, or train first: gpt2x train lyrics"
        )
    records = _readable(sorted(path for path in _entries(place) if path.is_dir()))
    records.sort(key=lambda record: record.modified)
    _print(records, as_json)
    if not records:
        say(f"there is no run in {place}")


@app.command(
    "compare",
    short_help="Draw runs together in one page.",
    epilog=examples("gpt2x runs compare lyrics runs/other --out both.html"),
)
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Run folders, or names of runs in GPT2X_RUNS.")
    ],
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw runs together in one HTML file (--out, by default compare.html), and print their figures.

    The page needs no network and no script. JSON: as of `gpt2x runs`, each with `settings`, those that differ.
    """
    from gpt2x.train.records import differing_settings
    from gpt2x.train.report import comparison, show_setting, write_page

    records = _readable(_find(runs))
    if not records:
        raise InputDataError("none of these runs can be read; give folders of gpt2x train")
    names = differing_settings(records)
    path = PAGE if out is None else out
    write_page(path, comparison(records))
    if as_json:
        emit_json([r.to_dict() | {"settings": {n: r.settings.get(n) for n in names}} for r in records])
    else:
        _print(records, False)
        if names:
            rows = [[record.name, *(show_setting(record, name) for name in names)] for record in records]
            emit("")
            emit_table(["run", *names], rows)
    say(f"\npage       {path}")


@app.command(
    "show",
    short_help="Draw the curves of one run.",
    epilog=examples("gpt2x runs show lyrics", "gpt2x runs show runs/mine --out mine.html"),
)
def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or the name of a run in GPT2X_RUNS.")
    ],
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw the curves of one run in the terminal, and with --out as an HTML page. JSON: as of `gpt2x runs`."""
    from gpt2x.model.runs import find_run
    from gpt2x.train.records import read_record
    from gpt2x.train.report import run_page, write_page

    record = read_record(find_run(run))
    if out is not None:
        write_page(out, run_page(record))
    if as_json:
        emit_json(record.to_dict())
    else:
        _print([record], False)
        for name, curve in (("loss", record.curves.loss), ("validation loss", record.curves.validation)):
            emit(_drawing(name, curve))
    if out is not None:
        say(f"\npage       {out}")


def _drawing(name: str, curve: Any) -> str:
    """A curve with its range: 72 columns, with the highest and lowest value at the left."""
    from gpt2x.train.curves import plot

    lines = plot(curve)
    if not lines:
        return f"\n{name}: none was logged"
    labels = [""] * len(lines)
    labels[0], labels[-1] = f"{curve.values.max():.3f}", f"{curve.values.min():.3f}"
    drawn = [f"{label:>9} {line}" for label, line in zip(labels, lines, strict=True)]
    return "\n".join(["", f"{name}, steps {curve.steps[0]:.0f} to {curve.steps[-1]:.0f}", *drawn])


def _print(records: Sequence[Record], as_json: bool) -> None:
    from gpt2x.train.report import COLUMNS, figures

    if as_json:
        emit_json([record.to_dict() for record in records])
    elif records:
        right = [False, False, *[True] * (len(COLUMNS) - 2), False]
        rows = [[record.name, *figures(record)] for record in records]
        emit_table(["run", *COLUMNS], rows, right=right)


def _entries(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError as error:
        raise InputDataError(f"{place} cannot be read: {error.strerror}; give another folder") from error


def _find(names: Sequence[str]) -> list[Path]:
    """The folders of runs; a name that is none is one sentence and left out."""
    from gpt2x.model.runs import find_run

    found = []
    for name in names:
        try:
            found.append(find_run(name))
        except InputDataError as error:
            complain(f"left out: {error}")
    return found


def _readable(folders: Sequence[Path]) -> list[Record]:
    """What the runs in these folders tell; one that cannot be read is one sentence and left out."""
    from gpt2x.train.records import read_record

    records = []
    for folder in folders:
        try:
            records.append(read_record(folder))
        except Gpt2xError as error:
            complain(f"left out: {error}")
    return records
