"""Finding a trained model: by path, by name, or the newest that there is. Loads no torch."""

from __future__ import annotations

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
    return first_song() if is_model_folder(first_song()) else None


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
