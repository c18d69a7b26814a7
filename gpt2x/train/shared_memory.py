"""Memory that all ranks of one machine see: what one of them writes, the others read without a copy.

Ranks on one machine that each keep weights and moments, and send gradients to one another through sockets, pass over
the same bytes several times. Here each rank lays its gradients where the others see them, adds up a share of them, and
moves that share of the weights, which all compute with: ZeRO's division of the work (Rajbhandari et al. 2020, "ZeRO:
Memory Optimizations Toward Training Trillion Parameter Models", stages 1 and 2), with a memory bus as its network.

The memory has no name and no file (``memfd_create``): when the last of the processes is gone, however it ended, so is
the memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from gpt2x.errors import Gpt2xError

ALIGNMENT = 64
"""Elements at which shares and tensors begin: a cache line belongs to one of them."""


def can_share() -> bool:
    """Whether all ranks can open a piece of memory of rank 0: they are on one machine and may look at one another.

    Alike on all ranks; to be asked by all.
    """
    return _shared_bytes(ALIGNMENT) is not None


def shared_tensor(num_elements: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros, (num_elements,), the same memory on all ranks; to be called by all.

    Raises:
        Gpt2xError: the system gives none, or other ranks cannot open it; on all ranks.

    """
    size = num_elements * dtype.itemsize
    memory = _shared_bytes(size)
    if memory is None:
        raise Gpt2xError(
            f"the ranks cannot have {size / 1e6:.0f} MB of memory in common; free some, or give --no-shared-memory"
        )
    return memory.view(dtype)


def _shared_bytes(size: int) -> Tensor | None:
    """A new piece of memory, or None, on all ranks, where one of them cannot have it."""
    rank = dist.get_rank()
    place, descriptor = torch.full((2,), -1), -1  # whose descriptor, and its number
    if rank == 0:
        descriptor = _new_memory(size)
        place = torch.tensor([os.getpid(), descriptor])
    dist.broadcast(place, 0)
    process, number = place.tolist()
    memory = _mapped(f"/proc/{process}/fd/{number}", size) if number >= 0 else None
    works = torch.tensor(int(memory is not None))
    dist.all_reduce(works, op=dist.ReduceOp.MIN)  # and nobody closes it before all have opened it
    if descriptor >= 0:
        os.close(descriptor)
    return memory if works.item() else None


def _new_memory(size: int) -> int:
    """The descriptor of so many zero bytes; -1 where the system has none."""
    try:
        descriptor = os.memfd_create("gpt2x")
    except (AttributeError, OSError):
        return -1
    try:
        os.posix_fallocate(descriptor, 0, size)  # a lack of memory shows here, and not as a signal later
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _mapped(path: str, size: int) -> Tensor | None:
    try:
        return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
    except RuntimeError:
        return None


def move_into_shared_memory(tensors: Sequence[Tensor]) -> None:
    """Let tensors of one dtype live in memory that all ranks see, with rank 0's values; to be called by all.

    The tensors stay the objects they are; of a parameter, whoever holds it sees the shared values.
    """
    sizes = [math.ceil(tensor.numel() / ALIGNMENT) * ALIGNMENT for tensor in tensors]
    if not sizes:
        return
    parts = shared_tensor(sum(sizes), tensors[0].dtype).split(sizes)
    for tensor, part in zip(tensors, parts, strict=True):
        view = part[: tensor.numel()].view_as(tensor)
        if dist.get_rank() == 0:
            view.copy_(tensor.detach())
        tensor.data = view
    dist.barrier()


def share_of(num_elements: int, rank: int, world_size: int) -> slice:
    """Which elements of a row of so many are a rank's to compute; together the ranks' shares are all of them.

    >>> [share_of(200, rank, 2) for rank in range(2)]
    [slice(0, 128, None), slice(128, 200, None)]
    """
    size = math.ceil(num_elements / world_size / ALIGNMENT) * ALIGNMENT
    return slice(min(num_elements, rank * size), min(num_elements, (rank + 1) * size))


def cuts(share: slice, sizes: Sequence[int]) -> list[slice]:
    """Of tensors of these sizes, which one imagines in a row, what of each lies in a share of the row; may be nothing.

    >>> cuts(slice(1, 4), [2, 4])
    [slice(1, 2, None), slice(0, 2, None)]
    """
    found, begin = [], 0
    for size in sizes:
        low, high = (min(max(edge - begin, 0), size) for edge in (share.start, share.stop))
        found.append(slice(low, high))
        begin += size
    return found
