"""The record of steps that were not taken: RUN/bad-batches.jsonl, one JSON object a step, with what its batch was.

The data are known to the trainer as a stream of tokens, so a sequence is told by its offset in that stream, by where
the document begins that it starts in, and by that document's first words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpt2x.console import say
from gpt2x.errors import Gpt2xError, OutputError, describe_os_error
from gpt2x.train.bad_loss import BadStep
from gpt2x.train.checkpoint import BAD_BATCHES
from gpt2x.train.metrics import forget_after
from gpt2x.train.setup import Setup
from gpt2x.train.window import Window

FURTHEST_BACK = 1 << 16
"""Tokens in which the beginning of a document is looked for."""

FIRST_TOKENS = 16
"""Of a document, as a person recognises it."""


def forget_later(setup: Setup) -> None:
    """Drop the steps of a future that a resumed run lives again, on rank 0."""
    path = setup.folder.path / BAD_BATCHES
    if setup.ranks.is_first and path.exists():
        forget_after(path, setup.first_step)


def settle(setup: Setup, window: Window, save: Callable[[int], None]) -> None:
    """Read what became of the steps since the last time: record those that were skipped, leave where one stops the run.

    Args:
        setup: the run.
        window: what is not logged yet; the steps that are undone are taken out of it.
        save: saves the state as that after so many steps.

    Raises:
        Gpt2xError: on all ranks, the run stops; its state from before the bad step is saved.
        OutputError: on all ranks, something cannot be written.

    """
    found = setup.guard.read()
    window.num_skipped += len(found.skipped)
    bad = found.skipped if found.stop is None else [*found.skipped, found.stop]
    if not bad:
        return
    setup.ranks.together(lambda: _append(setup, bad))
    for one in found.skipped:
        say(f"skipped    step {one.step}: {one.reason} (loss {one.loss:.4g}, norm {one.grad_norm:.4g})")
    if found.stop is not None:
        _stop(setup, window, found.stop, found.num_undone, save)


def _stop(setup: Setup, window: Window, stop: BadStep, num_undone: int, save: Callable[[int], None]) -> None:
    setup.ranks.together(setup.writer.wait)
    done = stop.step - 1
    window.num_steps -= num_undone
    setup.batches.load_state_dict(stop.position)
    if done > setup.first_step:
        save(done)
        setup.ranks.together(setup.writer.wait)
    raise Gpt2xError(_sentence(setup, stop))


def _sentence(setup: Setup, stop: BadStep) -> str:
    """Which step, with which loss, where its batch is told, and what to do."""
    most, policy = setup.guard.most, setup.guard.policy
    in_a_row = f", the {most}th step in a row that was not taken" if policy == "skip" else ""
    kept = setup.folder.checkpoints()
    state = f"{kept[-1]} has the state from before it" if kept else "no step was done before"
    skip = "" if policy == "skip" else "--resume --on-bad-loss skip goes on without it, or "
    return (
        f"{stop.reason} at step {stop.step} (loss {stop.loss:.4g}, gradient norm {stop.grad_norm:.4g}){in_a_row}; "
        f"{setup.folder.path / BAD_BATCHES} tells its batch, {state}; {skip}try a smaller --lr than "
        f"{setup.config.lr:g}, or --dtype float32"
    )


def _append(setup: Setup, bad: list[BadStep]) -> None:
    """Write what is known of bad steps, on rank 0."""
    if not setup.ranks.is_first:
        return
    path = setup.folder.path / BAD_BATCHES
    lines = [json.dumps(_record(setup, one), allow_nan=False) + "\n" for one in bad]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {describe_os_error(error)}; free some space") from error


def _record(setup: Setup, bad: BadStep) -> dict[str, Any]:
    batches = setup.batches
    size, first = batches.batch_size, bad.position["position"]
    return {
        "step": bad.step,
        "reason": bad.reason,
        "loss": _finite(bad.loss),
        "grad_norm": _finite(bad.grad_norm),
        "limit": _finite(bad.limit),
        "epoch": first / batches.num_blocks,
        # Without the hash, which is of rank 0's tokens alone.
        "data": {name: value for name, value in bad.position.items() if name != "token_hash"},
        "micro_batches": [
            {
                "rank": number % setup.ranks.world_size,
                "loss": _finite(loss),
                "sequences": [
                    _sequence(setup, start) for start in batches.starts(first + number * size, size)
                ],
            }
            for number, loss in enumerate(bad.losses)
        ],
    }


def _sequence(setup: Setup, offset: int) -> dict[str, Any]:
    """Where a sequence begins, and the document that it begins in."""
    tokens = setup.batches.tokens
    document = document_start(tokens, setup.tokenizer.eot_token, offset)
    first = offset if document is None else document + 1
    ids = tokens[np.arange(first, first + FIRST_TOKENS) % len(tokens)]
    begins = setup.tokenizer.decode([int(i) for i in ids])
    return {"offset": offset, "document": document, "begins": begins}


def document_start(tokens: Any, eot: int, offset: int) -> int | None:
    """The place of the last `eot` up to a place in a stream, not further back than `FURTHEST_BACK`; None if none is.

    >>> document_start(np.array([0, 5, 5, 0, 7, 7]), 0, 2), document_start(np.array([0, 5, 0, 7]), 0, 2)
    (0, 2)
    """
    first = max(0, offset + 1 - FURTHEST_BACK)
    found = np.flatnonzero(tokens[np.arange(first, offset + 1)] == eot)
    return first + int(found[-1]) if len(found) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
