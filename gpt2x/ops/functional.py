"""The operators as they are called: check the arguments, then the native kernel or its plain-torch twin.

The twin serves where there is no kernel (`gpt2x.ops.backend`), and where derivatives are asked for that the kernels do
not have (`gpt2x.ops.derivatives`).

A fused operator does in one pass over memory what plain torch does in several; the results agree with
`gpt2x.ops.reference` within rounding. Letters: B batch, T time, C channels, N rows, V vocabulary, Vp padded vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import backend, reference
from gpt2x.ops.checks import (
    REDUCTIONS,
    check_adamw_options,
    check_apart,
    check_cache,
    check_device,
    check_dtype,
    check_from_zero,
    check_ids,
    check_integer,
    check_loss_terms,
    check_moments,
    check_parameter,
    check_range,
    check_reduction,
    check_same_tensors,
    check_shadows,
    check_shape,
    check_storage,
    check_targets,
    dtype_name,
    has_values,
    require,
)
from gpt2x.ops.derivatives import differentiates, transformed


def add_layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Residual addition and LayerNorm in one pass: ``sum = x + residual``, ``y = layer_norm(sum) * weight + bias``.

    Args:
        x: (..., C), float32, bfloat16, float16 or float64.
        residual: like x, or None to only normalise. Of two dtypes (autocast) the wider one holds.
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
            wider = torch.promote_types(x.dtype, residual.dtype)
            x, residual = x.to(wider), residual.to(wider)
    check_parameter("weight", weight, "x", x, (x.shape[-1],))
    if bias is not None:
        check_parameter("bias", bias, "weight", weight, (x.shape[-1],))
    if not _is_native(x):
        return reference.add_layer_norm(x, residual, weight, bias, eps)
    y, total, _, _ = torch.ops.gpt2x.add_layer_norm(x, residual, weight, bias, eps)
    return y, x if residual is None else total


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
    if not _is_native(x):
        return reference.bias_gelu(x, bias)
    return torch.ops.gpt2x.bias_gelu(x, bias)


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
    if _is_autocast(hidden) and hidden.dtype != torch.float64:
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[0] > 0,
        lambda: f"weight: expected (Vp, {hidden.shape[-1]}) with Vp > 0, got {_shape_or_type(weight)}",
    )
    check_parameter("weight", weight, "hidden", hidden, (weight.shape[0], hidden.shape[-1]))
    size = weight.shape[0] if vocab_size is None else vocab_size
    check_integer("vocab_size", size)
    check_integer("ignore_index", ignore_index)
    require(
        0 < size <= weight.shape[0],
        lambda: f"vocab_size: expected 1..{weight.shape[0]} (rows of weight), got {size}",
    )
    check_loss_terms(label_smoothing, z_loss)
    check_reduction(reduction)
    check_targets(targets, hidden)
    if not _is_native(hidden):
        check_range("targets", targets, size, ignore_index)  # the kernel does it itself
        terms: dict[str, Any] = {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
        return reference.linear_cross_entropy(hidden, weight, targets, ignore_index, size, **terms)
    in_forward = torch.is_grad_enabled() and reduction != "none"
    loss, _, _ = torch.ops.gpt2x.linear_cross_entropy(
        _as_rows(hidden),
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


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors laid end to end: the number that gradient clipping compares.

    Args:
        tensors: of any shapes, on one device. The result does not depend on the number of threads.

    Returns:
        0-dim float32 (float64 when the tensors are); 0 for an empty list. Where autograd records and a tensor needs a
        gradient, the plain-torch twin serves, so that the gradient flows.

    Raises:
        ValueError: a tensor has another dtype or device; the message names it.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
    5.0

    """
    tensors = list(tensors)
    for i, tensor in enumerate(tensors):
        check_storage(f"tensors[{i}]", tensor)
        check_device(f"tensors[{i}]", tensor, "tensors[0]", tensors[0])
    if not tensors or differentiates(*tensors) or not _all_native(tensors):
        return reference.global_norm(tensors)
    return torch.ops.gpt2x.global_norm(tensors)


def adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    *,
    step: int,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float | Sequence[float] = 0.0,
    grad_norm: Tensor | None = None,
    max_norm: float | None = None,
    shadows: Sequence[Tensor | None] | None = None,
) -> None:
    """One AdamW step on all tensors in one call, in place; clipping by the global norm costs no extra pass.

    As a step of `torch.optim` it is not recorded by autograd. What is updated stands in memory of its own.

    Args:
        params: what is updated.
        grads: read only, shaped like params; in their dtype, or bfloat16 beside float32 params.
        exp_avgs: first moments, updated; start with zeros. In the params' dtype, or float32 beside 16-bit params.
        exp_avg_sqs: second moments, likewise.
        step: 1 at the first call.
        lr: learning rate, from 0 on. Compiled code that must not be compiled again for each new one takes it as
            `torch.optim` does: as one float32 or float64 number on the CPU.
        betas: decay rates of the moments, in [0, 1).
        eps: added to the root of the second moment, from 0 on.
        weight_decay: decoupled decay from 0 on, one number or one for each tensor.
        grad_norm: 0-dim result of `global_norm`; with `max_norm` the gradients count as multiplied by
            ``min(1, max_norm / (grad_norm + 1e-6))``.
        max_norm: bound of the gradient norm, above 0.
        shadows: for each float32 parameter a bfloat16 copy that follows it, or None; the next step then computes with
            the copies and casts nothing.

    Raises:
        ValueError: lists that do not fit each other, a number out of its range (NaN and infinity are), or tensors that
            share memory; the message names it.

    """
    params, grads, exp_avgs, exp_avg_sqs = list(params), list(grads), list(exp_avgs), list(exp_avg_sqs)
    check_same_tensors({"params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs})
    check_moments(params, grads, exp_avgs, exp_avg_sqs)
    decays = list(weight_decay) if isinstance(weight_decay, Sequence) else [weight_decay] * len(params)
    require(
        len(decays) == len(params),
        lambda: f"weight_decay: expected one number or {len(params)}, got {len(decays)}",
    )
    options: dict[str, Any] = {"step": step, "lr": lr, "betas": betas, "eps": eps, "weight_decay": decays}
    check_adamw_options(**options, grad_norm=grad_norm, max_norm=max_norm)
    followers: list[Tensor | None] = [None] * len(params) if shadows is None else list(shadows)
    check_shadows(params, followers)
    if not params:
        return
    if grad_norm is not None:
        check_device("grad_norm", grad_norm, "params[0]", params[0])
    updated: dict[str, Sequence[Tensor | None]] = {
        "params": params,
        "exp_avgs": exp_avgs,
        "exp_avg_sqs": exp_avg_sqs,
        "shadows": followers,
    }
    check_apart(updated, {"grads": grads})
    if not _flat_and_native(params, exp_avgs, exp_avg_sqs):
        require(
            not (transformed() and differentiates(*params, *grads)),
            lambda: "grads: adamw_ has no derivative in reverse mode; take torch.func.grad of the loss alone",
        )
        lists = (params, grads, exp_avgs, exp_avg_sqs)
        reference.adamw_(*lists, **options, grad_norm=grad_norm, max_norm=max_norm, shadows=followers)
        return
    kept = [shadow for shadow in followers if shadow is not None]
    # The schema has no "tensor or nothing" that can be written: nothing is a tensor without elements.
    written = [params[0].new_empty(0) if shadow is None else shadow for shadow in followers] if kept else []
    # As a product the compiler keeps a number that changes in the graph; in torch.tensor(lr) it would be a constant.
    rate = lr if isinstance(lr, Tensor) else torch.ones((), dtype=torch.float64) * lr
    with torch.no_grad():
        state = (params, grads, exp_avgs, exp_avg_sqs, written)
        torch.ops.gpt2x.adamw_(*state, step, rate, *betas, eps, decays, grad_norm, max_norm or 0.0)
    _note_changes([*params, *exp_avgs, *exp_avg_sqs, *kept])


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

    >>> linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([0.5])).tolist()
    [[3.5]]

    """
    check_storage("x", x)
    require(x.dim() >= 1, lambda: "x: expected (..., I), got a 0-dim tensor")
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[1] == x.shape[-1],
        lambda: f"weight: expected (O, {x.shape[-1]}), got {_shape_or_type(weight)}",
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
    if _is_autocast(x):
        return reference.linear(x, weight, bias)
    check_dtype("weight", weight, "x", x)
    if bias is not None:
        check_dtype("bias", bias, "x", x)
    if transformed() or not backend.multiplies(x.device, x.dtype):
        return reference.linear(x, weight, bias)
    y = torch.ops.gpt2x.linear(_as_rows(x), weight, bias)
    return y.view(*x.shape[:-1], weight.shape[0])


def embedding_backward_(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """Add an embedding's gradient to `dweight` in place: ``dweight[ids[n]] += dy[n]``.

    Where the embedding shares its matrix with the output layer, the gradient of that layer is there already; adding
    N rows to it replaces a matrix of zeros and a pass over both. The result does not depend on the number of threads.
    Where autograd records and one of the two needs a gradient, torch's own indexing serves, so that the gradient flows.

    Args:
        dweight: (V, C), contiguous; in dy's dtype, or float32 beside a 16-bit dy.
        dy: (..., C) gradient of the embedded tokens.
        ids: (...) int64 in 0..V-1; there is no id for padding, and none is counted from the end.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.
        IndexError: an id is out of range; nothing is written then. On a GPU torch's device-side assertion stops the
            program instead, as for `torch.nn.functional.embedding`.

    >>> dweight = torch.zeros(2, 1)
    >>> embedding_backward_(dweight, torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 0, 1]))
    >>> dweight.tolist()
    [[2.0], [5.0]]

    """
    check_storage("dy", dy)
    require(
        isinstance(dweight, Tensor) and dweight.dim() == 2 and dweight.is_contiguous(),
        lambda: f"dweight: expected a contiguous (V, C), got {_shape_or_type(dweight)}",
    )
    V, C = dweight.shape
    require(
        dy.dim() >= 1 and dy.shape[-1] == C,
        lambda: f"dy: expected (..., {C}) as dweight, got {tuple(dy.shape)}",
    )
    check_parameter("dweight", dweight, "dy", dy, (V, C))
    check_ids("ids", ids, tuple(dy.shape[:-1]), "dy", dy)
    if differentiates(dweight, dy) or not _is_native(dy):
        check_range("ids", ids, V)  # the kernel does it itself
        reference.embedding_backward_(dweight, dy, ids)
        return
    torch.ops.gpt2x.embedding_backward_(dweight, _as_rows(dy), ids.reshape(-1))
    _note_changes([dweight])


def gemv(x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for the few rows of a decoding step, where the time is that of reading the weight.

    Args:
        x: (..., I), few rows. Where autograd records and an input needs a gradient, the plain-torch twin serves.
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
        lambda: f"weight: expected (O, {x.shape[-1]}), got {_shape_or_type(weight)}",
    )
    num_rows = weight.shape[0]
    if weight.dtype == torch.int8:
        require(
            isinstance(scale, Tensor) and scale.dtype == torch.float32 and tuple(scale.shape) == (num_rows,),
            lambda: (
                f"scale: expected float32 of shape ({num_rows},) beside an int8 weight, got {_shape_or_type(scale)}"
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
    if differentiates(x, weight, scale, bias) or not _is_native(x):
        return reference.gemv(x, weight, scale, bias)
    y = torch.ops.gpt2x.gemv(_as_rows(x), weight, scale, bias)
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
    wide = weight.detach().float()
    require(
        not has_values(weight) or bool(wide.isfinite().all()),
        lambda: "weight: expected finite numbers, got NaN or infinity",
    )
    scale = (wide.abs().amax(dim=1) if weight.shape[1] else wide.new_zeros(weight.shape[0])) / 127
    steps = wide / torch.where(scale > 0, scale, 1.0)[:, None]
    return steps.round_().to(torch.int8), scale


def decode_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one new token over a KV cache: ``softmax(query keys^T / sqrt(D)) values`` in every head.

    Keys and values are read where they are; a view of a longer cache costs no copy.

    Args:
        query: (B, H, D). Where autograd records and an input needs a gradient, the plain-torch twin serves.
        keys: (B, H, S, D) with S > 0, the new token's own among them, in query's dtype.
        values: like keys.

    Returns:
        (B, H, D), in query's dtype; softmax and sums are float32 (float64 for float64).

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    """
    check_storage("query", query)
    require(query.dim() == 3, lambda: f"query: expected (B, H, D), got shape {tuple(query.shape)}")
    D = query.shape[2]
    require(D > 0, lambda: f"query: expected D > 0, got shape {tuple(query.shape)}")
    check_cache("keys", keys, query)
    check_cache("values", values, query)
    require(
        values.shape == keys.shape,
        lambda: f"values: expected {tuple(keys.shape)} as keys, got {tuple(values.shape)}",
    )
    if differentiates(query, keys, values) or not _is_native(query):
        return reference.decode_attention(query, keys, values)
    rows_apart = [t if D < 2 or t.stride(3) == 1 else t.contiguous() for t in (keys, values)]
    return torch.ops.gpt2x.decode_attention(query, *rows_apart)


def _is_native(tensor: Tensor) -> bool:
    """True when a kernel takes this tensor, and nobody asks for a derivative that it does not have."""
    return not transformed() and backend.serves(tensor.device, tensor.dtype)


def _all_native(tensors: Sequence[Tensor]) -> bool:
    """True when one native call can take all of them: same dtype class, dtypes that the kernels know."""
    dtypes, device = {tensor.dtype for tensor in tensors}, tensors[0].device
    return (
        not transformed()
        and (len(dtypes) == 1 or torch.float64 not in dtypes)
        and all(backend.serves(device, dtype) for dtype in dtypes)
    )


def _flat_and_native(
    params: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor]
) -> bool:
    """True when the kernels can walk each tensor as one flat array, all of them on one device."""
    device, everything = params[0].device, (*params, *exp_avgs, *exp_avg_sqs)
    return (
        not transformed()
        and all(tensor.is_contiguous() and tensor.device == device for tensor in everything)
        and all(backend.serves(device, dtype) for dtype in {tensor.dtype for tensor in everything})
    )


def _note_changes(tensors: Sequence[Tensor]) -> None:
    """The kernels write behind autograd's back; a graph that saved one of these must notice."""
    if not torch.compiler.is_compiling():
        torch.autograd.graph.increment_version(tensors)


def _is_autocast(tensor: Tensor) -> bool:
    """Whether autocast is on for this tensor; torch refuses the question for a device without it, as meta is."""
    return not tensor.is_meta and torch.is_autocast_enabled(tensor.device.type)


def _as_rows(x: Tensor) -> Tensor:
    """(..., C) -> (N, C), also where C is 0."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
