"""GELU of a biased input in one pass: the call, its gradient, and how CUDA computes both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import cuda, derivatives, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.checks import check_parameter, check_storage, require
from gpt2x.ops.library import OP, Operator


def bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU (tanh form, as GPT-2) of ``x + bias`` in one pass.

    Args:
        x: (..., C), float32, bfloat16, float16 or float64.
        bias: (C,), in x's dtype, or float32 beside a 16-bit x; or None.

    Returns:
        Shaped and typed like x.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> bias_gelu(torch.tensor([0.0, 10.0])).tolist()
    [0.0, 10.0]

    """
    check_storage("x", x)
    require(x.dim() >= 1, lambda: "x: expected (..., C), got a 0-dim tensor")
    if bias is not None:
        check_parameter("bias", bias, "x", x, (x.shape[-1],))
    if not is_native(x):
        return reference.bias_gelu(x, bias)
    return OP.bias_gelu(x, bias)


operator = Operator("bias_gelu")
backward = Operator("bias_gelu_backward", called=False)


@operator.fake
def _fake(x: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


@backward.fake
def _backward_fake(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


@operator.gradient(_setup)
def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, bias = ctx.saved_tensors
    if derivatives.asked_again():
        dx, dbias = derivatives.through_reference(reference.bias_gelu, (x, bias), ctx.needs_input_grad, dy)
        return dx, dbias
    dx, dbias = OP.bias_gelu_backward(dy, x, bias)
    return dx, None if bias is None else dbias


_forward_kernel = cuda.Kernel(
    "bias_gelu", [cuda.INT] * 2 + [cuda.POINTER] * 2 + [cuda.INT64] * 2 + [cuda.POINTER] * 2
)
_backward_kernel = cuda.Kernel(
    "bias_gelu_backward",
    [cuda.INT] * 2 + [cuda.POINTER] * 3 + [cuda.INT64] * 2 + [cuda.POINTER] * 3 + [cuda.INT64, cuda.POINTER],
)


@operator.cuda
def _cuda(x: Tensor, bias: Tensor | None) -> Tensor:
    channels = x.shape[-1]
    cuda.require_on(x.device, bias=bias)
    cuda.require_shape((channels,), bias=bias)
    x, bias = x.contiguous(), cuda.dense(bias)
    y = torch.empty_like(x)
    codes = cuda.code("x", x), cuda.code("bias", x if bias is None else bias)
    _forward_kernel(x.device, *codes, x, bias, x.numel() // max(1, channels), channels, y)
    return y


@backward.cuda
def _cuda_backward(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    channels = x.shape[-1]
    rows = x.numel() // max(1, channels)
    cuda.require_on(x.device, dy=dy, bias=bias)
    cuda.require_shape(x.shape, dy=dy)
    cuda.require_shape((channels,), bias=bias)
    cuda.require_dtype(x.dtype, dy=dy)
    dy, x, bias = dy.contiguous(), x.contiguous(), cuda.dense(bias)
    dx = torch.empty_like(x)
    dbias = x.new_empty(0) if bias is None else torch.empty_like(bias)
    blocks = cuda.num_blocks(rows, x.device)
    partials = None if bias is None else x.new_empty((blocks, channels), dtype=torch.float32)
    codes = cuda.code("x", x), cuda.code("bias", x if bias is None else bias)
    out = (dx, None if bias is None else dbias, partials, blocks)
    _backward_kernel(x.device, *codes, dy, x, bias, rows, channels, *out)
    return dx, dbias
