"""What torch must know about each native operator besides its kernels: shapes without data, and gradients.

The signatures are registered by ``csrc/ops/schema.cpp`` when ``gpt2x._ops`` loads. For every operator this file adds

- a *fake*: the shapes and dtypes of the results, so that `torch.compile` can trace through without running anything;
- an *autograd formula*: what is kept from forward, and which operator computes the gradients from it. A formula, and
  not an `autograd.Function`, so that ``torch.compile(fullgraph=True)`` holds.

- the *number of floating-point operations* of those that multiply matrices, for `torch.utils.flop_counter`.

A formula computes one derivative with a kernel; where that derivative is differentiated again (``create_graph=True``),
or a transform of `torch.func` is at work, `gpt2x.ops.derivatives` computes it in plain torch.
"""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from gpt2x.ops import derivatives, reference
from gpt2x.ops.checks import REDUCTIONS

INTERFACE = 4  # kInterface of csrc/python/ops_module.cpp: the signatures that this file knows
OP = torch.ops.gpt2x
NONE = REDUCTIONS["none"]


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
    x, residual, weight, bias, ctx.eps = inputs
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
    if derivatives.asked_again():
        return _add_layer_norm_again(ctx, dy, dsum)
    dx, dweight, dbias = OP.add_layer_norm_backward(dy, dsum, total, weight, mean, rstd, ctx.has_bias)
    return dx, dx if ctx.has_residual else None, dweight, dbias if ctx.has_bias else None, None


def _add_layer_norm_again(ctx: Any, dy: Tensor, dsum: Tensor | None) -> tuple[Any, ...]:
    total, weight, _, _ = ctx.saved_tensors
    needs_x, needs_residual, needs_weight, needs_bias, _ = ctx.needs_input_grad

    def twin(total: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return reference.add_layer_norm(total, None, weight, bias, ctx.eps)[0]

    # The bias was not kept, as no derivative depends on its value.
    inputs = (total, weight, torch.zeros_like(weight.detach()) if ctx.has_bias else None)
    needed = (needs_x or needs_residual, needs_weight, needs_bias)
    dx, dweight, dbias = derivatives.through_twin(twin, inputs, needed, dy)
    if dx is not None and dsum is not None:
        dx = dx + dsum
    return dx, dx if ctx.has_residual else None, dweight, dbias, None


def _bias_gelu_fake(x: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _bias_gelu_backward_fake(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def _bias_gelu_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _bias_gelu_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, bias = ctx.saved_tensors
    if derivatives.asked_again():
        dx, dbias = derivatives.through_twin(reference.bias_gelu, (x, bias), ctx.needs_input_grad, dy)
        return dx, dbias
    dx, dbias = OP.bias_gelu_backward(dy, x, bias)
    return dx, None if bias is None else dbias


def _linear_cross_entropy_fake(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    row_scale: Tensor | None,
    reduction: int,
    ignore_index: int,
    vocab_size: int,
    label_smoothing: float,
    z_loss: float,
    need_dhidden: bool,
    need_dweight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden.new_empty(hidden.shape[:1] if reduction == NONE else (), dtype=_wide(hidden.dtype)),
        hidden.new_empty(hidden.shape if need_dhidden else (0, 0)),
        weight.new_empty(weight.shape if need_dweight else (0, 0)),
    )


def _linear_cross_entropy_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, targets, _, *ctx.numbers, _, _ = inputs
    _, dhidden, dweight = output
    ctx.save_for_backward(hidden, weight, targets, dhidden, dweight)
    ctx.mark_non_differentiable(dhidden, dweight)
    ctx.set_materialize_grads(False)


def _linear_cross_entropy_backward(ctx: Any, dloss: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if dloss is None:
        return (None,) * 11
    needs = ctx.needs_input_grad[:2]
    if derivatives.asked_again():
        return *_linear_cross_entropy_again(ctx, dloss, needs), *(None,) * 9
    hidden, weight, targets, *gradients = ctx.saved_tensors
    if ctx.numbers[0] == NONE:
        # How much each row counts is known only now, so nothing but the losses was computed in forward.
        _, *gradients = OP.linear_cross_entropy(hidden, weight, targets, dloss, *ctx.numbers, *needs)
    else:
        gradients = [_scaled(gradient, dloss) for gradient in gradients]
    return *(g if need else None for g, need in zip(gradients, needs, strict=True)), *(None,) * 9


def _linear_cross_entropy_again(ctx: Any, dloss: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    hidden, weight, targets, _, _ = ctx.saved_tensors
    reduction, ignore_index, vocab_size, label_smoothing, z_loss = ctx.numbers
    name = next(name for name, code in REDUCTIONS.items() if code == reduction)

    def twin(hidden: Tensor, weight: Tensor) -> Tensor:
        terms: dict[str, Any] = {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": name}
        return reference.linear_cross_entropy(hidden, weight, targets, ignore_index, vocab_size, **terms)

    return derivatives.through_twin(twin, (hidden, weight), needs, dloss)


def _scaled(gradient: Tensor, dloss: Tensor) -> Tensor:
    """The gradient for a loss gradient of `dloss`, in a tensor of its own where the graph is kept for another pass.

    The weight's gradient is as large as the weight, so a graph that ends here gives away the tensor it has.
    """
    stands_for_many = torch._C._functorch.is_legacy_batchedtensor(
        dloss
    )  # in a backward with is_grads_batched
    if torch.compiler.is_compiling() or type(gradient) is not Tensor or stands_for_many or _graph_is_kept():
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
    lr: Tensor,
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
    if derivatives.asked_again():
        x, weight = ctx.saved_tensors
        return (*_linear_again(x, weight, needed, dy),)
    gradients = OP.linear_backward(dy, *ctx.saved_tensors, *needed)
    return tuple(gradient if need else None for gradient, need in zip(gradients, needed, strict=True))


def _linear_again(x: Tensor, weight: Tensor, needed: tuple[bool, ...], dy: Tensor) -> list[Tensor | None]:
    # The bias was not kept, as no derivative depends on its value.
    bias = weight.new_zeros(weight.shape[0]) if needed[2] else None
    return derivatives.through_twin(reference.linear, (x, weight, bias), needed, dy)


def _embedding_backward_fake(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    return None


def _gemv_fake(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _decode_attention_fake(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return query.new_empty(query.shape)


def _product_flops(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
    """Of x (N, I) times weight (O, I) transposed: two for each multiply-add, as torch counts."""
    rows, channels = x_shape
    return int(2 * rows * channels * weight_shape[0])


def _linear_backward_flops(
    dy_shape: Any,
    x_shape: Any,
    weight_shape: Any,
    need_dx: bool,
    need_dweight: bool,
    need_dbias: bool,
    *_: Any,
    **__: Any,
) -> int:
    return _product_flops(x_shape, weight_shape) * (need_dx + need_dweight)


def _linear_cross_entropy_flops(
    hidden_shape: Any,
    weight_shape: Any,
    targets_shape: Any,
    row_scale_shape: Any,
    reduction: int,
    ignore_index: int,
    vocab_size: int,
    label_smoothing: float,
    z_loss: float,
    need_dhidden: bool,
    need_dweight: bool,
    *_: Any,
    **__: Any,
) -> int:
    """The logits, and the products of their gradient: forward computes both."""
    return _product_flops(hidden_shape, weight_shape) * (1 + need_dhidden + need_dweight)


def _decode_attention_flops(query_shape: Any, keys_shape: Any, *_: Any, **__: Any) -> int:
    """Scores and weighted values."""
    B, H, S, D = keys_shape
    return int(4 * B * H * S * D)


_FAKES: dict[str, Callable[..., Any]] = {
    "add_layer_norm": _add_layer_norm_fake,
    "add_layer_norm_backward": _add_layer_norm_backward_fake,
    "bias_gelu": _bias_gelu_fake,
    "bias_gelu_backward": _bias_gelu_backward_fake,
    "linear_cross_entropy": _linear_cross_entropy_fake,
    "global_norm": _global_norm_fake,
    "adamw_": _adamw_fake,
    "linear": _linear_fake,
    "linear_backward": _linear_backward_fake,
    "embedding_backward_": _embedding_backward_fake,
    "gemv": _gemv_fake,
    "decode_attention": _decode_attention_fake,
}
_FLOPS: dict[str, Callable[..., int]] = {
    "linear": _product_flops,
    "linear_backward": _linear_backward_flops,
    "linear_cross_entropy": _linear_cross_entropy_flops,
    "gemv": _product_flops,
    "decode_attention": _decode_attention_flops,
}
_LIBRARY = torch.library.Library("gpt2x", "IMPL")


def register() -> None:
    """Tell torch; called once, after ``gpt2x._ops`` has loaded."""
    for name, fake in _FAKES.items():
        torch.library.register_fake(f"gpt2x::{name}", fake)
        # The key of torch.func: without this every transform but vmap would pass through and lose its derivatives.
        _LIBRARY.impl(name, derivatives.refuse_transforms(name), "FuncTorchDynamicLayerFrontMode")
    for name, flops in _FLOPS.items():
        register: Any = register_flop_formula(getattr(OP, name))
        register(flops)
    for name, backward, setup in (
        ("add_layer_norm", _add_layer_norm_backward, _add_layer_norm_setup),
        ("bias_gelu", _bias_gelu_backward, _bias_gelu_setup),
        ("linear_cross_entropy", _linear_cross_entropy_backward, _linear_cross_entropy_setup),
        ("linear", _linear_backward, _linear_setup),
    ):
        torch.library.register_autograd(f"gpt2x::{name}", backward, setup_context=setup)
