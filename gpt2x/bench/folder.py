"""The folder that results are written into: checked before anything is measured, and nobody else's files are replaced.

Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gpt2x import paths
from gpt2x.bench.records import FORMAT, REPORT_DATA
from gpt2x.errors import Gpt2xError, OutputError
from gpt2x.paths import read_text

RESULTS, PAGE = "results.json", "README.md"
PICTURES = ("report.html", "ladder.png", "ladder.svg")
RACE_PICTURES = ("race.png", "race.svg")
LARGEST_BYTES = 2**28
"""No result file of ours is larger."""


def check(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder that results cannot go into.

    Args:
        folder: need not be there yet.
        names: the files that will be written there.

    Raises:
        OutputError: it is a file, cannot be written to, or holds a file of one of these names that no `gpt2x bench`
            wrote.

    """
    paths.check_can_write(folder, remedy="name another folder with --out")
    for name in names:
        if _is_there(folder / name) and not _is_ours(folder, name):
            raise OutputError(
                f"{folder / name} is not from `gpt2x bench` and would be replaced; name another folder with --out"
            )


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _is_ours(folder: Path, name: str) -> bool:
    """Whether a file is from a `gpt2x bench`; one that does not say so itself is known by its neighbour."""
    kind = format_of(folder / RESULTS)
    if name == RESULTS:
        return kind.startswith(FORMAT)
    if name == PAGE:
        return kind.startswith(f"{FORMAT}-bpe")
    if name in RACE_PICTURES:
        return kind == f"{FORMAT}-race"
    return _is_report(folder / PICTURES[0]) or (name != PICTURES[0] and kind == FORMAT)


def format_of(path: Path) -> str:
    """What a results.json says it is; "" where it is none."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return ""
        values = json.loads(read_text(path))
    except (OSError, Gpt2xError, ValueError, RecursionError):
        return ""
    return str(values.get("format", "")) if isinstance(values, dict) else ""


def _is_report(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return False
        return f'id="{REPORT_DATA}"' in read_text(path)
    except (OSError, Gpt2xError):
        return False
