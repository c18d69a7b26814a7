"""`gpt2x classify`: the four document classifiers side by side, one trained and kept, one used."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Device, Json, Out, Quiet, Seed, examples
from gpt2x.console import clean, emit, emit_json, format_count, say
from gpt2x.errors import Gpt2xError, InputDataError, MissingComponentError, UsageError

if TYPE_CHECKING:
    from gpt2x.classify.report import ComparisonReport
    from gpt2x.data.news import NewsData

app = typer.Typer(
    help="Compare, train and use the four document classifiers: nb, tfidf, rnn, gpt2-lstm.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STDIN = "-"

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE",
        help="HuffPost JSON lines, AG News csv, or JSON or csv of a label and a text; .xz and .gz too.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=2, help="Take N rows, evenly spaced over the file; all by default."
    ),
]
Gpt2 = Annotated[
    str | None,
    typer.Option(
        "--gpt2",
        metavar="FOLDER|RUN",
        help="Where gpt2-lstm takes its embeddings from: a Hugging Face GPT-2 folder or a run; the newest run by "
        "default.",
    ),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        "-t",
        metavar="NAME|PATH",
        help="Tokens of rnn: 'gpt2', the path of a vocabulary, or 'learn' (from the training texts). By default "
        "GPT-2's if its vocabulary is here, else learned.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", metavar="N", min=1, help="Passes over the training texts of rnn and gpt2-lstm, at most."
    ),
]


@app.command(
    short_help="Train and compare the classifiers.",
    epilog=examples(
        "gpt2x classify compare --data news.jsonl.xz --limit 20000",
        "gpt2x classify compare --data news.jsonl.xz --models nb,tfidf --out report",
        "gpt2x classify compare --data ag_news.csv --gpt2 runs/lyrics --json",
    ),
)
def compare(
    *,
    data: Data,
    limit: Limit = None,
    models: Annotated[
        str, typer.Option("--models", "-m", metavar="NAMES", help="Which classifiers, separated by commas.")
    ] = "nb,tfidf,rnn,gpt2-lstm",
    min_rows: Annotated[
        int, typer.Option("--min-rows", metavar="N", min=1, help="Leave out classes with fewer rows than N.")
    ] = 1,
    gpt2: Gpt2 = None,
    tokenizer: Vocabulary = None,
    epochs: Epochs = None,
    seed: Seed = 1,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train and test the classifiers on one split, and print a table row as each is done.

    A fifth of each class is kept for the test. Printed: top-1 accuracy with its 95 % interval, macro-F1, parameters,
    training time, prediction speed, and what the best one confuses. --out DIR keeps report.json and, with matplotlib,
    charts; files of these names that it did not write are never replaced. A classifier that cannot run says why in its
    row.
    """
    from gpt2x.classify.kinds import get_kinds

    kinds = get_kinds(models.split(","))
    _check_options({kind.name for kind in kinds}, gpt2, tokenizer, device)
    _check_writable(out)
    news = _read(data, limit)
    from gpt2x.classify.comparison import compare as run
    from gpt2x.classify.report import summary, table_head, table_row

    def on_start(kind: Any, report: ComparisonReport) -> None:
        if not report.models:
            say(
                f"{data}: {report.train_rows:,} texts to learn from, {report.test_rows:,} to test on, "
                f"{len(report.classes)} classes, seed {seed}"
            )
            if not as_json:
                _print(table_head())
        say(f"{kind.title} …")

    report = run(
        news,
        [kind.name for kind in kinds],
        random_state=seed,
        min_rows=min_rows,
        settings={kind.name: _settings(kind.name, gpt2, tokenizer, epochs, device) for kind in kinds},
        on_start=on_start,
        on_result=lambda result: None if as_json else _print(table_row(result)),
        source=str(data),
    )
    if as_json:
        emit_json(report.to_dict())
    else:
        _print("\n" + summary(report))
    if out is not None:
        _keep(report, out)
    if report.best is None:
        # The exit code of what went wrong, as `train` has it: a vocabulary without a word is no missing component.
        failure = Gpt2xError(f"no classifier ran; the first says: {report.models[0].reason}")
        failure.exit_code = getattr(report.models[0].error, "exit_code", failure.exit_code)
        raise failure


@app.command(
    short_help="Train one classifier and keep it.",
    epilog=examples(
        "gpt2x classify train --model tfidf --data news.jsonl.xz --out news-classifier",
        "gpt2x classify train --model rnn --data ag_news.csv --epochs 3 --out ag-rnn",
    ),
)
def train(
    *,
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER", help="The folder to keep it in.", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="nb, tfidf, rnn or gpt2-lstm.")
    ] = "tfidf",
    limit: Limit = None,
    gpt2: Gpt2 = None,
    tokenizer: Vocabulary = None,
    epochs: Epochs = None,
    seed: Seed = 1,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one classifier on all rows of a file and keep it in a folder, for `classify predict`.

    How good it will be, `classify compare` tells, which keeps texts back for a test. A classifier that is in the folder
    already is replaced; a folder with anything else in it is refused.
    """
    import time

    from gpt2x.classify.kinds import get_kind
    from gpt2x.classify.loading import load_class

    kind = get_kind(model)
    _check_options({kind.name}, gpt2, tokenizer, device)
    news = _read(data, limit)
    from gpt2x.classify.base import check_replaceable

    check_replaceable(out)
    say(f"{kind.title}: {len(news):,} texts, {len(set(news.labels))} classes")
    classifier = load_class(kind)(random_state=seed, **_settings(kind.name, gpt2, tokenizer, epochs, device))
    start = time.perf_counter()
    classifier.fit(news.texts, news.labels)
    seconds = time.perf_counter() - start
    classifier.save(out)
    if as_json:
        emit_json(
            {
                "model": kind.name,
                "folder": str(out),
                "rows": len(news),
                "classes": classifier.classes_.tolist(),
                "parameters": classifier.num_parameters_,
                "train_seconds": seconds,
            }
        )
        return
    _print(
        f"{out}: {kind.title}, {len(classifier.classes_)} classes, {len(news):,} texts, "
        f"{format_count(classifier.num_parameters_)} parameters, {seconds:.1f} s"
    )


@app.command(
    short_help="Label texts with a trained classifier.",
    epilog=examples(
        'gpt2x classify predict news-classifier "senate passes climate bill"',
        "gpt2x classify predict news-classifier --top-k 3 - < headlines.txt",
    ),
)
def predict(
    folder: Annotated[Path, typer.Argument(help="A classifier that classify train kept.", metavar="FOLDER")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts; '-' or nothing reads one a line from standard input.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    *,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", metavar="K", min=1, help="How many labels to name for each text.")
    ] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name the label of each text, one line a text: the label, a tab, its probability.

    Lines of standard input end with \\n or \\r\\n and nothing else, so that each gives one line.

    JSON: {folder, model, predictions: [{text, labels: [{label, probability}]}]}, labels by falling probability.
    """
    from gpt2x.classify.kinds import KINDS, read_header
    from gpt2x.classify.loading import load
    from gpt2x.classify.report import one_line

    header = read_header(folder)
    given = _texts(texts)
    classifier = load(folder)
    say(f"{folder}: {KINDS[header['kind']].title}, {len(classifier.classes_)} classes")
    shares = classifier.predict_proba(given)  # (N, K)
    order = (-shares).argsort(axis=1, kind="stable")[:, :top_k]
    classes = classifier.classes_.tolist()
    found = [
        [(classes[k], float(row[k])) for k in ranking] for row, ranking in zip(shares, order, strict=True)
    ]
    if as_json:
        labelled = [
            {"text": text, "labels": [{"label": label, "probability": share} for label, share in labels]}
            for text, labels in zip(given, found, strict=True)
        ]
        emit_json({"folder": str(folder), "model": header["kind"], "predictions": labelled})
        return
    lines = ["\t".join(f"{one_line(label)}\t{share:.4f}" for label, share in labels) for labels in found]
    _print("\n".join(lines))


def _print(text: str) -> None:
    """Print a result, cleaned only where a terminal could be steered: a pipe gets what is there."""
    emit(clean(text) if _to_terminal() else text)


def _to_terminal() -> bool:
    return sys.stdout.isatty()


def _read(data: Path, limit: int | None) -> NewsData:
    from gpt2x.data.news import read_news

    return read_news(data, limit)


def _settings(
    name: str, gpt2: str | None, tokenizer: str | None, epochs: int | None, device: str
) -> dict[str, Any]:
    """The hyperparameters that the command line sets for one classifier."""
    if name not in ("rnn", "gpt2-lstm"):
        return {}
    own: dict[str, Any] = {"tokenizer": tokenizer} if name == "rnn" else {"gpt2": gpt2}
    common = {"device": device, "verbose": True, **({} if epochs is None else {"epochs": epochs})}
    return own | common


def _check_options(names: set[str], gpt2: str | None, tokenizer: str | None, device: str) -> None:
    """Refuse what was asked for and is not there, before anything is read or learned."""
    if gpt2 is not None:
        from gpt2x.model.runs import find_run

        find_run(gpt2)
    if tokenizer not in (None, "learn"):
        from gpt2x.tokenizer import Tokenizer

        Tokenizer.load(tokenizer)
    if device != "auto" and names & {"rnn", "gpt2-lstm"}:
        from gpt2x.model.device import pick_device

        pick_device(device)


def _check_writable(out: Path | None) -> None:
    """Refuse a place for the report that cannot work now, and not after minutes of training."""
    from gpt2x.classify.report import check_report_folder
    from gpt2x.paths import check_can_write

    if out is not None:
        check_report_folder(out)
        check_can_write(out)


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


def _texts(given: list[str] | None) -> list[str]:
    if given and STDIN not in given:
        if any("\udc80" <= character <= "\udcff" for text in given for character in text):
            raise InputDataError("a text on the command line is not UTF-8; convert it first")
        return given
    if given and len(given) > 1:
        raise UsageError("give texts or '-', not both")
    if not given and sys.stdin.isatty():
        say("reading one text a line from the keyboard; Ctrl-D ends")
    lines = split_lines(sys.stdin.buffer.read())
    if not lines:
        raise InputDataError("standard input is empty; give one text a line")
    return lines


def split_lines(data: bytes) -> list[str]:
    r"""The texts of standard input, one a line and so one line of output for each.

    Lines end with ``\n`` or ``\r\n`` and with nothing else; a byte order mark at the very beginning is dropped.

    Raises:
        InputDataError: not UTF-8.

    >>> split_lines(b"one\r\n\ntwo\x0c\xe2\x80\xa8three")
    ['one', '', 'two\x0c\u2028three']
    """
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "not UTF-8 text"
        raise InputDataError(
            f"standard input is {kind}: byte 0x{data[error.start]:02x} at offset {error.start}; convert it to UTF-8 "
            "first"
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what is behind the last line end is no line
    return [line.removesuffix("\r") for line in lines]
