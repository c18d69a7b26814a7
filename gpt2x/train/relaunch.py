"""Restarts by torchrun: whether this launch has cleared the old run already, so that what it saved since is not lost.

The number of restarts alone does not tell: the first start may have died before it cleared anything. So who clears
leaves a mark of its launch, which is the process that starts all ranks, before and after a restart.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpt2x.model.runs import LAUNCH
from gpt2x.paths import atomic_write
from gpt2x.train.checkpoint import RunFolder


def has_cleared(folder: RunFolder) -> bool:
    """True in a process that was started anew after its launch had cleared `folder`.

    Where the launch cannot be told, every restart counts as one: better an old run that stays than a new one lost.
    """
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return False
    mark = _mark()
    return mark is None or _read(folder.trainer / LAUNCH) == mark


def leave_mark(folder: RunFolder) -> None:
    """Say in `folder` that this launch has cleared it.

    Raises:
        OutputError: it cannot be written.

    """
    with atomic_write(folder.trainer / LAUNCH, text=True) as file:
        file.write(_mark() or "")


def _mark() -> str | None:
    """The parent process, which was there before a restart, too, with the time of its start; None where nobody knows.

    Ranks on several machines have no parent in common.
    """
    if os.environ.get("WORLD_SIZE") != os.environ.get("LOCAL_WORLD_SIZE"):
        return None
    parent = os.getppid()
    try:
        status = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return f"{parent} {status.rpartition(')')[2].split()[19]}"  # field 22 of proc(5): starttime


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
