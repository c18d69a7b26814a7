"""A linear layer by the fastest library for float32 here: the call and its gradient. On a GPU torch's own serves."""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

from typing import Any

from torch import Tensor

from gpt2x.ops import backend, derivatives, reference
from gpt2x.ops.calling import as_rows, is_autocast
from gpt2x.ops.checks import check_device, check_dtype, check_storage, require, shape_or_type
from gpt2x.ops.derivatives import transformed
from gpt2x.ops.library import OP, Operator, product_flops


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, by the library that multiplies float32 matrices fastest on this processor.

    torch gives float32 products to MKL; on AMD processors oneDNN, which torch holds as well, takes half the time, so
    there forward and both gradients go to it. The choice depends on the processor alone (``GPT2X_GEMM`` overrides it:
    auto, torch or onednn). Everything else, autocast among it, is `torch.nn.functional.linear` itself.

    Args:
        x: (..., I).
        weight: (O, I).
        bias: (O,) or None.

    Returns:
        (..., O).

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> import torch
    >>> linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([0.5])).tolist()
    [[3.5]]

    """
    check_storage("x", x)
    require(x.dim() >= 1, lambda: "x: expected (..., I), got a 0-dim tensor")
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[1] == x.shape[-1],
        lambda: f"weight: expected (O, {x.shape[-1]}), got {shape_or_type(weight)}",
    )
    check_storage("weight", weight)
    check_device("weight", weight, "x", x)
    if bias is not None:
        check_storage("bias", bias)
        require(
            tuple(bias.shape) == (weight.shape[0],),
            lambda: f"bias: expected shape ({weight.shape[0]},), got {tuple(bias.shape)}",
        )
        check_device("bias", bias, "x", x)
    if is_autocast(x):
        return reference.linear(x, weight, bias)
    check_dtype("weight", weight, "x", x)
    if bias is not None:
        check_dtype("bias", bias, "x", x)
    if transformed() or not backend.multiplies(x.device, x.dtype):
        return reference.linear(x, weight, bias)
    y = OP.linear(as_rows(x), weight, bias)
    return y.view(*x.shape[:-1], weight.shape[0])


operator = Operator("linear")
backward = Operator("linear_backward", called=False)
operator.flops(product_flops)


@operator.fake
def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


@backward.fake
def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, need_dx: bool, need_dweight: bool, need_dbias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_dx else 0),
        x.new_empty(weight.shape if need_dweight else 0),
        x.new_empty(weight.shape[0] if need_dbias else 0),
    )


@backward.flops
def _backward_flops(
    dy_shape: Any,
    x_shape: Any,
    weight_shape: Any,
    need_dx: bool,
    need_dweight: bool,
    need_dbias: bool,
    *_: Any,
    **__: Any,
) -> int:
    return product_flops(x_shape, weight_shape) * (need_dx + need_dweight)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


@operator.gradient(_setup)
def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad
    if derivatives.asked_again():
        x, weight = ctx.saved_tensors
        return (*_differentiable_gradient(x, weight, needed, dy),)
    gradients = OP.linear_backward(dy, *ctx.saved_tensors, *needed)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _differentiable_gradient(
    x: Tensor, weight: Tensor, needed: tuple[bool, ...], dy: Tensor
) -> list[Tensor | None]:
    # The bias was not kept, as no derivative depends on its value.
    bias = weight.new_zeros(weight.shape[0]) if needed[2] else None
    return derivatives.through_reference(reference.linear, (x, weight, bias), needed, dy)
