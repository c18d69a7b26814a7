"""The processes in which rungs run, seen from the ladder: start them, ask them, end them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from gpt2x import child
from gpt2x.bench.config import Setting, StepConfig
from gpt2x.bench.machine import Machine
from gpt2x.bench.nursery import Forked, Nursery


class RungFailed(Exception):
    """A rung could not be measured; the text is the reason that its row shows."""


class TookTooLong(RungFailed):
    """No answer came in time."""


class OutOfMemory(RungFailed):
    """There was not enough memory, said by torch or shown by the system's ending the process."""


class Missing(RungFailed):
    """Something that the rung needs is not installed."""


FAILURES: dict[str, type[RungFailed]] = {"memory": OutOfMemory, "missing": Missing}
"""By the kind that a worker tells."""


class Runner(Protocol):
    """A rung that can be measured; the tests have one that computes nothing."""

    def prepare(self) -> dict[str, Any]:
        """Build, compile and warm up; the worker's answer to ``prepare``."""
        ...

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        """One round; the worker's answer to ``measure``."""
        ...

    def close(self) -> None:
        """End it and free its memory."""
        ...


Launch = Callable[[StepConfig], Runner]


class Process:
    """One worker process and the lines it says.

    It runs `module`; or it is split off a nursery, and is a rung's worker.
    """

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        *,
        module: str = "gpt2x.bench.worker",
        nursery: Nursery | None = None,
    ) -> None:
        self.log = log
        self.process: subprocess.Popen[str] | Forked
        with log.open("wb") as errors:
            self.process = nursery.fork(errors) if nursery else _run(module, environment, log.parent, errors)
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def tell(self, order: dict[str, Any]) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `answer` will say so
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """The answer to the order.

        Raises:
            TookTooLong: none came in time.
            RungFailed: the process died, or it reports a failure.

        """
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TookTooLong("took too long and was stopped") from None
        if line is None:
            raise self._epitaph()
        answer: dict[str, Any] = json.loads(line)
        if answer["event"] == "failed":
            raise FAILURES.get(answer.get("kind", ""), RungFailed)(str(answer["message"]))
        return answer

    def _epitaph(self) -> RungFailed:
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return OutOfMemory("killed by the system, most likely out of memory")
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        cause = f": {lines[-1][:200]}" if lines else ""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RungFailed(f"crashed with {how}{cause}")

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
        start_new_session=True,  # Ctrl-C is for the ladder, which then ends the whole session of a worker
    )


IMPORTS = ("numpy", "torch", "gpt2x.bench.step")
"""What every worker of a rung imports."""

COMPILER_IMPORTS = ("torch._dynamo", "torch._inductor.compile_fx")
"""What one imports that compiles. The others go without: it is 0.1 GB, and counts in the memory of a rung."""


class Workshop:
    """Where workers are made: the folder with the tokens, their logs and the compile caches of this ladder."""

    def __init__(
        self, setting: Setting, tokens: Path, *, timeout_s: float, visible_gpu: str | None = None
    ) -> None:
        self.setting, self.tokens, self.timeout_s = setting, tokens, timeout_s
        self.folder = tokens.parent
        self.environment = worker_environment(self.folder, visible_gpu)
        self.can_fork = sys.platform == "linux" and setting.device == "cpu"
        self.nurseries: dict[bool, Nursery] = {}
        """By whether their workers compile."""
        self.count = 0

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *exception: object) -> None:
        for nursery in self.nurseries.values():
            nursery.close()

    def launch(self, config: StepConfig) -> Ranks:
        """Start the processes of one rung."""
        self.count += 1
        return Ranks(self, config, self.folder / f"rung-{self.count}")

    def start(self, log: Path, *, compiles: bool) -> Process:
        """Start one process: split off where that works, else with imports of its own."""
        if self.can_fork:
            try:
                return Process(self.environment, log, nursery=self._nursery(compiles))
            except OSError:
                self.can_fork = False  # it says why in its log; and what it cannot do now, it could not later
        return Process(self.environment, log)

    def _nursery(self, compiles: bool) -> Nursery:
        if compiles not in self.nurseries:
            modules = (*IMPORTS, *(COMPILER_IMPORTS if compiles else ()))
            log = self.folder / f"nursery-{len(self.nurseries)}.log"
            self.nurseries[compiles] = Nursery(modules, self.environment, log)
        return self.nurseries[compiles]


class Ranks:
    """The processes of one rung: one, or as many as it has ranks; all get the same orders at the same time."""

    def __init__(self, workshop: Workshop, config: StepConfig, name: Path) -> None:
        self.workshop, self.config, self.rendezvous = workshop, config, name.with_suffix(".meet")
        self.processes: list[Process] = []
        try:
            for rank in range(config.world_size):
                log = name.with_name(f"{name.name}.{rank}.log")
                self.processes.append(workshop.start(log, compiles=config.compile))
        except BaseException:
            self.close()
            raise

    def prepare(self) -> dict[str, Any]:
        """Build, compile and warm up on every rank."""
        order = {
            "do": "prepare",
            "config": dataclasses.asdict(self.config),
            "setting": self.workshop.setting.as_dict(),
            "tokens": str(self.workshop.tokens),
            "rendezvous": str(self.rendezvous),
        }
        return self._ask([{**order, "rank": rank} for rank in range(len(self.processes))])[0]

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        """One round; times are rank 0's (the ranks wait for one another in every step), the rest is summed."""
        order = {"do": "measure", "steps": steps, "warm_steps": warm_steps}
        answers = self._ask([order] * len(self.processes))
        summed = {key: sum(answer[key] for answer in answers) for key in ("peak_memory_bytes", "own_cpu_s")}
        if self.config.device == "cuda" and all(answer["energy_j"] is not None for answer in answers):
            summed["energy_j"] = sum(answer["energy_j"] for answer in answers)  # a meter for each GPU
        return {**answers[0], **summed}

    def close(self) -> None:
        """End all ranks."""
        for process in self.processes:
            process.kill()

    def _ask(self, orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self.workshop.timeout_s
        for process, order in zip(self.processes, orders, strict=True):
            process.tell(order)
        return [process.answer(deadline) for process in self.processes]


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
        RungFailed: the process did not answer.

    """
    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-") as folder:
        process = Process(worker_environment(Path(folder), visible_gpu), Path(folder) / "probe.log")
        try:
            process.tell({"do": "probe", "device": device})
            answer = process.answer(time.monotonic() + timeout_s)
        finally:
            process.kill()
    return Machine.from_dict(answer["machine"])
