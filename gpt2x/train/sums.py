"""Gradients added up over micro-batches and ranks: through sockets, or in memory that the ranks share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from gpt2x.train.shared_memory import ALIGNMENT, cuts, share_of, shared_tensor

PART_SIZE = 1 << 20
"""Elements that are added at once on a CPU: 4 MB in float32, about what a core's cache holds."""


class Sums(ABC):
    """Gradients of leaves, added up over micro-batches and ranks.

    Each gradient is added as soon as backward has made it, while it is still in the cache, and then given up.

    Args:
        sums: where each leaf's are added up, in its shape.
        world_size: how many ranks add up theirs.

    """

    def __init__(self, sums: dict[Tensor, Tensor], world_size: int) -> None:
        self.sums, self.world_size = sums, world_size
        self.begun: set[Tensor] = set()
        for leaf in sums:
            leaf.register_post_accumulate_grad_hook(self._add)

    @abstractmethod
    def means(self) -> list[Tensor]:
        """Of each leaf, in their order, the mean over the ranks of what was added; zeros where nothing was. Float32."""

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


class Float32Sums(Sums):
    """Sums in float32, since one in bfloat16 would lose what is less than a 256th of it.

    All are parts of one tensor, so that the ranks exchange it in one go: tensor by tensor takes twice as long.
    """

    def __init__(self, leaves: Sequence[Tensor], world_size: int = 1) -> None:
        self.flat = torch.zeros(num_elements(leaves), device=leaves[0].device)
        super().__init__(dict(zip(leaves, laid_out(self.flat, leaves), strict=True)), world_size)

    def means(self) -> list[Tensor]:
        """See `Sums.means`."""
        self._fill()
        if self.world_size > 1:
            dist.all_reduce(self.flat)
            self.flat /= self.world_size
        return list(self.sums.values())


class SharedSums(Sums):
    """The same where all ranks see the memory of all: each takes the mean of a share, and nothing is sent.

    A rank reads a share of all ranks' sums, and writes that share of the means; nobody else touches it, so that two
    barriers do. Where a rank makes one pass only, its sum is one gradient, kept in that gradient's dtype, and half as
    much goes through memory. The means are those of float32 sums, bit for bit. They stand where rank 0 added up, or
    apart where it did so in bfloat16.

    Args:
        leaves: whose gradients they are.
        world_size: how many ranks add up theirs.
        num_passes: how many gradients of each leaf a rank adds up.

    """

    def __init__(self, leaves: Sequence[Tensor], world_size: int, num_passes: int = 1) -> None:
        ranks: list[dict[Tensor, Tensor]] = [{} for _ in range(world_size)]
        means: dict[Tensor, Tensor] = {}
        dtypes = {leaf: leaf.dtype if num_passes == 1 else torch.float32 for leaf in leaves}
        for dtype in sorted(set(dtypes.values()), key=str):
            group = [leaf for leaf in leaves if dtypes[leaf] == dtype]
            stride = math.ceil(num_elements(group) / ALIGNMENT) * ALIGNMENT
            flats = shared_tensor(world_size * stride, dtype).view(world_size, stride)
            for sums, flat in zip(ranks, flats, strict=True):
                sums.update(zip(group, laid_out(flat, group), strict=True))
            mean = flats[0] if dtype == torch.float32 else shared_tensor(stride)
            means.update(zip(group, laid_out(mean, group), strict=True))
        super().__init__(ranks[dist.get_rank()], world_size)
        self.mean_of_each = [means[leaf] for leaf in leaves]
        sizes = [leaf.numel() for leaf in leaves]
        own = cuts(share_of(sum(sizes), dist.get_rank(), world_size), sizes)
        shares = dict(zip(leaves, own, strict=True))
        self.own_means = _cut_out(means, shares)
        self.own_addends = [_cut_out(sums, shares) for sums in ranks]
        self.squares = torch.zeros((), dtype=torch.float64)
        """Of the means that this rank took last, their sum."""

    def means(self) -> list[Tensor]:
        """See `Sums.means`; the same memory on all ranks."""
        from gpt2x import ops

        self._fill()
        dist.barrier()  # all have added
        self.squares = ops.mean_(self.own_means, self.own_addends)
        dist.barrier()  # all have taken their means
        return self.mean_of_each

    def norm(self, *others: SharedSums) -> Tensor:
        """The norm of the means taken last, and of those of others: without a pass over them; to be called by all."""
        square = torch.stack([sums.squares for sums in (self, *others)]).sum()
        dist.all_reduce(square)
        return square.sqrt().float()


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


def _cut_out(tensors: dict[Tensor, Tensor], shares: dict[Tensor, slice]) -> list[Tensor]:
    """Of each leaf's tensor the elements in a share, as flat views; nothing of those that have none in it."""
    return [tensors[leaf].view(-1)[cut] for leaf, cut in shares.items() if cut.start < cut.stop]


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
