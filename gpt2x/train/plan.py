"""What follows from the settings alone: the model's shape, the batch of a rank, the number of steps, the dtype."""

from __future__ import annotations

import dataclasses
import difflib
import math
from pathlib import Path
from typing import Any

import torch

from gpt2x.errors import UsageError
from gpt2x.model.config import MODERN, PRESETS, GPTConfig, fused
from gpt2x.train.config import TrainConfig
from gpt2x.train.schedule import fitted_warmup, learning_rate
from gpt2x.train.step_options import StepOptions

ROUND_VOCABULARY_TO = 64  # rows of the embedding: 50,257 becomes 50,304, which fits the hardware's tiles


def model_shape(config: TrainConfig) -> GPTConfig:
    """The model's configuration but for its vocabulary: the model preset with what the settings change.

    Raises:
        UsageError: an unknown preset, or numbers that do not fit each other.

    """
    if config.model not in PRESETS:
        close = difflib.get_close_matches(config.model, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(PRESETS)}"
        raise UsageError(f"unknown model {config.model!r}; {hint}")
    names = ("n_layer", "n_head", "n_embd", "block_size", "dropout", "attention_dropout")
    changes = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    changes |= parts_asked(config)
    for name, as_all in fused(config.fused_ops).items():
        own = getattr(config, name)
        changes[name] = as_all if own is None else own
    return dataclasses.replace(PRESETS[config.model], **changes)


def parts_asked(config: TrainConfig) -> dict[str, Any]:
    """The parts of the model that the settings decide, as fields of a `GPTConfig`; the rest is left as it is.

    >>> parts_asked(TrainConfig(modern=True, activation="gelu"))
    {'positions': 'rotary', 'qk_norm': True, 'activation': 'gelu'}
    """
    asked = dict(MODERN) if config.modern else {}
    return asked | {name: getattr(config, name) for name in MODERN if getattr(config, name) is not None}


def share_batch(config: TrainConfig, block_size: int, world_size: int) -> tuple[int, int]:
    """Split the tokens of a step over ranks and micro-batches: (sequences in a micro-batch, micro-batches).

    The micro-batch is the largest that fits `batch_size` and divides a rank's share, so that a run means the same
    on one rank and on eight.

    Raises:
        UsageError: the tokens of a step do not divide by ranks × block_size.

    >>> share_batch(TrainConfig(total_batch_tokens=4096, batch_size=5), block_size=256, world_size=2)
    (4, 2)
    """
    unit = block_size * world_size
    if config.total_batch_tokens % unit:
        nearest = max(1, round(config.total_batch_tokens / unit)) * unit
        raise UsageError(
            f"total_batch_tokens = {config.total_batch_tokens} does not divide by {world_size} "
            f"rank{'s' * (world_size != 1)} × block_size {block_size}; give --total-batch-tokens {nearest}"
        )
    sequences = config.total_batch_tokens // unit
    micro_batch = next(
        size for size in range(min(config.batch_size, sequences), 0, -1) if sequences % size == 0
    )
    return micro_batch, sequences // micro_batch


def choose_dtype(name: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype of matrix products, and why.

    Raises:
        UsageError: bfloat16 is asked for on a GPU that has none.

    """
    if name == "float32":
        return torch.float32, "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "this GPU has it"
        if name == "bfloat16":
            raise UsageError("this GPU has no bfloat16; give --dtype float32")
        return torch.float32, "this GPU has no bfloat16"
    if name == "bfloat16":
        return torch.bfloat16, "asked for"
    # Measured on Zen 5 with small models: with the instruction a step takes half the time, without it (products are
    # then emulated) several times as long.
    if has_bfloat16_instructions():
        return torch.bfloat16, "this CPU multiplies in it"
    return torch.float32, "this CPU has no instruction for bfloat16"


def has_bfloat16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 natively (AVX-512 BF16, AMX, or ARM's extension); unknown means no."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    return bool(lines) and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(lines[0].split())


def with_vocabulary(shape: GPTConfig, vocab_size: int) -> GPTConfig:
    """The whole configuration, once the vocabulary is known; the embedding gets a round number of rows.

    >>> with_vocabulary(GPTConfig(), 50257).num_rows
    50304
    """
    num_rows = math.ceil(vocab_size / ROUND_VOCABULARY_TO) * ROUND_VOCABULARY_TO
    return dataclasses.replace(shape, vocab_size=vocab_size, padded_vocab_size=num_rows)


def num_steps(config: TrainConfig, num_blocks: int, block_size: int) -> int:
    """Optimizer steps of the run: as set, or as many as the epochs need over `num_blocks` blocks.

    >>> num_steps(TrainConfig(epochs=2, total_batch_tokens=4096), num_blocks=100, block_size=256)
    13
    """
    if config.epochs is None:
        return config.steps
    blocks_per_step = config.total_batch_tokens // block_size
    return max(1, math.ceil(config.epochs * num_blocks / blocks_per_step))


def scheduled_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of a step of a run of so many, the first of which is 0."""
    return learning_rate(
        step,
        steps=steps,
        lr=config.lr,
        min_lr=config.min_lr or 0.0,
        warmup=fitted_warmup(config.warmup, steps),
        schedule=config.schedule,
    )


def step_options(
    config: TrainConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    world_size: int,
    num_passes: int,
    one_machine: bool = False,
    eot_token: int | None = None,
) -> StepOptions:
    """How a step is computed: what the settings say, and where they leave it open, what is fastest here.

    Args:
        config: all settings.
        device: where the run computes.
        dtype: of the matrix products.
        world_size: how many ranks train together.
        num_passes: micro-batches of this rank in a step.
        one_machine: whether all ranks can share memory.
        eot_token: what begins each document, where the tokenizer is known.

    Raises:
        UsageError: bf16 weights are asked for where products are in float32, or shared memory where there is none.

    """
    is_bfloat16 = dtype == torch.bfloat16
    ours = config.optimizer == "gpt2x" or (config.optimizer in ("auto", "muon") and _serves_natively(device))
    bf16_weights = config.bf16_weights
    if bf16_weights is None:  # on a GPU the casts of autocast cost little
        bf16_weights = is_bfloat16 and device.type == "cpu" and model_shape(config).fused_layers and ours
    elif bf16_weights and not is_bfloat16:
        raise UsageError("bf16_weights = true needs products in bfloat16; give --dtype bfloat16")
    cuda_graphs = config.cuda_graphs
    if cuda_graphs is None:  # a compiled model records graphs of its own, DDP averages while backward runs
        drops = config.dropout > 0 or bool(config.attention_dropout)
        adds_up = bf16_weights and num_passes > 1  # while backward runs, too
        cuda_graphs = not (device.type != "cuda" or world_size > 1 or config.compile or drops or adds_up)
    shared_memory = config.shared_memory
    if shared_memory is None:
        shared_memory = one_machine and ours and device.type == "cpu"
    elif shared_memory and world_size > 1 and not one_machine:
        raise UsageError(
            "shared_memory = true needs ranks that are on one machine and may read one another's /proc; leave out "
            "--shared-memory"
        )
    return StepOptions(
        autocast="bfloat16" if is_bfloat16 and not bf16_weights else None,
        bf16_weights=bf16_weights,
        matmul_precision="high"
        if device.type == "cuda"
        else "highest",  # TF32 where a product stays in float32
        compile=config.compile,
        cuda_graphs=cuda_graphs,
        optimizer="gpt2x" if ours else "adamw" if config.optimizer == "adamw" else "fused",
        muon=config.optimizer == "muon",
        muon_lr_ratio=config.muon_lr / config.lr if config.optimizer == "muon" else 1.0,
        muon_momentum=config.muon_momentum,
        muon_weight_decay=config.muon_weight_decay,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        reset_at=eot_token if config.reset_attention else None,
        grad_clip=config.grad_clip or None,
        num_passes=num_passes,
        world_size=world_size,
        shared_memory=shared_memory and world_size > 1,
    )


def _serves_natively(device: torch.device) -> bool:
    """Whether our AdamW is compiled here: 3.8 ms where torch's took 5.2 ms, for 3.7M parameters on one Zen 5 core."""
    from gpt2x.ops import backend

    return backend.serves(device.type, torch.float32)
