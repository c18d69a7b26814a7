"""What torch must know about each native operator besides its kernels: shapes without data, and gradients.

The signatures are registered by ``csrc/ops/schema.cpp`` when ``gpt2x._ops`` loads. For every operator this file adds

- a *fake*: the shapes and dtypes of the results, so that `torch.compile` can trace through without running anything;
- an *autograd formula*: what is kept from forward, and which operator computes the gradients from it. A formula, and
  not an `autograd.Function`, so that ``torch.compile(fullgraph=True)`` holds.

There is no second derivative; ``GPT2X_OPS=reference`` gives one.
"""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

INTERFACE = 3  # kInterface of csrc/python/ops_module.cpp: the signatures that this file knows
OP = torch.ops.gpt2x


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _add_layer_norm_fake(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = x.shape
    total = x.new_empty(0 if residual is None else shape)
    mean, rstd = (x.new_empty(shape[:-1], dtype=_wide(x.dtype)) for _ in range(2))
    return x.new_empty(shape), total, mean, rstd


def _add_layer_norm_backward_fake(
    dy: Tensor, dsum: Tensor | None, sum: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        sum.new_empty(sum.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape if has_bias else 0),
    )


def _add_layer_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, _ = inputs
    _, total, mean, rstd = output
    ctx.save_for_backward(x if residual is None else total, weight, mean, rstd)
    ctx.has_residual, ctx.has_bias = residual is not None, bias is not None
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)  # an unused output then costs no tensor of zeros


def _add_layer_norm_backward(ctx: Any, dy: Tensor | None, dsum: Tensor | None, *_: Any) -> tuple[Any, ...]:
    total, weight, mean, rstd = ctx.saved_tensors
    if dy is None:  # only the sum was used further on
        return dsum, dsum if ctx.has_residual else None, None, None, None
    dsum = dsum if ctx.has_residual else None  # without a residual that output is empty
    dx, dweight, dbias = OP.add_layer_norm_backward(dy, dsum, total, weight, mean, rstd, ctx.has_bias)
    return dx, dx if ctx.has_residual else None, dweight, dbias if ctx.has_bias else None, None


def _bias_gelu_fake(x: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _bias_gelu_backward_fake(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def _bias_gelu_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _bias_gelu_backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None]:
    x, bias = ctx.saved_tensors
    dx, dbias = OP.bias_gelu_backward(dy, x, bias)
    return dx, None if bias is None else dbias


def _linear_cross_entropy_fake(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int,
    vocab_size: int,
    label_smoothing: float,
    z_loss: float,
    need_dhidden: bool,
    need_dweight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden.new_empty((), dtype=_wide(hidden.dtype)),
        hidden.new_empty(hidden.shape if need_dhidden else (0, 0)),
        weight.new_empty(weight.shape if need_dweight else (0, 0)),
    )


def _linear_cross_entropy_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, dhidden, dweight = output
    *_, ctx.need_dhidden, ctx.need_dweight = inputs
    ctx.save_for_backward(dhidden, dweight)
    ctx.mark_non_differentiable(dhidden, dweight)
    ctx.set_materialize_grads(False)


def _linear_cross_entropy_backward(ctx: Any, dloss: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if dloss is None:
        return (None,) * 9
    dhidden, dweight = ctx.saved_tensors
    return (
        _scaled(dhidden, dloss) if ctx.need_dhidden else None,
        _scaled(dweight, dloss) if ctx.need_dweight else None,
        *(None,) * 7,
    )


def _scaled(gradient: Tensor, dloss: Tensor) -> Tensor:
    """The gradient for a loss gradient of `dloss`, in a tensor of its own where the graph is kept for another pass.

    The weight's gradient is as large as the weight, so a graph that ends here gives away the tensor it has.
    """
    if torch.compiler.is_compiling() or type(gradient) is not Tensor or _graph_is_kept():
        return gradient * dloss
    if gradient.device.type == "cpu" and dloss.item() == 1.0:
        return gradient
    return gradient.mul_(dloss)


def _graph_is_kept() -> bool:
    """True in a backward pass with ``retain_graph``, or when this torch cannot tell."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())


def _global_norm_fake(tensors: list[Tensor]) -> Tensor:
    return tensors[0].new_empty((), dtype=_wide(tensors[0].dtype))


def _adamw_fake(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    shadows: list[Tensor],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: list[float],
    grad_norm: Tensor | None,
    max_norm: float,
) -> None:
    return None


def _linear_fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _linear_backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, need_dx: bool, need_dweight: bool, need_dbias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_dx else 0),
        x.new_empty(weight.shape if need_dweight else 0),
        x.new_empty(weight.shape[0] if need_dbias else 0),
    )


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _linear_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad
    gradients = OP.linear_backward(dy, *ctx.saved_tensors, *needed)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _embedding_backward_fake(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    return None


def _gemv_fake(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _decode_attention_fake(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return query.new_empty(query.shape)


def register() -> None:
    """Tell torch; called once, after ``gpt2x._ops`` has loaded."""
    for name, fake in (
        ("add_layer_norm", _add_layer_norm_fake),
        ("add_layer_norm_backward", _add_layer_norm_backward_fake),
        ("bias_gelu", _bias_gelu_fake),
        ("bias_gelu_backward", _bias_gelu_backward_fake),
        ("linear_cross_entropy", _linear_cross_entropy_fake),
        ("global_norm", _global_norm_fake),
        ("adamw_", _adamw_fake),
        ("linear", _linear_fake),
        ("linear_backward", _linear_backward_fake),
        ("embedding_backward_", _embedding_backward_fake),
        ("gemv", _gemv_fake),
        ("decode_attention", _decode_attention_fake),
    ):
        torch.library.register_fake(f"gpt2x::{name}", fake)
    for name, backward, setup in (
        ("add_layer_norm", _add_layer_norm_backward, _add_layer_norm_setup),
        ("bias_gelu", _bias_gelu_backward, _bias_gelu_setup),
        ("linear_cross_entropy", _linear_cross_entropy_backward, _linear_cross_entropy_setup),
        ("linear", _linear_backward, _linear_setup),
    ):
        torch.library.register_autograd(f"gpt2x::{name}", backward, setup_context=setup)
