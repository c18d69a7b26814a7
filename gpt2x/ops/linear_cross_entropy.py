"""Output layer and cross-entropy without all logits at once: the call, its gradient, and how CUDA computes both."""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpt2x.errors import quoted
from gpt2x.ops import cuda, derivatives, reference
from gpt2x.ops.calling import as_rows, is_autocast, is_native
from gpt2x.ops.checks import (
    check_device,
    check_from_zero,
    check_integer,
    check_parameter,
    check_range,
    check_storage,
    dtype_name,
    is_number,
    require,
    shape_or_type,
)
from gpt2x.ops.library import OP, Operator, accumulation_dtype, product_flops

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
"""What the loss may be reduced to, with the numbers that the native code knows it by (those of ATen)."""
_NONE = REDUCTIONS["none"]
_MAX_CHUNK_LOGITS = 2**27  # elements of one chunk of logits: 2668 rows of 50304, 0.27 GB in bfloat16
_MIN_CHUNK_ROWS = 512


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int = -100,
    vocab_size: int | None = None,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of ``softmax(hidden @ weight.T)``, without ever holding all N × Vp logits.

    The rows are worked off in chunks; where gradients are needed they are computed chunk by chunk in the same pass
    (the gradient of the logits overwrites the logits), so backward only scales them. Without a reduction backward
    computes the logits once more, since how much each row counts is known only then.

    To add up a batch in several pieces, take ``reduction="sum"`` and divide by the number of targets that count in all
    of them: a mean of means gives a token in a piece with few of these more weight.

    Args:
        hidden: (..., C) final hidden states. Under autocast they are cast to its dtype; the products run in it.
        weight: (Vp, C) of the output layer, in hidden's dtype, or float32 beside a 16-bit hidden.
        targets: (...) int64 token ids, shaped like hidden without C.
        ignore_index: rows with this target count neither in the loss nor in the gradient.
        vocab_size: rows of `weight` from here on are padding: no probability, no gradient. By default there are none.
        label_smoothing: share of the target's probability, in [0, 1), that is spread evenly over the `vocab_size`
            classes; as in `torch.nn.functional.cross_entropy`.
        z_loss: factor, from 0 on, of the ``(log Z)^2`` that is added to a row's loss, Z the sum of the exponentials of
            its logits: it keeps log Z near 0 (1e-4 in PaLM).
        reduction: ``"mean"`` over the rows that count, ``"sum"``, or ``"none"``, as in
            `torch.nn.functional.cross_entropy`.

    Returns:
        float32 (float64 for float64). The 0-dim mean, NaN when no row counts; or the 0-dim sum, 0 when none counts; or
        the loss of each row, shaped like targets, 0 where it does not count.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.
        IndexError: a target is out of range. On a GPU the loss is NaN instead, so that the stream need not wait.

    """
    check_storage("hidden", hidden)
    require(
        hidden.dim() >= 1 and hidden.shape[-1] > 0,
        lambda: f"hidden: expected (..., C) with C > 0, got shape {tuple(hidden.shape)}",
    )
    if is_autocast(hidden) and hidden.dtype != torch.float64:
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[0] > 0,
        lambda: f"weight: expected (Vp, {hidden.shape[-1]}) with Vp > 0, got {shape_or_type(weight)}",
    )
    check_parameter("weight", weight, "hidden", hidden, (weight.shape[0], hidden.shape[-1]))
    size = weight.shape[0] if vocab_size is None else vocab_size
    check_integer("vocab_size", size)
    check_integer("ignore_index", ignore_index)
    require(
        0 < size <= weight.shape[0],
        lambda: f"vocab_size: expected 1..{weight.shape[0]} (rows of weight), got {size}",
    )
    _check_loss_terms(label_smoothing, z_loss)
    _check_reduction(reduction)
    _check_targets(targets, hidden)
    if not is_native(hidden):
        check_range("targets", targets, size, ignore_index)  # the kernel does it itself
        terms: dict[str, Any] = {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
        return reference.linear_cross_entropy(hidden, weight, targets, ignore_index, size, **terms)
    in_forward = torch.is_grad_enabled() and reduction != "none"
    loss, _, _ = OP.linear_cross_entropy(
        as_rows(hidden),
        weight,
        targets.reshape(-1),
        None,
        REDUCTIONS[reduction],
        ignore_index,
        size,
        label_smoothing,
        z_loss,
        in_forward and hidden.requires_grad,
        in_forward and weight.requires_grad,
    )
    return loss.view(targets.shape) if reduction == "none" else loss


def _check_targets(targets: Tensor, hidden: Tensor) -> None:
    """Targets are int64, one a row, on hidden's device (`check_range` reads the values)."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        got = dtype_name(targets.dtype) if isinstance(targets, Tensor) else type(targets).__name__
        raise ValueError(f"targets: expected a tensor of dtype int64, got {got}")
    require(
        targets.shape == hidden.shape[:-1],
        lambda: (
            f"targets: expected shape {tuple(hidden.shape[:-1])} (hidden without its channels), "
            f"got {tuple(targets.shape)}"
        ),
    )
    check_device("targets", targets, "hidden", hidden)


def _check_reduction(reduction: str) -> None:
    """What becomes of the losses of the rows."""
    require(
        isinstance(reduction, str) and reduction in REDUCTIONS,
        lambda: f"reduction: expected mean, sum or none, got {quoted(reduction)}",
    )


def _check_loss_terms(label_smoothing: float, z_loss: float) -> None:
    """The numbers that `linear_cross_entropy` adds to the plain loss; NaN fits neither."""
    require(
        is_number(label_smoothing) and 0 <= label_smoothing < 1,
        lambda: f"label_smoothing: expected a number in [0, 1), got {quoted(label_smoothing)}",
    )
    check_from_zero("z_loss", z_loss)


operator = Operator("linear_cross_entropy")


@operator.fake
def _fake(
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
        hidden.new_empty(
            hidden.shape[:1] if reduction == _NONE else (), dtype=accumulation_dtype(hidden.dtype)
        ),
        hidden.new_empty(hidden.shape if need_dhidden else (0, 0)),
        weight.new_empty(weight.shape if need_dweight else (0, 0)),
    )


@operator.flops
def _flops(
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
    return product_flops(hidden_shape, weight_shape) * (1 + need_dhidden + need_dweight)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, targets, _, *ctx.numbers, _, _ = inputs
    _, dhidden, dweight = output
    ctx.save_for_backward(hidden, weight, targets, dhidden, dweight)
    ctx.mark_non_differentiable(dhidden, dweight)
    ctx.set_materialize_grads(False)


@operator.gradient(_setup)
def _gradient(ctx: Any, dloss: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if dloss is None:
        return (None,) * 11
    needs = ctx.needs_input_grad[:2]
    if derivatives.asked_again():
        return *_differentiable_gradient(ctx, dloss, needs), *(None,) * 9
    hidden, weight, targets, *gradients = ctx.saved_tensors
    if ctx.numbers[0] == _NONE:
        # How much each row counts is known only now, so nothing but the losses was computed in forward.
        _, *gradients = OP.linear_cross_entropy(hidden, weight, targets, dloss, *ctx.numbers, *needs)
    else:
        gradients = [_scaled(gradient, dloss) for gradient in gradients]
    return *(g if need else None for g, need in zip(gradients, needs, strict=True)), *(None,) * 9


def _differentiable_gradient(ctx: Any, dloss: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    hidden, weight, targets, _, _ = ctx.saved_tensors
    reduction, ignore_index, vocab_size, label_smoothing, z_loss = ctx.numbers
    name = next(name for name, code in REDUCTIONS.items() if code == reduction)

    def expected(hidden: Tensor, weight: Tensor) -> Tensor:
        terms: dict[str, Any] = {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": name}
        return reference.linear_cross_entropy(hidden, weight, targets, ignore_index, vocab_size, **terms)

    return derivatives.through_reference(expected, (hidden, weight), needs, dloss)


def _scaled(gradient: Tensor, dloss: Tensor) -> Tensor:
    """The gradient for a loss gradient of `dloss`, in a tensor of its own where the graph is kept for another pass.

    The weight's gradient is as large as the weight, so a graph that ends here gives away the tensor it has.
    """
    many = derivatives.stands_for_many(dloss)
    if torch.compiler.is_compiling() or type(gradient) is not Tensor or many or _graph_is_kept():
        return gradient * dloss
    if gradient.device.type == "cpu" and dloss.item() == 1.0:
        return gradient
    return gradient.mul_(dloss)


def _graph_is_kept() -> bool:
    """True in a backward pass with ``retain_graph``, or when this torch cannot tell."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or bool(ask())


_kernel = cuda.Kernel(
    "linear_cross_entropy",
    [cuda.INT]
    + [cuda.POINTER] * 2
    + [cuda.INT64] * 4
    + [cuda.DOUBLE] * 2
    + [cuda.POINTER, cuda.INT, cuda.INT]
    + [cuda.POINTER] * 2,
)


@operator.cuda
def _cuda(
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
    """As in ``csrc/ops/cpu/linear_cross_entropy.cpp``: a chunk of logits, its gradient in place, two products on."""
    rows, padded = hidden.shape[0], weight.shape[0]
    cuda.require_on(hidden.device, weight=weight, targets=targets)
    cuda.require_shape((padded, hidden.shape[1]), weight=weight)
    cuda.require_on(hidden.device, row_scale=row_scale)
    cuda.require_shape((rows,), targets=targets, row_scale=row_scale)
    cuda.require_dtype(torch.int64, targets=targets)
    cuda.require_dtype(torch.float32, row_scale=row_scale)
    if not 0 < vocab_size <= padded:
        raise ValueError(f"vocab_size: expected 1..{padded}, got {vocab_size}")
    code = cuda.code("hidden", hidden)
    hidden, targets, matrix = hidden.contiguous(), targets.contiguous(), weight.to(hidden.dtype).contiguous()
    if reduction == REDUCTIONS["mean"]:
        scale = (targets != ignore_index).sum().to(torch.float32).reciprocal()  # on the device: no wait
    else:
        scale = hidden.new_ones((), dtype=torch.float32)
    row_scale = cuda.dense(row_scale)
    losses = hidden.new_empty(rows, dtype=torch.float32)
    dhidden = hidden.new_empty(hidden.shape if need_dhidden else (0, 0))
    dweight = weight.new_zeros(weight.shape if need_dweight else (0, 0), dtype=torch.float32)
    chunk = min(rows, max(_MIN_CHUNK_ROWS, _MAX_CHUNK_LOGITS // padded))
    buffer = hidden.new_empty((chunk, padded))
    for start in range(0, rows, max(1, chunk)):
        part = slice(start, min(start + chunk, rows))
        logits = torch.mm(hidden[part], matrix.T, out=buffer[: part.stop - part.start])
        sizes = (part.stop - part.start, vocab_size, padded, ignore_index, label_smoothing, z_loss)
        write_gradient = int(need_dhidden or need_dweight)
        scales = (scale, 0) if row_scale is None else (row_scale[part], 1)
        row_arguments = (code, logits, targets[part], *sizes, *scales, write_gradient, losses[part])
        _kernel(hidden.device, *row_arguments)
        if need_dhidden:
            torch.mm(logits, matrix, out=dhidden[part])
        if need_dweight:
            _add_product(dweight, logits.T, hidden[part])
    loss = losses if reduction == REDUCTIONS["none"] else losses.sum() * scale
    return loss, dhidden, dweight.to(weight.dtype)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a @ b`` to a float32 total; a product of 16-bit matrices is not rounded to 16 bits on its way."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif total.is_cuda:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:  # torch has no such product on a CPU
        total.addmm_(a.to(total.dtype), b.to(total.dtype))
