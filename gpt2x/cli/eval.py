"""`gpt2x eval`: how well a model predicts text it was not trained on, answers multiple choice, and sings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Device, Json, Quiet, examples
from gpt2x.console import emit_json, say
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tables import emit_table

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
    "gpt2x eval --songs --topics 5 --seeds 2",
)


PACKAGED = {"data": "songs", "validation_share": 0.05, "seed": 1}
"""Of the model that ships, where its config.json does not tell: benchmarks/lyric_writer/stages.toml."""


@app.command("eval", epilog=EPILOG)
def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A model folder, or the name of a run; the newest by default, else the model that ships.",
            metavar="[RUN]",
        ),
    ] = None,
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
    songs: Annotated[
        bool, typer.Option("--songs", help="Let it sing, and count rhymes, repeats and copies.")
    ] = False,
    topics: Annotated[
        int, typer.Option("--topics", metavar="N", min=1, help="With --songs: the first N of 20 topics.")
    ] = 20,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="K", min=1, help="With --songs: K songs of each topic.")
    ] = 5,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: loss in nats a token, perplexity, bits per byte; with --choices, questions answered.

    Documents are predicted one by one, in windows of the model's context. JSON: {run, data, documents, tokens, bytes,
    loss, perplexity, bits_per_byte}; with --choices {run, choices, questions, accuracy, accuracy_normalised}; with
    --songs {run, topics, seeds, rhymed, unknown, repeated, distinct_2, has_topic, ended, lines, fluency, copied,
    copied_most, bits_per_byte, songs}.
    """
    if songs and (choices is not None or data is not None or recipe is not None or limit is not None):
        raise UsageError("--songs sings, --choices, --data, --recipe and --limit are for text; leave one out")
    if choices is not None and (data is not None or recipe is not None or limit is not None):
        raise UsageError(
            "--choices asks questions, --data, --recipe and --limit are for text; give one of them"
        )
    from gpt2x.model.device import pick_device
    from gpt2x.model.folder import load_folder
    from gpt2x.model.runs import find_run, newest_run
    from gpt2x.train.evaluate import answer_questions, read_questions
    from gpt2x.train.evaluate import evaluate as measure

    folder = newest_run() if run is None else find_run(run)
    questions = read_questions(choices) if choices is not None else None
    model, tokenizer = load_folder(folder, device=pick_device(device))
    if tokenizer is None:
        raise InputDataError(f"{folder} holds a model without a tokenizer; put its tokenizer.json beside it")
    if songs:
        from gpt2x.cli.eval_songs import measure_songs

        def held_out_bits() -> float:
            name, documents = _documents(folder, None, None, tokenizer, None)
            say(f"{folder} on {name}, its validation part")
            return measure(model, tokenizer, documents).bits_per_byte

        measure_songs(folder, model, tokenizer, held_out_bits, topics=topics, seeds=seeds, as_json=as_json)
        return
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
        emit_table(
            ["measure", "value"],
            [(k, f"{v:.4f}" if isinstance(v, float) else str(v)) for k, v in result.items()],
        )


def _documents(
    folder: Path, data: str | None, recipe_name: str | None, tokenizer: Tokenizer, limit: int | None
) -> tuple[str, Iterator[Ids]]:
    """What to measure on: the name of it, and the ids of each document."""
    from gpt2x.data.sources import find_file
    from gpt2x.train.evaluate import documents_in

    if data is None:
        return _validation_part(folder, recipe_name, tokenizer, limit)
    path = find_file(data)
    recipe = _recipe(recipe_name, path)
    if recipe.documents is not None:
        return data, _encoded(recipe.documents(path), tokenizer, limit)
    from gpt2x.data.token_files import open_all

    return data, documents_in(open_all(path, tokenizer.n_vocab), tokenizer.eot_token, limit)


def _validation_part(
    folder: Path, recipe_name: str | None, tokenizer: Tokenizer, limit: int | None
) -> tuple[str, Iterator[Ids]]:
    """The documents that the run kept for validation, split as it split them.

    Raises:
        InputDataError: its data are unknown, or have another content now, which would be split otherwise.

    """
    from gpt2x.data.sources import find_file
    from gpt2x.model.runs import data_of_run
    from gpt2x.train.evaluate import documents_in

    settings, known = _settings(folder), data_of_run(folder)
    name, kept = str(settings["data"]), Path(known.get("file", ""))
    path = kept if kept.is_file() or ("file" in known and kept.is_dir()) else find_file(name)
    recipe = _recipe(recipe_name or known.get("recipe"), path)
    digest = recipe.digest(path)
    if "digest" in known and known["digest"].rpartition(":")[2] != digest.rpartition(":")[2]:
        raise InputDataError(f"{path} has changed since {folder} was trained on it; give --data FILE")
    share, seed = float(settings["validation_share"]), int(settings["seed"])
    _, streams = recipe.streams(path, digest, tokenizer, share, seed)
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
    """The settings by which the validation part of a run was split off.

    Raises:
        InputDataError: neither its trainer nor its config.json tells.

    """
    from gpt2x.model.runs import SETTINGS, TRAINER, held_out_of, packaged_model

    settings = held_out_of(folder)
    if settings is None and folder.resolve() == packaged_model().resolve():
        settings = PACKAGED
    if settings is None:
        raise InputDataError(
            f"{folder} does not say what it was trained on (there is no {TRAINER}/{SETTINGS} to read); give --data FILE"
        )
    return settings
