"""`gpt2x classify`: the six document classifiers side by side, one trained and kept, one used."""

from __future__ import annotations

import typer

from gpt2x.cli import classify_compare, classify_predict, classify_review, classify_train
from gpt2x.cli.classify_lines import TextsCommand

app = typer.Typer(
    help="Compare, train and use the six document classifiers (nb, hashed-nb, linear, tfidf, rnn, gpt2-lstm), and find "
    "labels that are likely wrong.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module, _command, _summary in (
    (classify_compare, classify_compare.compare, "Train and compare the classifiers."),
    (classify_train, classify_train.train, "Train one classifier and keep it."),
    (classify_predict, classify_predict.predict, "Label texts with a trained classifier."),
    (classify_review, classify_review.review, "List labels that are likely wrong."),
):
    app.command(
        short_help=_summary,
        epilog=_module.EXAMPLES,
        cls=TextsCommand if _command is classify_predict.predict else None,
    )(_command)
