"""Worker processes, seen from a benchmark: start one, send it requests, receive its replies, end it. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from gpt2x import child
from gpt2x.bench.machine import Machine


class WorkerFailed(Exception):
    """A worker could not do what was asked; the text is the reason that its row shows."""


class TookTooLong(WorkerFailed):
    """No reply came in time."""


class OutOfMemory(WorkerFailed):
    """There was not enough memory, said by torch or shown by the system's ending the process."""


class Missing(WorkerFailed):
    """Something that it needs is not installed."""


FAILURES: dict[str, type[WorkerFailed]] = {"memory": OutOfMemory, "missing": Missing}
"""By the kind that a worker replies."""


class Child(Protocol):
    """As much of `subprocess.Popen` as is needed of a worker."""

    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None

    def wait(self) -> int:
        """The exit code, once it has ended."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Process:
    """One worker process and the lines it writes.

    Args:
        log: gets what it writes to stderr.
        start: starts it, with that file as its stderr.

    """

    def __init__(self, log: Path, start: Callable[[IO[bytes]], Child]) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = start(errors)
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `receive` will say so
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def receive(self, deadline: float) -> dict[str, Any]:
        """The reply to the request.

        Raises:
            TookTooLong: none came in time.
            WorkerFailed: the process died, or it reports a failure.

        """
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TookTooLong("took too long and was stopped") from None
        if line is None:
            self.lines.put(None)  # it has ended for whoever asks next, too
            raise self._why_it_ended()
        reply: dict[str, Any] = json.loads(line)
        if reply["event"] == "failed":
            raise FAILURES.get(reply.get("kind", ""), WorkerFailed)(str(reply["message"]))
        return reply

    def _why_it_ended(self) -> WorkerFailed:
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return OutOfMemory("killed by the system, most likely out of memory")
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        cause = f": {lines[-1][:200]}" if lines else ""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerFailed(f"crashed with {how}{cause}")

    def kill(self) -> None:
        """End it and what it started (a compiler, say)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # one that was split off a moment ago has no session of its own yet
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()


def run_worker(module: str, environment: dict[str, str], log: Path) -> Process:
    """Start `module` as a worker, with imports of its own."""
    return Process(log, lambda errors: _run(module, environment, log.parent, errors))


def _run(module: str, environment: dict[str, str], folder: Path, errors: IO[bytes]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        child.module_command(module),
        cwd=folder,  # ours, where nobody's modules lie: torch's compiler starts a Python that looks there
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the whole session of a worker
    )


def worker_environment(folder: Path, visible_gpu: str | None) -> dict[str, str]:
    """The environment of a worker: this one's, with compile caches of its own.

    A cache that an earlier run filled would make the first compilation look free; within a ladder it is shared, so
    that a rung compiles only what it changed.
    """
    environment = child.environment()
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    environment["TRITON_CACHE_DIR"] = str(folder / "triton")
    if visible_gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible_gpu
    return environment


def probe(device: str, *, visible_gpu: str | None = None, timeout_s: float = 120.0) -> Machine:
    """Look at the machine from a worker process.

    Raises:
        WorkerFailed: the process did not reply.

    """
    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-") as folder:
        environment = worker_environment(Path(folder), visible_gpu)
        process = run_worker("gpt2x.bench.worker", environment, Path(folder) / "probe.log")
        try:
            process.send({"do": "probe", "device": device})
            reply = process.receive(time.monotonic() + timeout_s)
        finally:
            process.kill()
    return Machine.from_dict(reply["machine"])
