"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

DECAY_SHARE = 0.2
"""Of all steps, those over which `wsd` falls: 10 to 20 % reach what a cosine does (Hägele et al. 2024, section 4)."""


def fitted_warmup(warmup: int, steps: int) -> int:
    """The warm-up of a run of so many steps: as asked, or a tenth of the run if that is longer.

    >>> fitted_warmup(50, steps=1500), fitted_warmup(50, steps=40)
    (50, 4)
    """
    return warmup if warmup < steps else steps // 10


def learning_rate(
    step: int, *, steps: int, lr: float, min_lr: float, warmup: int, schedule: str = "cosine"
) -> float:
    """Rise in a line over `warmup` steps to `lr`, then fall to `min_lr` at the last step.

    Cosine decay: Loshchilov and Hutter 2017, "SGDR", eq. 5, without restarts; with a linear warm-up as for GPT-3.
    Warm-up, stable, decay: Hu et al. 2024, "MiniCPM", section 4; before its last fifth it does not depend on `steps`,
    so a run that is made longer there goes on as if it had been long from the start.

    Args:
        step: 0 for the first step.
        steps: how many there are.
        lr: the highest rate.
        min_lr: the rate of the last step, and of any after it.
        warmup: the first step has lr / warmup, step `warmup` - 1 has lr.
        schedule: ``cosine`` falls along half a wave from the end of the warm-up on; ``wsd`` stays at `lr`, and falls
            in a line over the last fifth of the steps.

    >>> [round(learning_rate(s, steps=5, lr=1.0, min_lr=0.0, warmup=2), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    >>> [round(learning_rate(s, steps=11, lr=1.0, min_lr=0.0, warmup=0, schedule="wsd"), 3) for s in (0, 8, 9, 10)]
    [1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    last = steps - 1
    if step >= last:
        return min_lr
    if schedule == "wsd":
        first = max(warmup, last - round(DECAY_SHARE * steps))
        return lr if step <= first else lr - (lr - min_lr) * (step - first) / (last - first)
    share_done = (step - warmup) / (last - warmup)
    return min_lr + 0.5 * (1 + math.cos(math.pi * share_done)) * (lr - min_lr)
