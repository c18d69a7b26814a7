"""The training loop, top to bottom: data, forward, backward, clip, step, log; now and then validate and save."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2x.console import format_count, progress, say
from gpt2x.errors import Gpt2xError
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import all_ranks
from gpt2x.train.metrics import Console, JsonLines, Loggers
from gpt2x.train.recipe import Recipe
from gpt2x.train.run import VALIDATION_BATCH, Run, prepare, versions
from gpt2x.train.schedule import learning_rate
from gpt2x.train.state import METRICS
from gpt2x.train.step import StepResult

SECOND_INTERRUPT_S = 2.0  # torchrun passes a Ctrl-C on that its ranks have had already; a later one is meant


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    run: Path
    steps: int
    loss: float
    validation_loss: float
    parameters: int
    tokens: int
    seconds: float
    tokens_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dataclasses.asdict(self) | {"run": str(self.run)}


def run(
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
    from gpt2x.ops import keep_freed_memory

    if config.keep_memory:
        keep_freed_memory()
    with all_ranks(config.device) as ranks:
        prepared = prepare(config, recipe, ranks, resume=resume, overwrite=overwrite)
        result = train(prepared)
        return result if ranks.is_first else None


def train(run: Run) -> Result:
    """Train a prepared run to its last step.

    Returns:
        The losses and the time; the run folder holds the rest.

    Raises:
        Gpt2xError: the loss is no longer a number, or a checkpoint cannot be written.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint has been saved.

    """
    config, ranks, steps = run.config, run.ranks, run.steps
    window, batches = Window(run), run.device_batches()
    loss, validation_loss = run.losses_before
    with _loggers(run) as loggers, _interrupts() as stop, progress("training", steps, "steps") as advance:
        advance(run.first_step)
        for step in range(run.first_step, steps):
            done, last = step + 1, step + 1 == steps
            must_log, must_save = last or done % config.log_every == 0, last or _due(done, config.save_every)
            must_validate = last or _due(done, config.eval_every)

            with window.step():
                _seed_step(run, step)
                lr = _learning_rate(run, step)
                result = run.training(batches, lr)
                window.add(result.loss)

            interrupted = ranks.any(stop.requested)
            if must_log or must_save or must_validate or interrupted or ranks.device.type == "cpu":
                _check_finite(run, result, done)
            metrics: dict[str, float] = {}
            if must_log:
                metrics = {"learning_rate": lr, "grad_norm": _grad_norm(result), **window.read()}
                loss = metrics["loss"]
            if must_validate:
                metrics["validation_loss"] = validation_loss = validate(run)
            if metrics:
                loggers.log(
                    {**metrics, "epoch": run.batches.epoch, "tokens": done * run.tokens_per_step}, done
                )
            if must_save or interrupted:
                save(run, done, window.seconds, loss, validation_loss)
            if interrupted and not last:
                say(f"interrupted after step {done} of {steps}; the same command goes on from there")
                raise KeyboardInterrupt
            if _due(done, config.sample_every) or (last and config.sample_every):
                sample(run)
            advance(note=f"loss {loss:.3f}" if math.isfinite(loss) else "")
    if run.first_step >= steps:
        say(
            f"the run in {run.folder.path} is finished: {run.first_step} steps are done; --overwrite starts anew"
        )
        loss, validation_loss = run.losses_before
    return _finish(run, window, loss, validation_loss)


@torch.no_grad()
def validate(run: Run) -> float:
    """The mean loss over the validation blocks, always the same ones, shared out among the ranks."""
    inputs, targets = (
        array[run.ranks.rank :: run.ranks.world_size] for array in run.validation
    )  # (blocks, T)
    run.model.eval()
    total = 0.0
    for first in range(0, len(inputs), VALIDATION_BATCH):
        rows = slice(first, first + VALIDATION_BATCH)
        with run.training.autocast():
            _, loss = run.model(run.to_device(inputs[rows]), run.to_device(targets[rows]))
        total += float(loss) * len(inputs[rows])
    run.model.train()
    total, count = run.ranks.sum([total, float(len(inputs))])
    return total / count


def save(run: Run, step: int, seconds: float, loss: float, validation_loss: float) -> None:
    """Write a checkpoint, on rank 0; a failure there stops all.

    Raises:
        OutputError: it cannot be written.

    """
    state: dict[str, Any] = {
        "step": step,
        "data": run.batches.state_dict(),
        "data_digest": run.data_digest,
        "config": run.config.to_dict(),
        "seconds": seconds,
        "losses": [value if math.isfinite(value) else None for value in (loss, validation_loss)],
        "versions": versions(),
    }
    about = {
        "step": step,
        "steps": run.steps,
        "finished": step == run.steps,
        "loss": state["losses"][0],
        "validation_loss": state["losses"][1],
    }

    def write() -> None:
        if run.ranks.is_first:
            optimizer = run.training.optimizer
            run.folder.save(run.model, run.tokenizer, optimizer, state, keep=run.config.keep, about=about)

    run.ranks.together(write)


def sample(run: Run) -> None:
    """Show what the model writes at this point, on rank 0; the others wait for it at the next step."""
    if not run.ranks.is_first:
        return
    run.model.eval()
    text = run.recipe.sample(run.model, run.tokenizer, run.config.seed)
    run.model.train()
    say("\n".join("  | " + line for line in text.splitlines()))


class Window:
    """Time and losses since the last line of the log.

    The clock runs while training alone: validating, saving and sampling do not count as slow steps.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.seconds = run.seconds_before
        self.trained_seconds = 0.0
        self._reset()

    def _reset(self) -> None:
        self.num_steps, self.window_seconds = 0, 0.0
        self.loss_sum = torch.zeros((), device=self.run.ranks.device)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Take the time of one step."""
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self._count(elapsed)

    def _count(self, elapsed: float) -> None:
        self.seconds += elapsed
        self.trained_seconds += elapsed
        self.window_seconds += elapsed

    def add(self, loss: Tensor) -> None:
        """Take a step's loss, without waiting for it."""
        self.loss_sum += loss
        self.num_steps += 1

    def read(self) -> dict[str, float]:
        """Mean loss over all ranks, time a step and tokens a second since the last call."""
        waiting_since = time.perf_counter()
        mean_loss = self.run.ranks.mean([float(self.loss_sum) / self.num_steps])[0]  # waits for a GPU
        self._count(time.perf_counter() - waiting_since)
        tokens = self.num_steps * self.run.tokens_per_step
        metrics = {
            "loss": mean_loss,
            "step_ms": 1000 * self.window_seconds / self.num_steps,
            "tokens_per_second": tokens / self.window_seconds,
        }
        self._reset()
        return metrics


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _learning_rate(run: Run, step: int) -> float:
    c = run.config
    return learning_rate(step, steps=run.steps, lr=c.lr, min_lr=c.min_lr, warmup=c.warmup)


def _seed_step(run: Run, step: int) -> None:
    """Make the randomness of a step (dropout) depend on nothing but seed, step and rank: nothing to save."""
    sequence = np.random.SeedSequence([run.config.seed, step, run.ranks.rank])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def _grad_norm(result: StepResult) -> float:
    assert result.grad_norm is not None, "the trainer's options ask for it"
    return float(result.grad_norm)


def _check_finite(run: Run, result: StepResult, step: int) -> None:
    """Stop all ranks before a broken model is logged as a result or saved over a good one."""
    loss, norm = float(result.loss), _grad_norm(result)
    if run.ranks.any(not (math.isfinite(loss) and math.isfinite(norm))):
        kept = run.folder.checkpoints()
        where = f"; {kept[-1]} is the last good checkpoint" if kept else ""
        raise Gpt2xError(
            f"the loss or its gradient is no longer a finite number at step {step} (loss {loss:.4g}, gradient "
            f"norm {norm:.4g}); try a smaller --lr than {run.config.lr:g}, or --dtype float32{where}"
        )


@contextlib.contextmanager
def _loggers(run: Run) -> Iterator[Loggers]:
    """The loggers of rank 0; on other ranks nobody listens."""
    if not run.ranks.is_first:
        yield Loggers([])
        return
    loggers = Loggers([Console(run.steps), JsonLines(run.folder.path / METRICS, run.first_step)])
    try:
        yield loggers
    finally:
        loggers.close()


class Stop:
    """Set when the run should end at the next step."""

    def __init__(self) -> None:
        self.requested = False
        self.at = 0.0

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks to stop after the step, a second one stops at once."""
        now = time.monotonic()
        if self.requested and now - self.at > SECOND_INTERRUPT_S:
            raise KeyboardInterrupt
        if not self.requested:
            say("stopping after this step, once a checkpoint is saved; Ctrl-C again stops at once")
            self.requested, self.at = True, now


@contextlib.contextmanager
def _interrupts() -> Iterator[Stop]:
    """Let Ctrl-C and a polite kill end the run at a step, not in the middle of one."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(run: Run, window: Window, loss: float, validation_loss: float) -> Result:
    """Sum up and say what to do next."""
    new_steps = max(0, run.steps - run.first_step)
    speed = new_steps * run.tokens_per_step / window.trained_seconds if window.trained_seconds else 0.0
    result = Result(
        run=run.folder.path,
        steps=run.steps,
        loss=loss,
        validation_loss=validation_loss,
        parameters=run.model.num_parameters(),
        tokens=run.steps * run.tokens_per_step,
        seconds=window.seconds,
        tokens_per_second=speed,
    )
    say(
        f"\ntrained    {result.steps} steps in {result.seconds:.0f} s"
        + (f" ({format_count(round(speed))} tokens/s)" if speed else "")
        + f": loss {loss:.3f}, validation loss {validation_loss:.3f}"
    )
    say(f"run        {result.run}")
    say(f"next       {run.recipe.next_command.format(run=result.run)}")
    return result
