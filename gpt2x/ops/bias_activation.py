"""What `bias_gelu` and `bias_relu2` share: y = f(x + bias) in one pass, its gradient, and how CUDA computes both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import cuda, derivatives
from gpt2x.ops.checks import check_parameter, check_storage, require
from gpt2x.ops.library import OP, Operator

Implementation = Callable[..., Any]


def check(x: Tensor, bias: Tensor | None) -> None:
    """x is (..., C), the bias (C,) in its dtype or in float32 beside 16 bits."""
    check_storage("x", x)
    require(x.dim() >= 1, lambda: "x: expected (..., C), got a 0-dim tensor")
    if bias is not None:
        check_parameter("bias", bias, "x", x, (x.shape[-1],))


def register(
    operator: Operator, backward: Operator, reference: Callable[[Tensor, Tensor | None], Tensor]
) -> tuple[Implementation, Implementation]:
    """Tell torch about an activation; returns how CUDA computes it and its gradient."""
    operator.fake(_fake)
    backward.fake(_backward_fake)

    def gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, bias = ctx.saved_tensors
        if derivatives.asked_again():
            dx, dbias = derivatives.through_reference(reference, (x, bias), ctx.needs_input_grad, dy)
            return dx, dbias
        dx, dbias = getattr(OP, backward.name)(dy, x, bias)
        return dx, None if bias is None else dbias

    operator.gradient(_setup)(gradient)
    return operator.cuda(_forward_on_cuda(operator.name)), backward.cuda(_backward_on_cuda(backward.name))


def _fake(x: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _backward_fake(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _forward_on_cuda(name: str) -> Implementation:
    kernel = cuda.Kernel(name, [cuda.INT] * 2 + [cuda.POINTER] * 2 + [cuda.INT64] * 2 + [cuda.POINTER] * 2)

    def forward(x: Tensor, bias: Tensor | None) -> Tensor:
        channels = x.shape[-1]
        cuda.require_on(x.device, bias=bias)
        cuda.require_shape((channels,), bias=bias)
        x, bias = x.contiguous(), cuda.dense(bias)
        y = torch.empty_like(x)
        codes = cuda.code("x", x), cuda.code("bias", x if bias is None else bias)
        kernel(x.device, *codes, x, bias, x.numel() // max(1, channels), channels, y)
        return y

    return forward


def _backward_on_cuda(name: str) -> Implementation:
    kernel = cuda.Kernel(
        name,
        [cuda.INT] * 2
        + [cuda.POINTER] * 3
        + [cuda.INT64] * 2
        + [cuda.POINTER] * 3
        + [cuda.INT64, cuda.POINTER],
    )

    def backward(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
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
        kernel(x.device, *codes, dy, x, bias, rows, channels, *out)
        return dx, dbias

    return backward
