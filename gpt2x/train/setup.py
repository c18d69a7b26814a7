"""Everything that is made before the first step: data, tokenizer, model, optimizer, and where an old run stopped."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpt2x._version import __version__
from gpt2x.console import format_count, say
from gpt2x.data.batches import TokenBatches, fixed_blocks
from gpt2x.data.shards import TokenStreams
from gpt2x.data.sources import find_file
from gpt2x.errors import InputDataError, UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.runs import find_run
from gpt2x.paths import cache_dir, check_can_write
from gpt2x.train import token_hash
from gpt2x.train.average import WeightAverage
from gpt2x.train.bad_loss import LossGuard
from gpt2x.train.best import Best
from gpt2x.train.checkpoint import Checkpoint, RunFolder, check_space
from gpt2x.train.command import PLAIN, Command
from gpt2x.train.config import TrainConfig, differences
from gpt2x.train.data_record import DataRecord
from gpt2x.train.distributed import Ranks
from gpt2x.train.initial import find_initial, initial_tokenizer, shape_from, start_from, weights_digest
from gpt2x.train.lock import RunLock
from gpt2x.train.mfu import measured_peak
from gpt2x.train.plan import (
    choose_dtype,
    model_shape,
    num_steps,
    scheduled_rate,
    share_batch,
    step_options,
    with_vocabulary,
)
from gpt2x.train.recipe import Recipe
from gpt2x.train.relaunch import leave_mark
from gpt2x.train.schedule import fitted_warmup
from gpt2x.train.step import Batch, TrainingStep
from gpt2x.train.step_options import StepOptions
from gpt2x.train.writer import Writer

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

VALIDATION_BATCH = (
    8  # sequences computed at once when validating; fixed, so that the loss is the same everywhere
)


@dataclass
class Setup:
    """All parts of a run, ready for the loop."""

    config: TrainConfig
    recipe: Recipe
    ranks: Ranks
    folder: RunFolder
    tokenizer: Tokenizer
    training: TrainingStep
    batches: TokenBatches
    validation: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    guard: LossGuard
    """Decides whether a step is taken."""
    steps: int
    data_digest: str
    first_step: int = 0
    seconds_before: float = 0.0
    """Time that was spent before the run was resumed."""
    losses_before: tuple[float, float] = (math.nan, math.nan)
    """Loss and validation loss as last measured before the run was resumed."""
    window_before: dict[str, float] | None = None
    """What was not yet logged then."""
    steps_before: int | None = None
    """How long the run was to be when its checkpoint was saved."""
    stop_after: int | None = None
    """Stop after this step as if a signal had come: for `--verify-resume`."""
    lock: RunLock | None = None
    """Keeps other trainers out of the folder; on rank 0."""
    average: WeightAverage | None = None
    """The averaged weights, with ``ema``."""
    peak_flops: float = 0.0
    """Operations a second of matrix products that all ranks together are capable of; 0 where nobody measured."""
    best: Best = field(default_factory=Best)
    """The lowest validation loss so far."""
    writer: Writer = field(default_factory=Writer)
    """Writes checkpoints beside the training; idle on ranks other than 0."""
    command: Command = PLAIN
    """How the run was started, for the words that say how it goes on."""
    stop_requested: bool = False
    """Whether a signal asked this rank to stop, also one that came when nothing was left to train."""
    initial_digest: str | None = None
    """sha256 of the weights that it started from (`weights_digest`); None where it started at random."""

    @property
    def model(self) -> GPT:
        """The model with the float32 weights."""
        return self.training.model

    @property
    def evaluated(self) -> GPT:
        """The weights that are validated, sampled from and published: the averaged ones where there are some."""
        return self.model if self.average is None else self.average.model

    @property
    def is_over(self) -> bool:
        """True when there is nothing left to train."""
        return self.first_step >= self.steps or self.best.is_hopeless(self.config.patience)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of all ranks in one optimizer step."""
        return self.config.total_batch_tokens

    def to_device(self, array: npt.NDArray[np.int64]) -> Tensor:
        """A batch on the device; the copy to a GPU does not wait."""
        tensor = torch.from_numpy(array)
        if self.ranks.device.type == "cuda":
            return tensor.pin_memory().to(self.ranks.device, non_blocking=True)
        return tensor

    def device_batches(self) -> Iterator[Batch]:
        """This rank's micro-batches, each put on the device when it is asked for."""
        for inputs, targets in self.batches:  # (B, T) each
            yield self.to_device(inputs), self.to_device(targets)


def prepare(
    config: TrainConfig,
    recipe: Recipe,
    ranks: Ranks,
    *,
    resume: bool = False,
    overwrite: bool = False,
    later: Sequence[TrainConfig] = (),
    command: Command = PLAIN,
) -> Setup:
    """Make all parts of a run.

    Args:
        config: all settings.
        recipe: how the data becomes documents.
        ranks: all that train together.
        resume: there must be a run in the folder to go on with.
        overwrite: start anew where there is one.
        later: of the stages after this one, whose runs are cleared where this one is overwritten.
        command: how the run was started.

    Raises:
        Gpt2xError: on all ranks alike.

    """
    folder, overwrite = folder_of(config), overwrite and not resume
    cleared = later if overwrite else ()
    ranks.together(lambda: _check_places(folder, cleared, ranks))
    data_file = ranks.first_then_all(lambda: find_file(config.data))
    data_digest = ranks.first_then_all(lambda: recipe.digest(data_file))
    ranks.together(lambda: model_shape(config))
    checkpoint = _find_checkpoint(
        folder, config, data_digest, ranks, command, resume=resume, overwrite=overwrite
    )
    initial = None if config.init_from is None or checkpoint else config.init_from
    given = None if initial is None else ranks.first_then_all(lambda: find_initial(initial))
    initial_digest = ranks.together(lambda: _initial_digest(checkpoint, given, ranks))
    shape = ranks.together(lambda: _shape(config, checkpoint, given))
    micro_batch, micro_steps = ranks.together(lambda: share_batch(config, shape.block_size, ranks.world_size))

    tokenizer, streams = ranks.first_then_all(
        lambda: _data(config, recipe, data_file, data_digest, _wanted(config, checkpoint, given))
    )
    torch.manual_seed(config.seed)
    model = ranks.together(
        lambda: _model(with_vocabulary(shape, tokenizer.n_vocab), checkpoint, given, tokenizer)
    )
    dtype, why = choose_dtype(config.dtype, ranks.device)
    one_machine = ranks.can_share_memory()
    options = ranks.together(
        lambda: step_options(
            config,
            ranks.device,
            dtype,
            world_size=ranks.world_size,
            num_passes=micro_steps,
            one_machine=one_machine,
            eot_token=tokenizer.eot_token,
        )
    )
    training = ranks.together(lambda: TrainingStep(model.train(), options, ranks.device))
    batches = ranks.together(
        lambda: TokenBatches(
            streams.train, micro_batch, shape.block_size, ranks.rank, ranks.world_size, seed=config.seed
        )
    )
    average = WeightAverage(training.model, config.ema) if config.ema else None
    first_step, seconds_before, losses_before = 0, 0.0, (math.nan, math.nan)
    if checkpoint is not None:
        ranks.together(lambda: checkpoint.load_optimizer(training.optimizer))
        if average is not None:
            checkpoint.load_average(average)
        ranks.together(lambda: token_hash.go_on(batches, ranks, checkpoint.state["data"]))
        first_step, seconds_before = checkpoint.step, float(checkpoint.state["seconds"])
        loss, validation_loss = (math.nan if value is None else value for value in checkpoint.state["losses"])
        losses_before = (loss, validation_loss)
    data = DataRecord(name=config.data, file=data_file, digest=data_digest, recipe=recipe)
    lock = ranks.together(
        lambda: _start(
            folder, config, ranks, model.num_parameters(), data, overwrite=overwrite, later=cleared
        )
    )
    prepared = Setup(
        config=config,
        recipe=recipe,
        ranks=ranks,
        folder=folder,
        tokenizer=tokenizer,
        training=training,
        batches=batches,
        validation=fixed_blocks(streams.validation, shape.block_size, config.eval_batches * VALIDATION_BATCH),
        guard=LossGuard(
            config.on_bad_loss,
            config.spike_factor,
            ranks,
            checkpoint.state.get("guard") if checkpoint else None,
        ),
        steps=num_steps(config, batches.num_blocks, batches.block_size),
        data_digest=data_digest,
        first_step=first_step,
        seconds_before=seconds_before,
        losses_before=losses_before,
        steps_before=checkpoint.state.get("steps") if checkpoint else None,
        lock=lock,
        average=average,
        window_before=checkpoint.state.get("window") if checkpoint else None,
        best=Best.from_state(checkpoint.state.get("best")) if checkpoint else Best(),
        command=command,
        initial_digest=initial_digest,
    )
    prepared.peak_flops = measured_peak(
        prepared.steps * config.total_batch_tokens, model.config, dtype, ranks
    )
    _describe(prepared, streams, data_file, dtype, why)
    return prepared


def folder_of(config: TrainConfig) -> RunFolder:
    if config.out is None:
        raise UsageError("a run needs a folder; give --out")
    return RunFolder(Path(config.out))


def _check_places(folder: RunFolder, later: Sequence[TrainConfig], ranks: Ranks) -> None:
    """Refuse places that cannot work before anything is read, downloaded or computed for them."""
    for place in (folder, *map(folder_of, later)):
        place.check_free()
    if ranks.is_first:  # the one that writes
        check_can_write(folder.path)
        check_can_write(cache_dir(), "GPT2X_CACHE")


def _find_checkpoint(
    folder: RunFolder,
    config: TrainConfig,
    data_digest: str,
    ranks: Ranks,
    command: Command,
    *,
    resume: bool,
    overwrite: bool,
) -> Checkpoint | None:
    """Where the run in the folder stopped; None if there is none, or it is to be overwritten."""

    def look() -> Checkpoint | None:
        if resume and not folder.holds_a_run():
            raise UsageError(f"there is no run to resume in {folder.path}; leave out --resume to start one")
        if overwrite:
            return None
        checkpoint = folder.newest_whole(command.of_this_run("--overwrite"))
        if checkpoint is not None:
            _check_same_run(folder, config, data_digest, checkpoint, command, resume=resume)
        return checkpoint

    checkpoint = ranks.together(look)
    step = float(checkpoint.step if checkpoint else 0)
    if ranks.any(step != ranks.mean([step])[0]):
        raise UsageError(
            f"the ranks do not see the same {folder.path}; put --out on a folder that all machines share"
        )
    return checkpoint


def _start(
    folder: RunFolder,
    config: TrainConfig,
    ranks: Ranks,
    num_parameters: int,
    data: DataRecord,
    *,
    overwrite: bool,
    later: Sequence[TrainConfig],
) -> RunLock | None:
    """Begin to write, on rank 0, now that everything has been looked at that could be refused."""
    if not ranks.is_first:
        return None
    check_space(folder.path, num_parameters, config.ema)
    lock = RunLock(folder.trainer)
    try:
        if overwrite:
            _clear(folder, later)
        folder.sweep()
        folder.start(config.to_dict())
        if overwrite:
            leave_mark(folder)
        data.write(folder)
    except BaseException:
        lock.release()
        raise
    return lock


def _clear(folder: RunFolder, later: Sequence[TrainConfig]) -> None:
    """Remove the run in a folder whose lock is held, and those of later stages, unless a process trains in one."""
    runs = [(run, config) for config in later if (run := folder_of(config)).holds_a_run()]
    with contextlib.ExitStack() as held:
        for run, _ in runs:
            held.callback(RunLock(run.trainer).release)
        for run, config in runs:
            run.clear()
            run.start(config.to_dict())  # without settings the folder would pass for somebody else's
        if folder.holds_a_run():
            folder.clear()


def _check_same_run(
    folder: RunFolder,
    config: TrainConfig,
    data_digest: str,
    checkpoint: Checkpoint,
    command: Command,
    *,
    resume: bool,
) -> None:
    if resume and config.epochs is None and config.steps < checkpoint.step:
        raise UsageError(
            f"{checkpoint.step} steps are done in {folder.path}, and steps = {config.steps}; give at least "
            f"--steps {checkpoint.step}"
        )
    changed = differences(checkpoint.state["config"], config, may_grow=resume)
    if checkpoint.state["data_digest"] != data_digest:
        changed.append(f"another content of the data than {config.data} has now")
    anew = f"give another --out, or {command.of_this_run('--overwrite')} to start anew"
    if changed:
        raise UsageError(f"{folder.path} holds a run with {'; '.join(changed[:3])}; {anew}")
    if not resume and _starts_elsewhere(folder, config, checkpoint):
        raise UsageError(
            f"{folder.path} holds a run that started from other weights than {config.init_from} has now; {anew}, or "
            f"{command.of_this_run('--resume')} to go on with it"
        )


def _initial_digest(checkpoint: Checkpoint | None, given: Path | None, ranks: Ranks) -> str | None:
    """The digest of the weights that a run starts from or once started from, on rank 0, which writes it down."""
    if checkpoint is not None:
        recorded: str | None = checkpoint.state.get("initial")
        return recorded
    return weights_digest(given) if given is not None and ranks.is_first else None


def _starts_elsewhere(folder: RunFolder, config: TrainConfig, checkpoint: Checkpoint) -> bool:
    """Whether a run that starts now would start from other weights than the one in the folder did.

    False where that cannot be told: of a run of an earlier version, and where the weights are gone or on the hub,
    since a run that goes on does not need them any more. So where they were in its own folder, which it wrote over.
    """
    recorded = checkpoint.state.get("initial")
    if recorded is None or config.init_from is None:
        return False
    try:
        given = find_run(config.init_from)
        if given.resolve().is_relative_to(folder.path.resolve()):
            return False
        return weights_digest(given) != recorded
    except (InputDataError, OSError):
        return False


def _data(
    config: TrainConfig, recipe: Recipe, data_file: Path, data_digest: str, wanted: Tokenizer | int
) -> tuple[Tokenizer, TokenStreams]:
    """The tokenizer, wanted or learned from the data, and the streams."""
    tokenizer, streams = recipe.streams(data_file, data_digest, wanted, config.validation_share, config.seed)
    if isinstance(wanted, int) and tokenizer.n_vocab < wanted:
        say(
            f"the {recipe.documents_word} give a vocabulary of {tokenizer.n_vocab}, not of {wanted}; that one is used"
        )
    return tokenizer, streams


def _wanted(config: TrainConfig, checkpoint: Checkpoint | None, given: Path | None) -> Tokenizer | int:
    """The tokenizer to use, or the size of the one to learn; a resumed run keeps the one it was started with."""
    from gpt2x.tokenizer import Tokenizer

    if checkpoint is not None:
        return Tokenizer.load(checkpoint.folder)
    if config.tokenizer == "auto" and given is not None:
        return initial_tokenizer(given)
    return config.vocab if config.tokenizer in ("auto", "train") else Tokenizer.load(config.tokenizer)


def _shape(config: TrainConfig, checkpoint: Checkpoint | None, given: Path | None) -> GPTConfig:
    """The model's configuration but for its vocabulary; a run that goes on no longer needs what it started from."""
    if config.init_from is None:
        return model_shape(config)
    source = checkpoint.folder if checkpoint is not None else given
    assert source is not None
    return shape_from(config, source)


def _model(config: GPTConfig, checkpoint: Checkpoint | None, given: Path | None, tokenizer: Tokenizer) -> GPT:
    """A fresh model, or the weights of a checkpoint or a given model in one that trains as the settings say."""
    model = GPT(config)
    if checkpoint is None and given is not None:
        start_from(model, tokenizer, given)
    if checkpoint is not None:
        from gpt2x.model import load_folder

        loaded, _ = load_folder(checkpoint.folder)
        own, saved = model.state_dict(), loaded.state_dict()
        for name, tensor in own.items():
            if name not in saved or saved[name].shape[1:] != tensor.shape[1:]:
                raise InputDataError(
                    f"checkpoint {checkpoint.folder} is of a model with another shape ({name})"
                )
            tensor[: saved[name].shape[0]].copy_(saved[name])
    return model


def _describe(setup: Setup, streams: TokenStreams, data_file: Path, dtype: torch.dtype, why: str) -> None:
    """Say what will be trained on what, and how it is computed."""
    c, m = setup.config, setup.model.config
    say(
        f"data       {data_file}: {format_count(len(streams.train))} tokens of {streams.num_train_documents} "
        f"{setup.recipe.documents_word} to "
        f"train on, {format_count(len(streams.validation))} of {streams.num_validation_documents} to validate"
    )
    say(
        f"model      {format_count(setup.model.num_parameters())} parameters: {m.n_layer} layers, {m.n_head} heads, "
        f"width {m.n_embd}, context {m.block_size}, vocabulary {m.vocab_size}"
        + (f"; with {m.beyond_gpt2}" if m.beyond_gpt2 else "")
    )
    if c.init_from is not None and not setup.first_step:
        say(f"starts     from the weights of {c.init_from}")
    epochs = setup.steps * c.total_batch_tokens / len(streams.train)
    say(
        f"steps      {setup.steps} of {c.total_batch_tokens} tokens ({epochs:.1f} epochs): "
        f"{setup.ranks.world_size} rank{'s' * (setup.ranks.world_size != 1)} × {setup.training.options.num_passes} × "
        f"{setup.batches.batch_size} sequences"
    )
    num_threads = torch.get_num_threads()
    threads = (
        f", {num_threads} thread{'s' * (num_threads != 1)} a rank" if setup.ranks.device.type == "cpu" else ""
    )
    say(
        f"computes   on {setup.ranks.device}{threads}, products in {str(dtype).removeprefix('torch.')} ({why})"
    )
    if setup.average is not None:
        say(f"average    of the weights, with a decay of {c.ema:g}: validated and published in their place")
    say(f"step       {step_in_words(setup.training.options)}")
    warmup = fitted_warmup(c.warmup, setup.steps)
    if warmup != c.warmup:
        say(f"warm-up    {warmup} steps: {c.warmup} do not fit into {setup.steps}")
    if setup.first_step:
        say(f"resumes    after step {setup.first_step} of {setup.steps}")
    if setup.steps_before not in (None, setup.steps):
        say(f"longer     {setup.steps} steps instead of {setup.steps_before}: {_rate_from_here(setup)}")


def _rate_from_here(setup: Setup) -> str:
    """What the schedule does where a run is made longer."""
    c = setup.config
    rate = scheduled_rate(c, setup.first_step, setup.steps)
    drawn = (
        "the cosine is drawn anew over all of them"
        if c.schedule == "cosine"
        else "the decay comes at their end"
    )
    return f"{drawn}, and the learning rate goes on at {rate:.2e}"


def step_in_words(options: StepOptions) -> str:
    """The parts of the step that have a rung on the ladder: ``bf16 weights, AdamW of gpt2x.ops``."""
    adamw = {"gpt2x": "AdamW of gpt2x.ops", "fused": "torch's fused AdamW", "adamw": "torch's plain AdamW"}
    parts = {
        "attention reset at documents": options.reset_at is not None,
        "bf16 weights": options.bf16_weights,
        "bf16 autocast": options.autocast is not None,
        "torch.compile": options.compile,
        "CUDA graphs": options.cuda_graphs,
        "Muon for the hidden matrices": options.muon,
        adamw[options.optimizer]: True,
        "weights and optimizer state in shared memory": options.shared_memory,
    }
    return ", ".join(word for word, holds in parts.items() if holds)


def versions() -> dict[str, str]:
    """What computed a checkpoint, for whoever wonders later."""
    return {
        "gpt2x": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "world_size": os.environ.get("WORLD_SIZE", "1"),
    }
