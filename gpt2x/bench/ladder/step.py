"""The training step of a `StepConfig`, with a stopwatch: what a rung of the ladder measures.

The step itself is the trainer's (`gpt2x.train.step`). All rungs see the same micro-batches in the same order and start
from the same weights, so their losses can be compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt2x.bench.ladder.config import DECAY_STEPS, LR, MIN_LR, WARMUP_STEPS, Setting, StepConfig
from gpt2x.bench.stats import MS_PER_SECOND
from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.train.schedule import learning_rate
from gpt2x.train.step import TrainingStep
from gpt2x.train.step_options import StepOptions

Clock = Callable[[], float]
"""Seconds from any fixed moment; tests give one that they turn themselves."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """How long one step took, in milliseconds, and what came of it."""

    step_ms: float
    forward_ms: float
    backward_ms: float
    """0 where a CUDA graph holds forward and backward: `forward_ms` is then the time of both."""
    optimizer_ms: float
    loss: float


def micro_batch(tokens: np.ndarray, index: int, batch: int, seq: int) -> tuple[np.ndarray, np.ndarray]:
    """Micro-batch number `index` of a token stream: inputs and targets, (B, T) each; after the last comes the first.

    >>> micro_batch(np.arange(9), 1, 2, 2)[0].tolist()
    [[4, 5], [6, 7]]
    """
    size = batch * seq
    if len(tokens) < size + 1:
        tokens = np.resize(tokens, size + 1)  # a short text is repeated
    start = index % ((len(tokens) - 1) // size) * size
    window = tokens[start : start + size + 1].astype(np.int64)
    return window[:-1].reshape(batch, seq), window[1:].reshape(batch, seq)


def build_model(config: GPTConfig, seed: int) -> GPT:
    """A model on the CPU whose weights depend on the seed alone, and not on the padding of the vocabulary.

    Padding would shift the sequence of random numbers, and with it all weights; a vocabulary rung could then not be
    held against the rung before.
    """
    torch.manual_seed(seed)
    if config.num_rows == config.vocab_size:
        return GPT(config)
    bare = GPT(dataclasses.replace(config, padded_vocab_size=None))
    model = GPT(config)
    with torch.no_grad():
        source = dict(bare.named_parameters())
        for name, parameter in model.named_parameters():
            parameter[: len(source[name])].copy_(source[name])
    return model


def _network(config: StepConfig, setting: Setting) -> Any:
    """Our model, or a peer's with the same weights."""
    model = build_model(config.model_config(setting), setting.seed)
    if config.network != "transformers":
        return model
    from gpt2x.bench.transformers_model import TransformersModel

    return TransformersModel(model)


class LightningStep(TrainingStep):
    """A peer's step: Lightning's Fabric brings the precision that it trains in and a backward pass of its own.

    Raises:
        MissingComponentError: Lightning is not installed.

    """

    def __init__(self, model: GPT, options: StepOptions, device: torch.device) -> None:
        try:
            from lightning.fabric import Fabric
        except ImportError as error:
            raise MissingComponentError(
                "the peer lightning needs Lightning; install it with pip install lightning"
            ) from error
        precision = "bf16-mixed" if options.autocast == "bfloat16" else "32-true"
        accelerator = "gpu" if device.type == "cuda" else "cpu"
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
        super().__init__(model, options, device)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Nothing: Fabric has a context of its own."""
        return contextlib.nullcontext()

    def _wrap(self, loss: nn.Module) -> nn.Module:
        wrapped: nn.Module = self.fabric.setup_module(loss, move_to_device=False)
        return wrapped

    def _backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)


class Stopwatch:
    """Marks between the phases of a step: clock readings on a CPU, events in the stream on a GPU.

    Events do not make the GPU wait, so the phases cost the step nothing.
    """

    def __init__(self, device: torch.device, clock: Clock) -> None:
        self.clock = clock
        self.on_gpu = device.type == "cuda"

    def mark(self) -> Any:
        """Now, as the device counts it."""
        if not self.on_gpu:
            return self.clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between_ms(self, start: Any, end: Any) -> float:
        """Milliseconds from one mark to a later one; after `wait` only."""
        return start.elapsed_time(end) if self.on_gpu else (end - start) * MS_PER_SECOND

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()


class TimedStep:
    """A `TrainingStep` and its data; calling it makes one optimizer step and says how long that took."""

    def __init__(
        self,
        config: StepConfig,
        setting: Setting,
        tokens: np.ndarray,
        *,
        rank: int = 0,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.config, self.setting, self.tokens, self.rank = config, setting, tokens, rank
        self.device = (
            torch.device(config.device, rank) if config.device == "cuda" else torch.device(config.device)
        )
        conflict = config.conflict()
        if conflict is not None:
            raise UsageError(conflict)
        make = LightningStep if config.network == "lightning" else TrainingStep
        self.training = make(_network(config, setting), config.options(), self.device)
        self.stopwatch = Stopwatch(self.device, clock)
        self.clock = clock
        self.num_steps = 0
        self.grad_norm: Tensor | None = None

    @property
    def model(self) -> GPT:
        """The model with the float32 weights."""
        return self.training.model

    def __call__(self) -> StepTimes:
        """One optimizer step."""
        watch = self.stopwatch
        watch.wait()
        start = self.clock()
        marks = [watch.mark()]
        result = self.training(self._batches(), self._learning_rate(), lambda: marks.append(watch.mark()))
        watch.wait()
        stop = self.clock()
        self.num_steps += 1
        self.grad_norm = result.grad_norm
        spans = [watch.between_ms(a, b) for a, b in itertools.pairwise(marks)]
        return StepTimes(
            step_ms=(stop - start) * MS_PER_SECOND,
            forward_ms=sum(spans[:-1:2]),
            backward_ms=sum(spans[1::2]),
            optimizer_ms=spans[-1],
            loss=self._mean_over_ranks(result.loss),
        )

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The micro-batches of the next step."""
        count = self.training.options.num_passes
        return (self._batch(self.num_steps * count + part) for part in range(count))

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        """What pass number `index` sees: a micro-batch, or its share of one that is split.

        The ranks take turns, so that together they see what one process would have seen.
        """
        micro, part = divmod(index, self.config.split)
        place = micro * self.config.world_size + self.rank
        idx, targets = micro_batch(self.tokens, place, self.setting.batch, self.setting.seq)
        B = self.setting.batch // self.config.split
        rows = slice(part * B, (part + 1) * B)
        return torch.from_numpy(idx[rows]).to(self.device), torch.from_numpy(targets[rows]).to(self.device)

    def _learning_rate(self) -> float:
        return learning_rate(self.num_steps, steps=DECAY_STEPS, lr=LR, min_lr=MIN_LR, warmup=WARMUP_STEPS)

    def _mean_over_ranks(self, loss: Tensor) -> float:
        if self.config.world_size > 1:
            loss = loss.double()  # as the trainer does
            torch.distributed.all_reduce(loss)
            loss = loss / self.config.world_size
        return float(loss)
