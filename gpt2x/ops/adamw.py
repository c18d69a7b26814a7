"""One AdamW step on all tensors: the call, its checks, and how CUDA computes it."""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gpt2x.errors import quoted
from gpt2x.ops import backend, cuda, reference
from gpt2x.ops.calling import note_changes
from gpt2x.ops.checks import (
    check_apart,
    check_device,
    check_from_zero,
    check_parameter,
    check_same_tensors,
    check_storage,
    dtype_name,
    has_values,
    is_number,
    require,
)
from gpt2x.ops.derivatives import differentiates, transformed
from gpt2x.ops.library import OP, Operator


def adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    *,
    step: int | Tensor,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float | Sequence[float] = 0.0,
    grad_norm: Tensor | None = None,
    max_norm: float | None = None,
    bf16_params: Sequence[Tensor | None] | None = None,
) -> None:
    """One AdamW step on all tensors in one call, in place; clipping by the global norm costs no extra pass.

    As a step of `torch.optim` it is not recorded by autograd. What is updated stands in memory of its own.

    Args:
        params: what is updated.
        grads: read only, shaped like params; in their dtype, or bfloat16 beside float32 params.
        exp_avgs: first moments, updated; start with zeros. In the params' dtype, or float32 beside 16-bit params.
        exp_avg_sqs: second moments, likewise.
        step: 1 at the first call. A CUDA graph that must not replay the count it was recorded with takes it as
            `torch.optim` does with ``capturable=True``: as one number in a tensor on the params' device, which the
            kernels read when they run (and which is not checked). Not in compiled code.
        lr: learning rate, from 0 on. Compiled code that must not be compiled again for each new one takes it as
            `torch.optim` does: as one float32 or float64 number on the CPU; a CUDA graph on the params' device.
        betas: decay rates of the moments, in [0, 1).
        eps: added to the root of the second moment, from 0 on.
        weight_decay: decoupled decay from 0 on, one number or one for each tensor.
        grad_norm: 0-dim result of `global_norm`; with `max_norm` the gradients count as multiplied by
            ``min(1, max_norm / (grad_norm + 1e-6))``. A negative one refuses the step, and nothing is changed: a
            decision that is made on a GPU, as by ``torch.where(is_good, norm, -1.0)``, needs no wait.
        max_norm: bound of the gradient norm, above 0.
        bf16_params: for each float32 parameter a bfloat16 copy that follows it, or None; the next step then computes
            with the copies and casts nothing.

    Raises:
        ValueError: lists that do not fit each other, a number out of its range (NaN and infinity are), or tensors that
            share memory; the message names it.

    """
    params, grads, exp_avgs, exp_avg_sqs = list(params), list(grads), list(exp_avgs), list(exp_avg_sqs)
    check_same_tensors({"params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs})
    _check_moments(params, grads, exp_avgs, exp_avg_sqs)
    decays = list(weight_decay) if isinstance(weight_decay, Sequence) else [weight_decay] * len(params)
    require(
        len(decays) == len(params),
        lambda: f"weight_decay: expected one number or {len(params)}, got {len(decays)}",
    )
    options: dict[str, Any] = {"step": step, "lr": lr, "betas": betas, "eps": eps, "weight_decay": decays}
    _check_options(**options, grad_norm=grad_norm, max_norm=max_norm)
    for name, number in (("step", step), ("lr", lr)):
        if params and isinstance(number, Tensor) and number.device.type != "cpu":
            check_device(name, number, "params[0]", params[0])
    followers: list[Tensor | None] = [None] * len(params) if bf16_params is None else list(bf16_params)
    _check_bf16_params(params, followers)
    if not params:
        return
    if grad_norm is not None:
        check_device("grad_norm", grad_norm, "params[0]", params[0])
    updated: dict[str, Sequence[Tensor | None]] = {
        "params": params,
        "exp_avgs": exp_avgs,
        "exp_avg_sqs": exp_avg_sqs,
        "bf16_params": followers,
    }
    check_apart(updated, {"grads": grads})
    if not _are_flat_and_native(params, exp_avgs, exp_avg_sqs):
        require(
            not (transformed() and differentiates(*params, *grads)),
            lambda: "grads: adamw_ has no derivative in reverse mode; take torch.func.grad of the loss alone",
        )
        lists = (params, grads, exp_avgs, exp_avg_sqs)
        reference.adamw_(*lists, **options, grad_norm=grad_norm, max_norm=max_norm, bf16_params=followers)
        return
    kept = [bf16_param for bf16_param in followers if bf16_param is not None]
    # The schema has no "tensor or nothing" that can be written: nothing is a tensor without elements.
    written = (
        [params[0].new_empty(0) if bf16_param is None else bf16_param for bf16_param in followers]
        if kept
        else []
    )
    on_device = [
        number for number in (step, lr) if isinstance(number, Tensor) and number.device.type != "cpu"
    ]
    if on_device:
        numbers = (step, lr, *betas, eps, decays, grad_norm, max_norm or 0.0)
        _cuda(params, grads, exp_avgs, exp_avg_sqs, written, *numbers)
        note_changes([*params, *exp_avgs, *exp_avg_sqs, *kept])
        return
    # As a product the compiler keeps a number that changes in the graph; in torch.tensor(lr) it would be a constant.
    rate = lr if isinstance(lr, Tensor) else torch.ones((), dtype=torch.float64) * lr
    with torch.no_grad():
        state = (params, grads, exp_avgs, exp_avg_sqs, written)
        count = (
            int(step) if isinstance(step, Tensor) else step
        )  # int() would be a constant of a compiled graph
        OP.adamw_(*state, count, rate, *betas, eps, decays, grad_norm, max_norm or 0.0)
    note_changes([*params, *exp_avgs, *exp_avg_sqs, *kept])


def _are_flat_and_native(
    params: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor]
) -> bool:
    """True when the kernels can walk each tensor as one flat array, all of them on one device."""
    device, everything = params[0].device, (*params, *exp_avgs, *exp_avg_sqs)
    return (
        not transformed()
        and all(tensor.is_contiguous() and tensor.device == device for tensor in everything)
        and all(backend.serves(device, dtype) for dtype in {tensor.dtype for tensor in everything})
    )


def _check_moments(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
) -> None:
    """Gradients have the dtype of their parameter, or bfloat16 beside float32.

    Moments have that dtype, or float32 beside a 16-bit parameter. That they agree in shape and device is known.
    """
    for i, (param, grad, m, v) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)):
        if param.dtype == grad.dtype == m.dtype == v.dtype:
            continue
        _check_dtypes(i, param, grad, m, v)


def _check_dtypes(i: int, param: Tensor, grad: Tensor, m: Tensor, v: Tensor) -> None:
    bf16_beside_float32 = param.dtype == torch.float32 and grad.dtype == torch.bfloat16
    require(
        grad.dtype == param.dtype or bf16_beside_float32,
        lambda: (
            f"grads[{i}]: expected dtype {dtype_name(param.dtype)} as params[{i}]"
            f"{' or bfloat16' if param.dtype == torch.float32 else ''}, got {dtype_name(grad.dtype)}"
        ),
    )
    for name, tensor in (("exp_avgs", m), ("exp_avg_sqs", v)):
        check_parameter(f"{name}[{i}]", tensor, f"params[{i}]", param, tuple(param.shape))
    require(
        v.dtype == m.dtype,
        lambda: f"exp_avg_sqs[{i}]: expected both moments in one dtype, got {dtype_name(v.dtype)}",
    )


def _check_bf16_params(params: Sequence[Tensor], bf16_params: Sequence[Tensor | None]) -> None:
    """One bf16 copy, or None, for each parameter: bfloat16 beside float32, of its shape, contiguous."""
    require(
        len(bf16_params) == len(params),
        lambda: f"bf16_params: expected {len(params)} tensors or None as params, got {len(bf16_params)}",
    )
    for i, (param, bf16_param) in enumerate(zip(params, bf16_params, strict=True)):
        if bf16_param is not None:
            _check_bf16_param(f"bf16_params[{i}]", bf16_param, f"params[{i}]", param)


def _check_bf16_param(name: str, bf16_param: Tensor, like_name: str, param: Tensor) -> None:
    check_storage(name, bf16_param)
    require(
        bf16_param.dtype == torch.bfloat16 and param.dtype == torch.float32,
        lambda: (
            f"{name}: expected bfloat16 beside a float32 parameter, "
            f"got {dtype_name(bf16_param.dtype)} beside {dtype_name(param.dtype)}"
        ),
    )
    require(
        bf16_param.shape == param.shape and bf16_param.is_contiguous(),
        lambda: (
            f"{name}: expected a contiguous tensor of shape {tuple(param.shape)} as {like_name}, "
            f"got shape {tuple(bf16_param.shape)}"
        ),
    )
    check_device(name, bf16_param, like_name, param)


def _check_options(
    *,
    step: int | Tensor,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: Sequence[float],
    grad_norm: Tensor | None,
    max_norm: float | None,
) -> None:
    """The numbers of an AdamW step."""
    _check_step(step)
    _check_rate(lr)
    require(
        isinstance(betas, Sequence) and len(betas) == 2 and all(is_number(b) and 0 <= b < 1 for b in betas),
        lambda: f"betas: expected two numbers in [0, 1), got {quoted(betas)}",
    )
    check_from_zero("eps", eps)
    for i, decay in enumerate(weight_decay):
        if not (is_number(decay) and 0 <= decay < math.inf):
            check_from_zero(f"weight_decay[{i}]", decay)
    require(
        max_norm is None or (is_number(max_norm) and 0 < max_norm < math.inf),
        lambda: f"max_norm: expected a finite number above 0, got {quoted(max_norm)}",
    )
    require(
        max_norm is None or grad_norm is not None,
        lambda: "grad_norm: expected a tensor beside max_norm, got None",
    )
    if grad_norm is not None:
        require(
            isinstance(grad_norm, Tensor)
            and grad_norm.numel() == 1
            and grad_norm.dtype in (torch.float32, torch.float64),
            lambda: (
                "grad_norm: expected a tensor of one float32 or float64 number, got "
                + (
                    f"shape {tuple(grad_norm.shape)} of {dtype_name(grad_norm.dtype)}"
                    if isinstance(grad_norm, Tensor)
                    else type(grad_norm).__name__
                )
            ),
        )


def _check_step(step: int | Tensor) -> None:
    """A count of steps: a number, or a tensor of one, whose value is read where that waits for no device."""
    count: Any = step
    if isinstance(step, Tensor):
        shape, dtype = tuple(step.shape), step.dtype
        require(
            step.numel() == 1 and dtype in (torch.int64, torch.float32, torch.float64),
            lambda: (
                f"step: expected one int64, float32 or float64 number, got shape {shape} of {dtype_name(dtype)}"
            ),
        )
        if step.device.type != "cpu" or not has_values(step):
            return
        count = step.item() if dtype == torch.int64 else int(step.item())
    require(
        is_number(count) and not isinstance(count, float) and 1 <= count < 2**63,
        lambda: f"step: expected a count from 1 on, got {quoted(count)}",
    )


def _check_rate(lr: float | Tensor) -> None:
    """A learning rate: a number, or a tensor of one, whose value is read where that waits for no device."""
    if not isinstance(lr, Tensor):
        check_from_zero("lr", lr)
        return
    require(
        lr.numel() == 1 and lr.dtype in (torch.float32, torch.float64),
        lambda: (
            f"lr: expected one float32 or float64 number, "
            f"got shape {tuple(lr.shape)} of {dtype_name(lr.dtype)} on {lr.device}"
        ),
    )
    if lr.device.type == "cpu" and has_values(lr):
        check_from_zero("lr", lr.item())


operator = Operator("adamw_")


@operator.fake
def _fake(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    bf16_params: list[Tensor],
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


_kernel = cuda.Kernel(
    "adamw",
    [cuda.INT] * 3
    + [cuda.INT64]
    + [cuda.POINTER] * 7
    + [cuda.INT64, cuda.DOUBLE]
    + [cuda.POINTER] * 2
    + [cuda.DOUBLE] * 3
    + [cuda.POINTER, cuda.DOUBLE, cuda.POINTER],
)


@operator.cuda
def _cuda(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    bf16_params: list[Tensor],
    step: int | Tensor,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: list[float],
    grad_norm: Tensor | None,
    max_norm: float,
) -> None:
    if not params:
        return
    device = params[0].device
    norm = None if grad_norm is None else grad_norm.to(device=device, dtype=torch.float32)
    grads = [grad.contiguous() for grad in grads]
    followers = bf16_params or [p.new_empty(0) for p in params]
    groups: dict[tuple[int, int, int, bool], list[int]] = {}  # one launch handles one combination of dtypes
    for i, (p, g, m, v, copy) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, followers, strict=True)):
        has_copy = copy.numel() > 0
        cuda.require_on(device, params=p, grads=g, exp_avgs=m, exp_avg_sqs=v, bf16_params=copy)
        cuda.require_shape(
            p.shape, grads=g, exp_avgs=m, exp_avg_sqs=v, bf16_params=copy if has_copy else None
        )
        cuda.require_dtype(m.dtype, exp_avg_sqs=v)
        cuda.require_dtype(torch.bfloat16, bf16_params=copy if has_copy else None)
        if not all(tensor.is_contiguous() for tensor in (p, m, v, copy)):
            raise ValueError(
                f"params, exp_avgs, exp_avg_sqs, bf16_params: expected contiguous tensors, number {i} is not"
            )
        codes = cuda.code("params", p), cuda.code("grads", g), cuda.code("exp_avgs", m)
        groups.setdefault((*codes, has_copy), []).append(i)
    numbers = (
        *_step_and_rate(step, lr, device),
        beta1,
        beta2,
        eps,
        norm,
        max_norm if norm is not None else 0.0,
    )
    for (*kinds, has_copies), members in groups.items():
        lists = [
            cuda.pointers([tensors[i] for i in members])
            for tensors in (params, grads, exp_avgs, exp_avg_sqs, *([followers] if has_copies else []))
        ]
        sizes = (ctypes.c_int64 * len(members))(*(params[i].numel() for i in members))
        decays = (ctypes.c_double * len(members))(*(weight_decay[i] for i in members))
        _kernel(
            device, *kinds, len(members), *lists, *([] if has_copies else [None]), sizes, decays, *numbers
        )


_SCRATCH_DOUBLES = 8  # GPT2X_CUDA_ADAMW_SCRATCH_BYTES of the header


def _step_and_rate(step: int | Tensor, lr: Tensor | float, device: torch.device) -> tuple[Any, ...]:
    """Both as the kernel takes them: two numbers, or where one stands on the device, both there, and scratch."""
    if all(not isinstance(number, Tensor) or number.device.type == "cpu" for number in (step, lr)):
        return int(step), float(lr), None, None
    both = [
        number.detach().reshape(()).to(device=device, dtype=torch.float64)
        if isinstance(number, Tensor)
        else torch.full((), number, dtype=torch.float64, device=device)
        for number in (step, lr)
    ]
    return 0, 0.0, torch.stack(both), torch.empty(_SCRATCH_DOUBLES, dtype=torch.float64, device=device)
