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

from tests.ops.ops_support import assert_as_exact_as_reference, draw

# The package gives the functions these names, so the files are asked for.
ADAMW, ADD_LAYER_NORM, BIAS_GELU, GLOBAL_NORM, LINEAR_CROSS_ENTROPY = (
    importlib.import_module(f"gpt2x.ops.{name}")
    for name in ("adamw", "add_layer_norm", "bias_gelu", "global_norm", "linear_cross_entropy")
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
    values = draw(seed, *shape, dtype=dtype)
    buffer = values.new_empty(values.numel() + offset)
    return buffer[offset:].view(shape).copy_(values)


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


def biased_gelu(x: Tensor, bias: Tensor | None) -> tuple[Tensor]:
    return (F.gelu(x if bias is None else x + bias, approximate="tanh"),)


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
