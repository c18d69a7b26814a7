"""Where things are kept on disk, and which environment variables move them."""

from __future__ import annotations

import os
from pathlib import Path

from gpt2x.errors import UsageError


def cache_dir() -> Path:
    """Where downloads and derived files are kept: ``GPT2X_CACHE``, else ``$XDG_CACHE_HOME/gpt2x``.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _folder("GPT2X_CACHE", "XDG_CACHE_HOME", ".cache")


def data_home() -> Path:
    """Where models that gpt2x trained for itself are kept: ``GPT2X_HOME``, else ``$XDG_DATA_HOME/gpt2x``.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _folder("GPT2X_HOME", "XDG_DATA_HOME", ".local/share")


def runs_dir() -> Path:
    """Where training runs are kept: ``GPT2X_RUNS``, else ``runs`` in the current folder.

    Raises:
        UsageError: the variable names no folder, nor what could become one.

    """
    return _named_folder("GPT2X_RUNS") or Path("runs")


def assets_dir() -> Path:
    """The folder of files that ship inside the package."""
    return Path(__file__).parent.parent / "data" / "assets"


def _folder(variable: str, xdg_variable: str, below_home: str) -> Path:
    named = _named_folder(variable)
    if named is not None:
        return named
    xdg = _named_folder(xdg_variable)
    try:
        return (xdg or Path.home() / below_home) / "gpt2x"
    except RuntimeError as error:
        raise UsageError(f"this user has no home folder; set {variable} to a folder") from error


def _named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    found = nearest(Path(os.path.realpath(value)))
    if not found.is_dir():
        subject = "which" if found == Path(os.path.realpath(value)) else f"and {found}"
        raise UsageError(f"{variable} is {value}, {subject} is no folder; set it to a folder")
    return Path(value)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest of the folders above it that exists."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
