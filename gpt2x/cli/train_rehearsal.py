"""`gpt2x train … --overfit-batch` and `--find-lr N`: what they print."""

from __future__ import annotations

import numpy as np

from gpt2x.console import emit, emit_json
from gpt2x.errors import ExitCode
from gpt2x.tables import emit_table
from gpt2x.train.config import TrainConfig
from gpt2x.train.waiting import let_waiting_threads_sleep

ROWS = 20
"""Of the table of a sweep, at most."""


def overfit_and_show(recipe: str, config: TrainConfig, as_json: bool) -> None:
    """Learn one batch by heart and say whether that worked.

    Raises:
        SystemExit: with 1, when it did not.

    """
    let_waiting_threads_sleep()
    from gpt2x.train.curves import sparkline
    from gpt2x.train.recipe import RECIPES
    from gpt2x.train.rehearsal import KNOWN_BY_HEART, overfit_batch

    found = overfit_batch(config, RECIPES[recipe])
    if as_json:
        emit_json(found.to_dict())
    else:
        emit(f"loss      {found.losses[0]:.3f} → {found.losses[-1]:.3f}  {sparkline(np.array(found.losses))}")
        verdict = (
            f"the batch is known by heart (below {KNOWN_BY_HEART:g}) after {found.steps} steps"
            if found.reached
            else f"NOT below {KNOWN_BY_HEART:g} after {found.steps} steps; give more --steps or another --lr, or look "
            "at the model and the data"
        )
        emit(f"verdict   {verdict}")
    if not found.reached:
        raise SystemExit(ExitCode.FAILED)


def sweep_and_show(recipe: str, config: TrainConfig, steps: int, as_json: bool) -> None:
    """Let the learning rate grow and print what the loss does.

    Raises:
        SystemExit: with 1, when the loss never falls.

    """
    let_waiting_threads_sleep()
    from gpt2x.train.curves import sparkline
    from gpt2x.train.recipe import RECIPES
    from gpt2x.train.rehearsal import find_lr

    sweep = find_lr(config, RECIPES[recipe], steps)
    if as_json:
        emit_json(sweep.to_dict())
    else:
        places = np.unique(np.linspace(0, len(sweep.rates) - 1, ROWS).round().astype(int))
        rows = [
            (f"{sweep.rates[i]:.1e}", f"{sweep.losses[i]:.3f}", f"{sweep.smoothed[i]:.3f}") for i in places
        ]
        emit_table(["lr", "loss", "smoothed"], rows)
        emit(f"\n{sweep.rates[0]:.0e} {sparkline(np.array(sweep.smoothed))} {sweep.rates[-1]:.0e}")
        emit(f"lowest    at {sweep.lowest:.1e}, where the loss is about to rise")
        shown = (
            "none: the loss never falls"
            if sweep.suggestion is None
            else f"--lr {sweep.suggestion:.0e}, where the loss falls fastest"
        )
        emit(f"suggested {shown}")
    if sweep.suggestion is None:
        raise SystemExit(ExitCode.FAILED)
