"""A store for GPT-2's hidden states of many texts, kept on disk from one run to the next.

Reading the texts takes most of the time of `gpt2-lstm`, and the states depend on the model and the tokens alone. So
they are kept in the cache as float16, in a folder whose name is a digest of both, and a second run over the same texts
reads them from there. An interrupted run goes on after the last batch that was written down. The folders that were not
used for longest are removed when all take more than they may.

Letters: S positions of all texts together, C width of GPT-2.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gpt2x.classify.kept_folders import GIB, LOCK, remove_oldest
from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import atomic_write, cache_dir, read_text, try_lock

if TYPE_CHECKING:
    from gpt2x.classify.neural import Ragged
    from gpt2x.model.gpt import GPT

FOLDER = "gpt2-states"
"""The folder in the cache."""

FEWEST = 1000
"""Fewer texts are read again: that takes less time than it is worth disk."""

SAVE_SECONDS = 10.0
"""How often what is done is written down."""

_STATES, _PROGRESS = "states.f16", "progress.json"
_VERSION = 1  # another one: what is kept is of no use any more


@dataclass
class StateStore:
    """An array for the states, and how many batches of them it holds."""

    values: np.ndarray
    """(S, C) float16."""
    done: int = 0
    """Batches that were read in an earlier run."""
    write_down: Callable[[int], None] = lambda done: None
    """Told how many batches are done by now."""


def key_of(gpt: GPT, ids: Ragged, start: int, *, num_blocks: int | None = None) -> str:
    """What is kept depends on, as a digest: the weights and shape, the tokens, what precedes them, the precision.

    Args:
        gpt: the model.
        ids: the texts' tokens.
        start: the token that precedes each text.
        num_blocks: the states are those after so many blocks, each with its token's embedding; None: the last.

    """
    more = "" if num_blocks is None else f" {num_blocks} blocks"
    digest = hashlib.sha256(f"{_VERSION} {gpt.config} {start} {gpt.wte.weight.device.type}{more}".encode())
    for name, weight in sorted(gpt.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    for array in (ids.offsets, ids.values):
        digest.update(np.ascontiguousarray(array, np.int64).data)
    return digest.hexdigest()


@contextlib.contextmanager
def store_for(
    shape: tuple[int, int], *, key: str | None, batches: int, cache_gib: float, memory_gib: float
) -> Iterator[StateStore]:
    """Yield a store for states (S, C): what is kept of them, else an array in memory, a temporary file if it is large.

    Args:
        shape: S, C.
        key: what they depend on; None keeps nothing.
        batches: how many there are in all.
        cache_gib: all that is kept may take this.
        memory_gib: what is not kept and takes more than this is put into a temporary file.

    Raises:
        OutputError: there is no space for the temporary file.

    """
    num_bytes = 2 * shape[0] * shape[1]
    with contextlib.ExitStack() as stack:
        store = None
        if key is not None and num_bytes <= cache_gib * GIB:
            with contextlib.suppress(OSError):  # a cache that cannot be written to is none
                store = _kept(cache_dir() / FOLDER / key, shape, batches, stack)
                remove_oldest(cache_dir() / FOLDER, key, int(cache_gib * GIB), _PROGRESS)
        if store is None and num_bytes <= memory_gib * GIB:
            store = StateStore(np.empty(shape, np.float16))
        yield store or StateStore(_temporary(shape, stack))


def _kept(
    folder: Path, shape: tuple[int, int], batches: int, stack: contextlib.ExitStack
) -> StateStore | None:
    """What is kept under a key, all of it or some or none; None where another process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context((folder / LOCK).open("wb"))
    if not try_lock(lock):
        return None
    file, done = folder / _STATES, _read_progress(folder, shape, batches)
    if not done:
        # It would pass what is empty now for what it was written of.
        (folder / _PROGRESS).unlink(missing_ok=True)
        with file.open("wb") as opened:
            _reserve(opened.fileno(), 2 * shape[0] * shape[1])
    values = np.memmap(file, np.float16, "r" if done == batches else "r+", shape=shape)

    def write_down(now: int) -> None:
        values.flush()
        with atomic_write(folder / _PROGRESS, text=True) as out:
            json.dump({"shape": shape, "batches": batches, "done": now}, out)

    if done:
        os.utime(folder / _PROGRESS)  # used just now
    return StateStore(values, done, write_down)


def _reserve(descriptor: int, size: int) -> None:
    """Take the space now: a full disk is an error here, and a crash where a mapped page finds no place later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _read_progress(folder: Path, shape: tuple[int, int], batches: int) -> int:
    """How many batches are there; 0 where the file is not what it should be."""
    try:
        known = json.loads(read_text(folder / _PROGRESS, regular=True))
        whole = (folder / _STATES).stat().st_size == 2 * shape[0] * shape[1]
        if not whole or (known["shape"], known["batches"]) != (list(shape), batches):
            return 0
        return int(known["done"]) if 0 <= int(known["done"]) <= batches else 0
    except (InputDataError, OSError, ValueError, KeyError, TypeError):
        return 0


def _temporary(shape: tuple[int, int], stack: contextlib.ExitStack) -> np.ndarray:
    """An array in a file that goes when the stack is left."""
    num_bytes = 2 * shape[0] * shape[1]
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache_dir()).free
        if free < num_bytes:
            raise OutputError(
                f"GPT-2's features of these texts take {num_bytes / GIB:.1f} GiB and {cache_dir()} has "
                f"{free / GIB:.1f} GiB free; give fewer texts, or set GPT2X_CACHE to a folder with more space"
            )
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="features.", dir=cache_dir()))
        return np.memmap(Path(folder) / "features.f16", np.float16, "w+", shape=shape)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot keep features in {cache_dir()}: {error.strerror or error}; set GPT2X_CACHE"
        ) from error


class Clock:
    """Says when it is time to write down what is done."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def is_time(self) -> bool:
        """True once in `SAVE_SECONDS`."""
        now = time.monotonic()
        if now - self.last < SAVE_SECONDS:
            return False
        self.last = now
        return True
