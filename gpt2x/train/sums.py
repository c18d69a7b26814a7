"""Gradients added up over micro-batches and ranks, in float32: through sockets, or in memory that the ranks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from gpt2x.train.shared_memory import ALIGNMENT, share_of, shared_tensor

PART_SIZE = 1 << 20
"""Elements that are computed with at once on a CPU: 4 MB in float32, about what a core's cache holds."""


class Float32Sums:
    """Gradients of leaves, bfloat16 ones among them, added up over micro-batches and ranks in float32.

    A sum kept in bfloat16 would lose what is less than a 256th of it. Each gradient is added as soon as backward has
    made it, while it is still in the cache, and then given up. All sums are parts of one tensor, so that the ranks
    exchange it in one go: tensor by tensor takes twice as long.

    Args:
        leaves: whose gradients they are.
        world_size: how many ranks add up theirs.
        flat: where, (at least as many as all leaves have elements,) in float32; memory of its own by default.

    """

    def __init__(self, leaves: Sequence[Tensor], world_size: int = 1, flat: Tensor | None = None) -> None:
        self.world_size = world_size
        self.flat = torch.zeros(num_elements(leaves), device=leaves[0].device) if flat is None else flat
        self.sums = dict(zip(leaves, laid_out(self.flat, leaves), strict=True))
        self.begun: set[Tensor] = set()
        for leaf in leaves:
            leaf.register_post_accumulate_grad_hook(self._add)

    def means(self) -> list[Tensor]:
        """Of each leaf, in their order, the mean over the ranks of what was added; zeros where nothing was."""
        self._fill()
        if self.world_size > 1:
            dist.all_reduce(self.flat)
            self.flat /= self.world_size
        return list(self.sums.values())

    def forget(self) -> None:
        """Let the next gradients start the sums anew."""
        self.begun.clear()

    def _fill(self) -> None:
        """Zeros for a leaf that no gradient has reached."""
        for leaf, total in self.sums.items():
            if leaf not in self.begun:
                total.zero_()

    def _add(self, leaf: Tensor) -> None:
        assert leaf.grad is not None
        if leaf in self.begun:
            _add_in_parts(self.sums[leaf], leaf.grad)
        else:
            self.sums[leaf].copy_(leaf.grad)
            self.begun.add(leaf)
        leaf.grad = None


class SharedSums(Float32Sums):
    """The same where all ranks see the memory of all: each takes the mean of a share, and nothing is sent.

    The means stand where rank 0 added up. A rank reads a share of the others' sums, and writes that share of the means;
    nobody else touches it, so that two barriers do.
    """

    def __init__(self, leaves: Sequence[Tensor], world_size: int) -> None:
        count = num_elements(leaves)
        stride = math.ceil(count / ALIGNMENT) * ALIGNMENT
        self.all_flat = shared_tensor(world_size * stride).view(world_size, stride)
        super().__init__(leaves, world_size, self.all_flat[dist.get_rank()])
        self.mean_of_each = laid_out(self.all_flat[0], leaves)
        self.share = share_of(count, dist.get_rank(), world_size)

    def means(self) -> list[Tensor]:
        """As in `Float32Sums`, the same memory on all ranks."""
        self._fill()
        dist.barrier()  # all have added
        mean, *others = (flat[self.share].split(PART_SIZE) for flat in self.all_flat)
        for part, *addends in zip(mean, *others, strict=True):
            for addend in addends:
                part.add_(addend)
            part.div_(self.world_size)
        dist.barrier()  # all have taken their means
        return self.mean_of_each


def num_elements(tensors: Sequence[Tensor]) -> int:
    """Of all of them together."""
    return sum(tensor.numel() for tensor in tensors)


def laid_out(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Views of a flat tensor, one after the other, in the tensors' shapes.

    >>> laid_out(torch.arange(4), [torch.zeros(1), torch.zeros(1, 2)])
    [tensor([0]), tensor([[1, 2]])]
    """
    parts = flat[: num_elements(tensors)].split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def _add_in_parts(total: Tensor, gradient: Tensor) -> None:
    """``total += gradient``; on a CPU a few rows at a time.

    There torch widens the whole of a bfloat16 gradient before it adds it to a float32 sum: for GPT-2's embedding 154 MB
    that nothing else in a step needs, and nearly three times the time.
    """
    if total.device.type != "cpu":
        total.add_(gradient)
        return
    rows = max(1, PART_SIZE // max(1, total[0].numel()))
    for part, addend in zip(total.split(rows), gradient.split(rows), strict=True):
        part.add_(addend)
