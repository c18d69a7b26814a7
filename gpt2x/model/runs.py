"""Finding a trained model: by path, by name, or the newest that there is. Loads no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import CONFIG_BYTES, assets_dir, data_home, read_text, runs_dir

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.tiktoken")
MODEL_FILES = (CONFIG, WEIGHTS, *TOKENIZER_FILES)
"""What `save_folder` writes."""

TRAINER, SETTINGS, STATE = "trainer", "config.json", "state.json"
"""Where in a run folder the trainer keeps its own files; that with the settings of the run; and in each checkpoint."""

DATA, SONG_INDEX, METRIC_INDEX, LAUNCH = "data.json", "songs.index", "metrics.index", "launch"
"""Beside the settings: where the data of the run are and their digest; for songs, what was in them; and the numbers of
the log from which curves are drawn."""

RUN_FORMAT = "gpt2x-run"
"""What the settings of a run say under "format"."""

_RUN_SETTINGS = {
    "data",
    "total_batch_tokens",
    "validation_share",
    "eval_batches",
}  # of runs before RUN_FORMAT


def is_model_folder(path: Path) -> bool:
    """True when the folder holds a whole model, a configuration and weights; False where nobody may look."""
    try:
        return (path / CONFIG).is_file() and ((path / WEIGHTS).is_file() or (path / INDEX).is_file())
    except PermissionError:
        return False


def packaged_model() -> Path:
    """The folder of the lyric writer that ships with the package."""
    return assets_dir() / "lyric-writer"


def newest_run() -> Path:
    """The whole model saved last in `runs_dir()`, else the one that ships with the package."""
    found = runs_dir().iterdir() if runs_dir().is_dir() else ()
    runs = [path for path in found if is_model_folder(path)]
    return max(runs, key=_saved_at, default=packaged_model())


def is_ours(path: Path) -> bool:
    """True when the model in a folder was saved by gpt2x: its config.json has the entry "gpt2x", as always.

    transformers keeps that entry when it saves a model that it has read, and adds its own version.
    """
    values = _read_object(path / CONFIG)
    return isinstance(values.get("gpt2x"), dict) and "transformers_version" not in values


def holds_a_run(path: Path) -> bool:
    """True when gpt2x's trainer started a run in this folder, whether or not it has a model yet."""
    settings = _read_object(path / TRAINER / SETTINGS)
    if settings.get("format") == RUN_FORMAT or settings.keys() >= _RUN_SETTINGS:
        return True
    states = (_read_object(file) for file in (path / TRAINER).glob(f"step-*/{STATE}"))
    return any(state.keys() >= {"format", "step", "files"} for state in states)  # the settings are damaged


def data_of_run(run: Path) -> dict[str, Any]:
    """What the trainer wrote down of the data: name, file (an absolute path), digest and recipe.

    A run of before has its settings and the state of a checkpoint instead, a packed model its `held_out_of`; of those
    file is missing. What nobody wrote down is missing too.
    """
    settings = _read_object(run / TRAINER / SETTINGS)
    states = [_read_object(file) for file in sorted((run / TRAINER).glob(f"step-*/{STATE}"))]
    packed = held_out_of(run) or {}
    known = {
        "name": settings.get("data", packed.get("data")),
        "digest": states[-1].get("data_digest") if states else packed.get("digest"),
        "recipe": recipe_of(run),
        **_read_object(run / TRAINER / DATA),
    }
    return {name: value for name, value in known.items() if isinstance(value, str)}


def held_out_of(folder: Path) -> dict[str, Any] | None:
    """What a model was not trained on: {data, validation_share, seed}, perhaps {digest}; None where nothing tells.

    The trainer's settings tell it of a run; of a packed model the entry "held_out" under "gpt2x" in its config.json.
    """
    about = _read_object(folder / CONFIG).get("gpt2x")
    packed = about.get("held_out") if isinstance(about, dict) else None
    values = _read_object(folder / TRAINER / SETTINGS) or packed
    if not isinstance(values, dict):
        return None
    types: dict[str, Any] = {"data": str, "validation_share": (int, float), "seed": int}
    if not all(isinstance(values.get(name), kind) for name, kind in types.items()):
        return None
    names = (*types, "digest") if isinstance(values.get("digest"), str) else types
    return {name: values[name] for name in names}


def recipe_of(folder: Path) -> str | None:
    """The recipe by which the model in a folder was trained, where its config.json tells."""
    about = _read_object(folder / CONFIG).get("gpt2x")
    recipe = about.get("recipe") if isinstance(about, dict) else None
    return recipe if isinstance(recipe, str) else None


def foreign_in_run(path: Path) -> str | None:
    """What in a folder stands in the way of a run: anything where there is no run, or a model that is not ours."""
    if not path.is_dir():
        return None
    if not holds_a_run(path):
        return next((entry.name for entry in sorted(path.iterdir())), None)
    theirs = (name for name in MODEL_FILES if (path / name).exists())
    return None if is_ours(path) else next(theirs, None)


def _read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        value = json.loads(read_text(file, limit=CONFIG_BYTES, regular=True))
    except (InputDataError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def find_run(name: str) -> Path:
    """The folder that a user means: a path, or the name of a run in `runs_dir()`.

    Raises:
        InputDataError: there is no such folder.

    """
    for folder in (Path, runs_dir, data_home):
        path = folder() / name
        if path.is_dir():
            return path
    raise InputDataError(f"there is no run {quoted(name)}; give a folder, or the name of one in {runs_dir()}")


WEIGHTS_FROM = ("best", "last")


def weights_of(run: Path, which: str) -> Path:
    """The folder with the weights of a run that are wanted.

    Args:
        run: a run, or any model folder, which has but one kind of weights.
        which: ``best``, what is on top of the run: the best by validation loss, unless it was told to publish the last;
            ``last``, those of its newest checkpoint.

    Raises:
        UsageError: `which` is something else.

    """
    if which not in WEIGHTS_FROM:
        raise UsageError(f"weights-from {quoted(which)} is unknown; give {' or '.join(WEIGHTS_FROM)}")
    checkpoints = sorted((run / TRAINER).glob("step-*")) if which == "last" else []
    return next((path for path in reversed(checkpoints) if is_model_folder(path)), run)


def _saved_at(path: Path) -> int:
    weights = path / WEIGHTS
    return (weights if weights.is_file() else path / INDEX).stat().st_mtime_ns
