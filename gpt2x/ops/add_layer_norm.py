"""Residual addition and LayerNorm in one pass: the call, its gradient, and how CUDA computes both."""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import cuda, derivatives, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.checks import (
    check_device,
    check_from_zero,
    check_parameter,
    check_shape,
    check_storage,
    require,
)
from gpt2x.ops.library import OP, Operator, accumulation_dtype


def add_layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Residual addition and LayerNorm in one pass: ``sum = x + residual``, ``y = layer_norm(sum) * weight + bias``.

    Args:
        x: (..., C), float32, bfloat16, float16 or float64.
        residual: like x, or None to only normalise. Two dtypes (autocast) are promoted as torch does.
        weight: (C,), in x's dtype, or float32 beside a 16-bit x.
        bias: (C,) like weight, or None.
        eps: added to the variance.

    Returns:
        ``(y, sum)``, both shaped like x; sum is the new residual stream, and x itself without a residual.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> y, total = add_layer_norm(torch.tensor([[1.0, 3.0]]), None, torch.ones(2), eps=0.0)
    >>> y.tolist()
    [[-1.0, 1.0]]

    """
    check_storage("x", x)
    require(
        x.dim() >= 1 and x.shape[-1] > 0,
        lambda: f"x: expected (..., C) with C > 0, got shape {tuple(x.shape)}",
    )
    check_from_zero("eps", eps)
    if residual is not None:
        check_storage("residual", residual)
        check_shape("residual", residual, "x", x)
        check_device("residual", residual, "x", x)
        if x.dtype != residual.dtype:
            promoted = torch.promote_types(x.dtype, residual.dtype)
            x, residual = x.to(promoted), residual.to(promoted)
    check_parameter("weight", weight, "x", x, (x.shape[-1],))
    if bias is not None:
        check_parameter("bias", bias, "weight", weight, (x.shape[-1],))
    if not is_native(x):
        return reference.add_layer_norm(x, residual, weight, bias, eps)
    y, total, _, _ = OP.add_layer_norm(x, residual, weight, bias, eps)
    return y, x if residual is None else total


operator = Operator("add_layer_norm")
backward = Operator("add_layer_norm_backward", called=False)


@operator.fake
def _fake(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = x.shape
    total = x.new_empty(0 if residual is None else shape)
    mean, rstd = (x.new_empty(shape[:-1], dtype=accumulation_dtype(x.dtype)) for _ in range(2))
    return x.new_empty(shape), total, mean, rstd


@backward.fake
def _backward_fake(
    dy: Tensor, dsum: Tensor | None, sum: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        sum.new_empty(sum.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape if has_bias else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, ctx.eps = inputs
    _, total, mean, rstd = output
    ctx.save_for_backward(x if residual is None else total, weight, mean, rstd)
    ctx.has_residual, ctx.has_bias = residual is not None, bias is not None
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)  # an unused output then costs no tensor of zeros


@operator.gradient(_setup)
def _gradient(ctx: Any, dy: Tensor | None, dsum: Tensor | None, *_: Any) -> tuple[Any, ...]:
    total, weight, mean, rstd = ctx.saved_tensors
    if dy is None:  # only the sum was used further on
        return dsum, dsum if ctx.has_residual else None, None, None, None
    dsum = dsum if ctx.has_residual else None  # without a residual that output is empty
    if derivatives.asked_again():
        return _differentiable_gradient(ctx, dy, dsum)
    dx, dweight, dbias = OP.add_layer_norm_backward(dy, dsum, total, weight, mean, rstd, ctx.has_bias)
    return dx, dx if ctx.has_residual else None, dweight, dbias if ctx.has_bias else None, None


def _differentiable_gradient(ctx: Any, dy: Tensor, dsum: Tensor | None) -> tuple[Any, ...]:
    total, weight, _, _ = ctx.saved_tensors
    needs_x, needs_residual, needs_weight, needs_bias, _ = ctx.needs_input_grad

    def expected(total: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return reference.add_layer_norm(total, None, weight, bias, ctx.eps)[0]

    # The bias was not kept, as no derivative depends on its value.
    inputs = (total, weight, torch.zeros_like(weight.detach()) if ctx.has_bias else None)
    needed = (needs_x or needs_residual, needs_weight, needs_bias)
    dx, dweight, dbias = derivatives.through_reference(expected, inputs, needed, dy)
    if dx is not None and dsum is not None:
        dx = dx + dsum
    return dx, dx if ctx.has_residual else None, dweight, dbias, None


_forward_kernel = cuda.Kernel(
    "add_layer_norm",
    [cuda.INT] * 2 + [cuda.POINTER] * 4 + [cuda.INT64] * 2 + [cuda.DOUBLE] + [cuda.POINTER] * 5,
)
_backward_kernel = cuda.Kernel(
    "add_layer_norm_backward",
    [cuda.INT] * 2 + [cuda.POINTER] * 6 + [cuda.INT64] * 2 + [cuda.POINTER] * 4 + [cuda.INT64, cuda.POINTER],
)


@operator.cuda
def _cuda(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    channels = x.shape[-1]
    rows = x.numel() // channels
    cuda.require_on(x.device, residual=residual, weight=weight, bias=bias)
    cuda.require_shape(x.shape, residual=residual)
    cuda.require_shape((channels,), weight=weight, bias=bias)
    cuda.require_dtype(x.dtype, residual=residual)
    cuda.require_dtype(weight.dtype, bias=bias)
    x, residual, weight, bias = x.contiguous(), cuda.dense(residual), weight.contiguous(), cuda.dense(bias)
    y = torch.empty_like(x)
    total = x.new_empty(0) if residual is None else torch.empty_like(x)
    mean, rstd = (x.new_empty(x.shape[:-1], dtype=torch.float32) for _ in range(2))
    codes = cuda.code("x", x), cuda.code("weight", weight)
    out = (None if residual is None else total, y, mean, rstd)
    _forward_kernel(x.device, *codes, x, residual, weight, bias, rows, channels, eps, *out)
    return y, total, mean, rstd


@backward.cuda
def _cuda_backward(
    dy: Tensor, dsum: Tensor | None, sum: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    channels = sum.shape[-1]
    rows = sum.numel() // channels
    cuda.require_on(sum.device, dy=dy, dsum=dsum, weight=weight, mean=mean, rstd=rstd)
    cuda.require_shape(sum.shape, dy=dy, dsum=dsum)
    cuda.require_shape((channels,), weight=weight)
    cuda.require_shape(sum.shape[:-1], mean=mean, rstd=rstd)
    cuda.require_dtype(sum.dtype, dy=dy, dsum=dsum)
    cuda.require_dtype(torch.float32, mean=mean, rstd=rstd)
    dy, dsum, sum, weight = dy.contiguous(), cuda.dense(dsum), sum.contiguous(), weight.contiguous()
    mean, rstd = mean.contiguous(), rstd.contiguous()
    dx, dweight = torch.empty_like(sum), torch.empty_like(weight)
    dbias = weight.new_empty(weight.shape if has_bias else 0)
    blocks = cuda.num_blocks(rows, sum.device)
    partials = sum.new_empty((blocks, 2 * channels), dtype=torch.float32)
    codes = cuda.code("sum", sum), cuda.code("weight", weight)
    inputs = (dy, dsum, sum, weight, mean, rstd, rows, channels)
    out = (dx, dweight, dbias if has_bias else None, partials, blocks)
    _backward_kernel(sum.device, *codes, *inputs, *out)
    return dx, dweight, dbias
