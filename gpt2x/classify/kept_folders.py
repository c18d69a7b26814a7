"""Folders in the cache that are kept for the next run; the ones not used for longest go when all take too much."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpt2x.paths import try_lock

LOCK = "lock"
"""The file in each that the process which uses it has locked."""

GIB = 2**30


def remove_oldest(place: Path, own: str, limit: int, mark: str) -> None:
    """Remove what was not used for longest until the rest takes no more than `limit` bytes; what is in use stays.

    Args:
        place: the folder of the folders.
        own: the name of the one that this process uses.
        limit: bytes.
        mark: the file in each whose time of change says when it was used last; a folder without goes first.

    """
    sizes = {folder: _size(folder) for folder in place.iterdir() if folder.is_dir()}
    for folder in sorted(sizes, key=lambda folder: _last_used(folder / mark)):
        if sum(sizes.values()) <= limit:
            return
        if folder.name == own:
            continue
        with (folder / LOCK).open("wb") as lock:
            if try_lock(lock):
                shutil.rmtree(folder, ignore_errors=True)
                sizes.pop(folder)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _last_used(mark: Path) -> float:
    return mark.stat().st_mtime if mark.is_file() else 0.0
