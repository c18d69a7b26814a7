"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math


def learning_rate(step: int, *, steps: int, lr: float, min_lr: float, warmup: int) -> float:
    """Rise in a line over `warmup` steps to `lr`, then fall along half a cosine to `min_lr` at the last step.

    Cosine decay: Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts; with a linear warm-up as for GPT-3.

    Args:
        step: 0 for the first step.
        steps: how many there are.
        lr: the highest rate.
        min_lr: the rate of the last step, and of any after it.
        warmup: the first step has lr / warmup, step `warmup` - 1 has lr.

    >>> [round(learning_rate(s, steps=5, lr=1.0, min_lr=0.0, warmup=2), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    last = steps - 1
    if step >= last:
        return min_lr
    share_done = (step - warmup) / (last - warmup)
    return min_lr + 0.5 * (1 + math.cos(math.pi * share_done)) * (lr - min_lr)
