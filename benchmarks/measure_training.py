"""What the trainer adds to the bare step, and what two ranks are worth on one machine, as a Markdown table.

    python benchmarks/measure_training.py [--rounds N] [--steps N]

GPT-2 124M in bfloat16, 8 × 64 tokens a step, gloo. Three ways in turn, round by round, each in processes of its own:
the bare step (`gpt2x bench step`), the trainer in one process with all threads, and the trainer on two ranks that
share the threads. Figures are medians of the rounds; ratios are taken within a round. Needs GPT-2's vocabulary
(``GPT2X_VOCAB``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

SEQUENCES, LENGTH = 8, 64
SKIPPED = 4
"""First steps that are not counted: memory is taken then, and threads are made."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="steps of the trainer in a round")
    arguments = parser.parse_args()
    rounds = [measure(arguments.steps) for _ in range(arguments.rounds)]
    bare, one, two = zip(*rounds, strict=True)
    print(
        f"| GPT-2 124M, bfloat16, {SEQUENCES} × {LENGTH} tokens a step | ms a step | × | peak memory, GB a process |"
    )
    print("|---|---|---|---|")
    print(
        f"| bare step | {median(way.step_ms for way in bare):.0f} | | {median(way.gigabytes for way in bare):.2f} |"
    )
    print(row("the trainer, one process", one, bare, "the bare step"))
    print(row("the trainer, two ranks with half of the threads each", two, one, "one process"))


class Way:
    """One of the ways in one round: milliseconds a step and the largest process in GB."""

    def __init__(self, step_ms: float, gigabytes: float) -> None:
        self.step_ms, self.gigabytes = step_ms, gigabytes


def row(name: str, ways: Sequence[Way], others: Sequence[Way], what: str) -> str:
    """A line of the table; × is speed as a multiple of the other way's."""
    ratios = [other.step_ms / way.step_ms for way, other in zip(ways, others, strict=True)]
    span = f"{median(ratios):.2f} of {what} ({min(ratios):.2f}–{max(ratios):.2f})"
    step_ms, gigabytes = (median(getattr(way, of) for way in ways) for of in ("step_ms", "gigabytes"))
    return f"| {name} | {step_ms:.0f} | {span} | {gigabytes:.2f} |"


def measure(steps: int) -> tuple[Way, Way, Way]:
    """One round."""
    return bare_step(), trainer(1, steps), trainer(2, steps)


def bare_step() -> Way:
    """Our entry of `gpt2x bench step`."""
    shape = ["--model", "gpt2", "--batch", str(SEQUENCES), "--seq", str(LENGTH)]
    found = run("bench", "step", *shape, "--steps", "6", "--rounds", "1", "--peer", "nanogpt-kept", "--json")
    ours = next(entry for entry in json.loads(found)["entries"] if entry["name"] == "gpt2x")
    return Way(ours["median_ms"], ours["peak_memory_bytes"] / 1e9)


def trainer(ranks: int, steps: int) -> Way:
    """A short run; the largest process is read from the operating system when it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        options = {
            "--tokenizer": "gpt2",
            "--model": "gpt2",
            "--n-layer": 12,
            "--n-head": 12,
            "--n-embd": 768,
            "--block-size": LENGTH,
            "--dropout": 0,
            "--batch-size": SEQUENCES // ranks,
            "--total-batch-tokens": SEQUENCES * LENGTH,
            "--steps": steps,
            "--warmup": 2,
            "--log-every": 1,
            "--eval-every": 0,
            "--eval-batches": 1,
            "--save-every": 0,
            "--ranks": ranks,
            "--out": out,
        }
        flat = [str(part) for option in options.items() for part in option]
        probe = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
        probe += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        command = [sys.executable, "-c", probe, sys.executable, "-m", "gpt2x.train", "lyrics", *flat]
        kilobytes = int(checked(command))
        log = [
            json.loads(line) for line in Path(out, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        times = [line["step_ms"] for line in log if "step_ms" in line]
        return Way(median(times[SKIPPED:]), kilobytes * 1024 / 1e9)


def run(*arguments: str) -> str:
    """What `gpt2x` prints on stdout."""
    return checked([sys.executable, "-m", "gpt2x", *arguments])


def checked(command: Sequence[str]) -> str:
    """A command's stdout; its talk is shown only if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
