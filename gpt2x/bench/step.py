"""One training step, made of exactly what a `StepConfig` says: the thing that the ladder measures.

Read `TrainingStep.__call__` first: data, forward, backward, clip, optimizer, with a mark of the stopwatch between
them. All rungs see the same micro-batches in the same order and start from the same weights, so their losses can be
compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt2x.bench.config import (
    BETAS,
    DECAY_STEPS,
    EPS,
    LR,
    MIN_LR,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    Setting,
    StepConfig,
)
from gpt2x.bench.measure import MS_PER_SECOND
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.shadow import ShadowModel
from gpt2x.train.schedule import learning_rate

Clock = Callable[[], float]
"""Seconds from any fixed moment; tests give one that they turn themselves."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """How long one step took, in milliseconds, and what came of it."""

    step_ms: float
    forward_ms: float
    backward_ms: float
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
    if config.network == "gpt2x":
        return model
    from gpt2x.bench.transformers_model import TransformersModel

    return TransformersModel(model)


class Loss(nn.Module):
    """(B, T) ids and targets -> the loss alone, so that a compiler sees that nobody wants the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy in nats."""
        loss = self.model(idx, targets)[1]
        assert loss is not None
        return loss


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


class TrainingStep:
    """A model, its optimizer and its data; calling it makes one optimizer step and says how long that took."""

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
        torch.set_float32_matmul_precision(config.matmul_precision)
        self.device = (
            torch.device(config.device, rank) if config.device == "cuda" else torch.device(config.device)
        )
        self.model = _network(config, setting).to(self.device)
        self.shadow = ShadowModel(self.model) if config.shadow_weights else None
        self.loss: nn.Module = Loss(self.shadow or self.model)
        if config.compile:
            self.loss = torch.compile(self.loss)  # type: ignore[assignment]
        if config.world_size > 1:
            self.loss = nn.parallel.DistributedDataParallel(self.loss)
        self.optimizer = make_optimizer(self.model, config, self.shadow)
        self.stopwatch = Stopwatch(self.device, clock)
        self.clock = clock
        self.num_steps = 0
        self.grad_norm: Tensor | None = None

    def __call__(self) -> StepTimes:
        """One optimizer step, `micro_batches` forward and backward passes long."""
        watch, count = self.stopwatch, self.config.micro_batches
        watch.wait()
        start = self.clock()
        marks = [watch.mark()]
        self.optimizer.zero_grad()
        losses = []
        for micro in range(count):
            with self._last_synchronises(micro == count - 1):
                idx, targets = self._batch(self.num_steps * count + micro)
                with self._autocast():
                    loss = self.loss(idx, targets)
                marks.append(watch.mark())
                (loss / count).backward()
                marks.append(watch.mark())
            losses.append(loss.detach())
        self.grad_norm = self.optimizer.step(self._learning_rate())
        marks.append(watch.mark())
        watch.wait()
        stop = self.clock()
        self.num_steps += 1
        spans = [watch.between_ms(a, b) for a, b in itertools.pairwise(marks)]
        return StepTimes(
            step_ms=(stop - start) * MS_PER_SECOND,
            forward_ms=sum(spans[:-1:2]),
            backward_ms=sum(spans[1::2]),
            optimizer_ms=spans[-1],
            loss=self._mean_over_ranks(torch.stack(losses).mean()),
        )

    def _batch(self, micro: int) -> tuple[Tensor, Tensor]:
        """The ranks take turns, so that together they see what one process would have seen."""
        index = micro * self.config.world_size + self.rank
        idx, targets = micro_batch(self.tokens, index, self.setting.batch, self.setting.seq)
        return torch.from_numpy(idx).to(self.device), torch.from_numpy(targets).to(self.device)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.config.autocast))

    def _last_synchronises(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the ranks once a step, in the backward pass of the last micro-batch."""
        if is_last or self.config.world_size == 1:
            return contextlib.nullcontext()
        return self.loss.no_sync()  # type: ignore[operator]

    def _learning_rate(self) -> float:
        return learning_rate(self.num_steps, steps=DECAY_STEPS, lr=LR, min_lr=MIN_LR, warmup=WARMUP_STEPS)

    def _mean_over_ranks(self, loss: Tensor) -> float:
        if self.config.world_size > 1:
            torch.distributed.all_reduce(loss)
            loss = loss / self.config.world_size
        return float(loss)


# ----------------------------------------------------------------------------------------------------------------
# Optimizers


class Optimizer:
    """AdamW and the clip before it; `step` gives the gradient's norm where that is known."""

    def __init__(self, model: GPT, config: StepConfig) -> None:
        self.grad_clip = config.grad_clip
        self.groups: list[dict[str, Any]] = (
            model.optimizer_groups(WEIGHT_DECAY)
            if config.decay_groups
            else [{"params": list(model.parameters()), "weight_decay": WEIGHT_DECAY}]
        )
        self.parameters: list[nn.Parameter] = [p for group in self.groups for p in group["params"]]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, lr: float) -> Tensor | None:
        """Change the parameters once, with this learning rate."""
        raise NotImplementedError


class TorchOptimizer(Optimizer):
    """torch.optim.AdamW, plain or fused."""

    def __init__(self, model: GPT, config: StepConfig) -> None:
        super().__init__(model, config)
        fused = {"fused": True} if config.optimizer == "fused" else {}
        self.inner = torch.optim.AdamW(self.groups, lr=LR, betas=BETAS, eps=EPS, **fused)

    def step(self, lr: float) -> Tensor | None:
        """Clip, then AdamW."""
        norm = None
        if self.grad_clip is not None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.grad_clip)
        for group in self.inner.param_groups:
            group["lr"] = lr
        self.inner.step()
        return norm


class OpsOptimizer(Optimizer):
    """gpt2x.ops.adamw_, which scales the gradients while it reads them."""

    def __init__(self, model: GPT, config: StepConfig, shadow: ShadowModel | None = None) -> None:
        super().__init__(model, config)
        self.shadows = [shadow.shadow_of(p) if shadow else None for p in self.parameters]
        self.decays = [float(group["weight_decay"]) for group in self.groups for _ in group["params"]]
        self.averages = [[torch.zeros_like(p) for p in self.parameters] for _ in range(2)]
        self.num_steps = 0

    def step(self, lr: float) -> Tensor | None:
        """The norm, then clip and AdamW in one call."""
        from gpt2x import ops

        self.num_steps += 1
        gradients = [grad for leaf in self._leaves() if (grad := leaf.grad) is not None]
        norm = ops.global_norm(gradients) if self.grad_clip is not None else None
        ops.adamw_(
            [parameter.data for parameter in self.parameters],
            gradients,
            *self.averages,
            step=self.num_steps,
            lr=lr,
            betas=BETAS,
            eps=EPS,
            weight_decay=self.decays,
            grad_norm=norm,
            max_norm=self.grad_clip,
            shadows=self.shadows if any(shadow is not None for shadow in self.shadows) else None,
        )
        return norm

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for leaf in self._leaves():
            leaf.grad = None

    def _leaves(self) -> list[Tensor]:
        """What the backward pass computes gradients of: shadows, and parameters that have none."""
        return [p if s is None else s for p, s in zip(self.parameters, self.shadows, strict=True)]


def make_optimizer(model: GPT, config: StepConfig, shadow: ShadowModel | None = None) -> Optimizer:
    """The optimizer that a configuration names: adamw, fused or gpt2x."""
    if config.optimizer == "gpt2x":
        return OpsOptimizer(model, config, shadow)
    return TorchOptimizer(model, config)
