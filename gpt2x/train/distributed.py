"""One process or many under torchrun: who am I, and how do we agree.

The code of the loop is the same for one rank and for many: every function here does nothing, at no cost, in a run
of one. Only rank 0 writes and talks. When a rank fails, all stop, and one sentence is printed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from gpt2x.console import set_quiet
from gpt2x.errors import ExitCode, Gpt2xError, InputDataError, MissingComponentError, OutputError, UsageError
from gpt2x.model.device import pick_device
from gpt2x.train.launch import LAUNCHED, fair_threads

T = TypeVar("T")

LAST_TENSORS_S = 0.1
"""A pause before a process group goes, with Python's lock (the GIL) free.

A thread of gloo gives up the tensors of the last exchange under that lock. Whoever drops the group holds the lock and
waits for the thread: without a pause both may wait for ever.
"""

JOIN_TIMEOUT = timedelta(seconds=60)
"""How long the ranks wait for one another at the start; torchrun then starts all of them anew, if it may."""

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # rank 0 may tokenise gigabytes while the others wait


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all that train together, and where it computes."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True for the one rank that writes and talks."""
        return self.rank == 0

    def mean(self, values: Sequence[float]) -> list[float]:
        """Each value averaged over the ranks."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)  # a CPU tensor: goes over gloo, waits for no GPU
        dist.all_reduce(tensor)
        return (tensor / self.world_size).tolist()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the ranks."""
        return [value * self.world_size for value in self.mean(values)]

    def mean_tensor(self, values: torch.Tensor) -> torch.Tensor:
        """The same, of a tensor on this rank's device and without waiting for a GPU; may write into it."""
        if self.world_size == 1:
            return values
        dist.all_reduce(values)
        return values / self.world_size

    def any(self, flag: bool) -> bool:
        """True on all ranks if it is true on one."""
        return self.mean([float(flag)])[0] > 0

    def first_then_all(self, action: Callable[[], T]) -> T:
        """Do something on rank 0 and then on the others, which find its results on disk.

        Raises:
            Gpt2xError: on all ranks, what it raised on one.

        """
        first = self.together(action if self.is_first else _nothing)
        others = self.together(_nothing if self.is_first else action)
        return first if self.is_first else others  # type: ignore[return-value]

    def together(self, action: Callable[[], T]) -> T:
        """Do something on every rank; if it fails on one, all raise the same error.

        Raises:
            Gpt2xError: what `action` raised on the lowest rank where it failed.

        """
        error: Gpt2xError | None = None
        result: T | None = None
        try:
            result = action()
        except Gpt2xError as caught:
            error = caught
        if self.world_size == 1:
            if error is not None:
                raise error
            return result  # type: ignore[return-value]
        failed = self._agree_on_error(error)
        if failed is not None:
            raise failed from error
        return result  # type: ignore[return-value]

    def _agree_on_error(self, error: Gpt2xError | None) -> Gpt2xError | None:
        """The error of the lowest failed rank, on all ranks: its kind and its sentence travel as bytes."""
        kinds = (UsageError, InputDataError, MissingComponentError, OutputError, Gpt2xError)
        kind = next((i for i, k in enumerate(kinds) if isinstance(error, k)), -1)
        lowest = torch.tensor(self.rank if error is not None else self.world_size)
        dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
        if lowest.item() == self.world_size:
            return None
        message = torch.zeros(2048, dtype=torch.uint8)
        if self.rank == lowest.item():
            text = str(error).encode()[: len(message) - 1]
            message[: len(text) + 1] = torch.tensor([kind, *text], dtype=torch.uint8)
        dist.broadcast(message, int(lowest.item()))
        number, *sentence = message.tolist()
        return kinds[number](bytes(sentence).rstrip(b"\0").decode(errors="replace"))


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that a name means for this rank; ``auto`` and ``cuda`` are its own GPU.

    Raises:
        UsageError: no such kind of device.
        MissingComponentError: it is not here.

    """
    device = pick_device(name)
    if device.type != "cuda" or device.index is not None:
        return device
    if local_rank >= torch.cuda.device_count():
        raise MissingComponentError(
            f"rank {local_rank} of this machine has no GPU of its own, there are {torch.cuda.device_count()}; "
            "start no more ranks than GPUs, or give --device cpu"
        )
    return torch.device("cuda", local_rank)


def _nothing() -> None:
    pass


@contextmanager
def all_ranks(device_name: str) -> Iterator[Ranks]:
    """Join the other ranks that torchrun started, if any, for the length of the block.

    An error that a user can cause is printed by rank 0 alone; a rank whose neighbour died leaves without a word.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size)))
    if rank != 0:
        set_quiet(True)
    try:
        device = choose_device(device_name, local_rank)
        _set_threads(local_world_size)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if world_size > 1:
            # gloo for tensors on the CPU (losses, flags) beside nccl for gradients on GPUs.
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            store = _meet(rank, world_size)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT
            )
        yield Ranks(rank, world_size, local_rank, local_world_size, device)
    except Gpt2xError as error:
        if rank != 0:
            raise SystemExit(error.exit_code) from error
        if "TORCHELASTIC_RUN_ID" in os.environ and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, when another rank leaves first
        raise
    except KeyboardInterrupt:
        if rank != 0:
            raise SystemExit(ExitCode.INTERRUPTED) from None
        raise
    except RuntimeError as error:
        if world_size > 1 and _neighbour_is_gone(error):
            raise SystemExit(ExitCode.FAILED) from error
        raise
    finally:
        if dist.is_initialized():
            time.sleep(LAST_TENSORS_S)
            dist.destroy_process_group()


def _meet(rank: int, world_size: int) -> dist.Store:
    """Wait until all ranks of this start are there; the store in which they met.

    The timeout of a process group must be long, and holds for its making too: without this, ranks that came back after
    a crash would wait half an hour for one that did not.

    Raises:
        UsageError: the environment does not say where.
        Gpt2xError: they did not all come within `JOIN_TIMEOUT`.

    """
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise UsageError(
            f"WORLD_SIZE is {world_size} and MASTER_ADDR or MASTER_PORT is not set; start the ranks with torchrun"
        ) from None
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # else torchrun does
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        server = dist.TCPStore(host, port, world_size, serves, timeout=JOIN_TIMEOUT, wait_for_workers=False)
        store = dist.PrefixStore(f"gpt2x/{start}", server)
        store.set(f"rank {rank}", "here")
        store.wait([f"rank {other}" for other in range(world_size)], JOIN_TIMEOUT)
    except dist.DistError as error:
        raise Gpt2xError(
            f"the {world_size} ranks did not meet at {host}:{port} within {JOIN_TIMEOUT.seconds} s; see what the "
            "others say, and whether they reach that address"
        ) from error
    store.set_timeout(COLLECTIVE_TIMEOUT)
    return store


def _set_threads(local_world_size: int) -> None:
    """Share the cores among the ranks of this machine; a thread too many costs far more than one too few.

    ``OMP_NUM_THREADS`` is honoured, except under torchrun, which sets it to 1 for everybody who did not.
    """
    from_torchrun = "TORCHELASTIC_RUN_ID" in os.environ and LAUNCHED not in os.environ
    if "OMP_NUM_THREADS" in os.environ and not from_torchrun:
        return
    torch.set_num_threads(fair_threads(local_world_size))


def _neighbour_is_gone(error: RuntimeError) -> bool:
    """Whether a collective failed because another rank died; gloo and nccl say so only in words."""
    words = (
        "Connection closed by peer",
        "Connection reset by peer",
        "Connection refused",
        "NCCL",
        "gloo",
        "Timed out",
    )
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
