"""Inputs for the kernels, and what plain torch makes of them in float64.

No line of csrc/ops takes part in a reference: they are torch's own functions, or what gpt2x.ops.reference says in plain
torch where torch has no such function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2x.ops import quantize_rows, reference
from tests.ops.ops_support import assert_as_exact_as_reference, draw

# The package gives the functions these names, so the files are asked for.
ADAMW, ADD_LAYER_NORM, BIAS_GELU, BIAS_RELU2, GLOBAL_NORM, LINEAR_CROSS_ENTROPY = (
    importlib.import_module(f"gpt2x.ops.{name}")
    for name in ("adamw", "add_layer_norm", "bias_gelu", "bias_relu2", "global_norm", "linear_cross_entropy")
)
DECODE_ATTENTION, GEMV = (
    importlib.import_module(f"gpt2x.ops.{name}") for name in ("decode_attention", "gemv")
)

F32, BF16 = torch.float32, torch.bfloat16
STORAGES = {"float32": (F32, F32), "bfloat16": (BF16, BF16), "bfloat16-float32": (BF16, F32)}
"""dtypes of activations, and of the parameters beside them."""


class Rows(NamedTuple):
    """N rows of C, `offset` elements into their buffers: at 0 they are aligned for 128-bit accesses."""

    N: int
    C: int
    offset: int


# One element, odd, packs of float alone, packs of both, more lanes than packs; none, one and several rows a block.
ROWS = [
    Rows(5, 1, 0),
    Rows(5, 3, 1),
    Rows(1, 33, 0),
    Rows(5, 36, 0),
    *(Rows(5, 40, offset) for offset in (0, 1)),
    Rows(0, 40, 0),
    *(Rows(6, 768, offset) for offset in (0, 3)),
]


def place(seed: int, *shape: int, dtype: torch.dtype, offset: int = 0) -> Tensor:
    """Random numbers in a dense view, `offset` elements into its buffer."""
    return moved(draw(seed, *shape, dtype=dtype), offset)


def moved(values: Tensor, offset: int) -> Tensor:
    """The same numbers in a dense view, `offset` elements into its buffer."""
    buffer = values.new_empty(values.numel() + offset)
    return buffer[offset:].view(values.shape).copy_(values)


def by_autograd(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor | None],
    upstream: Sequence[Tensor],
    dtype: torch.dtype | None,
) -> list[Tensor]:
    """Results and gradients, in this dtype or in that of each input."""
    leaves = [None if t is None else t.detach().to(dtype or t.dtype).clone().requires_grad_() for t in inputs]
    results = function(*leaves)
    torch.autograd.backward(
        results, [up.to(result.dtype) for up, result in zip(upstream, results, strict=True)]
    )
    return [*(result.detach() for result in results), *(leaf.grad for leaf in leaves if leaf is not None)]


def layer_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    total = x if residual is None else x + residual
    return F.layer_norm(total, weight.shape, weight, bias, 1e-5), total


class Activation(NamedTuple):
    """An operator's file, its reference, and what torch has for it after the bias."""

    module: Any
    reference: Callable[[Tensor, Tensor | None], Tensor]
    in_torch: Callable[[Tensor], Tensor]

    def of_biased(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor]:
        return (self.in_torch(x if bias is None else x + bias),)


ACTIVATIONS = {
    "bias_gelu": Activation(BIAS_GELU, reference.bias_gelu, lambda u: F.gelu(u, approximate="tanh")),
    "bias_relu2": Activation(BIAS_RELU2, reference.bias_relu2, lambda u: u.clamp(min=0) ** 2),
}


class Loss(NamedTuple):
    """How a loss is computed; the arguments of `linear_cross_entropy` by position."""

    vocabulary: int
    padded: int
    reduction: str = "mean"
    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def in_float64(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor]:
        logits = hidden.double() @ weight.double()[: self.vocabulary].T
        rows = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
        rows = rows + self.z_loss * logits.logsumexp(1).square() * (targets != -100)
        count = (targets != -100).sum()
        return ({"none": rows, "sum": rows.sum(), "mean": rows.sum() / count}[self.reduction],)


LOSSES = [
    Loss(1, 1),
    Loss(7, 7, label_smoothing=0.1),
    Loss(7, 8, "sum", z_loss=1e-2),
    Loss(29, 40, "none", 0.1, 1e-2),
    Loss(50, 50, "mean", 0.1),
    Loss(257, 264, "none"),
    Loss(1000, 1024, "mean", 0.1, 1e-2),
]


def same_dtype_and_error(
    got: Sequence[Tensor], expected: Sequence[Tensor], truth: Sequence[Tensor], dtype: torch.dtype
) -> None:
    """As `assert_as_exact_as_reference`, and NaN nowhere, which a comparison would not see."""
    for tensor in got:
        assert not tensor.isnan().any()
    assert_as_exact_as_reference(got, expected, truth, dtype)


def tensors_of(sizes: Sequence[int], dtypes: Sequence[torch.dtype], offset: int) -> Iterator[Any]:
    """One tensor a size, its dtype by turns."""
    for i, size in enumerate(sizes):
        yield place(i + 1, size, dtype=dtypes[i % len(dtypes)], offset=offset)


# ----------------------------------------------------------------------------------------------------------------
# Decoding

WEIGHTS = {
    "float32": (F32, F32),
    "float32-bfloat16": (F32, BF16),
    "float32-int8": (F32, torch.int8),
    "bfloat16": (BF16, BF16),
    "bfloat16-float32": (BF16, F32),
    "bfloat16-int8": (BF16, torch.int8),
}
"""dtypes of vectors, and of the weight beside them."""


class Product(NamedTuple):
    """N vectors of I by O rows of I, each side so many elements into its buffer."""

    N: int
    I: int  # noqa: E741  (as in gemv's own signature)
    O: int  # noqa: E741
    x_offset: int = 0
    weight_offset: int = 0

    def inputs(self, dtype: torch.dtype, weight_dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        """Vectors, weight, and the scale of an int8 one."""
        x = place(1, self.N, self.I, dtype=dtype, offset=self.x_offset)
        weight, scale = draw(2, self.O, self.I), None
        if weight_dtype == torch.int8:
            weight, scale = quantize_rows(weight)
        return x, moved(weight.to(weight_dtype), self.weight_offset), scale


# One element, no pack, packs of float alone, of 16 bits too, of int8 too; less and more than what a warp takes at once;
# one vector, as many as are taken at once and others; more rows than a block has warps; nothing; one side misaligned.
PRODUCTS = [
    Product(1, 1, 1),
    Product(1, 33, 6),
    Product(2, 36, 5),
    Product(3, 40, 3),
    Product(4, 48, 9),
    Product(9, 16, 2),
    Product(1, 1040, 3),
    Product(5, 772, 2),
    Product(2, 0, 3),
    Product(0, 8, 3),
    Product(1, 8, 0),
    *(Product(N, 80, 5, *offsets) for N in (1, 3) for offsets in ((1, 0), (0, 1), (3, 3))),
]


def product(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    """In float64."""
    matrix = weight.double() if scale is None else weight.double() * scale.double()[:, None]
    return F.linear(x.double(), matrix, None if bias is None else bias.double())


class Cache(NamedTuple):
    """S tokens in H heads of size D, of B texts."""

    B: int
    H: int
    S: int
    D: int


# Heads of one element, of no pack, of packs of float alone, of both, and of more columns than a block takes at once;
# caches shorter than a part, of whole parts, and of several with a rest; several texts; none.
CACHES = [
    Cache(1, 1, 1, 1),
    Cache(2, 2, 3, 64),
    Cache(1, 1, 64, 64),
    Cache(1, 2, 65, 64),
    Cache(2, 1, 130, 8),
    Cache(1, 1, 67, 12),
    Cache(1, 1, 66, 33),
    Cache(1, 1, 140, 80),
    Cache(1, 1, 5, 132),
    Cache(1, 1, 70, 264),
    Cache(0, 2, 3, 4),
    Cache(2, 0, 3, 4),
]


def _dense(values: Tensor) -> Tensor:
    return values


def _part_of_a_longer_cache(values: Tensor) -> Tensor:
    B, H, S, D = values.shape
    return values.new_full((B, H, S + 3, D), torch.nan)[:, :, :S].copy_(values)


def _token_by_token(values: Tensor) -> Tensor:
    """A token's heads side by side, as a product gives them."""
    return values.transpose(1, 2).contiguous().transpose(1, 2)


def _one_element_on(values: Tensor) -> Tensor:
    return moved(values, 1)


def _rows_one_element_longer(values: Tensor) -> Tensor:
    """So that every row but the first is misaligned."""
    B, H, S, D = values.shape
    return values.new_full((B, H, S, D + 1), torch.nan)[..., :D].copy_(values)


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dense": (_dense, _dense),
    "part of a longer cache": (_part_of_a_longer_cache, _part_of_a_longer_cache),
    "token by token": (_token_by_token, _dense),
    "misaligned keys": (_one_element_on, _dense),
    "misaligned values": (_dense, _one_element_on),
    "misaligned rows of keys": (_rows_one_element_longer, _dense),
    "misaligned rows of values": (_dense, _rows_one_element_longer),
}
"""How keys, and how values stand in memory."""


def attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """In float64."""
    return F.scaled_dot_product_attention(query.double()[:, :, None], keys.double(), values.double())[:, :, 0]
