"""`gpt2x eval`: how well a model predicts text it was not trained on, and how it answers multiple choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Device, Json, Quiet, examples
from gpt2x.console import emit, emit_json, format_table, say
from gpt2x.errors import InputDataError, UsageError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpt2x.tokenizer import Tokenizer
    from gpt2x.train.evaluate import Ids
    from gpt2x.train.recipe import Recipe

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EPILOG = examples(
    "gpt2x eval runs/lyrics",
    "gpt2x eval runs/text --data other.txt --json",
    "gpt2x eval runs/text --choices questions.jsonl",
)


@app.command("eval", epilog=EPILOG)
def evaluate(
    run: Annotated[str, typer.Argument(help="A model folder, or the name of a run.", metavar="RUN")],
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Measure on all of this instead of on the run's own validation part.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="How the data are read: lyrics, text or tokens; by default as its name ends.",
        ),
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option(
            "--choices", metavar="FILE", help="Multiple choice: JSON lines with question, choices and answer."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Measure on the first N tokens only.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: loss in nats a token, perplexity, bits per byte; with --choices, questions answered.

    Documents are predicted one by one, in windows of the model's context. JSON: {run, data, documents, tokens, bytes,
    loss, perplexity, bits_per_byte}; with --choices {run, choices, questions, accuracy, accuracy_normalised}.
    """
    if choices is not None and (data is not None or recipe is not None or limit is not None):
        raise UsageError(
            "--choices asks questions, --data, --recipe and --limit are for text; give one of them"
        )
    from gpt2x.model.device import pick_device
    from gpt2x.model.folder import load_folder
    from gpt2x.model.runs import find_run
    from gpt2x.train.evaluate import answer_questions, read_questions
    from gpt2x.train.evaluate import evaluate as measure

    folder = find_run(run)
    questions = read_questions(choices) if choices is not None else None
    model, tokenizer = load_folder(folder, device=pick_device(device))
    if tokenizer is None:
        raise InputDataError(f"{folder} holds a model without a tokenizer; put its tokenizer.json beside it")
    about: dict[str, Any] = {"run": str(folder)}
    if questions is not None:
        about["choices"] = str(choices)
        result = answer_questions(model, tokenizer, questions).to_dict()
    else:
        name, documents = _documents(folder, data, recipe, tokenizer, limit)
        say(f"{folder} on {name}{'' if data else ', its validation part'}")
        about["data"] = name
        result = measure(model, tokenizer, documents).to_dict()
    if as_json:
        emit_json(about | result)
    else:
        emit(
            format_table(
                ["measure", "value"],
                [(k, f"{v:.4f}" if isinstance(v, float) else str(v)) for k, v in result.items()],
            )
        )


def _documents(
    folder: Path, data: str | None, recipe_name: str | None, tokenizer: Tokenizer, limit: int | None
) -> tuple[str, Iterator[Ids]]:
    """What to measure on: the name of it, and the ids of each document."""
    from gpt2x.data.sources import find_file
    from gpt2x.train.evaluate import documents_in

    settings = {} if data is not None else _settings(folder)
    name = data if data is not None else str(settings["data"])
    path = find_file(name)
    recipe = _recipe(recipe_name, path)
    if data is not None and recipe.documents is not None:
        return name, _encoded(recipe.documents(path), tokenizer, limit)
    share, seed = float(settings.get("validation_share", 0.5)), int(settings.get("seed", 0))
    if data is not None:
        from gpt2x.data.token_files import open_all

        return name, documents_in(open_all(path, tokenizer.n_vocab), tokenizer.eot_token, limit)
    _, streams = recipe.streams(path, recipe.digest(path), tokenizer, share, seed)
    return name, documents_in(streams.validation, tokenizer.eot_token, limit)


def _encoded(documents: Any, tokenizer: Tokenizer, limit: int | None) -> Iterator[Ids]:
    import numpy as np

    left = limit
    for text in documents:
        ids = tokenizer.encode_to_numpy(text, dtype="int64", disallowed_special=())
        ids = ids if left is None else ids[:left]
        yield np.asarray(ids)
        if left is not None:
            left -= len(ids)
            if left <= 0:
                return


def _recipe(name: str | None, path: Path) -> Recipe:
    from gpt2x.train.recipe import RECIPES, recipe_for

    if name is None:
        return recipe_for(path)
    if name not in RECIPES:
        raise UsageError(f"recipe {quoted(name)} is unknown; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run's training."""
    from gpt2x.model.runs import SETTINGS, TRAINER
    from gpt2x.paths import CONFIG_BYTES, read_text

    file = folder / TRAINER / SETTINGS
    try:
        settings = json.loads(read_text(file, limit=CONFIG_BYTES, regular=True))
        return {name: settings[name] for name in ("data", "validation_share", "seed")}
    except (InputDataError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputDataError(
            f"{folder} does not say what it was trained on (there is no {TRAINER}/{SETTINGS} to read); give --data FILE"
        ) from error
