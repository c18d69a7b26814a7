"""Causal attention in training: the call and its gradient. On a GPU torch's own attention serves."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2x.ops import derivatives, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.checks import check_qkv
from gpt2x.ops.library import OP, Operator, accumulation_dtype


def causal_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """Attention in which every token sees itself and those before it, in H heads at once.

    Queries, keys and values stand side by side, as the projection writes them, and are read there; the gradient is
    written the same way. Softmax and sums are float32 (float64 for float64). Backward computes the scores again from
    what is kept: qkv, the result, and one number a query and head (Dao 2023, "FlashAttention-2").

    Args:
        qkv: (B, T, 3 C): the C channels of the queries, then of the keys, then of the values; head h has channels
            h D to (h + 1) D of each, with D = C / H. `gpt2x.ops.qk_norm_rotary` comes before, in a model that has it.
        num_heads: H, a divisor of C.

    Returns:
        (B, T, C), in qkv's dtype: the heads side by side.

    Raises:
        ValueError: a dtype or shape does not fit; the message names the argument.

    >>> causal_attention(torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]]), num_heads=1).tolist()
    [[[1.0], [2.0]]]

    """
    check_qkv("qkv", qkv, num_heads)
    if not is_native(qkv):
        return reference.causal_attention(qkv, num_heads)
    y: Tensor = OP.causal_attention(qkv, num_heads)[0]
    return y


operator = Operator("causal_attention")
backward = Operator("causal_attention_backward", called=False)


@operator.fake
def _fake(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    B, T, width = qkv.shape
    lse = qkv.new_empty((B, num_heads, T), dtype=accumulation_dtype(qkv.dtype))
    return qkv.new_empty((B, T, width // 3)), lse


@backward.fake
def _backward_fake(dy: Tensor, qkv: Tensor, y: Tensor, lse: Tensor, num_heads: int) -> Tensor:
    return qkv.new_empty(qkv.shape)


@operator.flops
def _flops(qkv_shape: Any, *_: Any, **__: Any) -> int:
    """Scores and weighted values of all T × T pairs, as torch counts its own attention."""
    B, T, width = qkv_shape
    return int(4 * B * T * T * (width // 3))


@backward.flops
def _backward_flops(dy_shape: Any, *_: Any, **__: Any) -> int:
    """The scores again, and the gradients of weights, values, queries and keys."""
    B, T, C = dy_shape
    return int(10 * B * T * T * C)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, ctx.num_heads = inputs
    y, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(qkv, y, lse)


@operator.gradient(_setup)
def _gradient(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, None]:
    qkv, y, lse = ctx.saved_tensors
    if derivatives.asked_again():

        def again(qkv: Tensor) -> Tensor:
            return reference.causal_attention(qkv, ctx.num_heads)

        return derivatives.through_reference(again, (qkv,), (True,), dy)[0], None
    return OP.causal_attention_backward(dy, qkv, y, lse, ctx.num_heads), None


# ----------------------------------------------------------------------------------------------------------------
# On a GPU: torch's attention, and its own derivative.


def _by_torch(qkv: Tensor, num_heads: int) -> Tensor:
    q, k, v = reference.heads_of(qkv, num_heads)
    with reference.without_autocast(qkv):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


@operator.torch_on_cuda
def _cuda(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """No lse: backward starts from qkv alone."""
    B, T, _ = qkv.shape
    with torch.no_grad():
        y = _by_torch(qkv, num_heads)
    return y, qkv.new_empty((B, num_heads, T), dtype=accumulation_dtype(qkv.dtype))


@backward.torch_on_cuda
def _cuda_backward(dy: Tensor, qkv: Tensor, y: Tensor, lse: Tensor, num_heads: int) -> Tensor:
    """Forward once more under autograd."""
    with torch.enable_grad():
        leaf = qkv.detach().requires_grad_()
        again = _by_torch(leaf, num_heads)
        return torch.autograd.grad(again, leaf, dy)[0]
