"""CUDA graphs: forward and backward of a micro-batch, recorded once and replayed with other tokens.

A training step of a small batch is a thousand kernels, each launched by Python; a graph is launched as one. What a
graph reads and writes has fixed addresses: the tokens are copied to where it reads them, and the gradients are added
up where they are, so nobody may replace them (`Optimizer.zero_grad` fills them with zeros instead). The optimizer
stays outside, since its step count and learning rate are arguments. Source: the CUDA semantics notes of PyTorch,
"Whole-network capture".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM_RUNS = 3
"""Runs on a side stream before the recording, in which libraries choose their kernels and get their workspaces."""


class Recorded:
    """What `run` does with a batch, as one graph.

    Args:
        run: (B, T) ids and targets -> the loss, after a backward pass that adds to the leaves' gradients.
        leaves: what gradients are computed of.
        idx: (B, T), a batch of the shape that all others have.
        targets: (B, T), likewise.

    """

    def __init__(
        self, run: Callable[[Tensor, Tensor], Tensor], leaves: Iterable[Tensor], idx: Tensor, targets: Tensor
    ) -> None:
        self.idx, self.targets = idx.clone(), targets.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_RUNS):
                run(self.idx, self.targets)
        torch.cuda.current_stream().wait_stream(side)
        # From here on the gradients stay where they are; those of the warm runs are no part of the training.
        torch._foreach_zero_([leaf.grad for leaf in leaves if leaf.grad is not None])
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = run(self.idx, self.targets)

    def __call__(self, idx: Tensor, targets: Tensor) -> Tensor:
        """The loss of another batch, its gradients added to those that are there."""
        self.idx.copy_(idx)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss.detach().clone()  # the next replay writes over it
