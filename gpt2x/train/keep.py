"""What a run saves while it trains: a checkpoint now and then, and the best weights on top of its folder."""

from __future__ import annotations

import math
from typing import Any

from gpt2x.train import token_hash
from gpt2x.train.setup import Setup, versions
from gpt2x.train.window import Window
from gpt2x.train.writer import Snapshot, snapshot


def keep_best(setup: Setup, loss: float) -> None:
    """Begin to put the weights on top of the run folder, on rank 0, if the best are wanted there.

    Raises:
        OutputError: on all ranks, what was being written before has failed.

    """
    about = _about_best(setup, loss)

    def begin() -> None:
        if not setup.ranks.is_first or setup.config.publish != "best":
            return
        setup.writer.wait_for_the_one_before()
        taken = snapshot(setup.evaluated, None)
        setup.writer.start(lambda: setup.folder.publish(taken.model, setup.tokenizer, about))

    setup.ranks.together(begin)


def _about_best(setup: Setup, loss: float) -> dict[str, Any]:
    assert setup.best.step is not None
    return _about(setup, setup.best.step, loss, setup.best.loss) | {"finished": False}


def _about(setup: Setup, step: int, loss: float, validation_loss: float) -> dict[str, Any]:
    """What config.json tells of the weights beside it."""
    return {
        "step": step,
        "steps": setup.steps,
        "finished": step >= setup.steps or setup.best.is_hopeless(setup.config.patience),
        "loss": finite(loss),
        "validation_loss": finite(validation_loss),
        "recipe": setup.recipe.name,
    }


def finite(value: float) -> float | None:
    """A number as JSON has it: None where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def save(
    setup: Setup, step: int, window: Window, loss: float, validation_loss: float, *, is_last: bool
) -> None:
    """Begin to write a checkpoint, on rank 0: the loop goes on as soon as weights and moments are copied.

    Its weights are shown on top of the run folder, unless the best of a validation are there.

    Args:
        setup: the run.
        step: how many steps are done.
        window: what is not logged yet.
        loss: as last logged.
        validation_loss: as last measured.
        is_last: whether this process makes no more steps, so that nothing need be copied.

    Raises:
        OutputError: on all ranks, what was being written before has failed.

    """
    state: dict[str, Any] = {
        "step": step,
        "steps": setup.steps,
        "data": token_hash.state_of_all(setup.batches, setup.ranks),
        "data_digest": setup.data_digest,
        "initial": setup.initial_digest,
        "config": setup.config.to_dict(),
        "seconds": window.seconds,
        "window": window.state_dict(),
        "losses": [finite(loss), finite(validation_loss)],
        "best": setup.best.state_dict(),
        "guard": setup.guard.state_dict(),
        "versions": versions(),
    }
    about = _about(setup, step, loss, validation_loss)
    best_on_top = setup.config.publish == "best" and setup.best.step is not None
    about_best = _about_best(setup, loss) if best_on_top and setup.best.step == step else None
    folder, tokenizer = setup.folder, setup.tokenizer

    def write(taken: Snapshot) -> None:
        if about_best is not None:
            folder.publish(taken.evaluated, tokenizer, about_best)
        folder.save(taken, tokenizer, state, keep=setup.config.keep, about=about)
        if best_on_top and folder.has_published():
            folder.describe({"last_step": step, "steps": state["steps"], "finished": about["finished"]})
        else:
            folder.publish(taken.evaluated, tokenizer, about | {"last_step": step})

    def begin() -> None:
        if setup.ranks.is_first:
            setup.writer.wait_for_the_one_before()
            taken = snapshot(setup.model, setup.training.optimizer, setup.average, copy=not is_last)
            setup.writer.start(lambda: write(taken))

    setup.ranks.together(begin)
