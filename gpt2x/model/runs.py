"""Finding a trained model: by path, by name, or the newest that there is. Loads no torch."""

from __future__ import annotations

import json
from pathlib import Path

from gpt2x.errors import InputDataError
from gpt2x.paths import data_home, runs_dir

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
FIRST_SONG = "first-song"


def is_model_folder(path: Path) -> bool:
    """True when the folder holds a whole model: a configuration and weights."""
    return (path / CONFIG).is_file() and ((path / WEIGHTS).is_file() or (path / INDEX).is_file())


def first_song() -> Path:
    """Where the small model is kept that gpt2x trains for itself."""
    return data_home() / FIRST_SONG


def newest_run() -> Path | None:
    """The whole model saved last in `runs_dir()`, else the one that gpt2x trained for itself, else None."""
    found = runs_dir().iterdir() if runs_dir().is_dir() else ()
    runs = [path for path in found if is_model_folder(path)]
    if runs:
        return max(runs, key=_saved_at)
    return first_song() if is_finished(first_song()) else None


def is_finished(path: Path) -> bool:
    """True for a whole model whose training, if gpt2x trained it, went to the end."""
    if not is_model_folder(path):
        return False
    try:
        about = json.loads((path / CONFIG).read_text(encoding="utf-8")).get("gpt2x", {})
    except (OSError, ValueError, AttributeError):
        return True  # damaged: loading it says how
    return not isinstance(about, dict) or about.get("finished", True) is True


def find_run(name: str) -> Path:
    """The folder that a user means: a path, or the name of a run in `runs_dir()`.

    Raises:
        InputDataError: there is no such folder.

    """
    for path in (Path(name), runs_dir() / name, data_home() / name):
        if path.is_dir():
            return path
    raise InputDataError(f"there is no run {name!r}; give a folder, or the name of one in {runs_dir()}")


def _saved_at(path: Path) -> int:
    weights = path / WEIGHTS
    return (weights if weights.is_file() else path / INDEX).stat().st_mtime_ns
