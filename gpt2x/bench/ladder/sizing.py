"""How large a ladder is by default: sized to the machine, so that two cores are done in a few minutes. No torch."""

from __future__ import annotations

import difflib
import re
from typing import Any

from gpt2x.bench.ladder.config import MODELS, Setting, naive_step_bytes
from gpt2x.bench.machine import Machine, foreseen
from gpt2x.errors import MissingComponentError, UsageError, quoted
from gpt2x.model.config import GPTConfig

SEED_BATCH, SEED_SEQ, SEED_STEP_TOKENS = 8, 1024, 524_288
"""The playground's setting: GPT-2 124M, 8 × 1024 tokens, 524,288 of them in an accumulated step."""


def parse_device(name: str) -> tuple[str, str | None]:
    """The kind of device (auto, cpu, cuda) and, from ``cuda:N``, which GPU alone is to be seen.

    Raises:
        UsageError: it is none of these.

    >>> parse_device("cuda:1")
    ('cuda', '1')
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::([0-9]{1,9}))?", name)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"--device {quoted(name)} is unknown; give auto, cpu, cuda or cuda:N")
    return match[1], match[2]


def like_playground(
    model: str | None, batch: int | None, seq: int | None, total_batch: int | None
) -> tuple[str, int, int, int]:
    """The playground's model, batch, length and tokens of a step, for ``--like-playground``.

    Raises:
        UsageError: one of them was asked for as well.

    """
    given = {"--model": model, "--batch": batch, "--seq": seq, "--total-batch": total_batch}
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"--like-playground and {option} {value} exclude one another; give one of the two"
            )
    return "gpt2", SEED_BATCH, SEED_SEQ, SEED_STEP_TOKENS


def shape_of(model: str) -> GPTConfig:
    """The shape of a model in `MODELS`.

    Raises:
        UsageError: there is none of that name; the nearest is suggested.

    """
    if model not in MODELS:
        close = difflib.get_close_matches(model, MODELS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(MODELS)}"
        raise UsageError(f"unknown model {quoted(model)}; {hint}")
    return MODELS[model]


def make_setting(
    machine: Machine,
    *,
    device: str = "auto",
    model: str | None = None,
    batch: int | None = None,
    seq: int | None = None,
    total_batch: int | None = None,
    seed: int = 1,
    naive: bool = True,
) -> Setting:
    """The setting of a ladder: what was asked for, and for the rest what suits the machine.

    Args:
        machine: as `machine.probe` found it.
        device: auto, cpu or cuda.
        model: a name in `MODELS`; by default GPT-2 124M on a GPU, a small model with its vocabulary on a CPU.
        batch: sequences in a batch.
        seq: tokens in a sequence.
        total_batch: tokens in a step of the accumulation rung.
        seed: decides the weights.
        naive: whether the naive step, which needs the most memory, takes part; without it a GPU may run out by itself.

    Raises:
        UsageError: an unknown model, numbers that do not fit each other, or more than the memory holds.
        MissingComponentError: a GPU that is asked for and not here.

    """
    if device == "cuda" and not machine.gpus:
        raise MissingComponentError(
            "--device cuda needs an NVIDIA GPU and a torch that finds it; use --device cpu"
        )
    on_gpu = bool(machine.gpus) and device != "cpu"
    name = model or ("gpt2" if on_gpu else "small")
    shape = shape_of(name)
    seq = seq or (min(SEED_SEQ, shape.block_size) if on_gpu else min(64, shape.block_size))
    batch = batch or (_batch_that_fits(machine, shape, seq) if on_gpu else 4)
    ranks = len(machine.gpus) if on_gpu else 2
    total_batch = total_batch or (SEED_STEP_TOKENS if on_gpu else 4 * batch * seq)
    if total_batch % (batch * seq):
        raise UsageError(
            f"--total-batch {total_batch} is no multiple of batch × seq = {batch} × {seq} = {batch * seq}"
        )
    setting = Setting(
        model=name,
        shape=shape,
        batch=batch,
        seq=seq,
        micro_batches=total_batch // (batch * seq),
        device="cuda" if on_gpu else "cpu",
        device_reason="--device cpu was asked for" if device == "cpu" else "no CUDA GPU here",
        ranks=max(1, ranks),
        seed=seed,
    )
    if naive or not on_gpu:
        _check_memory(machine, setting)
    return setting


def foresee(device: str, visible_gpu: str | None, **asked: Any) -> Setting:
    """The setting that there will most likely be, made before the machine is measured: what cannot work shows now.

    Args:
        device: auto, cpu or cuda.
        visible_gpu: which GPU alone is to be seen.
        asked: what else `make_setting` takes.

    Raises:
        UsageError, MissingComponentError: as `make_setting`.

    """
    machine = foreseen(device, visible_gpu)
    if machine.gpus and asked.get("batch") is None:
        asked["total_batch"] = None  # what it has to be a multiple of depends on the GPU's memory
    return make_setting(machine, device=device, **asked)


def _batch_that_fits(machine: Machine, shape: GPTConfig, seq: int) -> int:
    """The playground's batch, or the power of two below it whose naive step fits into the GPU and beside it."""
    batch = SEED_BATCH
    while batch > 1 and naive_step_bytes(shape, batch, seq) > 0.9 * _memory(machine, on_gpu=True):
        batch //= 2
    return batch


def _memory(machine: Machine, *, on_gpu: bool) -> float:
    """What a step may fill: the machine's memory, and the GPU's where it climbs to one."""
    sizes = [float(machine.memory_bytes or "inf")]
    return min([*sizes, *(float(gpu.memory_bytes) for gpu in machine.gpus[:1] if on_gpu)])


def _check_memory(machine: Machine, setting: Setting) -> None:
    """Refuse what cannot work before the system ends programs because memory is short."""
    batch, seq = setting.batch, setting.seq
    needed, there = (
        naive_step_bytes(setting.shape, batch, seq),
        _memory(machine, on_gpu=setting.device == "cuda"),
    )
    if needed > there:
        raise UsageError(
            f"a naive step of {setting.model} with batch × seq = {batch} × {seq} needs about {needed / 1e9:.0f} GB "
            f"and there are {there / 1e9:.0f} GB; choose a smaller --model, --batch or --seq"
        )
