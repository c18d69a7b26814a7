"""What one training step consists of (`StepConfig`) and what a whole ladder shares (`Setting`). Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from gpt2x.errors import UsageError
from gpt2x.model.config import ATTENTIONS, FUSED, INITS, PRESETS, GPTConfig, with_known_names
from gpt2x.train.step_options import OPTIMIZERS, StepOptions

# Sized so that the naive step takes less than half a second on two cores. The vocabulary is GPT-2's own, so that
# logits, loss and embedding have the width of the real thing; they are four fifths of the arithmetic, a third in
# GPT-2 124M.
SMALL = GPTConfig(
    n_layer=4, n_head=4, n_embd=256, block_size=256
)  # 16M parameters, 13M of them the embedding
MODELS: dict[str, GPTConfig] = {"small": SMALL, **PRESETS}

LR, MIN_LR, WARMUP_STEPS, DECAY_STEPS = 6e-4, 6e-5, 10, 50
BETAS, EPS, WEIGHT_DECAY = (0.9, 0.95), 1e-8, 0.1


CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("cpu", "cuda"),
    "init": INITS,
    "attention": ATTENTIONS,
    "matmul_precision": ("highest", "high", "medium"),
    "autocast": ("bfloat16",),
    "optimizer": OPTIMIZERS,
    "network": ("gpt2x", "transformers", "lightning"),
}
"""The words that fields of a `StepConfig` may be."""


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Everything that a rung may change in a training step; the defaults are the naive start of the ladder."""

    device: str = "cpu"
    tie_weights: bool = False
    init: str = "torch"
    attention: str = "naive"
    padded_vocab_size: int | None = None
    fused_loss: bool = False
    fused_layers: bool = False
    fused_attention: bool = False
    fused_gemm: bool = False
    matmul_precision: str = "highest"
    autocast: str | None = None
    compile: bool = False
    grad_clip: float | None = None
    decay_groups: bool = False
    optimizer: str = "adamw"
    bf16_weights: bool = False
    """bfloat16 copies of the weights, written by the optimizer, instead of autocast."""
    network: str = "gpt2x"
    """Whose model and loop: gpt2x, or a peer's, transformers or lightning."""
    keep_memory: bool = False
    """The process keeps the memory that it frees (`gpt2x.ops.keep_freed_memory`)."""
    cuda_graphs: bool = False
    """Forward and backward of a micro-batch are recorded once and replayed."""
    micro_batches: int = 1
    world_size: int = 1
    shared_memory: bool = False
    """The ranks hold one set of weights and optimizer state, and each moves a share of it."""
    split: int = 1
    """Each micro-batch is computed in this many parts, because memory is short; the step is the same."""

    @property
    def is_bfloat16(self) -> bool:
        """True when matrix products are in bfloat16."""
        return self.autocast == "bfloat16" or self.bf16_weights

    def conflict(self) -> str | None:
        """Why such a step cannot be built, whatever the machine; None when it can."""
        return self.options().conflict(self.device, fused_layers=self.fused_layers)

    def options(self) -> StepOptions:
        """How the trainer's step has to compute."""
        return StepOptions(
            autocast=self.autocast,
            bf16_weights=self.bf16_weights,
            matmul_precision=self.matmul_precision,
            compile=self.compile,
            cuda_graphs=self.cuda_graphs,
            optimizer=self.optimizer,
            betas=BETAS,
            eps=EPS,
            weight_decay=WEIGHT_DECAY,
            decay_groups=self.decay_groups,
            grad_clip=self.grad_clip,
            grad_norm=False,
            num_passes=self.micro_batches * self.split,
            world_size=self.world_size,
            shared_memory=self.shared_memory,
        )

    def model_config(self, setting: Setting) -> GPTConfig:
        """The model that this step trains."""
        return dataclasses.replace(
            setting.shape,
            tie_weights=self.tie_weights,
            init=self.init,
            attention=self.attention,
            padded_vocab_size=self.padded_vocab_size,
            **{name: getattr(self, name) for name in FUSED},
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rungs of one ladder have in common."""

    model: str = "small"
    shape: GPTConfig = SMALL
    batch: int = 4
    seq: int = 64
    micro_batches: int = 4
    """How many batches make one optimizer step on the accumulation rung."""
    device: str = "cpu"
    """The fastest device that the ladder may use; `StepConfig.device` says which one a rung does use."""
    device_reason: str = field(default="no CUDA GPU here", compare=False)
    """Why there is no GPU rung, where there is none."""
    ranks: int = 2
    """How many processes the DDP rung has."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "seq", "micro_batches", "ranks"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not a whole number of at least 1")
        if self.seq > self.shape.block_size:
            raise UsageError(
                f"--seq {self.seq} is more than the {self.shape.block_size} positions of the model {self.model}; "
                "give at most that"
            )

    @property
    def padded_vocab_size(self) -> int:
        """The vocabulary, up to the next multiple of 128."""
        return -(-self.shape.vocab_size // 128) * 128

    def tokens_per_step(self, config: StepConfig) -> int:
        """Tokens that one optimizer step learns from, over all ranks and micro-batches."""
        return self.batch * self.seq * config.micro_batches * config.world_size

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Setting:
        """The inverse of `as_dict`."""
        return cls(**{**values, "shape": GPTConfig(**with_known_names(values["shape"]))})


def naive_step_bytes(shape: GPTConfig, batch: int, seq: int) -> float:
    """About how much memory the naive step needs, the largest of all rungs: a plan, no measurement.

    16 bytes for a parameter (itself, its gradient, AdamW's two moments) with two embeddings; three copies of the
    float32 logits; about 16 vectors of width C in a block for each token; two T × T matrices for each head; and what a
    process with torch has anyway. Within a tenth of what was measured for the small model on a CPU.
    """
    C, L, V, tokens = shape.n_embd, shape.n_layer, shape.vocab_size, batch * seq
    parameters = L * 12 * C * C + 2 * V * C + shape.block_size * C
    logits = 3 * 4 * tokens * V
    activations = 4 * L * tokens * (16 * C + 2 * shape.n_head * seq)
    return 16.0 * parameters + logits + activations + 0.25e9
