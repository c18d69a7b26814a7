"""`gpt2x classify compare`: the document classifiers side by side on one split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.classify_dials import Config, ShowConfig, settings, show_settings, with_dials
from gpt2x.cli.classify_options import (
    Data,
    Form,
    LabelColumn,
    Limit,
    Reading,
    SkipBad,
    TextColumns,
    read,
)
from gpt2x.cli.options import Device, Json, Out, Quiet, Seed, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.errors import Gpt2xError, MissingComponentError, OutputError
from gpt2x.tables import table_width

if TYPE_CHECKING:
    from gpt2x.classify.report import ComparisonReport

EXAMPLES = examples(
    "gpt2x classify compare --data news.jsonl.xz --limit 20000",
    "gpt2x classify compare --data news.jsonl.xz --models nb,tfidf --out report",
    "gpt2x classify compare --data huffpost --models nb,linear --report report.html",
    "gpt2x classify compare --data ag-news --models linear --peer sklearn --peer fasttext",
    "gpt2x classify compare --data news.jsonl.xz --input full --split playground --models linear",
    "gpt2x classify compare --data ag_news.csv --gpt2 runs/lyrics --json",
)


@with_dials
def compare(
    *,
    data: Data = "",
    form: Form = "playground",
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    models: Annotated[
        str, typer.Option("--models", "-m", metavar="NAMES", help="Which classifiers, separated by commas.")
    ] = "nb,hashed-nb,linear,tfidf,rnn,gpt2-lstm",
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            help="Also run somebody else's: sklearn (TF-IDF with LinearSVC, and with logistic regression), fasttext, "
            "or minilm (sentence vectors and logistic regression); give it again for more.",
            show_default=False,
        ),
    ] = None,
    min_rows: Annotated[
        int, typer.Option("--min-rows", metavar="N", min=1, help="Leave out classes with fewer rows than N.")
    ] = 1,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="NAME",
            help="How test texts are chosen: 'stratified' (a fifth of each class) or 'playground' (a fifth of all "
            "rows, as train_test_split does).",
        ),
    ] = "stratified",
    split_seed: Annotated[
        int | None,
        typer.Option(
            "--split-seed", metavar="N", min=0, help="Seed of the split alone; that of --seed by default."
        ),
    ] = None,
    test_data: Annotated[
        str | None,
        typer.Option(
            "--test-data", metavar="FILE|NAME", help="Test on this file, and learn from all of --data."
        ),
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option(
            "--abstain",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Also say how many texts get a label of probability P or more, and how many of these are right.",
        ),
    ] = None,
    blend: Annotated[
        bool, typer.Option("--blend", help="Add a row: all classifiers as one, weighted on held-back texts.")
    ] = False,
    config: Config = None,
    show_config: ShowConfig = False,
    dials: dict[str, Any],
    seed: Seed = 1,
    device: Device = "auto",
    out: Out = None,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write one HTML file that opens offline."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train and test the classifiers on one split, and print a table row as each is done.

    A fifth of each class is kept for the test. Printed: top-1 accuracy with its 95 % interval, macro-F1, how far
    probabilities are from accuracy (ECE), parameters, training time, prediction speed, and what the best one confuses.
    --peer puts scikit-learn, fastText or MiniLM beside them, with the same texts and the same measurements.
    --report FILE writes it all as one HTML file. --out DIR keeps report.json and, with matplotlib, charts; files of
    these names that it did not write are never replaced. A classifier that cannot run says why in its row.
    """
    from gpt2x.classify.kinds import COMPARED, get_kinds, get_peers

    kinds = get_kinds([*models.split(","), *get_peers(peers or ())], COMPARED)
    names = [kind.name for kind in kinds]
    if show_config:
        show_settings(names, dials, config, as_json)
        return
    chosen = settings(names, dials, config, device)
    _check_writable(out, report_file)
    keep_textless = split == "playground"  # row numbers are then those of the file
    reading = Reading(
        form=form, text_columns=tuple(text_columns or ()), label_column=label_column, skip_bad=skip_bad
    )
    news = read(data, limit, reading, keep_textless=keep_textless)
    test = None if test_data is None else read(test_data, None, reading, keep_textless=keep_textless)
    from gpt2x.classify.comparison import compare as run
    from gpt2x.classify.report import summary, table_head, table_row

    width = table_width()

    def on_start(kind: Any, report: ComparisonReport) -> None:
        if not report.models:
            say(
                f"{data}: {report.train_rows:,} texts to learn from, {report.test_rows:,} to test on, "
                f"{len(report.classes)} classes, seed {seed}"
            )
            if not as_json:
                emit(table_head(width))
        say(f"{kind.title} …")

    report = run(
        news,
        [kind.name for kind in kinds],
        random_state=seed,
        min_rows=min_rows,
        split=split,
        split_seed=split_seed,
        test_data=test,
        abstain=abstain,
        blend=blend,
        settings=chosen,
        on_start=on_start,
        on_result=lambda result: None if as_json else emit(table_row(result, width)),
        source=data,
    )
    if as_json:
        emit_json(report.to_dict())
    else:
        emit("\n" + summary(report, width=width))
    if out is not None:
        _keep(report, out)
    if report_file is not None:
        from gpt2x.classify import html

        html.write(report, report_file)
        say(f"kept {report_file}")
    if report.best is None:
        # The exit code of what went wrong, as `train` has it: a vocabulary without a word is no missing component.
        failure = Gpt2xError(f"no classifier ran; the first says: {report.models[0].reason}")
        failure.exit_code = getattr(report.models[0].error, "exit_code", failure.exit_code)
        raise failure


def _check_writable(out: Path | None, report_file: Path | None) -> None:
    """Refuse a place for the report that cannot work now, and not after minutes of training."""
    from gpt2x.classify.report import check_report_folder
    from gpt2x.paths import check_can_write

    if out is not None:
        check_report_folder(out)
        check_can_write(out)
    if report_file is not None:
        if report_file.is_dir():
            raise OutputError(f"{report_file} is a folder; name a file for the report, such as report.html")
        check_can_write(report_file.parent)


def _keep(report: ComparisonReport, out: Path) -> None:
    """Write report.json, and charts where matplotlib is there."""
    import json

    from gpt2x.classify.chart import write_charts
    from gpt2x.classify.report import FORMAT
    from gpt2x.paths import atomic_write

    with atomic_write(out / "report.json", text=True) as file:
        json.dump({"format": FORMAT} | report.to_dict(), file, ensure_ascii=False, allow_nan=False)
        file.write("\n")
    say(f"kept {out / 'report.json'}")
    try:
        for path in write_charts(report, out):
            say(f"kept {path}")
    except MissingComponentError as missing:
        say(f"no charts: {missing}")
