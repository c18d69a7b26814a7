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
from collections.abc import Callable, Sequence
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
from gpt2x.bench.graphs import Recorded
from gpt2x.bench.measure import MS_PER_SECOND
from gpt2x.errors import MissingComponentError, UsageError
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


def _fabric(config: StepConfig) -> Any:
    """Lightning's Fabric, which brings the precision that it trains in and a backward pass of its own; else None.

    Raises:
        MissingComponentError: Lightning is not installed.

    """
    if config.network != "lightning":
        return None
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise MissingComponentError(
            "the peer lightning needs Lightning; install it with pip install lightning"
        ) from error
    precision = "bf16-mixed" if config.autocast == "bfloat16" else "32-true"
    return Fabric(accelerator="gpu" if config.device == "cuda" else "cpu", devices=1, precision=precision)


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
        conflict = config.conflict()
        if conflict is not None:
            raise UsageError(conflict)
        self.model = _network(config, setting).to(self.device)
        self.shadow = ShadowModel(self.model) if config.shadow_weights else None
        self.loss: nn.Module = Loss(self.shadow or self.model)
        self.fabric = _fabric(config)
        if self.fabric is not None:
            self.loss = self.fabric.setup_module(self.loss, move_to_device=False)
        if config.compile:
            self.loss = torch.compile(self.loss)  # type: ignore[assignment]
        # DDP averages the gradients of parameters; those of shadows are averaged by the optimizer.
        self.is_ddp = config.world_size > 1 and self.shadow is None
        if self.is_ddp:
            self.loss = nn.parallel.DistributedDataParallel(self.loss)
        self.optimizer = make_optimizer(self.model, config, self.shadow)
        self.num_parts = config.micro_batches * config.split
        """How many forward and backward passes make one step."""
        self.recorded: Recorded | None = None
        self.stopwatch = Stopwatch(self.device, clock)
        self.clock = clock
        self.num_steps = 0
        self.grad_norm: Tensor | None = None

    def __call__(self) -> StepTimes:
        """One optimizer step, `num_parts` forward and backward passes long."""
        watch, count = self.stopwatch, self.num_parts
        watch.wait()
        start = self.clock()
        marks = [watch.mark()]
        self.optimizer.zero_grad()
        losses = []
        for part in range(count):
            with self._last_synchronises(part == count - 1):
                idx, targets = self._batch(self.num_steps * count + part)
                loss = self._replay(idx, targets) if self.config.cuda_graphs else self._forward(idx, targets)
                marks.append(watch.mark())
                if not self.config.cuda_graphs:
                    self._backward(loss / count)
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

    def _forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        with self._autocast():
            loss: Tensor = self.loss(idx, targets)
            return loss

    def _backward(self, loss: Tensor) -> None:
        if self.fabric is None:
            loss.backward()
        else:
            self.fabric.backward(loss)

    def _replay(self, idx: Tensor, targets: Tensor) -> Tensor:
        """Forward and backward as one graph, which is recorded the first time."""

        def forward_and_backward(idx: Tensor, targets: Tensor) -> Tensor:
            loss = self._forward(idx, targets)
            self._backward(loss / self.num_parts)
            return loss

        if self.recorded is None:
            self.recorded = Recorded(forward_and_backward, self.optimizer.leaves(), idx, targets)
        return self.recorded(idx, targets)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.autocast is None or self.fabric is not None:  # which has a context of its own
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.config.autocast))

    def _last_synchronises(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the ranks once a step, in the backward pass of the last micro-batch."""
        if is_last or not self.is_ddp:
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
        self.keeps_gradients = config.cuda_graphs  # their addresses are part of the recorded graph
        self.groups: list[dict[str, Any]] = (
            model.optimizer_groups(WEIGHT_DECAY)
            if config.decay_groups
            else [{"params": list(model.parameters()), "weight_decay": WEIGHT_DECAY}]
        )
        self.parameters: list[nn.Parameter] = [p for group in self.groups for p in group["params"]]

    def leaves(self) -> list[Tensor]:
        """What the backward pass computes gradients of."""
        return list(self.parameters)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        if self.keeps_gradients:
            gradients = [leaf.grad for leaf in self.leaves() if leaf.grad is not None]
            if gradients:
                torch._foreach_zero_(gradients)
            return
        for leaf in self.leaves():
            leaf.grad = None

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


class WideSums:
    """Gradients of leaves, bfloat16 ones among them, added up over micro-batches and ranks in float32.

    A sum kept in bfloat16 would lose what is less than a 256th of it. Each gradient is added as soon as backward has
    made it, while it is still in the cache, and then given up. All sums are parts of one tensor, so that the ranks
    exchange it in one go: tensor by tensor takes twice as long.
    """

    def __init__(self, leaves: Sequence[Tensor]) -> None:
        self.flat = torch.zeros(sum(leaf.numel() for leaf in leaves), device=leaves[0].device)
        parts = self.flat.split([leaf.numel() for leaf in leaves])
        self.sums = {leaf: part.view_as(leaf) for leaf, part in zip(leaves, parts, strict=True)}
        self.begun: set[Tensor] = set()
        for leaf in leaves:
            leaf.register_post_accumulate_grad_hook(self._add)

    def all(self) -> list[Tensor]:
        """The sum of each leaf, in their order."""
        return list(self.sums.values())

    def average(self, world_size: int) -> None:
        """The mean over the ranks: what DDP does, for gradients that it knows nothing of."""
        torch.distributed.all_reduce(self.flat)
        self.flat /= world_size

    def forget(self) -> None:
        """Let the next gradients start the sums anew."""
        self.begun.clear()

    def _add(self, leaf: Tensor) -> None:
        assert leaf.grad is not None
        if leaf in self.begun:
            self.sums[leaf].add_(leaf.grad)
        else:
            self.sums[leaf].copy_(leaf.grad)
            self.begun.add(leaf)
        leaf.grad = None


class OpsOptimizer(Optimizer):
    """gpt2x.ops.adamw_, which scales the gradients while it reads them."""

    def __init__(self, model: GPT, config: StepConfig, shadow: ShadowModel | None = None) -> None:
        super().__init__(model, config)
        self.shadows = [shadow.shadow_of(p) if shadow else None for p in self.parameters]
        self.decays = [float(group["weight_decay"]) for group in self.groups for _ in group["params"]]
        self.averages = [[torch.zeros_like(p) for p in self.parameters] for _ in range(2)]
        self.num_steps = 0
        self.world_size = config.world_size
        several = config.micro_batches * config.split * config.world_size > 1
        self.sums = WideSums(self.leaves()) if shadow and several else None

    def step(self, lr: float) -> Tensor | None:
        """The norm, then clip and AdamW in one call."""
        from gpt2x import ops

        self.num_steps += 1
        gradients = self._gradients()
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

    def _gradients(self) -> list[Tensor]:
        if self.sums is None:
            return [leaf.grad for leaf in self.leaves() if leaf.grad is not None]
        if self.world_size > 1:
            self.sums.average(self.world_size)
        return self.sums.all()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        super().zero_grad()
        if self.sums is not None:
            self.sums.forget()

    def leaves(self) -> list[Tensor]:
        """Shadows, and parameters that have none."""
        return [p if s is None else s for p, s in zip(self.parameters, self.shadows, strict=True)]


def make_optimizer(model: GPT, config: StepConfig, shadow: ShadowModel | None = None) -> Optimizer:
    """The optimizer that a configuration names: adamw, fused or gpt2x."""
    if config.optimizer == "gpt2x":
        return OpsOptimizer(model, config, shadow)
    return TorchOptimizer(model, config)
