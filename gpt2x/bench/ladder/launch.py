"""Where the processes of rungs come from: a launcher, and the ranks of one rung."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.fork_server import ForkServer
from gpt2x.bench.process import Process, run_worker, worker_environment


class Runner(Protocol):
    """A rung that can be measured; the tests have one that computes nothing."""

    def prepare(self) -> dict[str, Any]:
        """Build, compile and warm up; the worker's reply to ``prepare``."""
        ...

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        """One round; the worker's reply to ``measure``."""
        ...

    def close(self) -> None:
        """End it and free its memory."""
        ...


Launch = Callable[[StepConfig], Runner]


WORKER = "gpt2x.bench.ladder.worker"

IMPORTS = ("numpy", "torch", "gpt2x.bench.ladder.step")
"""What every worker of a rung imports."""

COMPILER_IMPORTS = ("torch._dynamo", "torch._inductor.compile_fx")
"""What one imports that compiles. The others go without: it is 0.1 GB, and counts in the memory of a rung."""


class Launcher:
    """Where workers are made: the folder with the tokens, their logs and the compile caches of this ladder."""

    def __init__(
        self, setting: Setting, tokens: Path, *, timeout_s: float, visible_gpu: str | None = None
    ) -> None:
        self.setting, self.tokens, self.timeout_s = setting, tokens, timeout_s
        self.folder = tokens.parent
        self.environment = worker_environment(self.folder, visible_gpu)
        self.can_fork = sys.platform == "linux" and setting.device == "cpu"
        self.fork_servers: dict[bool, ForkServer] = {}
        """By whether their workers compile."""
        self.count = 0

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *exception: object) -> None:
        for fork_server in self.fork_servers.values():
            fork_server.close()

    def launch(self, config: StepConfig) -> Ranks:
        """Start the processes of one rung."""
        self.count += 1
        return Ranks(self, config, self.folder / f"rung-{self.count}")

    def start(self, log: Path, *, compiles: bool) -> Process:
        """Start one process: split off where that works, else with imports of its own."""
        if self.can_fork:
            try:
                return Process(log, self._fork_server(compiles).fork)
            except OSError:
                self.can_fork = False  # it says why in its log; and what it cannot do now, it could not later
        return run_worker(WORKER, self.environment, log)

    def _fork_server(self, compiles: bool) -> ForkServer:
        if compiles not in self.fork_servers:
            modules = (*IMPORTS, *(COMPILER_IMPORTS if compiles else ()))
            log = self.folder / f"fork-server-{len(self.fork_servers)}.log"
            self.fork_servers[compiles] = ForkServer(modules, self.environment, log)
        return self.fork_servers[compiles]


class Ranks:
    """The processes of one rung: one, or as many as it has ranks; all get the same requests at the same time."""

    def __init__(self, launcher: Launcher, config: StepConfig, name: Path) -> None:
        self.launcher, self.config, self.rendezvous = launcher, config, name.with_suffix(".meet")
        self.processes: list[Process] = []
        try:
            for rank in range(config.world_size):
                log = name.with_name(f"{name.name}.{rank}.log")
                self.processes.append(launcher.start(log, compiles=config.compile))
        except BaseException:
            self.close()
            raise

    def prepare(self) -> dict[str, Any]:
        """Build, compile and warm up on every rank."""
        request = {
            "do": "prepare",
            "config": dataclasses.asdict(self.config),
            "setting": self.launcher.setting.as_dict(),
            "tokens": str(self.launcher.tokens),
            "rendezvous": str(self.rendezvous),
        }
        return self._ask([{**request, "rank": rank} for rank in range(len(self.processes))])[0]

    def measure(self, steps: int, warm_steps: int) -> dict[str, Any]:
        """One round; times are rank 0's (the ranks wait for one another in every step), the rest is summed."""
        request = {"do": "measure", "steps": steps, "warm_steps": warm_steps}
        replies = self._ask([request] * len(self.processes))
        summed = {key: sum(reply[key] for reply in replies) for key in ("peak_memory_bytes", "own_cpu_s")}
        if self.config.device == "cuda" and all(reply["energy_j"] is not None for reply in replies):
            summed["energy_j"] = sum(reply["energy_j"] for reply in replies)  # a meter for each GPU
        return {**replies[0], **summed}

    def close(self) -> None:
        """End all ranks."""
        for process in self.processes:
            process.kill()

    def _ask(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self.launcher.timeout_s
        for process, request in zip(self.processes, requests, strict=True):
            process.send(request)
        return [process.receive(deadline) for process in self.processes]
