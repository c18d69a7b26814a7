"""One process or many under torchrun: who am I, and how do we agree.

The code of the loop is the same for one rank and for many: every function here does nothing, at no cost, in a run
of one. Only rank 0 writes and talks. When a rank fails, all stop, and one sentence is printed.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from gpt2x.console import complain, set_quiet
from gpt2x.errors import ExitCode, Gpt2xError, InputDataError, MissingComponentError, OutputError, UsageError
from gpt2x.model.device import pick_device
from gpt2x.train.launch import LAUNCHED, fair_threads
from gpt2x.train.shared_memory import can_share

T = TypeVar("T")

LAST_TENSORS_S = 0.1
"""A pause before a process group goes, with Python's lock (the GIL) free.

A thread of gloo gives up the tensors of the last exchange under that lock. Whoever drops the group holds the lock and
waits for the thread: without a pause both may wait for ever.
"""

JOIN_TIMEOUT = timedelta(seconds=60)
"""How long the ranks wait for one another at the start; torchrun then starts all of them anew, if it may."""

FIRST_SPEAKS_S = 1.0
"""How much longer the others of a machine stay when they could not join.

torchrun ends a machine's ranks with the first that leaves, and the one that explains must not be ended before it has.
"""

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

    def can_share_memory(self) -> bool:
        """Whether all ranks compute on the CPU of one machine and see memory of one another."""
        if self.world_size == 1 or self.local_world_size < self.world_size or self.device.type != "cpu":
            return False
        return can_share()

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

    An error that a user can cause is printed by rank 0 alone; before the ranks know of one another, by the first of
    each machine. A rank whose neighbour died leaves without a word; where that may have been on another machine, rank 0
    says so.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size)))
    if rank != 0:
        set_quiet(True)
    try:
        try:
            device = _join(device_name, rank, world_size, local_rank, local_world_size)
        except Gpt2xError as error:
            if local_rank != 0:
                time.sleep(FIRST_SPEAKS_S)
                raise SystemExit(error.exit_code) from error
            raise
        with _failing_as_one(rank, world_size, local_world_size):
            yield Ranks(rank, world_size, local_rank, local_world_size, device)
    except KeyboardInterrupt:
        if rank != 0:
            raise SystemExit(ExitCode.INTERRUPTED) from None
        raise
    finally:
        if dist.is_initialized():
            time.sleep(LAST_TENSORS_S)
            dist.destroy_process_group()


@contextmanager
def _failing_as_one(rank: int, world_size: int, local_world_size: int) -> Iterator[None]:
    """Let rank 0 alone say what has failed on all."""
    try:
        yield
    except Gpt2xError as error:
        if rank != 0:
            raise SystemExit(error.exit_code) from error
        if "TORCHELASTIC_RUN_ID" in os.environ and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, when another rank leaves first
        raise
    except RuntimeError as error:
        if world_size > 1 and _neighbour_is_gone(error):
            if rank == 0 and local_world_size < world_size:  # on one machine the launcher knows more
                complain(
                    "gpt2x: lost the connection to another rank; if it was on another machine, that one says why. "
                    "Started anew, all go on from the last checkpoint"
                )
            raise SystemExit(ExitCode.FAILED) from error
        raise


def _join(
    device_name: str, rank: int, world_size: int, local_rank: int, local_world_size: int
) -> torch.device:
    """Find this rank's device and threads, and connect with the other ranks."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        # Where GPUs are too few, all ranks of the machine fail, and the first speaks.
        choose_device(device_name, local_world_size - 1)
    device = choose_device(device_name, local_rank)
    _set_threads(local_world_size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size > 1:
        # gloo for tensors on the CPU (losses, flags) beside nccl for gradients on GPUs.
        _connect("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", rank, world_size)
    return device


def _connect(backend: str, rank: int, world_size: int) -> None:
    """Make the process group of all ranks.

    The timeout of a process group must be long, and holds for its making too: it is lengthened when the ranks are
    connected. Otherwise those that came back after a crash would wait half an hour for one that did not.

    Raises:
        UsageError: the environment does not say where they meet.
        Gpt2xError: they did not meet, or cannot reach one another.

    """
    store = _meet(rank, world_size)
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=JOIN_TIMEOUT)
    except RuntimeError as error:
        raise Gpt2xError(
            f"rank {rank} on {socket.gethostname()} cannot reach the others ({_reason(error)}); gloo takes the address "
            f"that a machine's name stands for there, here {_own_address()}; set GLOO_SOCKET_IFNAME on each to the "
            "interface that joins them (`ip -br addr` lists them), and let a firewall pass all ports between them"
        ) from error
    store.set_timeout(COLLECTIVE_TIMEOUT)
    _set_timeout(COLLECTIVE_TIMEOUT)


def _set_timeout(timeout: timedelta) -> None:
    """How long a collective may take; torch has a public function for it since 2.14."""
    if hasattr(dist, "set_timeout"):
        dist.set_timeout(timeout)
        return
    from torch.distributed.distributed_c10d import _set_pg_timeout

    _set_pg_timeout(timeout)


def _reason(error: RuntimeError) -> str:
    """What gloo says, without the place in its source where it says it.

    >>> _reason(RuntimeError("[/src/pair.cc:152] timed out connecting: Connection refused, remote=[127.0.1.1]:4$0"))
    'timed out connecting: Connection refused, remote=[127.0.1.1]:4$0'
    """
    return str(error).split("\n", 1)[0].split("] ", 1)[-1].strip()


def _own_address() -> str:
    """The address that this machine's own name stands for, on this machine."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "none"


def _meet(rank: int, world_size: int) -> dist.Store:
    """Wait until all ranks of this start are there; the store in which they met.

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
    torchrun_serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serves = rank == 0 and not torchrun_serves
    # torchrun's store outlives a start, so each has keys of its own. A store of rank 0's is new in each, and restarts
    # must not count: torchrun on a machine that was replaced has seen none of those that the others have.
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if torchrun_serves else "only"
    try:
        server = dist.TCPStore(host, port, world_size, serves, timeout=JOIN_TIMEOUT, wait_for_workers=False)
        store = dist.PrefixStore(f"gpt2x/{start}", server)
        store.set(f"rank {rank}", "here")
        store.wait([f"rank {other}" for other in range(world_size)], JOIN_TIMEOUT)
    except dist.DistError as error:
        raise Gpt2xError(
            f"rank {rank} on {socket.gethostname()}: the {world_size} ranks did not meet at {host}:{port} within "
            f"{JOIN_TIMEOUT.seconds} s; see what the others say, and whether all machines reach that address"
        ) from error
    return store


def _set_threads(local_world_size: int) -> None:
    """Share the cores among the ranks of this machine; a thread too many costs far more than one too few.

    ``OMP_NUM_THREADS`` is honoured, except a 1 under torchrun, which sets that for everybody who has set nothing.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    by_torchrun = given == "1" and "TORCHELASTIC_RUN_ID" in os.environ and LAUNCHED not in os.environ
    if given is not None and not by_torchrun:
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
