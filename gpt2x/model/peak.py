"""How fast this machine multiplies matrices, and what share of that a model's training makes up (MFU).

The ladder, `gpt2x ops` and the trainer all measure here. Loads torch only to measure.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

PEAK_SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}
"""Widths of the square matrices whose product is timed; the best of them is the peak."""

PEAK_TRIES = 4
"""Windows of time in which products of one size are made; the best window counts."""


def product_peak(dtype: str, device: str, *, seconds: float = 0.4) -> float:
    """Floating-point operations a second of large square matrix products in one dtype.

    The best of several sizes, by each library at hand, each as fast as it was sustained in the best of several windows
    of time (`sustained_call`): the other programs on a machine make a window slow, and a single lucky call, which no
    step of training could keep up, makes no peak.

    Args:
        dtype: float32 or bfloat16.
        device: cpu or cuda.
        seconds: how long to try each size; a size that takes longer for one product is the last.

    """
    import torch
    import torch.nn.functional as F

    from gpt2x import ops

    is_float32 = dtype == "float32"
    multiplications = [F.linear, ops.linear] if is_float32 and onednn_multiplies() else [F.linear]
    peak = 0.0
    for n in PEAK_SIZES[device]:
        a, b = (torch.randn(n, n, device=device).to(getattr(torch, dtype)) for _ in range(2))
        best = min(
            sustained_call(functools.partial(multiply, a, b), seconds, wait=_waiter(device))
            for multiply in multiplications
        )
        peak = max(peak, 2.0 * n**3 / best)
        if best > seconds / 8:  # the next size takes eight times as long
            break
    return peak


def sustained_call(
    call: Callable[[], Any],
    seconds: float,
    *,
    tries: int = PEAK_TRIES,
    wait: Callable[[], Any] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How long a call takes when it is made again and again: the mean of the best of several windows, in seconds.

    Args:
        call: made once before, to warm up.
        seconds: of all windows together; each has at least two calls.
        tries: how many windows.
        wait: returns when all that was called is done.
        clock: seconds.

    """
    call()
    wait()
    best = float("inf")
    for _ in range(tries):
        start, calls, elapsed = clock(), 0, 0.0
        while calls < 2 or elapsed < seconds / tries:
            call()
            wait()
            calls += 1
            elapsed = clock() - start
        best = min(best, elapsed / calls)
    return best


def utilisation(tokens_rate: float, token_flops: float, peak_flops: float) -> float | None:
    """MFU: the share of the measured peak that the model's own arithmetic makes up (PaLM, appendix B).

    >>> utilisation(1000.0, 2e6, 1e10)
    0.2
    """
    return tokens_rate * token_flops / peak_flops if peak_flops > 0 else None


def _waiter(device: str) -> Callable[[], Any]:
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None


def onednn_multiplies() -> bool:
    """Whether `gpt2x.ops.linear` has a library of its own for float32 on this CPU."""
    import torch

    from gpt2x.ops import backend

    return backend.multiplies("cpu", torch.float32)
