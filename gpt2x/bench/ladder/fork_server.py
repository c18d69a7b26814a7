"""A process that has imported what workers need and splits them off: ``python -m gpt2x.bench.ladder.fork_server``.

Importing torch takes seconds, and torch's compiler as many again; a ladder has some twenty workers. fork(2) gives
each the imports and nothing else: the fork server builds no model, starts no thread and runs no kernel, so that what it
splits off is as fresh as a process of its own. Linux only, and for workers on a CPU: a CUDA driver that is awake does
not survive a fork. `ForkServer` is the ladder's side, `main` the process; they exchange JSON over a socket:

    {"do": "fork"} and three files   -> {"pid": 4711}   a worker whose stdin, stdout and stderr are these files
    {"do": "wait", "pid": 4711}      -> {"code": 0}     once it has ended; negative for a signal, as in `subprocess`

multiprocessing's forkserver would not do: its children get neither streams nor a session of their own, and nothing can
be done between its imports and its first fork. Loads no torch here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gpt2x import child
from gpt2x.bench.ladder.worker import RungWorker
from gpt2x.bench.worker import serve_process

MESSAGE_BYTES = 1024
"""No message is longer."""

START_TIMEOUT_S = 120.0
"""How long the imports may take."""


class ForkServer:
    """The process, and what it can be asked for.

    Args:
        modules: imported once, before the first worker is split off.
        environment: of all workers.
        log: gets what the process itself says.

    """

    def __init__(self, modules: Sequence[str], environment: dict[str, str], log: Path) -> None:
        # Packets keep their bounds, so that one message is one reply.
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(START_TIMEOUT_S)
        with theirs, log.open("wb") as errors:
            self.process = subprocess.Popen(
                child.module_command("gpt2x.bench.ladder.fork_server", [str(theirs.fileno()), *modules]),
                cwd=log.parent,  # ours, where nobody's modules lie: torch's compiler starts a Python that looks there
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, errors: IO[bytes]) -> Forked:
        """A new worker, which writes its stderr to `errors`.

        Raises:
            OSError: the process is gone or does not reply.

        """
        for_worker, for_us = [], []
        try:
            worker_in, our_out = os.pipe()
            for_worker.append(worker_in)
            for_us.append(our_out)
            our_in, worker_out = os.pipe()
            for_worker.append(worker_out)
            for_us.append(our_in)
            pid = self._ask({"do": "fork"}, [worker_in, worker_out, errors.fileno()])["pid"]
        except BaseException:
            for end in for_us:
                os.close(end)
            raise
        finally:
            for end in for_worker:
                os.close(end)
        return Forked(self, pid, our_out, our_in)

    def wait(self, pid: int) -> int:
        """The exit code of a worker, once it has ended.

        Raises:
            OSError: the process is gone or does not reply.

        """
        return int(self._ask({"do": "wait", "pid": pid})["code"])

    def close(self) -> None:
        """End the process; workers that are left end when their stdin does."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def _ask(self, request: dict[str, Any], files: Sequence[int] = ()) -> dict[str, Any]:
        try:
            socket.send_fds(self.channel, [json.dumps(request).encode()], list(files))
            reply = self.channel.recv(MESSAGE_BYTES)
            if not reply:
                raise ConnectionResetError("the process that splits off workers is gone")
        except OSError:
            self.channel.close()  # a reply that is late must not be taken for the next one
            raise
        found: dict[str, Any] = json.loads(reply)
        return found


class Forked:
    """A worker, with as much of `subprocess.Popen` as is needed."""

    def __init__(self, server: ForkServer, pid: int, stdin: int, stdout: int) -> None:
        self.server, self.pid = server, pid
        self.stdin: IO[str] | None = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout: IO[str] | None = os.fdopen(stdout, encoding="utf-8")
        self.code: int | None = None

    def wait(self) -> int:
        """The exit code; as if killed where the fork server cannot say."""
        if self.code is None:
            try:
                self.code = self.server.wait(self.pid)
            except OSError:
                self.code = -signal.SIGKILL
        return self.code

    def kill(self) -> None:
        """End it at once."""
        if self.code is None:  # its number may be another's otherwise
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


# ----------------------------------------------------------------------------------------------------------------
# In the process


def main() -> None:
    """Import, then split off workers until the ladder is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    _look_for_vectors()
    gc.collect()
    gc.freeze()  # a worker's collections need not look at what was imported
    while True:
        message, files, *_ = socket.recv_fds(channel, MESSAGE_BYTES, 3)
        if not message:
            return
        request = json.loads(message)
        if request["do"] == "wait":
            reply = {"code": os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])}
        else:
            reply = {"pid": _fork(channel, files)}
        channel.send(json.dumps(reply).encode())


def _look_for_vectors() -> None:
    """Let torch's compiler find out which vector instructions there are, where it has been imported.

    It compiles a file for each kind and starts a process to load it, in every process that compiles.
    """
    cpu_vec_isa = sys.modules.get("torch._inductor.cpu_vec_isa")
    if cpu_vec_isa is not None:
        cpu_vec_isa.pick_vec_isa()


def _fork(channel: socket.socket, files: Sequence[int]) -> int:
    """The number of a new worker; never returns in the worker."""
    pid = os.fork()
    if pid == 0:
        _work(channel, files)
    for file in files:
        os.close(file)
    return pid


def _work(channel: socket.socket, files: Sequence[int]) -> None:
    """Be a worker: a session, and stdin, stdout and stderr of its own."""
    try:
        os.setsid()
        channel.close()
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        serve_process(RungWorker())
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)  # `serve_process` ends the process itself


if __name__ == "__main__":
    main()
