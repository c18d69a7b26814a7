"""The parts of `gpu_suite`, the most valuable first, and what the summary says of each one's JSON.

Standard library only.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

LADDER = (
    "sharing,init,tf32,bf16,compile,flash,vocab,clip,adamw,accumulation,"
    "fused-loss,fused-layers,fused-adamw,cuda-graphs"
)
"""All rungs but the first on a CPU, which would take the time of all others, and those of several GPUs or of a CPU."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to do in a process of its own."""

    name: str
    title: str
    command: tuple[str, ...]
    timeout_s: float
    modules: tuple[str, ...] = ()
    """What has to be importable; else the part is skipped."""
    prints_json: bool = False
    """Stdout is the result, and goes to NAME.json; else it goes to the log like stderr."""
    skipped_by: str = ""
    """A text in the log of a failure that means that this machine cannot do it."""
    proof: str = ""
    """A text that the log of a success has to hold; without it nothing was done."""
    digest: Callable[[Any], list[str]] | None = None
    """The lines of the summary that come from NAME.json."""


def make_parts(device: str, out: Path, python: str = sys.executable) -> list[Part]:
    """What the suite does, the most valuable first; on a CPU the same, without the sanitizer, in sizes of seconds."""
    small = device == "cpu"
    here = ("--device", device)
    gpt2x = (python, "-m", "gpt2x")
    cli = ("typer", "rich")
    gpt = ("--model", "micro", "--batch", "2", "--seq", "32") if small else ("--model", "gpt2")
    kernels = (python, "benchmarks/sanitize_kernels.py", *here)
    sanitizer = shutil.which("compute-sanitizer") or "compute-sanitizer"
    unsupported = "Device not supported"

    def pick(on_gpu: Sequence[str], on_cpu: Sequence[str]) -> tuple[str, ...]:
        return tuple(on_cpu if small else on_gpu)

    parts = [
        Part(
            name="facts",
            title="What this machine is",
            command=(python, "benchmarks/gpu_suite.py", "--facts"),
            timeout_s=60,
            prints_json=True,
            digest=facts_digest,
        ),
        Part(
            name="build",
            title="Build the native parts",
            command=(python, "setup.py", "build_ext", "--inplace"),
            timeout_s=180,
            modules=("torch", "setuptools"),
        ),
        Part(
            name="kernels",
            title="Every operator against float64",
            command=kernels,
            timeout_s=60,
            modules=("torch",),
        ),
        Part(
            name="tests",
            title="The operators' tests",
            command=(
                *(python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"),
                "--continue-on-collection-errors",
                f"--junitxml={out / 'tests.xml'}",
                *pick(("tests/ops", "-m", "cuda"), ("tests/ops/test_bias_gelu.py",)),
            ),
            timeout_s=120,
            modules=("torch", "pytest"),
            proof=" passed",
        ),
        Part(
            name="step",
            title="A training step beside the plain model and torch.compile",
            command=(
                *gpt2x, "bench", "step", *here, *gpt,
                *pick(("--batch", "64", "--seq", "1024", "--steps", "5"), ("--steps", "1")),
                *pick(("--peer", "compile", "--peer", "nanogpt"), ("--peer", "nanogpt")),
                *("--rounds", "3" if not small else "1", "--timeout", "90s", "--json"),
            ),
            timeout_s=130,
            modules=("torch", *cli),
            prints_json=True,
            digest=step_digest,
        ),
        Part(
            name="ops",
            title="Every operator beside torch's functions",
            command=(
                *(python, "benchmarks/measure_ops.py", *here, "--tables", str(out / "ops.md")),
                *pick((), ("--quick", "--rows", "32", "--vocab", "512")),
            ),
            timeout_s=100,
            modules=("torch", "numpy"),
            prints_json=True,
            digest=ops_digest,
        ),
        Part(
            name="memcheck",
            title="compute-sanitizer: reads and writes out of bounds",
            command=(sanitizer, "--tool", "memcheck", "--error-exitcode", "9", *kernels),
            timeout_s=90,
            modules=("torch",),
            skipped_by=unsupported,
        ),
        Part(
            name="decode",
            title="Decoding",
            command=(
                *gpt2x, "bench", "decode", *here,
                *pick((), ("--model", "micro", "--prompt", "8", "--tokens", "4", "--rounds", "1")),
                "--json",
            ),
            timeout_s=90,
            modules=("torch", *cli),
            prints_json=True,
            digest=decode_digest,
        ),
        Part(
            name="ladder",
            title="The ladder",
            command=(
                *gpt2x, "bench", *here, *gpt, "--out", str(out / "ladder"),
                *pick(("--rungs", LADDER, "--budget", "60s", "--timeout", "60s"),
                      ("--rungs", "2-3", "--rounds", "1", "--steps", "1", "--budget", "10s")),
            ),
            timeout_s=150,
            modules=("torch", *cli),
        ),
        Part(
            name="racecheck",
            title="compute-sanitizer: unordered accesses to shared memory",
            command=(sanitizer, "--tool", "racecheck", "--error-exitcode", "9", *kernels),
            timeout_s=90,
            modules=("torch",),
            skipped_by=unsupported,
        ),
        Part(
            name="train",
            title="Two minutes of training",
            command=(
                *(python, "-m", "gpt2x.train", "lyrics", *here, "--out", str(ROOT / "runs" / "gpu-suite"),
                  "--overwrite", "--json"),
                *pick(
                    ("--model", "gpt2", "--block-size", "1024", "--batch-size", "32", "--total-batch-tokens",
                     "131072", "--steps", "300", "--n-layer", "12", "--n-head", "12", "--n-embd", "768",
                     "--eval-every", "100", "--save-every", "0"),
                    ("--steps", "3", "--vocab", "300", "--n-layer", "1", "--n-embd", "32", "--n-head", "2",
                     "--block-size", "32", "--batch-size", "2", "--total-batch-tokens", "64"),
                ),
            ),
            timeout_s=140,
            modules=("torch", "safetensors", "typer"),
            prints_json=True,
            digest=train_digest,
        ),
    ]  # fmt: skip
    return [part for part in parts if part.command[0] != sanitizer] if small else parts


# ----------------------------------------------------------------------------------------------------------------
# Their lines in the summary


def step_digest(found: dict[str, Any]) -> list[str]:
    """Our step, and how many times its time and memory the others take."""
    ours, *peers = found["entries"]
    if not ours["step_ms"]:
        return [f"gpt2x: {ours['failed']}"]
    setting = found["setting"]
    memory = ours["peak_memory_bytes"]
    lines = [
        f"{setting['model']}, B = {setting['batch']}, T = {setting['seq']}, {found['dtype']}: "
        f"{ours['median_ms']:.1f} ms a step, {memory / 1e9:.2f} GB, loss {ours['losses'][-1]:.3f}"
    ]
    for peer in peers:
        if not peer["step_ms"]:
            lines.append(f"{peer['title']}: {peer['failed']}")
            continue
        share = memory / peer["peak_memory_bytes"] if peer["peak_memory_bytes"] else float("nan")
        lines.append(
            f"{peer['title']}: {peer['median_ms']:.1f} ms, so ours is {peer['ratio']:.2f} × as fast "
            f"and takes {share:.2f} × its memory"
        )
    if setting["device"] == "cuda":
        lines.append("the goals beside torch.compile: 1.12 × as fast, 0.70 × the memory")
    return lines


def decode_digest(found: dict[str, Any]) -> list[str]:
    """Tokens a second of every way of decoding."""
    lines = []
    for entry in found["entries"]:
        speed = entry["tokens_per_second"]
        lines.append(f"{entry['title']}: {f'{speed:.1f} tokens/s' if speed else entry['failed']}")
    return lines


def ops_digest(found: dict[str, Any]) -> list[str]:
    """The machine's roofs, what is slower than torch, and what failed."""
    peaks = ", ".join(f"{flops / 1e12:.3g} TFLOP/s {dtype}" for dtype, flops in found["peak_flops"].items())
    lines = [f"{found['device_name']}: {found['bandwidth'] / 1e9:.0f} GB/s, {peaks}"]
    for op in found["operators"]:
        share, over_torch = op["share_of_peak"], op["speedup_over_torch"]
        reached = f"{share:.0%} of the peak" if share is not None else "no peak to compare with"
        beside = f", {over_torch:.2f} × torch" if over_torch is not None else ""
        slower = " (slower)" if over_torch is not None and over_torch < 1 else ""
        name = " ".join(filter(None, (op["name"], op["case"])))
        lines.append(f"{name}, {op['dtype']}: {reached}{beside}{slower}, served by {op['served']}")
    return lines + [
        f"{op['name']} {op['case']}, {op['dtype']} failed: {op['reason']}" for op in found["failed"]
    ]


def train_digest(found: dict[str, Any]) -> list[str]:
    """Steps, loss and speed."""
    return [
        f"{found['steps']} steps, loss {found['loss']:.3f}, {found['tokens_per_second']:.0f} tokens/s, "
        f"{found['parameters'] / 1e6:.1f}M parameters"
    ]


def facts_digest(found: dict[str, Any]) -> list[str]:
    """One line for each fact that is one line long."""
    return [f"{key}: {value}" for key, value in found.items() if "\n" not in str(value)]
