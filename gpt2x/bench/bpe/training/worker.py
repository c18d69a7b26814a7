"""One training in one process: ``python -m gpt2x.bench.bpe.training.worker``, spoken to in lines of JSON.

    {"do": "train", "trainer": "module:function", "file": "…", "num_merges": 7936, "cores": [0], "merges": "…"}
        -> {"event": "trained", "s": …, "cpu_s": …, "grown_bytes": …, "num_merges": …}

`merges`, if it is not empty, is a file for what was learned. How it listens and ends is `gpt2x.bench.worker`'s.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt2x.bench.bpe.encode.peers import find_function
from gpt2x.bench.bpe.training.trainers import Job, Merge
from gpt2x.bench.worker import Worker, serve_process
from gpt2x.process_memory import peak_memory, reset_peak_memory


class TrainerWorker(Worker):
    """Learns once."""

    handles = ("train",)

    @staticmethod
    def train(**request: Any) -> dict[str, Any]:
        """Learn, as `train` does."""
        return train(**request)


def train(trainer: str, file: str, num_merges: int, cores: list[int], merges: str) -> dict[str, Any]:
    """Keep to these cores, learn, and say how long that took and by how much memory grew meanwhile.

    Growth is counted from when modules are imported and a text that is to be in memory is there.
    """
    if hasattr(os, "sched_setaffinity"):
        # The environment asks for as many threads, this makes sure: not all libraries look at the environment.
        os.sched_setaffinity(0, cores)
    training = find_function(trainer)(Job(file=Path(file), num_merges=num_merges, threads=len(cores)))
    gc.collect()
    gc.disable()  # a collection in the middle would be charged to the trainer
    reset_peak_memory()
    before = peak_memory()
    cpu_start, start = time.process_time(), time.perf_counter()
    learned = training.learn()
    elapsed_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    grown = peak_memory() - before
    found = training.merges(learned)
    if merges:
        write_merges(found, Path(merges))
    return {
        "event": "trained",
        "s": elapsed_s,
        "cpu_s": cpu_s,
        "grown_bytes": grown,
        "num_merges": len(found),
    }


def write_merges(merges: Sequence[Merge], file: Path) -> None:
    """Write merges as JSON, each byte as the character of its number."""
    file.write_text(
        json.dumps([[part.decode("latin-1") for part in merge] for merge in merges]), encoding="utf-8"
    )


def read_merges(file: Path) -> list[Merge]:
    """The inverse of `write_merges`."""
    merges = json.loads(file.read_text(encoding="utf-8"))
    return [tuple(part.encode("latin-1") for part in merge) for merge in merges]


if __name__ == "__main__":
    serve_process(TrainerWorker())
