"""`gpt2x classify train`: one document classifier, learned from all rows of a file and kept in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from gpt2x.cli.options import Device, Json, Quiet, Seed, examples
from gpt2x.console import emit, emit_json, format_count, say
from gpt2x.errors import UsageError

EXAMPLES = examples(
    "gpt2x classify train --model linear --data news.jsonl.xz --out news-classifier",
    "gpt2x classify train --data reviews.tsv --text-column summary --text-column review --label-column stars "
    "--out review-classifier",
    "gpt2x classify train --model rnn --data ag_news.csv --epochs 3 --out ag-rnn",
    "gpt2x classify train --model rnn --config dials.toml --show-config",
)


@with_dials
def train(
    *,
    data: Data = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="The folder to keep it in.  [required]", show_default=False
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", help="nb, hashed-nb, linear, tfidf, rnn or gpt2-lstm."),
    ] = "linear",
    form: Form = "playground",
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    config: Config = None,
    show_config: ShowConfig = False,
    dials: dict[str, Any],
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
    if show_config:
        show_settings([kind.name], dials, config, as_json)
        return
    if out is None:
        raise UsageError("--out is missing; name the folder to keep the classifier in")
    chosen = settings([kind.name], dials, config, device)[kind.name]
    reading = Reading(
        form=form, text_columns=tuple(text_columns or ()), label_column=label_column, skip_bad=skip_bad
    )
    news = read(data, limit, reading)
    from gpt2x.classify.base import check_replaceable
    from gpt2x.classify.saved import RowForm

    check_replaceable(out)
    say(f"{kind.title}: {len(news):,} texts, {len(set(news.labels))} classes")
    classifier = load_class(kind)(random_state=seed, **chosen)
    start = time.perf_counter()
    classifier.fit(news.texts, news.labels)
    seconds = time.perf_counter() - start
    classifier.row_form_ = RowForm(reading.form, reading.text_columns)
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
    emit(
        f"{out}: {kind.title}, {len(classifier.classes_)} classes, {len(news):,} texts, "
        f"{format_count(classifier.num_parameters_)} parameters, {seconds:.1f} s"
    )
