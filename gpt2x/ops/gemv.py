"""The product of a decoding step, how CUDA computes it, and the int8 matrices that it reads fastest."""

from __future__ import annotations

import torch
from torch import Tensor

from gpt2x.ops import cuda, reference
from gpt2x.ops.calling import as_rows, is_native
from gpt2x.ops.checks import (
    check_device,
    check_parameter,
    check_storage,
    dtype_name,
    has_values,
    require,
    shape_or_type,
)
from gpt2x.ops.derivatives import differentiates
from gpt2x.ops.library import OP, Operator, product_flops


def gemv(x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for the few rows of a decoding step, where the time is that of reading the weight.

    Args:
        x: (..., I), few rows. Where autograd records and an input needs a gradient, the plain-torch reference serves.
        weight: (O, I): in x's dtype, bfloat16 beside a float32 x, float32 beside a 16-bit x, or int8.
        scale: (O,) float32 beside an int8 weight, whose row o stands for ``weight[o] * scale[o]`` (see
            `quantize_rows`); else None.
        bias: (O,) in x's dtype, or None.

    Returns:
        (..., O) in x's dtype; sums are float32 (float64 for float64).

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> weight, scale = quantize_rows(torch.tensor([[1.0, -0.5]]))
    >>> gemv(torch.tensor([[2.0, 0.0]]), weight, scale).tolist()
    [[2.0]]

    """
    check_storage("x", x)
    require(x.dim() >= 1, lambda: "x: expected (..., I), got a 0-dim tensor")
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[1] == x.shape[-1],
        lambda: f"weight: expected (O, {x.shape[-1]}), got {shape_or_type(weight)}",
    )
    num_rows = weight.shape[0]
    if weight.dtype == torch.int8:
        require(
            isinstance(scale, Tensor) and scale.dtype == torch.float32 and tuple(scale.shape) == (num_rows,),
            lambda: (
                f"scale: expected float32 of shape ({num_rows},) beside an int8 weight, got {shape_or_type(scale)}"
            ),
        )
        check_device("weight", weight, "x", x)
    else:
        require(scale is None, lambda: "scale: expected None beside a weight that is not int8, got a tensor")
        if not (x.dtype == torch.float32 and weight.dtype == torch.bfloat16):
            check_parameter("weight", weight, "x", x, tuple(weight.shape))
        check_device("weight", weight, "x", x)
    for name, tensor in (("scale", scale), ("bias", bias)):
        if tensor is not None:
            check_device(name, tensor, "x", x)
    if bias is not None:
        require(
            bias.dtype == x.dtype and tuple(bias.shape) == (num_rows,),
            lambda: (
                f"bias: expected {dtype_name(x.dtype)} of shape ({num_rows},), "
                f"got {dtype_name(bias.dtype)} of {tuple(bias.shape)}"
            ),
        )
    if differentiates(x, weight, scale, bias) or not is_native(x):
        return reference.gemv(x, weight, scale, bias)
    y = OP.gemv(as_rows(x), weight, scale, bias)
    return y.view(*x.shape[:-1], num_rows)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as int8 with one scale a row: the largest element of a row becomes 127.

    Args:
        weight: (O, I), floating point, finite.

    Returns:
        ``(int8 (O, I), float32 (O,))``; the product of both is off by at most half a scale an element.

    Raises:
        ValueError: not a matrix of finite numbers.

    """
    check_storage("weight", weight)
    require(weight.dim() == 2, lambda: f"weight: expected (O, I), got shape {tuple(weight.shape)}")
    matrix = weight.detach().float()
    require(
        not has_values(weight) or bool(matrix.isfinite().all()),
        lambda: "weight: expected finite numbers, got NaN or infinity",
    )
    scale = (matrix.abs().amax(dim=1) if weight.shape[1] else matrix.new_zeros(weight.shape[0])) / 127
    steps = matrix / torch.where(scale > 0, scale, 1.0)[:, None]
    return steps.round_().to(torch.int8), scale


operator = Operator("gemv")
operator.flops(product_flops)


@operator.fake
def _fake(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


_kernel = cuda.Kernel("gemv", [cuda.INT] * 2 + [cuda.POINTER] * 4 + [cuda.INT64] * 3 + [cuda.POINTER] * 2)
_INT8 = 2  # the code of such a weight in gpt2x_cuda.h


@operator.cuda
def _cuda(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    N, num_in = x.shape
    num_out = weight.shape[0]
    is_int8 = weight.dtype == torch.int8
    if is_int8 != (scale is not None):
        raise ValueError(
            f"scale: expected {'a tensor' if is_int8 else 'None'} beside a weight of {weight.dtype}"
        )
    cuda.require_on(x.device, weight=weight, scale=scale, bias=bias)
    cuda.require_shape((num_out, num_in), weight=weight)
    cuda.require_shape((num_out,), scale=scale, bias=bias)
    cuda.require_dtype(torch.float32, scale=scale)
    cuda.require_dtype(x.dtype, bias=bias)
    codes = cuda.code("x", x), _INT8 if is_int8 else cuda.code("weight", weight)
    x, weight, scale, bias = x.contiguous(), weight.contiguous(), cuda.dense(scale), cuda.dense(bias)
    y = x.new_empty((N, num_out))
    _kernel(x.device, *codes, x, weight, scale, bias, N, num_in, num_out, y)
    return y
