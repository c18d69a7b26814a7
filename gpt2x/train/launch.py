"""`--ranks N`: torch's elastic agent starts the ranks of one machine; here is only what a user sees of it.

The agent is what `torchrun --standalone` runs: it starts a process for each rank, ends all when one fails, starts them
anew where it may, and passes a signal on. Its own banners and tracebacks are hidden: rank 0 has said what there is to
say, and its exit code is ours. With ``--traceback`` they are shown.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gpt2x.child import module_command
from gpt2x.console import complain
from gpt2x.errors import ExitCode, Gpt2xError, UsageError, wants_traceback
from gpt2x.train.command import Command
from gpt2x.train.interrupts import POLITE

if TYPE_CHECKING:
    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

LAUNCHED = "GPT2X_LAUNCHED"
"""Set in the ranks that are started here: their ``OMP_NUM_THREADS`` is meant for them."""

MONITOR_S = 0.1
SAVING_S = 3600
"""How long ranks that were asked to stop may take to save before they are killed; torch would give them 30 s."""

MOST_RANKS = 1024
"""More processes than this on one machine are a slip of the finger."""


def check_ranks(ranks: int, max_restarts: int, *, verify: bool = False) -> None:
    """Refuse numbers that cannot work, and a launcher within a launcher.

    Args:
        ranks: of ``--ranks``.
        max_restarts: of ``--max-restarts``.
        verify: ``--verify-resume`` is given, which starts ranks too.

    Raises:
        UsageError: it is so.

    """
    if not 1 <= ranks <= MOST_RANKS:
        raise UsageError(f"--ranks is {ranks}; give a number from 1 to {MOST_RANKS}")
    if max_restarts < 0:
        raise UsageError(f"--max-restarts is {max_restarts}; give 0 or more")
    if verify and (ranks, max_restarts) != (1, 0):
        raise UsageError("--verify-resume chooses the ranks itself; leave out --ranks and --max-restarts")
    started = next((name for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE") if name in os.environ), None)
    if started is not None:
        raise UsageError(
            f"{'--verify-resume' if verify else '--ranks'} starts the ranks itself, and here a launcher has done so "
            f"({started} is set); leave it out, or start without torchrun"
        )
    if max_restarts and ranks == 1:
        raise UsageError(
            "--max-restarts needs --ranks 2 or more; a run on one rank has nobody to start it anew"
        )


def launch(module: str, words: Sequence[str], ranks: int, *, max_restarts: int = 0) -> None:
    """Run ``python -m module words…`` as so many ranks on this machine, to their end.

    What rank 0 prints goes where this process prints; of the others, only what explains a failure is shown.

    Args:
        module: the ranks' program.
        words: its arguments.
        ranks: how many processes.
        max_restarts: how often all are started anew after one failed.

    Raises:
        SystemExit: with the exit code of rank 0, which has said why; 130 after a signal.
        Gpt2xError: a rank was killed, or ended without a word.

    """
    # torch's C++ warns of host names that nobody looks up; said before torch is loaded, and for the ranks too.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory(prefix="gpt2x-ranks-") as logs, _for_the_ranks(ranks), _quiet_agent():
        from torch.distributed.elastic.multiprocessing import SignalException

        spec = _specification(module_command(module, words), ranks, max_restarts)
        agent = _agent(spec, Path(logs))
        try:
            with _signals_passed_on(agent):
                result = agent.run()
        except SignalException:
            raise SystemExit(ExitCode.INTERRUPTED) from None
        finally:
            spec.rdzv_handler.shutdown()
        if result.is_failed():
            command = Command(overwrite="--overwrite" in words and "--resume" not in words)
            _explain(result.failures, Path(logs), command)


def fair_threads(ranks: int) -> int:
    """The cores of this process shared out among ranks, at least one each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // ranks)


@contextlib.contextmanager
def _for_the_ranks(ranks: int) -> Iterator[None]:
    """The environment that the ranks inherit."""
    ours = {
        LAUNCHED: "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(fair_threads(ranks))),
        # Of the signals torch handles only the one that this module does not.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet_agent() -> Iterator[None]:
    """Hide what the agent logs; its loggers take their level from the environment each time one is made."""
    before = logging.root.manager.disable
    if not wants_traceback():
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _specification(command: Sequence[str], ranks: int, max_restarts: int) -> WorkerSpec:
    """One machine, whose agent is also the place where the ranks meet, at a port that is free."""
    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.rendezvous import RendezvousParameters
    from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

    meeting = RendezvousParameters(
        backend="c10d",
        endpoint="localhost:0",
        run_id=str(uuid.uuid4()),
        min_nodes=1,
        max_nodes=1,
        local_addr="localhost",
        is_host=True,
    )
    return WorkerSpec(
        role="gpt2x",
        local_world_size=ranks,
        entrypoint=command[0],
        args=tuple(word.replace("$", "$$") for word in command[1:]),  # the agent fills in ${local_rank}
        rdzv_handler=get_rendezvous_handler(meeting),
        max_restarts=max_restarts,
        monitor_interval=MONITOR_S,
        local_addr="localhost",
    )


def _agent(spec: WorkerSpec, logs: Path) -> LocalElasticAgent:
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std

    redirects = {rank: Std.NONE if rank == 0 else Std.ALL for rank in range(spec.local_world_size)}
    options: dict[str, Any] = {"logs_specs": DefaultLogsSpecs(log_dir=str(logs), redirects=redirects)}
    if "shutdown_timeout" in inspect.signature(LocalElasticAgent).parameters:  # later versions of torch
        options["shutdown_timeout"] = SAVING_S
    return LocalElasticAgent(spec, **options)


# ----------------------------------------------------------------------------------------------------------------
# Signals


@contextlib.contextmanager
def _signals_passed_on(agent: LocalElasticAgent) -> Iterator[None]:
    """Let the ranks have the signals that end a run with a checkpoint.

    The first one becomes the agent's own exception: it passes the signal on, waits until the ranks have saved, and
    starts none anew. Later ones go to the ranks directly, for which a second Ctrl-C means at once.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    had_one = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal had_one
        if had_one:
            _send(agent, number)
            return
        had_one = True
        raise SignalException("a signal to stop", sigval=signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What is ignored (nohup, a job in the background of a script) stays so, and the ranks inherit that.
    before = {
        number: signal.signal(number, handle)
        for number in POLITE
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(agent: LocalElasticAgent, number: int) -> None:
    for worker in agent.get_worker_group().workers:
        if worker.id is not None:
            with contextlib.suppress(OSError):
                os.kill(worker.id, number)


# ----------------------------------------------------------------------------------------------------------------
# Failures


def _explain(failures: Mapping[int, ProcessFailure], logs: Path, command: Command) -> None:
    """End as the ranks did.

    Raises:
        SystemExit: a rank has said what failed.
        Gpt2xError: none has.

    """
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    for words in _tracebacks(logs):
        complain(words)
    if codes.get(0, 0) > ExitCode.FAILED:  # rank 0 has said why
        raise SystemExit(codes[0])
    killed = [rank for rank, code in sorted(codes.items()) if code < 0 and code != -signal.SIGTERM]
    if killed:
        name = signal.Signals(-codes[killed[0]]).name
        raise Gpt2xError(
            f"rank {killed[0]} was ended by {name}, and with it the others; {command.again} goes on from the last "
            "checkpoint (where memory runs out, Linux sends SIGKILL)"
        )
    first = min(failures.values(), key=lambda failure: failure.timestamp)
    if first.local_rank and first.exitcode > ExitCode.FAILED:  # before it knew the others
        complain(f"gpt2x: rank {first.local_rank} ended with exit code {first.exitcode}")
    raise SystemExit(max(first.exitcode, codes.get(0, 0), ExitCode.FAILED))


def _tracebacks(logs: Path) -> list[str]:
    """What ranks other than the first wrote to stderr at the last start, where it is of a defect."""
    starts = sorted(logs.glob("*/attempt_*"), key=lambda path: int(path.name.removeprefix("attempt_")))
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in starts[-1].glob("*/stderr.log")]
    return [text.rstrip() for text in texts if "Traceback (most recent call last)" in text]
