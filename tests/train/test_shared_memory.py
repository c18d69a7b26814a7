"""Memory that ranks share: what one writes the others read, shares cover everything once, and where it cannot be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.train import shared_memory
from gpt2x.train.shared_memory import can_share, cuts, move_into_shared_memory, share_of, shared_tensor
from gpt2x.train.sums import Float32Sums, SharedSums

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a name is Linux's")


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("num_elements", [1, 63, 64, 65, 1000, 1024])
def test_the_shares_are_everything_and_nothing_twice(num_elements: int, world_size: int) -> None:
    shares = [share_of(num_elements, rank, world_size) for rank in range(world_size)]
    assert [i for share in shares for i in range(num_elements)[share]] == list(range(num_elements))


@pytest.mark.parametrize(
    "share", [slice(0, 10), slice(3, 4), slice(2, 6), slice(5, 10), slice(4, 4)], ids=str
)
def test_cuts_are_the_elements_of_a_share(share: slice) -> None:
    sizes, row = [2, 0, 3, 5], list(range(10))
    begins = [0, 2, 2, 5]
    parts = [row[b : b + n][cut] for b, n, cut in zip(begins, sizes, cuts(share, sizes), strict=True)]
    assert [element for part in parts for element in part] == row[share]


def as_two_ranks(work: Any, folder: Path) -> list[Any]:
    """What a function returns on each of two ranks."""
    context = torch.multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(work, rank, str(folder))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def _rank(work: Any, rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    Path(folder, f"{rank}.json").write_text(json.dumps(work(rank)), encoding="utf-8")
    torch.distributed.barrier()
    os._exit(0)  # a process group's destructor would wait for the other rank


def see_one_another(rank: int) -> dict[str, Any]:
    """Moves tensors, adds up gradients both ways."""
    moved = [torch.full((3,), float(rank)), torch.full((2, 70), 10.0 + rank)]
    move_into_shared_memory(moved)
    seen = [float(tensor.mean()) for tensor in moved]  # rank 0's
    torch.distributed.barrier()
    if rank == 1:
        moved[0].fill_(7)
    torch.distributed.barrier()
    leaves = [
        torch.zeros(5, 30, requires_grad=True),
        torch.zeros(7, dtype=torch.bfloat16, requires_grad=True),
    ]
    idle = torch.zeros(3, requires_grad=True)
    memory = shared_tensor(3)
    return {
        "seen": seen,
        "written": moved[0].tolist(),
        "equal": [_are_equal([*leaves, idle], rank, num_passes) for num_passes in (1, 2)],
        "zeros": memory.tolist(),
    }


def _are_equal(leaves: list[torch.Tensor], rank: int, num_passes: int) -> bool:
    """Whether both ways of adding up give the same means, the last leaf having no gradient."""
    both = [Float32Sums(leaves, 2), SharedSums(leaves, 2, num_passes)]
    generator = torch.Generator().manual_seed(rank)
    for _ in range(num_passes):
        for leaf in leaves[:-1]:
            gradient = torch.randn(leaf.shape, generator=generator).to(leaf.dtype)
            for sums in both:  # each takes the gradient away
                leaf.grad = gradient.clone()
                sums._add(leaf)
    sent, shared = (sums.means() for sums in both)
    same_types = all(mean.dtype == torch.float32 for mean in shared)
    return same_types and all(torch.equal(a, b) for a, b in zip(sent, shared, strict=True))


@pytest.mark.slow
def test_what_one_rank_writes_the_other_reads(tmp_path: Path) -> None:
    for found in as_two_ranks(see_one_another, tmp_path):
        assert found == {"seen": [0.0, 10.0], "written": [7.0] * 3, "equal": [True, True], "zeros": [0.0] * 3}


def cannot(rank: int) -> list[bool]:
    """Asks where there is no such memory, where the other cannot open it, and where all is well."""
    found = []
    new_memory, mapped = shared_memory._new_memory, shared_memory._mapped
    shared_memory._new_memory = lambda size: -1
    found.append(can_share())
    shared_memory._new_memory = new_memory
    shared_memory._mapped = lambda path, size: None if rank else mapped(path, size)
    found.append(can_share())
    shared_memory._mapped = mapped
    return [*found, can_share()]


@pytest.mark.slow
def test_ranks_agree_where_memory_cannot_be_shared(tmp_path: Path) -> None:
    assert as_two_ranks(cannot, tmp_path) == [[False, False, True]] * 2
