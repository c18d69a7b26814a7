"""What the commands of `gpt2x classify` share: options, the file of texts, and printing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.console import clean, emit
from gpt2x.errors import UsageError, quoted

if TYPE_CHECKING:
    from gpt2x.data.news import NewsData

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


Form = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="FORM",
        help="How a row becomes a text: 'playground' (columns joined, the headline in lower case) or 'full' (each "
        "column a field of its own, in its own case).",
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="NAME",
        help="What linear is made for: 'accuracy', or 'macro' for macro-F1, which helps small classes.",
    ),
]


def print_result(text: str) -> None:
    """Print a result, cleaned only where a terminal could be steered: a pipe gets what is there."""
    emit(clean(text) if to_terminal() else text)


def to_terminal() -> bool:
    """Whether results are read by a person."""
    return sys.stdout.isatty()


def read(data: Path, limit: int | None, form: str, *, keep_textless: bool = False) -> NewsData:
    """The labelled texts of a file."""
    from gpt2x.data.news import read_news

    return read_news(data, limit, form=form, keep_textless=keep_textless)


def settings(
    name: str, *, gpt2: str | None, tokenizer: str | None, epochs: int | None, device: str, objective: str
) -> dict[str, Any]:
    """The hyperparameters that the command line sets for one classifier."""
    if name == "linear":
        return {"objective": objective}
    if name not in ("rnn", "gpt2-lstm"):
        return {}
    own: dict[str, Any] = {"tokenizer": tokenizer} if name == "rnn" else {"gpt2": gpt2}
    common = {"device": device, "verbose": True, **({} if epochs is None else {"epochs": epochs})}
    return own | common


def check_options(
    names: set[str], gpt2: str | None, tokenizer: str | None, device: str, objective: str
) -> None:
    """Refuse what was asked for and is not there, before anything is read or learned."""
    if objective not in ("accuracy", "macro"):
        raise UsageError(f"--objective {quoted(objective)} is unknown; give accuracy or macro")
    if objective != "accuracy" and "linear" not in names:
        raise UsageError(f"--objective {objective} is for the classifier linear, which is not asked for")
    if gpt2 is not None:
        from gpt2x.model.runs import find_run

        find_run(gpt2)
    if tokenizer not in (None, "learn"):
        from gpt2x.tokenizer import Tokenizer

        Tokenizer.load(tokenizer)
    if device != "auto" and names & {"rnn", "gpt2-lstm"}:
        from gpt2x.model.device import pick_device

        pick_device(device)
