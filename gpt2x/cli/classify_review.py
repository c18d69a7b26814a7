"""`gpt2x classify review`: labels of a file that are likely wrong."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

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
from gpt2x.cli.options import Quiet, Seed, examples
from gpt2x.console import emit, one_line, say
from gpt2x.tables import emit_table

EXAMPLES = examples(
    "gpt2x classify review --data reviews.csv --text-column review --label-column stars",
    "gpt2x classify review --data huffpost --limit 20000 --top 50 --json > suspects.jsonl",
)

_SHOWN = 70  # characters of a text


def review(
    *,
    data: Data = "",
    form: Form = "full",
    text_columns: TextColumns = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="List so many at most, the likeliest first.")
    ] = 25,
    folds: Annotated[
        int,
        typer.Option("--folds", metavar="N", min=2, help="Parts; each is judged by what the others taught."),
    ] = 5,
    seed: Seed = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    quiet: Quiet = False,
) -> None:
    """List labels that are likely wrong, judged by a linear classifier that did not see them.

    Near-duplicates (the same words, whatever their order, case and marks) are judged together and listed as one.

    JSON, one object a line: {label, suggestion, label_probability, suggestion_probability, text, rows, other_labels};
    rows are numbers of texts in the order of the file, from 1, rows that were left out not counted.
    """
    reading = Reading(
        form=form, text_columns=tuple(text_columns or ()), label_column=label_column, skip_bad=skip_bad
    )
    news = read(data, limit, reading)
    from gpt2x.classify.inputs import without_fields
    from gpt2x.classify.review import review as find

    suspects = find(
        news.texts,
        news.labels,
        folds=folds,
        random_state=seed,
        on_fold=lambda fold: say(f"{data}: part {fold + 1} of {folds} …"),
    )
    num_rows = sum(len(one.rows) for one in suspects)
    say(f"{num_rows:,} of {len(news):,} labels are likely wrong ({num_rows / len(news):.1%})")
    rows = []
    for one in suspects[:top]:
        (text,) = without_fields([one.text])
        if as_json:
            places = [row + 1 for row in one.rows]
            emit(json.dumps({**asdict(one), "text": text, "rows": places}))
            continue
        shown = one_line(text)
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        copies = f" (and {len(one.rows) - 1} more)" if len(one.rows) > 1 else ""
        rows.append(
            (
                one.rows[0] + 1,
                f"{one_line(one.label)} {one.label_probability:.2f}",
                f"{one_line(one.suggestion)} {one.suggestion_probability:.2f}",
                shown + copies,
            )
        )
    if rows:
        emit_table(["text", "label", "rather", ""], rows)
