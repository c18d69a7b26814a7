"""The ladder as data: each rung is one record, and adding a rung is adding a record.

A rung says what it changes in the training step (`StepConfig`), why that should help, where it applies, what the
playground that this project follows reported for it (RTX 3090, GPT-2 124M, 8 × 1024 tokens), and whether the loss may
change. The first twelve are the playground's, in its order; ours follow. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.machine import Machine
from gpt2x.errors import UsageError, quoted

# Where a rung applies, on top of which step: the reason why it cannot run, or None.
Applies = Callable[[Machine, Setting, StepConfig], str | None]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One optimisation."""

    key: str
    """A short name, for ``--rungs`` and in result files."""
    title: str
    change: str
    """What changes, in a few words."""
    why: str
    """Why it should help, in one sentence."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `StepConfig` and their new values; or a function of the `Setting` and the step before."""
    applies: Applies = lambda machine, setting, below: None
    reported: str = ""
    """What the playground reported."""
    loss_bound: float | None = 0.02
    """How far the loss may be from that of the rung before, in nats, after the same steps on the same tokens.
    None: the rung changes the mathematics, so that the two losses say nothing about each other."""
    alters: str = ""
    """How the rung changes the result, if it does; such a rung is checked against `expect` instead."""
    expect: str = ""
    """The name of the expectation in `measure.EXPECTATIONS` that a rung that alters the result has to meet."""

    @property
    def is_for_speed(self) -> bool:
        """True for a rung that leaves the result alone, so that being faster is all that it is for."""
        return not self.alters

    def why_not(self, machine: Machine, setting: Setting, below: StepConfig) -> str | None:
        """Why this rung cannot stand on that step here; None when it can."""
        return self.applies(machine, setting, below) or self.apply(below, setting).conflict()

    def apply(self, config: StepConfig, setting: Setting) -> StepConfig:
        """The step with this rung's change added to it."""
        values = {
            name: value(setting, config) if callable(value) else value for name, value in self.changes.items()
        }
        return dataclasses.replace(config, **values)


# ----------------------------------------------------------------------------------------------------------------
# Where rungs apply


def _needs_gpu(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    return None if setting.device == "cuda" else setting.device_reason


def _needs_ampere(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device != "cuda":
        return "TF32 needs an NVIDIA GPU, Ampere or later"
    if machine.gpus[0].capability < (8, 0):
        return f"TF32 needs Ampere or later, and {machine.gpus[0].name} is older"
    return None


def _needs_fast_bf16(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if machine.has_fast_bf16(setting.device):
        return None
    if setting.device == "cuda":
        return f"{machine.gpus[0].name} has no bfloat16 units (Ampere and later have)"
    return "this CPU has no bfloat16 instructions (AVX512-BF16, AMX or ARM BF16)"


def _needs_compiler(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return None if machine.triton else "torch.compile needs Triton for a GPU, and it is not installed"
    return None if machine.cpp_compiler else "torch.compile needs a C++ compiler (install g++)"


def _needs_odd_vocabulary(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    V = setting.shape.vocab_size
    return None if V % 128 else f"the vocabulary of {V} is a multiple of 128 already"


def _needs_two_devices(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        n = len(machine.gpus)
        return None if n >= 2 else "DDP needs two GPUs, and there is one"
    if machine.cores < 2:
        return "DDP on a CPU needs two cores, and there is one"
    return None if machine.gloo else "DDP on a CPU needs a torch with gloo"


def _needs_native_ops(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    return (
        None if machine.native_ops else "the operators of gpt2x.ops are not compiled here (see `gpt2x ops`)"
    )


def _needs_cpu_attention(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return "on a GPU torch's flash attention serves"
    return _needs_native_ops(machine, setting, below)


def _needs_cpu_memory(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return "on a GPU torch keeps freed memory by itself"
    if machine.keeps_memory:
        return None
    return "freed memory can be kept on Linux with glibc only, and not with GPT2X_KEEP_MEMORY=0"


def _needs_float32_products(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return "on a GPU cuBLAS multiplies"
    if below.is_bfloat16:
        return "products are in bfloat16 below, which torch gives to oneDNN by itself"
    if machine.onednn_multiplies:
        return None
    return "torch's own library multiplies float32 as fast on this CPU, or gpt2x.ops is not compiled"


def _needs_bf16_params(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return "on a GPU the casts of autocast cost little"
    if not below.is_bfloat16:
        return "products are in float32 below; the weights need no rounding"
    return _needs_native_ops(machine, setting, below)


def _needs_ranks_on_cpus(machine: Machine, setting: Setting, below: StepConfig) -> str | None:
    if setting.device == "cuda":
        return "ranks on GPUs have memory of their own"
    if below.world_size == 1:
        return "there is one process below, which has nobody to share with"
    return (
        None
        if machine.shares_memory
        else "memory without a name, which processes share, is there on Linux only"
    )


# ----------------------------------------------------------------------------------------------------------------
# The rungs

START = Rung(
    key="start",
    title="naive start",
    change="float32 on the CPU, attention step by step, two embeddings, torch's own initialisation, plain AdamW",
    why="The textbook's version of everything: what all rungs are measured against.",
)

PLAYGROUND_RUNGS = (
    Rung(
        key="gpu",
        title="CPU → GPU",
        change="model and batches live on the GPU",
        why="A GPU has a hundred times the arithmetic and ten times the memory bandwidth of a CPU.",
        changes={"device": lambda setting, before: setting.device},
        applies=_needs_gpu,
        reported="24 ×",
    ),
    Rung(
        key="sharing",
        title="weight tying",
        change="token embedding and output head are one matrix",
        why="One matrix of V × C less to hold, to update, and to learn (Press and Wolf 2017).",
        changes={"tie_weights": True},
        reported="30 % fewer parameters",
        loss_bound=None,
        alters="another model",
        expect="fewer_parameters",
    ),
    Rung(
        key="init",
        title="weight initialisation",
        change="N(0, 0.02); projections into the residual stream × 1/√(2 n_layer)",
        why="All tokens start equally likely, so no step is spent on unlearning a random opinion (GPT-2, §2.3).",
        changes={"init": "gpt2"},
        reported="starts at the right loss",
        loss_bound=None,
        alters="other first weights",
        expect="starts_at_uniform",
    ),
    Rung(
        key="tf32",
        title="TF32",
        change='torch.set_float32_matmul_precision("high")',
        why="Tensor cores multiply float32 with 10 bits of mantissa, up to 8 times as fast.",
        changes={"matmul_precision": "high"},
        applies=_needs_ampere,
        reported="1.5 ×",
    ),
    Rung(
        key="bf16",
        title="bf16 autocast",
        change="forward pass and loss under autocast to bfloat16",
        why="Half the bytes for every activation, and matrix units that run at least twice as fast.",
        changes={"autocast": "bfloat16"},
        applies=_needs_fast_bf16,
        reported="1.5 ×",
        loss_bound=0.05,  # 8 bits of mantissa: each activation is off by up to 0.4 %
    ),
    Rung(
        key="compile",
        title="torch.compile",
        change="the model is traced and compiled",
        why="Element-wise chains become one loop each: fewer passes over memory, no Python between operators.",
        changes={"compile": True},
        applies=_needs_compiler,
        reported="1.3 ×",
        loss_bound=0.05,  # fused chains round to bfloat16 at other places
    ),
    Rung(
        key="flash",
        title="flash attention",
        change="scaled_dot_product_attention(is_causal=True)",
        why="The T × T matrix of scores is never written to memory (Dao et al. 2022).",
        changes={"attention": "flash"},
        reported="1.1 ×",
    ),
    Rung(
        key="vocab",
        title="vocabulary padded to 128",
        change="vocabulary 50257 → 50304, a multiple of 128",
        why="Kernels work in tiles; a size that divides evenly has no ragged edge to treat apart.",
        changes={"padded_vocab_size": lambda setting, before: setting.padded_vocab_size},
        applies=_needs_odd_vocabulary,
        reported="1.06 ×",
    ),
    Rung(
        key="clip",
        title="gradient clipping",
        change="the global norm of the gradient is at most 1.0",
        why="No speed: one odd batch can no longer throw the weights far off. It costs a pass over the gradients.",
        changes={"grad_clip": 1.0},
        reported="stability",
        loss_bound=None,
        alters="large gradients shrink",
        expect="still_learns",
    ),
    Rung(
        key="adamw",
        title="groups, fused AdamW",
        change="only tensors of 2 and more dimensions decay; AdamW(fused=True)",
        why="One kernel updates all tensors instead of a dozen small operations for each.",
        changes={"decay_groups": True, "optimizer": "fused"},
        reported="slower there",
        alters="biases do not decay",
    ),
    Rung(
        key="accumulation",
        title="gradient accumulation",
        change="several batches make one optimizer step",
        why="A large batch in little memory, and the optimizer's cost is shared by more tokens.",
        changes={"micro_batches": lambda setting, before: setting.micro_batches},
        reported="lower loss",
        loss_bound=None,
        alters="more tokens a step",
        expect="still_learns",
    ),
    Rung(
        key="ddp",
        title="DDP",
        change="one process a GPU; on a CPU, processes that share the cores",
        why="Each rank computes its share of the micro-batches; gradients are averaged once a step.",
        changes={
            "world_size": lambda setting, before: setting.ranks,
            "micro_batches": lambda setting, before: max(1, before.micro_batches // setting.ranks),
        },
        applies=_needs_two_devices,
        reported="386 × in all, on 8 GPUs",
    ),
)

OUR_RUNGS = (
    Rung(
        key="memory",
        title="allocator keeps freed memory",
        change="memory that was freed stays in the process",
        why="The next step finds its tensors' pages where they were, and the system need not zero them anew.",
        changes={"keep_memory": True},
        applies=_needs_cpu_memory,
    ),
    Rung(
        key="gemm",
        title="faster float32 products",
        change="gpt2x.ops.linear: float32 products by oneDNN",
        why="Of the two libraries that torch holds, the one that it does not choose is faster on some processors.",
        changes={"fused_gemm": True},
        applies=_needs_float32_products,
    ),
    Rung(
        key="fused-loss",
        title="fused loss",
        change="gpt2x.ops: linear + cross-entropy; one gradient for the tied matrix",
        why="The logits, the largest tensor of all, are never held.",
        changes={"fused_loss": True},
        applies=_needs_native_ops,
        loss_bound=0.05,  # rounds to bfloat16 at other places than the compiled graph
    ),
    Rung(
        key="fused-layers",
        title="fused layers",
        change="gpt2x.ops: add + LayerNorm, bias + GELU",
        why="Every row is read and written once, and what backward can compute again is not kept.",
        changes={"fused_layers": True},
        applies=_needs_native_ops,
        loss_bound=0.05,  # likewise
    ),
    Rung(
        key="fused-attention",
        title="fused attention",
        change="gpt2x.ops: attention over the rows of c_attn",
        why="Queries, keys and values are read where they are, and their gradient is written where it is read.",
        changes={"fused_attention": True},
        applies=_needs_cpu_attention,
        loss_bound=0.05,  # rounds to bfloat16 at other places than torch's
    ),
    Rung(
        key="fused-adamw",
        title="clip in AdamW",
        change="gpt2x.ops.adamw_: all tensors at once, the clip folded in",
        why="Clipping needs no pass of its own over the gradients.",
        changes={"optimizer": "gpt2x"},
        applies=_needs_native_ops,
    ),
    Rung(
        key="bf16-weights",
        title="bf16 weights",
        change="a bfloat16 copy of the weights, written by AdamW, instead of autocast",
        why="Autocast rounds every weight in every forward pass and widens every gradient again.",
        changes={"bf16_weights": True, "autocast": None},
        applies=_needs_bf16_params,
        loss_bound=0.05,  # the residual stream is rounded too
    ),
    Rung(
        key="shared-memory",
        title="shared memory",
        change="the ranks hold one set of weights and moments; each moves a share",
        why="Ranks on one machine need not send what the others can read, nor all make the same update.",
        changes={"shared_memory": True},
        applies=_needs_ranks_on_cpus,
    ),
    Rung(
        key="cuda-graphs",
        title="CUDA graphs",
        change="forward and backward are recorded once and replayed",
        why="One launch instead of a thousand: the GPU no longer waits for Python.",
        changes={"cuda_graphs": True},
        applies=_needs_gpu,
    ),
)

RUNGS: tuple[Rung, ...] = (START, *PLAYGROUND_RUNGS, *OUR_RUNGS)
"""All rungs from the bottom up; a rung's number is its place here."""


def number_of(rung: Rung, ladder: Sequence[Rung] = RUNGS) -> int:
    """The rung's number on the whole ladder; 0 is the naive start, and one that is not on it comes after all."""
    return next((number for number, known in enumerate(ladder) if known.key == rung.key), len(ladder))


def select(text: str, rungs: Sequence[Rung] = RUNGS) -> list[Rung]:
    """The rungs that ``--rungs`` asks for, in the ladder's order; the naive start is always among them.

    A word before the hyphen stands for all rungs that begin with it.

    Raises:
        UsageError: an unknown name (the nearest is suggested), number or range.

    >>> [rung.key for rung in select("1-3,fused")]
    ['start', 'gpu', 'sharing', 'init', 'fused-loss', 'fused-layers', 'fused-attention', 'fused-adamw']
    """
    chosen = {0}
    for word in filter(None, (part.strip() for part in text.split(","))):
        chosen.update(_places(word, rungs))
    return [rung for place, rung in enumerate(rungs) if place in chosen]


def _places(word: str, rungs: Sequence[Rung]) -> Sequence[int]:
    keys = [rung.key for rung in rungs]
    if word in keys:
        return range(keys.index(word), keys.index(word) + 1)
    if word == "all":
        return range(len(keys))
    family = [place for place, key in enumerate(keys) if key.startswith(f"{word}-")]
    if family:
        return family
    first, dash, last = word.partition("-")
    if first.isdecimal() and (last.isdecimal() if dash else True):
        low, high = int(first), int(last or first)
        if low > high or high >= len(keys):
            raise UsageError(
                f"--rungs {quoted(word)}: the rungs are 0 to {len(keys) - 1}, the lower number first"
            )
        return range(low, high + 1)
    close = difflib.get_close_matches(word, keys, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(keys)}"
    raise UsageError(f"unknown rung {quoted(word)}; {hint}")


def built(rungs: Iterable[Rung], foot: StepConfig, setting: Setting) -> StepConfig:
    """The step with all these rungs on top of the foot, in their order."""
    return functools.reduce(lambda config, rung: rung.apply(config, setting), rungs, foot)


def start_config(chosen: Sequence[Rung], setting: Setting) -> StepConfig:
    """The step at the foot of the ladder: on the CPU if a rung leads from there to the GPU, else on the fast device."""
    climbs_to_gpu = any("device" in rung.changes for rung in chosen)
    return StepConfig(device="cpu" if climbs_to_gpu else setting.device)
