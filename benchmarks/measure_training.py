"""What the trainer adds to the bare step, and what two ranks are worth on one machine, as a Markdown table.

    python benchmarks/measure_training.py [--rounds N] [--steps N]

GPT-2 124M in bfloat16, 8 × 64 tokens a step, gloo. Four ways, each in processes of its own: the bare step (`gpt2x bench
step`), the trainer in one process with all threads, and on two ranks that share the threads, with shared memory and
without. They take turns: all but one are stopped (SIGSTOP) while that one makes a few steps, so that a machine that
drifts moves all alike. Ratios are taken within a round and given with a 90 % interval. Needs GPT-2's vocabulary
(``GPT2X_VOCAB``).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gpt2x.bench.bootstrap import paired
from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import Teller, interleave, start_all, whole_rounds
from gpt2x.bench.ladder.config import Setting
from gpt2x.bench.ladder.launch import Launcher
from gpt2x.bench.process import WorkerFailed
from gpt2x.bench.step.compare import StepContender, select
from gpt2x.model.config import PRESETS
from gpt2x.process_memory import status_bytes

SEQUENCES, LENGTH = 8, 64
GIGABYTE = 1e9
FIRST_STEPS = 4
"""That are not counted: memory is taken then, and threads are made."""

POLL_S = 0.02
"""How often to look for new steps."""

HOME = Path(__file__).resolve().parent.parent


class Trainer(Contender):
    """`gpt2x train` in a process group of its own, which stands still unless it is measured."""

    def __init__(self, name: str, ranks: int, steps: int, rounds: int, folder: Path, *more: str) -> None:
        super().__init__(name)
        self.ranks, self.steps, self.more = ranks, steps, more
        self.all_steps = FIRST_STEPS + (rounds + 2) * (steps + 1)
        self.out = folder / name.replace(" ", "-")
        self.rounds_ms: list[float] = []
        self.peak, self.all_memory = 0.0, 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and let it make its first steps."""
        options = {
            "--tokenizer": "gpt2", "--model": "gpt2", "--n-layer": 12, "--n-head": 12, "--n-embd": 768,
            "--block-size": LENGTH, "--dropout": 0, "--batch-size": SEQUENCES // self.ranks,
            "--total-batch-tokens": SEQUENCES * LENGTH, "--steps": self.all_steps, "--warmup": 2, "--log-every": 1,
            "--eval-every": 0, "--eval-batches": 1, "--save-every": 0, "--ranks": self.ranks, "--out": self.out,
        }  # fmt: skip
        flat = [str(part) for option in options.items() for part in option]
        command = [sys.executable, "-m", "gpt2x.train", "lyrics", *flat, *self.more]
        log = self.out.with_suffix(".log").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(HOME)}
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        self._wait_for(FIRST_STEPS)
        self._signal(signal.SIGSTOP)

    def measure(self) -> list[float]:
        """Let it go on for a few steps after the one in which it was stopped; their milliseconds."""
        before = len(self._steps_ms())
        self._signal(signal.SIGCONT)
        self._wait_for(before + 1 + self.steps)
        self._signal(signal.SIGSTOP)
        return self._steps_ms()[before + 1 : before + 1 + self.steps]

    def keep(self, measured: Any) -> float:
        """The median of a round, the largest of its ranks so far, and the memory of all."""
        self.rounds_ms.append(median(measured))
        ranks = self._processes()[1:] if self.ranks > 1 else self._processes()
        self.peak = max(status_bytes("VmHWM", pid) or 0 for pid in ranks)
        own = sum((status_bytes("VmHWM", pid) or 0) - (status_bytes("RssShmem", pid) or 0) for pid in ranks)
        self.all_memory = own + shared_size(ranks[0])
        return sum(measured) / 1000

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _wait_for(self, steps: int) -> None:
        """Wait for this many steps in all, with next to no work, which would be taken from what is measured."""
        assert self.process is not None
        known, size = 0, -1
        while known < steps:
            if self.process.poll() is not None:
                raise WorkerFailed(self.out.with_suffix(".log").read_text(encoding="utf-8")[-2000:])
            time.sleep(POLL_S)
            new = self._metrics().stat().st_size if self._metrics().exists() else -1
            if new != size:
                known, size = len(self._steps_ms()), new

    def _metrics(self) -> Path:
        return self.out / "metrics.jsonl"

    def _steps_ms(self) -> list[float]:
        """Of each step in its log."""
        path = self._metrics()
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [line["step_ms"] for line in whole if "step_ms" in line]

    def _processes(self) -> list[int]:
        """It and the ranks that it has started."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [pid, *map(int, children)]

    def _signal(self, number: int) -> None:
        for pid in self._processes():
            os.kill(pid, number)


class Bare(StepContender):
    """The bare step; what `Trainer` has for a table."""

    @property
    def rounds_ms(self) -> list[float]:
        """The median step of each round."""
        return self.entry.rounds_ms

    @property
    def peak(self) -> float:
        """Bytes."""
        return self.entry.peak_memory_bytes

    @property
    def all_memory(self) -> float:
        """The same: it is one process."""
        return self.peak


def shared_size(pid: int) -> int:
    """Of the memory without a name that a rank shares with the others, all of which exists once."""
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "/memfd:gpt2x" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ranges)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="steps of each in a round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setting = Setting(model="gpt2", shape=PRESETS["gpt2"], batch=SEQUENCES, seq=LENGTH)
        with Launcher(setting, random_tokens(folder), timeout_s=600) as launcher:
            step = select(["nanogpt"])[0]
            bare = Bare(step, lambda: launcher.launch(step.make(setting, "bfloat16")), given.steps)
            shape = (given.steps, given.rounds, folder)
            one = Trainer("one process", 1, *shape)
            two = Trainer("two ranks", 2, *shape)
            sent = Trainer("two ranks without", 2, *shape, "--no-shared-memory")
            measure([bare, one, two, sent], given.rounds)
    print(
        f"| GPT-2 124M, bfloat16, {SEQUENCES} × {LENGTH} tokens a step | ms a step | × | GB a process | GB in all |"
    )
    print("|---|---|---|---|---|")
    print(f"| bare step | {median(bare.rounds_ms):.0f} | | {memory(bare)} |")
    print(row("the trainer, one process", one, bare, "the bare step"))
    print(row("two ranks with half of the threads each, shared memory", two, one, "one process"))
    print(row("two ranks, gradients sent (`--no-shared-memory`)", sent, one, "one process"))


def measure(contenders: Sequence[Contender], rounds: int) -> None:
    """All in turn."""
    listener = Teller(lambda text: print(text, file=sys.stderr))
    with whole_rounds(contenders, listener):
        start_all(contenders, listener)
        interleave(contenders, Effort(rounds=rounds), listener=listener, mirror=True)
    for contender in contenders:
        if contender.reason:
            raise SystemExit(f"{contender.title}: {contender.reason}")


def random_tokens(folder: Path) -> Path:
    """Tokens for the bare step; it learns nothing that matters."""
    import numpy as np

    path = folder / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 50257, 200_000).astype(np.uint16))
    return path


def row(name: str, way: Trainer, other: Trainer | Bare, what: str) -> str:
    """A line of the table; × is speed as a multiple of the other way's."""
    ratio = paired([theirs / ours for ours, theirs in zip(way.rounds_ms, other.rounds_ms, strict=True)])
    times = f"{ratio.median:.2f} of {what} ({ratio.low:.2f}–{ratio.high:.2f})"
    return f"| {name} | {median(way.rounds_ms):.0f} | {times} | {memory(way)} |"


def memory(way: Trainer | Bare) -> str:
    """The peak of the largest process, and what all have together, what they share counted once."""
    return f"{way.peak / GIGABYTE:.2f} | {way.all_memory / GIGABYTE:.2f}"


if __name__ == "__main__":
    main()
