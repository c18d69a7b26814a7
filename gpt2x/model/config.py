"""The shape of a GPT-2, and the switches that turn the naive baseline into the fast path.

Every rung of the training ladder that touches the model is a field here, so that "before" and "after" are the same
file, `gpt.py`, and differ in one word of configuration. This module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpt2x.errors import UsageError
from gpt2x.settings import setting

INITS = ("gpt2", "torch")
ATTENTIONS = ("naive", "flash")
POSITIONS = ("learned", "rotary")
ACTIVATIONS = ("gelu", "relu2")
ROTARY_BASE = 10_000.0
"""The slowest pair of a head turns by about 1 / ROTARY_BASE a token (Su et al. 2021, section 3.3)."""
FUSED = ("fused_loss", "fused_layers", "fused_attention", "fused_gemm")
"""The switches for the operators of `gpt2x.ops`."""


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """What a `GPT` is made of; immutable, checked when it is made.

    Raises:
        UsageError: a value that can never work, naming the field.

    >>> GPTConfig(n_layer=2, n_head=2, n_embd=64).head_size
    32
    """

    vocab_size: int = setting(50257, "how many token ids there are (V)")
    block_size: int = setting(1024, "the longest context, in tokens (T at most)")
    n_layer: int = setting(12, "how many blocks")
    n_head: int = setting(12, "how many attention heads in a block (H)")
    n_embd: int = setting(768, "width of the residual stream (C)")
    n_inner: int | None = setting(None, "width inside the MLP; none means 4 × n_embd, as in GPT-2")
    dropout: float = setting(0.0, "share of activations dropped in training")
    attention_dropout: float | None = setting(
        None,
        "share of attention weights dropped, slow on a CPU; none means as dropout",
    )
    layer_norm_epsilon: float = setting(1e-5, "added to the variance in every LayerNorm")
    padded_vocab_size: int | None = setting(
        None,
        "rows of the embedding (Vp), e.g. 50304, a rounder number for the hardware; none means vocab_size",
    )
    tie_weights: bool = setting(True, "the token embedding and the output head are one matrix")
    positions: str = setting(
        "learned",
        "learned: a vector for each position; rotary: queries and keys are rotated by their position",
    )
    qk_norm: bool = setting(False, "queries and keys are divided by their root mean square, head by head")
    activation: str = setting("gelu", "of the MLP: gelu, in its tanh form; relu2: max(0, x)²")
    init: str = setting(
        "gpt2", "gpt2: N(0, 0.02), residual projections × 1/sqrt(2 n_layer); torch: torch's own"
    )
    attention: str = setting(
        "flash", "naive: softmax(QK^T)V step by step; flash: scaled_dot_product_attention"
    )
    fused_loss: bool = setting(False, "gpt2x.ops for linear + cross-entropy: the logits are never held")
    fused_layers: bool = setting(False, "gpt2x.ops for add + LayerNorm and bias + GELU or ReLU²")
    fused_attention: bool = setting(
        False,
        "gpt2x.ops for attention in training on a CPU, read and differentiated where c_attn wrote it; also for QK-norm "
        "and rotary positions",
    )
    fused_gemm: bool = setting(False, "gpt2x.ops for matrix products, by the faster library that torch holds")

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            _check_positive(name, getattr(self, name))
        for name in ("n_inner", "padded_vocab_size"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        if self.n_embd % self.n_head:
            raise UsageError(
                f"n_embd = {self.n_embd} does not divide by n_head = {self.n_head}; change one of them"
            )
        if self.padded_vocab_size is not None and self.padded_vocab_size < self.vocab_size:
            raise UsageError(
                f"padded_vocab_size = {self.padded_vocab_size} is less than vocab_size = {self.vocab_size}; "
                "give at least that many rows"
            )
        for name, share in (("dropout", self.dropout), ("attention_dropout", self.attention_pdrop)):
            if not _is_number(share) or not 0.0 <= share < 1.0:
                raise UsageError(f"{name} = {share!r} is outside [0, 1); give a share such as 0.1")
        if not _is_number(self.layer_norm_epsilon) or not 0.0 < self.layer_norm_epsilon < 1.0:
            raise UsageError(
                f"layer_norm_epsilon = {self.layer_norm_epsilon!r} is outside (0, 1); GPT-2 has 1e-5"
            )
        _check_choice("init", self.init, INITS)
        _check_choice("attention", self.attention, ATTENTIONS)
        _check_choice("positions", self.positions, POSITIONS)
        _check_choice("activation", self.activation, ACTIVATIONS)
        if self.positions == "rotary" and self.head_size % 2:
            raise UsageError(
                f"positions = rotary turns pairs of numbers, and a head of {self.n_embd} / {self.n_head} = "
                f"{self.head_size} has one over; choose n_embd and n_head with an even quotient"
            )
        for name in ("tie_weights", "qk_norm", *FUSED):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} = {getattr(self, name)!r} is neither true nor false")

    @property
    def head_size(self) -> int:
        """Width of one attention head (D)."""
        return self.n_embd // self.n_head

    @property
    def attention_pdrop(self) -> float:
        """The share of attention weights that is dropped in training."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def inner_size(self) -> int:
        """Width inside the MLP."""
        return self.n_inner or 4 * self.n_embd

    @property
    def beyond_gpt2(self) -> str:
        """The parts that GPT-2 does not have, in words; empty for a GPT-2.

        >>> GPTConfig(positions="rotary", activation="relu2").beyond_gpt2
        'rotary positions and ReLU²'
        """
        parts = {
            "rotary positions": self.positions == "rotary",
            "QK-norm": self.qk_norm,
            "ReLU²": self.activation == "relu2",
        }
        *others, last = [words for words, has in parts.items() if has] or [""]
        return f"{', '.join(others)} and {last}" if others else last

    @property
    def num_rows(self) -> int:
        """Rows of the token embedding, padding included (Vp)."""
        return self.padded_vocab_size or self.vocab_size


def fused(on: bool = True) -> dict[str, bool]:
    """All of `FUSED`, on or off.

    >>> GPTConfig(**fused()).fused_loss
    True
    """
    return dict.fromkeys(FUSED, on)


MODERN: dict[str, Any] = {"positions": "rotary", "qk_norm": True, "activation": "relu2"}
"""The parts of a modern GPT, as fields of a `GPTConfig`: what small GPTs are trained with since about 2023.

>>> GPTConfig(**MODERN).beyond_gpt2
'rotary positions, QK-norm and ReLU²'
"""


def with_known_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Saved fields of a `GPTConfig` under today's names: ``fused_ops`` was one switch for all of `FUSED` once.

    >>> with_known_names({"n_layer": 2, "fused_ops": True})["fused_gemm"]
    True
    """
    rest = {name: value for name, value in values.items() if name != "fused_ops"}
    return {**fused(values["fused_ops"]), **rest} if "fused_ops" in values else rest


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} = {value!r} is not a whole number of at least 1")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} = {value!r} is unknown; choose one of {', '.join(choices)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Parameter counts are for the vocabulary of 50,257 with tied weights; a smaller vocabulary makes the small ones much
# smaller (micro with 512 tokens: 0.9M). Change a field with `dataclasses.replace(PRESETS["mini"], vocab_size=512)`.
PRESETS: dict[str, GPTConfig] = {
    # OpenAI's four sizes.
    "gpt2": GPTConfig(),  # 124M, 0.5 GB in float32; what the training ladder is measured on
    "gpt2-medium": GPTConfig(n_layer=24, n_head=16, n_embd=1024),  # 355M, 1.4 GB
    "gpt2-large": GPTConfig(n_layer=36, n_head=20, n_embd=1280),  # 774M, 3.1 GB
    "gpt2-xl": GPTConfig(n_layer=48, n_head=25, n_embd=1600),  # 1,558M, 6.2 GB
    # For a laptop: a training step of a few thousand tokens takes seconds (mini) or less than one (micro).
    "mini": GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=512),  # 30M, 19M of them embedding
    "micro": GPTConfig(n_layer=4, n_head=4, n_embd=128, block_size=256),  # 7.3M, 6.4M of them embedding
}


def flops_per_token(shape: GPTConfig, seq: int, *, num_rows: int | None = None) -> float:
    """Floating-point operations that training needs for one token: 6 N + 12 L C T.

    N counts the weights of the matrix products (the blocks' and the output head's, not the embedding's look-ups):
    2 operations each in the forward pass, 4 in the backward pass. The second term is attention's two products over T
    positions. The same however a step computes: work that an optimisation saves or adds does not count as progress.
    Source: Chowdhery et al. 2022 (PaLM), appendix B; nanoGPT's ``estimate_mfu``.

    Args:
        shape: the model.
        seq: tokens in a sequence, T.
        num_rows: rows of the output head that count; by default those of the vocabulary, without padding.

    >>> round(flops_per_token(GPTConfig(), 1024) / 1e9, 3)
    0.854
    """
    C, L = shape.n_embd, shape.n_layer
    head = (shape.vocab_size if num_rows is None else num_rows) * C
    weights = L * (4 * C * C + 2 * C * shape.inner_size) + head
    return 6.0 * weights + 12.0 * L * C * seq
