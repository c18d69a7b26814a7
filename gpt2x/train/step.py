"""One training step: forward, backward, accumulation, averaging over ranks, clip, update.

Read `TrainingStep.__call__` first. The rungs of `gpt2x bench` are configurations of this step, and the trainer runs it
with the fastest of them that the machine has; so what the ladder measures is what a run gets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gpt2x.errors import UsageError
from gpt2x.model import GPT
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.model.gpt import document_numbers
from gpt2x.train.graphs import Recorded
from gpt2x.train.make_adamw import make_adamw
from gpt2x.train.muon import Muon
from gpt2x.train.optim import Optimizer
from gpt2x.train.step_options import StepOptions

Batch = tuple[Tensor, Tensor]
"""Ids and targets of a micro-batch, (B, T) each, on the device."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to, still on the device: reading a number waits for a GPU."""

    loss: Tensor
    """This rank's mean loss in nats over all passes, 0-dim."""
    grad_norm: Tensor | None
    """The gradient's global norm before clipping, 0-dim; None where nobody asked for it."""
    losses: Tensor
    """This rank's loss in each pass, (num_passes,)."""


def documents_of(idx: Tensor, reset_at: int | None) -> dict[str, Tensor]:
    """What `GPT.forward` has to be told of the documents in a batch; nothing where attention is not reset."""
    return {} if reset_at is None else {"documents": document_numbers(idx, reset_at)}


class Loss(nn.Module):
    """(B, T) ids and targets -> the loss alone, so that a compiler sees that nobody wants the logits."""

    def __init__(self, model: nn.Module, reset_at: int | None = None) -> None:
        super().__init__()
        self.model, self.reset_at = model, reset_at

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy in nats."""
        loss = self.model(idx, targets, **documents_of(idx, self.reset_at))[1]
        assert loss is not None
        return loss


class TrainingStep:
    """A model and its optimizer; each call is one update.

    Attributes:
        model: the float32 weights, which are saved and generated from.
        loss: what is called for the loss of a micro-batch: compiled, and wrapped for DDP, where asked for.
        optimizer: AdamW, or Muon with AdamW.

    Raises:
        UsageError: options that contradict one another.

    """

    def __init__(self, model: GPT, options: StepOptions, device: torch.device) -> None:
        conflict = options.conflict(device.type, fused_layers=model.config.fused_layers)
        if conflict is not None:
            raise UsageError(conflict)
        torch.set_float32_matmul_precision(options.matmul_precision)
        self.options, self.device = options, device
        self.model = model.to(device)
        self.bf16 = Bf16Weights(self.model) if options.bf16_weights else None
        # DDP averages the gradients of parameters; the optimizer those of bf16 weights, and those in shared memory.
        self.is_ddp = options.world_size > 1 and self.bf16 is None and not options.shared_memory
        self.loss = self._wrap(Loss(self.bf16 or self.model, options.reset_at))
        make = Muon if options.muon else make_adamw
        self.optimizer: Optimizer = make(self.model, options, self.bf16)
        self.recorded: Recorded | None = None

    def __call__(
        self,
        batches: Iterable[Batch],
        lr: float,
        mark: Callable[[], None] | None = None,
        accept: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> StepResult:
        """One update, `num_passes` forward and backward passes long.

        Args:
            batches: where the micro-batches come from; `num_passes` of them are taken, each when it is needed.
            lr: the learning rate of this step.
            mark: called after each forward pass, after each backward pass and at the end, for a stopwatch. Where a
                CUDA graph holds forward and backward, the forward pass is the time of both.
            accept: decides by this rank's loss and the gradient's norm, 0-dim each, whether to take the step: 0-dim
                bool on their device. A step that is not taken changes neither weights nor moments.

        """
        options, take = self.options, iter(batches)
        self.optimizer.zero_grad()
        losses = []
        for number in range(options.num_passes):
            with self._synchronise(is_last=number == options.num_passes - 1):
                idx, targets = next(take)
                loss = self._replay(idx, targets) if options.cuda_graphs else self.forward(idx, targets)
                if mark is not None:
                    mark()
                if not options.cuda_graphs:
                    self._backward(loss / options.num_passes)
                if mark is not None:
                    mark()
            losses.append(loss.detach())
        all_losses = torch.stack(losses)
        loss = all_losses.mean()
        grad_norm = self.optimizer.step(lr, None if accept is None else partial(accept, loss))
        if mark is not None:
            mark()
        return StepResult(loss, grad_norm, all_losses)

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """The loss of one micro-batch, ready for a backward pass."""
        with self.autocast():
            loss: Tensor = self.loss(idx, targets)
            return loss

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which this step, or a validation beside it, computes."""
        if self.options.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.options.autocast))

    def _wrap(self, loss: nn.Module) -> nn.Module:
        """The loss as it is called: compiled first, then with gradients averaged over the ranks."""
        if self.options.compile:
            loss = torch.compile(loss)  # type: ignore[assignment]
        if self.is_ddp:
            ids = [self.device.index] if self.device.type == "cuda" else None
            loss = nn.parallel.DistributedDataParallel(loss, device_ids=ids, gradient_as_bucket_view=True)
        return loss

    def _backward(self, loss: Tensor) -> None:
        loss.backward()

    def _synchronise(self, *, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are averaged over the ranks once a step, in the backward pass of the last micro-batch."""
        if is_last or not self.is_ddp:
            return contextlib.nullcontext()
        return self.loss.no_sync()  # type: ignore[operator]

    def _replay(self, idx: Tensor, targets: Tensor) -> Tensor:
        """Forward and backward as one graph, which is recorded the first time."""

        def forward_and_backward(idx: Tensor, targets: Tensor) -> Tensor:
            loss = self.forward(idx, targets)
            self._backward(loss / self.options.num_passes)
            return loss

        if self.recorded is None:
            self.recorded = Recorded(forward_and_backward, self.optimizer.leaves(), idx, targets)
        return self.recorded(idx, targets)
