"""The training loop, top to bottom: data, forward, backward, clip, step, log; now and then validate and save."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from gpt2x.console import format_count, on_terminal, say
from gpt2x.train import token_hash
from gpt2x.train.bad_batches import forget_later, settle
from gpt2x.train.checkpoint import BAD_BATCHES, METRICS
from gpt2x.train.command import Command
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import Ranks, all_ranks
from gpt2x.train.interrupts import Stop, interrupts
from gpt2x.train.keep import finite, keep_best, save
from gpt2x.train.loggers import open_loggers
from gpt2x.train.metrics import JsonLines, Logger, Loggers
from gpt2x.train.mfu import flops_a_token
from gpt2x.train.panel import watch
from gpt2x.train.plan import scheduled_rate
from gpt2x.train.recipe import Recipe
from gpt2x.train.relaunch import has_cleared
from gpt2x.train.report import show_curves
from gpt2x.train.setup import VALIDATION_BATCH, Setup, folder_of, prepare
from gpt2x.train.step import Batch, StepResult, documents_of
from gpt2x.train.window import Window


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    run: Path
    steps: int
    loss: float
    validation_loss: float
    best_step: int | None
    best_validation_loss: float | None
    parameters: int
    tokens: int
    seconds: float
    tokens_per_second: float
    skipped: int
    token_hash: str | None
    """Of all tokens that the run was fed, in their order (`gpt2x.train.token_hash`)."""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self) | {"run": str(self.run)}


def prepare_and_train(
    config: TrainConfig, recipe: Recipe, *, resume: bool = False, overwrite: bool = False
) -> Result | None:
    """Train, from the settings to the finished run folder.

    Args:
        config: all settings; `out` must be set.
        recipe: how the data becomes documents, and what a sample of the model is.
        resume: there must be a run in `out` to go on with.
        overwrite: start anew where there is one.

    Returns:
        What came of it, on rank 0; None on the others.

    Raises:
        Gpt2xError: one sentence for whatever a user can change.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint has been saved.

    """
    results = train_stages([config], recipe, resume=resume, overwrite=overwrite)
    return results[0] if results else None


def train_stages(
    configs: Sequence[TrainConfig], recipe: Recipe, *, resume: bool = False, overwrite: bool = False
) -> list[Result]:
    """Train one run after the other, each in its own folder; one that is finished is passed over.

    Args:
        configs: of each run; all on the device of the first.
        recipe: how the data becomes documents, and what a sample of the model is.
        resume: as of `prepare_and_train`.
        overwrite: as of `prepare_and_train`.

    Returns:
        What came of them, on rank 0; nothing on the others.

    Raises:
        Gpt2xError: one sentence for whatever a user can change.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint has been saved.

    """
    from gpt2x.ops import keep_freed_memory

    if any(config.keep_memory for config in configs):
        keep_freed_memory()
    results = []
    overwrite = overwrite and not resume
    with all_ranks(configs[0].device) as ranks:
        anew = overwrite and not ranks.any(has_cleared(folder_of(configs[0])))
        for number, config in enumerate(configs, 1):
            if len(configs) > 1:
                say(f"stage      {number} of {len(configs)}: {config.out}")
            command = Command(overwrite=overwrite, stage=number if len(configs) > 1 else None)
            # The first clears all: after a restart in it, the old runs of the others would pass for what follows.
            begins = {"overwrite": anew and number == 1, "later": configs[number:], "resume": resume}
            result, must_stop = _prepared_and_trained(config, recipe, ranks, command=command, **begins)
            results.append(result)
            if must_stop and number < len(configs):
                say(
                    f"interrupted before stage {number + 1} of {len(configs)}; the same command goes on with it"
                )
                raise KeyboardInterrupt
        return results if ranks.is_first else []


def _prepared_and_trained(
    config: TrainConfig, recipe: Recipe, ranks: Ranks, **how: Any
) -> tuple[Result, bool]:
    """What came of a run, and whether a signal asked a rank to stop when there was nothing left of it to stop."""
    setup = prepare(config, recipe, ranks, **how)
    try:
        return train(setup), ranks.any(setup.stop_requested)
    finally:
        if setup.lock is not None:
            setup.lock.release()


def train(setup: Setup) -> Result:
    """Train a prepared run to its last step.

    Returns:
        The losses and the time; the run folder holds the rest.

    Raises:
        Gpt2xError: the loss is no longer a number, or a spike, and the policy says stop; or a checkpoint cannot be
            written.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint has been saved.

    """
    config, ranks, steps = setup.config, setup.ranks, setup.steps
    window, is_over, (loss, validation_loss) = Window(setup), setup.is_over, setup.losses_before
    with _watched(setup) as (loggers, advance), interrupts() as stop, setup.writer:
        batches = _until(stop, setup)
        for step in range(setup.first_step, 0 if is_over else steps):
            done, last = step + 1, step + 1 == steps
            must_log, must_save = last or done % config.log_every == 0, last or _due(done, config.save_every)
            must_validate = last or _due(done, config.eval_every)

            position = setup.batches.state_dict()
            save_now = partial(
                save, setup, window=window, loss=loss, validation_loss=validation_loss, is_last=True
            )
            try:
                with window.step():
                    _seed_step(setup, step)
                    lr = scheduled_rate(config, step, setup.steps)
                    result = setup.training(batches, lr, accept=setup.guard.accept)
                    window.add(_note(setup, result, done, position))
            except _StepGivenUp:
                setup.batches.load_state_dict(position)
                _settle_and_leave(setup, window, save_now, step, steps)

            interrupted = _must_stop(setup, stop) or done == setup.stop_after
            if must_log or must_save or must_validate or interrupted or ranks.device.type == "cpu":
                settle(setup, window, save_now)
            metrics: dict[str, float] = {}
            if must_log:
                metrics = {"learning_rate": lr, "grad_norm": _grad_norm(result), **window.read()}
                loss = metrics["loss"]
            if must_validate:
                metrics["validation_loss"] = validation_loss = validate(setup)
                setup.best.update(validation_loss, done)
                hopeless = setup.best.is_hopeless(config.patience)
                last, must_save = last or hopeless, must_save or hopeless
            if metrics:
                loggers.log({**metrics, **_so_far(setup, done)}, done)
            token_hash.tell(setup.batches, ranks, done)
            if must_save or interrupted:
                save(setup, done, window, loss, validation_loss, is_last=last or interrupted)
            elif setup.best.step == done:
                keep_best(setup, loss)
            if interrupted and not last:
                _leave(setup, done, steps)
            if _must_sample(config, done, last, must_validate):
                sample(setup)
            advance(note=f"loss {loss:.3f}" if math.isfinite(loss) else "")
            if last and done < steps:
                say(
                    f"stopped    after step {done}: {setup.best.stale} validations were no better than the best"
                )
                steps = done
                break
    setup.stop_requested = stop.requested
    if is_over:
        steps = _say_finished(setup)
    return _finish(setup, window, steps, loss, validation_loss)


def _note(setup: Setup, result: StepResult, done: int, position: dict[str, int]) -> Tensor:
    """Remember a step, and average the weights after it where that is asked for; its loss as `Window.add` takes it."""
    loss = setup.guard.note(result, done, position)
    if setup.average is not None:
        setup.average.update(done, setup.guard.taken)
    return loss


def _say_finished(setup: Setup) -> int:
    """Say that nothing is left to train; after how many steps."""
    done, stale, of_this_run = setup.first_step, setup.best.stale, setup.command.of_this_run
    hopeless = setup.best.is_hopeless(setup.config.patience)
    longer = f"{of_this_run('--resume')} --steps N makes it longer"
    if hopeless and done < setup.steps:
        longer = f"{of_this_run('--patience 0')}, or a patience above {stale}, goes on"
    elif hopeless:  # it would stop again at once
        longer += " with --patience 0"
    say(
        f"the run in {setup.folder.path} is finished: {done} steps are done"
        + (f", and {stale} validations were no better than the best" if hopeless else "")
        + f"; {longer}, {of_this_run('--overwrite')} starts anew"
    )
    return done


class _StepGivenUp(Exception):
    """A stop was asked for between two micro-batches."""


def _until(stop: Stop, setup: Setup) -> Iterator[Batch]:
    """The micro-batches, up to a request to stop in the middle of a step.

    Ranks agree on a stop only between steps: in the middle of one, the others would wait for this one's gradients.
    """
    passes = setup.training.options.num_passes
    for number, batch in enumerate(setup.device_batches()):
        if stop.requested and number % passes and setup.ranks.world_size == 1:
            raise _StepGivenUp
        yield batch


def _must_stop(setup: Setup, stop: Stop) -> bool:
    """True on all ranks when one was asked to stop; raises on all what the writing of a checkpoint has failed with."""
    must_stop = setup.ranks.any(stop.requested or setup.writer.failed)
    if must_stop:
        setup.ranks.together(setup.writer.wait)
    return must_stop


def _leave(setup: Setup, step: int, steps: int) -> NoReturn:
    setup.ranks.together(setup.writer.wait)
    say(f"interrupted after step {step} of {steps}; {setup.command.again} goes on from there")
    raise KeyboardInterrupt


def _settle_and_leave(
    setup: Setup, window: Window, save_now: Callable[[int], None], step: int, steps: int
) -> NoReturn:
    settle(setup, window, save_now)
    save_now(step)
    _leave(setup, step, steps)


def _so_far(setup: Setup, done: int) -> dict[str, float]:
    """What a line of the log tells of the whole run."""
    skipped = {"skipped": setup.guard.skipped} if setup.guard.skipped else {}
    return {"epoch": setup.batches.epoch, "tokens": done * setup.tokens_per_step, **skipped}


@torch.no_grad()
def validate(setup: Setup) -> float:
    """The mean loss over the validation blocks, always the same ones, shared out among the ranks."""
    inputs, targets = (
        array[setup.ranks.rank :: setup.ranks.world_size] for array in setup.validation
    )  # (blocks, T)
    setup.evaluated.eval()
    total = 0.0
    for first in range(0, len(inputs), VALIDATION_BATCH):
        rows = slice(first, first + VALIDATION_BATCH)
        with setup.training.autocast():
            idx = setup.to_device(inputs[rows])
            documents = documents_of(idx, setup.training.options.reset_at)
            _, loss = setup.evaluated(idx, setup.to_device(targets[rows]), **documents)
        total += float(loss) * len(inputs[rows])
    setup.model.train()
    total, count = setup.ranks.sum([total, float(len(inputs))])
    return total / count


def sample(setup: Setup) -> None:
    """Show what the model writes at this point, on rank 0; the others wait for it at the next step."""
    if not setup.ranks.is_first:
        return
    setup.evaluated.eval()
    text = setup.recipe.sample(setup.evaluated, setup.tokenizer, setup.config.seed)
    setup.model.train()
    say("\n".join("  | " + line for line in text.splitlines()))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _must_sample(config: TrainConfig, done: int, last: bool, validated: bool) -> bool:
    """Every so many steps and at the end; unless told, at each validation where a person looks on."""
    if config.sample_every is None:
        return validated and on_terminal()
    return _due(done, config.sample_every) or (last and config.sample_every > 0)


def _seed_step(setup: Setup, step: int) -> None:
    """Make the randomness of a step (dropout) depend on nothing but seed, step and rank: nothing to save."""
    sequence = np.random.SeedSequence([setup.config.seed, step, setup.ranks.rank])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def _grad_norm(result: StepResult) -> float:
    assert result.grad_norm is not None, "the trainer's options ask for it"
    return float(result.grad_norm)


@contextlib.contextmanager
def _watched(setup: Setup) -> Iterator[tuple[Loggers, Callable[..., None]]]:
    """The loggers of rank 0, and what counts the steps; on other ranks nobody listens."""
    flops = flops_a_token(setup.model.config)
    seen = watch(setup.steps, setup.first_step, panel=setup.config.panel, flops_a_token=flops)
    with seen as (shown, advance), _loggers(setup, shown) as loggers:
        yield loggers, advance


@contextlib.contextmanager
def _loggers(setup: Setup, shown: Logger) -> Iterator[Loggers]:
    if not setup.ranks.is_first:
        yield Loggers([])
        return
    forget_later(setup)
    path, first_step = setup.folder.path, setup.first_step
    others = open_loggers(setup.config.log_to, path, setup.config.to_dict(), first_step)
    loggers = Loggers([shown, JsonLines(path / METRICS, first_step), *others])
    try:
        yield loggers
    finally:
        loggers.close()


def _finish(setup: Setup, window: Window, steps: int, loss: float, validation_loss: float) -> Result:
    """See the last checkpoint written, sum up and say what to do next."""
    setup.ranks.together(setup.writer.wait)
    new_steps = max(0, steps - setup.first_step)
    speed = new_steps * setup.tokens_per_step / window.trained_seconds if window.trained_seconds else 0.0
    result = Result(
        run=setup.folder.path,
        steps=steps,
        loss=loss,
        validation_loss=validation_loss,
        best_step=setup.best.step if setup.config.publish == "best" else None,
        best_validation_loss=finite(setup.best.loss),
        parameters=setup.model.num_parameters(),
        tokens=steps * setup.tokens_per_step,
        seconds=window.seconds,
        tokens_per_second=speed,
        skipped=setup.guard.skipped,
        token_hash=token_hash.in_hex(token_hash.of_all_ranks(setup.batches, setup.ranks)),
    )
    say(
        f"\ntrained    {result.steps} steps in {result.seconds:.0f} s"
        + (f" ({format_count(round(speed))} tokens/s)" if speed else "")
        + f": loss {loss:.3f}, validation loss {validation_loss:.3f}"
    )
    if new_steps:
        clock = time.perf_counter() - window.started
        say(
            f"time       {clock:.0f} s, {window.trained_seconds:.0f} s of them training; the rest: "
            "validating, saving, sampling"
        )
    if result.skipped:
        say(
            f"skipped    {result.skipped} steps that were not taken; {result.run / BAD_BATCHES} tells their batches"
        )
    if result.token_hash is not None:
        say(f"tokens     {result.token_hash}, all that were fed and their order")
    if setup.best.step is not None and setup.best.step != steps:
        kept = "kept in the run" if setup.config.publish == "best" else "not kept (publish = last)"
        say(
            f"best       validation loss {setup.best.loss:.3f}, after step {setup.best.step}; its weights are {kept}"
        )
    if new_steps and setup.ranks.is_first:
        show_curves(setup.folder.path)
    say(f"run        {result.run}")
    say(f"next       {setup.recipe.next_command.format(run=result.run)}")
    return result
