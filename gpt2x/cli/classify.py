"""`gpt2x classify`: the six document classifiers side by side, one trained and kept, one used."""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from gpt2x.cli import classify_compare, classify_predict, classify_review, classify_train
from gpt2x.cli.own_parser import OwnParser


class ClassifyGroup(typer.core.TyperGroup):
    """The commands of `gpt2x classify`, of which `predict` reads its words itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names in the order in which they are shown."""
        return ["compare", "train", "predict", "review"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command; None for an unknown name."""
        if cmd_name == "predict":
            return OwnParser("predict", classify_predict, "Label texts with a trained classifier.")
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    help="Compare, train and use the six document classifiers (nb, hashed-nb, linear, tfidf, rnn, gpt2-lstm), and find "
    "labels that are likely wrong.",
    cls=ClassifyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module, _command, _summary in (
    (classify_compare, classify_compare.compare, "Train and compare the classifiers."),
    (classify_train, classify_train.train, "Train one classifier and keep it."),
    (classify_review, classify_review.review, "List labels that are likely wrong."),
):
    app.command(short_help=_summary, epilog=_module.EXAMPLES)(_command)
