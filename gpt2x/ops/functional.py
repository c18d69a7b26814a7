"""The operators as they are called: check the arguments, then the native kernel or its plain-torch twin.

A fused operator does in one pass over memory what plain torch does in several; the results agree with
`gpt2x.ops.reference` within rounding. Letters: B batch, T time, C channels, N rows, V vocabulary, Vp padded vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt2x.ops import backend, reference
from gpt2x.ops.checks import (
    check_adamw_options,
    check_device,
    check_moments,
    check_parameter,
    check_same_tensors,
    check_storage,
    check_target_range,
    check_targets,
    require,
)


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
    require(x.dim() >= 1 and x.shape[-1] > 0, f"x: expected (..., C) with C > 0, got shape {tuple(x.shape)}")
    require(eps >= 0, f"eps: expected a number from 0 on, got {eps}")
    if residual is not None:
        check_storage("residual", residual)
        require(
            residual.shape == x.shape,
            f"residual: expected shape {tuple(x.shape)} as x, got {tuple(residual.shape)}",
        )
        check_device("residual", residual, "x", x)
        if x.dtype != residual.dtype:
            wider = torch.promote_types(x.dtype, residual.dtype)
            x, residual = x.to(wider), residual.to(wider)
    check_parameter("weight", weight, "x", x, (x.shape[-1],))
    if bias is not None:
        check_parameter("bias", bias, "weight", weight, (x.shape[-1],))
    if not backend.serves(x.device.type, x.dtype):
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
    require(x.dim() >= 1, "x: expected (..., C), got a 0-dim tensor")
    if bias is not None:
        check_parameter("bias", bias, "x", x, (x.shape[-1],))
    if not backend.serves(x.device.type, x.dtype):
        return reference.bias_gelu(x, bias)
    return torch.ops.gpt2x.bias_gelu(x, bias)


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int = -100,
    vocab_size: int | None = None,
) -> Tensor:
    """Mean cross-entropy of ``softmax(hidden @ weight.T)``, without ever holding all N × Vp logits.

    The rows are worked off in chunks; where gradients are needed they are computed chunk by chunk in the same pass
    (the gradient of the logits overwrites the logits), so backward only scales them.

    Args:
        hidden: (..., C) final hidden states. Under autocast they are cast to its dtype; the products run in it.
        weight: (Vp, C) of the output layer, in hidden's dtype, or float32 beside a 16-bit hidden.
        targets: (...) int64 token ids, shaped like hidden without C.
        ignore_index: rows with this target count neither in the mean nor in the gradient.
        vocab_size: rows of `weight` from here on are padding: no probability, no gradient. By default there are none.

    Returns:
        The 0-dim mean over the rows that count, float32 (float64 for float64); NaN when none counts.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.
        IndexError: a target is out of range. On a GPU the loss is NaN instead, so that the stream need not wait.

    """
    check_storage("hidden", hidden)
    require(
        hidden.dim() >= 1 and hidden.shape[-1] > 0,
        f"hidden: expected (..., C) with C > 0, got shape {tuple(hidden.shape)}",
    )
    if torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != torch.float64:
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    require(
        isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[0] > 0,
        f"weight: expected (Vp, {hidden.shape[-1]}) with Vp > 0, got {_shape_or_type(weight)}",
    )
    check_parameter("weight", weight, "hidden", hidden, (weight.shape[0], hidden.shape[-1]))
    size = weight.shape[0] if vocab_size is None else vocab_size
    require(
        0 < size <= weight.shape[0], f"vocab_size: expected 1..{weight.shape[0]} (rows of weight), got {size}"
    )
    check_targets(targets, hidden)
    if not backend.serves(hidden.device.type, hidden.dtype):
        if targets.device.type == "cpu" and not torch.compiler.is_compiling():
            check_target_range(targets, size, ignore_index)  # the kernel does it itself
        return reference.linear_cross_entropy(hidden, weight, targets, ignore_index, size)
    training = torch.is_grad_enabled()
    loss, _, _ = torch.ops.gpt2x.linear_cross_entropy(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        targets.reshape(-1),
        ignore_index,
        size,
        training and hidden.requires_grad,
        training and weight.requires_grad,
    )
    return loss


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors laid end to end: the number that gradient clipping compares.

    Args:
        tensors: of any shapes, on one device. The result does not depend on the number of threads.

    Returns:
        0-dim float32 (float64 when the tensors are); 0 for an empty list. No gradient flows through it.

    Raises:
        ValueError: a tensor has another dtype or device; the message names it.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
    5.0

    """
    tensors = list(tensors)
    for i, tensor in enumerate(tensors):
        check_storage(f"tensors[{i}]", tensor)
        check_device(f"tensors[{i}]", tensor, "tensors[0]", tensors[0])
    if not tensors or not _all_native(tensors):
        return reference.global_norm(tensors)
    with torch.no_grad():
        return torch.ops.gpt2x.global_norm(tensors)


def adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float | Sequence[float] = 0.0,
    grad_norm: Tensor | None = None,
    max_norm: float | None = None,
) -> None:
    """One AdamW step on all tensors in one call, in place; clipping by the global norm costs no extra pass.

    Args:
        params: what is updated.
        grads: read only, shaped like params.
        exp_avgs: first moments, updated; start with zeros. In the params' dtype, or float32 beside 16-bit params.
        exp_avg_sqs: second moments, likewise.
        step: 1 at the first call.
        lr: learning rate.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay, one number or one for each tensor.
        grad_norm: 0-dim result of `global_norm`; with `max_norm` the gradients count as multiplied by
            ``min(1, max_norm / (grad_norm + 1e-6))``.
        max_norm: bound of the gradient norm.

    Raises:
        ValueError: lists that do not fit each other, or a number out of its range; the message names it.

    """
    params, grads, exp_avgs, exp_avg_sqs = list(params), list(grads), list(exp_avgs), list(exp_avg_sqs)
    check_same_tensors({"params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs})
    check_moments(params, grads, {"exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs})
    decays = (
        [float(weight_decay)] * len(params) if isinstance(weight_decay, int | float) else list(weight_decay)
    )
    require(
        len(decays) == len(params), f"weight_decay: expected one number or {len(params)}, got {len(decays)}"
    )
    check_adamw_options(step=step, lr=lr, betas=betas, eps=eps, grad_norm=grad_norm, max_norm=max_norm)
    if not params:
        return
    if grad_norm is not None:
        check_device("grad_norm", grad_norm, "params[0]", params[0])
    if not _flat_and_native(params, exp_avgs, exp_avg_sqs):
        reference.adamw_(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            step=step,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=decays,
            grad_norm=grad_norm,
            max_norm=max_norm,
        )
        return
    with torch.no_grad():
        torch.ops.gpt2x.adamw_(
            params, grads, exp_avgs, exp_avg_sqs, step, lr, *betas, eps, decays, grad_norm, max_norm or 0.0
        )
    if not torch.compiler.is_compiling():
        # The kernel writes behind autograd's back; a graph that saved one of these must notice.
        torch.autograd.graph.increment_version([*params, *exp_avgs, *exp_avg_sqs])


def _all_native(tensors: Sequence[Tensor]) -> bool:
    """True when one native call can take all of them: same dtype class, dtypes that the kernels know."""
    kinds = {tensor.dtype == torch.float64 for tensor in tensors}
    return len(kinds) == 1 and all(backend.serves(tensor.device.type, tensor.dtype) for tensor in tensors)


def _flat_and_native(
    params: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor]
) -> bool:
    """True when the kernels can walk each tensor as one flat array, all of them on one device."""
    return all(
        backend.serves(tensor.device.type, tensor.dtype)
        and tensor.is_contiguous()
        and tensor.device == params[0].device
        for tensor in (*params, *exp_avgs, *exp_avg_sqs)
    )


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
