"""Times single calls on a CPU or a GPU whose inputs are in no cache. Loads torch when used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpt2x.bench.stats import MS_PER_SECOND

if TYPE_CHECKING:
    import torch

GPU_SCRATCH_BYTES = 2**30
"""Reading it takes longer than launching any call, so that the GPU never waits for Python."""

MOST_SETS = 64

CPU_CACHE_BYTES = 2**25
"""Of the last cache, where the system does not report a larger one."""


class Stopwatch:
    """Times single calls that find nothing of their inputs in a cache."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.device = device
        self.spent_s = 0.0
        """All that was timed so far."""
        self.scratch = torch.ones(GPU_SCRATCH_BYTES // 4, device=device) if device.type == "cuda" else None

    def num_sets(self, num_bytes: int | None, num_contenders: int) -> int:
        """How many sets of inputs each contender needs, so that twice the last cache lies between two calls of one.

        One for arithmetic, which hardly notices, and on a GPU, where the scratch array does it.
        """
        if num_bytes is None or self.scratch is not None:
            return 1
        return 1 + min(MOST_SETS, 2 * last_cache_bytes() // (num_contenders * max(1, num_bytes)))

    def time_ms(self, run: Callable[[], Sequence[torch.Tensor]]) -> float:
        """Milliseconds of one call; also counted in `spent_s`."""
        elapsed_ms = self._time_ms(run)
        self.spent_s += elapsed_ms / MS_PER_SECOND
        return elapsed_ms

    def _time_ms(self, run: Callable[[], Sequence[torch.Tensor]]) -> float:
        """The time itself.

        On a GPU the scratch array is read before: that empties the caches, and keeps the stream busy while Python
        launches the call, so that the time between the two events is the GPU's own.
        """
        import torch

        if self.scratch is None:
            begin = time.perf_counter()
            run()
            return (time.perf_counter() - begin) * MS_PER_SECOND
        self.scratch.sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


def last_cache_bytes() -> int:
    """Of the processor's last cache, or a usual size where the system does not report it."""
    try:
        return max(CPU_CACHE_BYTES, os.sysconf("SC_LEVEL3_CACHE_SIZE"))
    except (ValueError, OSError, AttributeError):  # not Linux
        return CPU_CACHE_BYTES
