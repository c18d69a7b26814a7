"""Checks of operator arguments; each message names the argument, what was expected and what came.

They run in Python before any implementation, so that the fused operators and their plain-torch twins refuse the same
things in the same words. `csrc/ops/checks.h` repeats only what keeps the native code inside its buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gpt2x.errors import quoted
from gpt2x.ops import derivatives

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
"""What a loss may be reduced to, with the numbers that the native code knows it by (those of ATen)."""

STORAGE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def require(condition: bool, message: Callable[[], str]) -> None:
    """Raise ValueError with the message unless the condition holds.

    The message is a function, as in `torch._check`: it is put together only where it is shown, which is faster, and
    the compiler cannot put sizes and numbers into it that it knows only as symbols.
    """
    if not condition:
        raise ValueError(message())


def check_storage(name: str, tensor: Tensor) -> None:
    """A floating-point tensor of a dtype that the operators know."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if not torch.compiler.is_compiling():  # the compiler may not ask in a backward pass, and makes dense ones
        require(
            tensor.layout == torch.strided,
            lambda: f"{name}: expected a dense tensor, got layout {tensor.layout}",
        )
    require(
        tensor.dtype in STORAGE_DTYPES,
        lambda: (
            f"{name}: expected dtype float32, bfloat16, float16 or float64, got {dtype_name(tensor.dtype)}"
        ),
    )


def check_parameter(name: str, tensor: Tensor, like_name: str, like: Tensor, shape: tuple[int, ...]) -> None:
    """A parameter of the given shape, in the dtype of `like` or in float32 beside a shorter one, on its device."""
    check_storage(name, tensor)
    require(
        tuple(tensor.shape) == shape, lambda: f"{name}: expected shape {shape}, got {tuple(tensor.shape)}"
    )
    check_device(name, tensor, like_name, like)
    wide_beside_short = tensor.dtype == torch.float32 and like.dtype in (torch.bfloat16, torch.float16)
    require(
        tensor.dtype == like.dtype or wide_beside_short,
        lambda: (
            f"{name}: expected dtype {dtype_name(like.dtype)} as {like_name}"
            f"{' or float32' if like.itemsize == 2 else ''}, got {dtype_name(tensor.dtype)}"
        ),
    )


def check_device(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    """Two tensors that are used together live on one device."""
    require(
        tensor.device == like.device,
        lambda: f"{name}: expected device {like.device} as {like_name}, got {tensor.device}",
    )


def check_shape(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    """Two tensors of one shape."""
    require(
        tensor.shape == like.shape,
        lambda: f"{name}: expected shape {tuple(like.shape)} as {like_name}, got {tuple(tensor.shape)}",
    )


def check_dtype(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    """Two tensors of one dtype."""
    require(
        tensor.dtype == like.dtype,
        lambda: (
            f"{name}: expected dtype {dtype_name(like.dtype)} as {like_name}, got {dtype_name(tensor.dtype)}"
        ),
    )


def check_targets(targets: Tensor, hidden: Tensor) -> None:
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


def check_range(name: str, ids: Tensor, size: int, ignore_index: int | None = None) -> None:
    """Every id is in 0..size-1, or equals `ignore_index`, where the ids can be read without waiting for a GPU.

    Elsewhere torch's own indexing finds it, when the values are there.

    Raises:
        IndexError: naming the first one that is not.

    """
    if ids.device.type != "cpu" or not has_values(ids):
        return
    bad = (ids < 0) | (ids >= size)
    if ignore_index is not None:
        bad &= ids != ignore_index
    if not bool(bad.any()):
        return
    where = int(bad.flatten().nonzero()[0])
    allowed = f"0..{size - 1}" + ("" if ignore_index is None else f" or ignore_index {ignore_index}")
    raise IndexError(f"{name}: expected ids in {allowed}, got {int(ids.flatten()[where])} at row {where}")


def has_values(tensor: Tensor) -> bool:
    """True for a tensor whose memory can be read: neither fake nor meta, nor one that a transform stands for."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type != "meta"
        and not torch.compiler.is_compiling()
        and not derivatives.transformed()
    )


def check_same_tensors(lists: dict[str, Sequence[Tensor]]) -> None:
    """Several lists of tensors that agree in length and, place by place, in shape and device."""
    first_name, first = next(iter(lists.items()))
    for name, tensors in lists.items():
        _check_length(name, tensors, first_name, first)
    for name, tensors in lists.items():
        for i, (tensor, like) in enumerate(zip(tensors, first, strict=True)):
            # Hundreds of tensors a step: names are put together only for the one that does not fit.
            if not (
                isinstance(tensor, Tensor)
                and tensor.dtype in STORAGE_DTYPES
                and tensor.shape == like.shape
                and tensor.device == like.device
            ):
                _check_like(f"{name}[{i}]", tensor, f"{first_name}[{i}]", like)


def _check_length(name: str, tensors: Sequence[Tensor], like_name: str, like: Sequence[Tensor]) -> None:
    require(
        len(tensors) == len(like),
        lambda: f"{name}: expected {len(like)} tensors as {like_name}, got {len(tensors)}",
    )


def _check_like(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    check_storage(name, tensor)
    check_shape(name, tensor, like_name, like)
    check_device(name, tensor, like_name, like)


def check_moments(
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
    short_beside_wide = param.dtype == torch.float32 and grad.dtype == torch.bfloat16
    require(
        grad.dtype == param.dtype or short_beside_wide,
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


def check_shadows(params: Sequence[Tensor], shadows: Sequence[Tensor | None]) -> None:
    """One shadow, or None, for each parameter: bfloat16 beside float32, of its shape, contiguous."""
    require(
        len(shadows) == len(params),
        lambda: f"shadows: expected {len(params)} tensors or None as params, got {len(shadows)}",
    )
    for i, (param, shadow) in enumerate(zip(params, shadows, strict=True)):
        if shadow is not None:
            _check_shadow(f"shadows[{i}]", shadow, f"params[{i}]", param)


def _check_shadow(name: str, shadow: Tensor, like_name: str, param: Tensor) -> None:
    check_storage(name, shadow)
    require(
        shadow.dtype == torch.bfloat16 and param.dtype == torch.float32,
        lambda: (
            f"{name}: expected bfloat16 beside a float32 parameter, "
            f"got {dtype_name(shadow.dtype)} beside {dtype_name(param.dtype)}"
        ),
    )
    require(
        shadow.shape == param.shape and shadow.is_contiguous(),
        lambda: (
            f"{name}: expected a contiguous tensor of shape {tuple(param.shape)} as {like_name}, "
            f"got shape {tuple(shadow.shape)}"
        ),
    )
    check_device(name, shadow, like_name, param)


def check_cache(name: str, tensor: Tensor, query: Tensor) -> None:
    """Keys or values (B, H, S, D) of a query (B, H, D), in its dtype, on its device."""
    B, H, D = query.shape
    check_storage(name, tensor)
    require(
        tensor.dim() == 4 and (tensor.shape[0], tensor.shape[1], tensor.shape[3]) == (B, H, D),
        lambda: f"{name}: expected ({B}, {H}, S, {D}), got {tuple(tensor.shape)}",
    )
    require(tensor.shape[2] > 0, lambda: f"{name}: expected S > 0 tokens, got shape {tuple(tensor.shape)}")
    check_dtype(name, tensor, "query", query)
    check_device(name, tensor, "query", query)


def check_reduction(reduction: str) -> None:
    """What becomes of the losses of the rows."""
    require(
        isinstance(reduction, str) and reduction in REDUCTIONS,
        lambda: f"reduction: expected mean, sum or none, got {quoted(reduction)}",
    )


def check_loss_terms(label_smoothing: float, z_loss: float) -> None:
    """The numbers that `linear_cross_entropy` adds to the plain loss; NaN fits neither."""
    require(
        _is_number(label_smoothing) and 0 <= label_smoothing < 1,
        lambda: f"label_smoothing: expected a number in [0, 1), got {quoted(label_smoothing)}",
    )
    check_from_zero("z_loss", z_loss)


def check_ids(name: str, ids: Tensor, shape: tuple[int, ...], like_name: str, like: Tensor) -> None:
    """Token ids are int64, of the given shape, on the device of `like`."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        got = dtype_name(ids.dtype) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"{name}: expected a tensor of dtype int64, got {got}")
    require(tuple(ids.shape) == shape, lambda: f"{name}: expected shape {shape}, got {tuple(ids.shape)}")
    check_device(name, ids, like_name, like)


def check_adamw_options(
    *,
    step: int,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: Sequence[float],
    grad_norm: Tensor | None,
    max_norm: float | None,
) -> None:
    """The numbers of an AdamW step."""
    require(
        _is_number(step) and not isinstance(step, float) and 1 <= step < 2**63,
        lambda: f"step: expected a count from 1 on, got {quoted(step)}",
    )
    check_rate(lr)
    require(
        isinstance(betas, Sequence) and len(betas) == 2 and all(_is_number(b) and 0 <= b < 1 for b in betas),
        lambda: f"betas: expected two numbers in [0, 1), got {quoted(betas)}",
    )
    check_from_zero("eps", eps)
    for i, decay in enumerate(weight_decay):
        if not (_is_number(decay) and 0 <= decay < math.inf):
            check_from_zero(f"weight_decay[{i}]", decay)
    require(
        max_norm is None or (_is_number(max_norm) and 0 < max_norm < math.inf),
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


def check_rate(lr: float | Tensor) -> None:
    """A learning rate: a number, or a tensor of one on the CPU, whose value is read where it is known."""
    if not isinstance(lr, Tensor):
        check_from_zero("lr", lr)
        return
    require(
        lr.numel() == 1 and lr.dtype in (torch.float32, torch.float64) and lr.device.type == "cpu",
        lambda: (
            f"lr: expected one float32 or float64 number on the CPU, "
            f"got shape {tuple(lr.shape)} of {dtype_name(lr.dtype)} on {lr.device}"
        ),
    )
    if has_values(lr):
        check_from_zero("lr", lr.item())


def check_from_zero(name: str, value: float) -> None:
    """A finite number that is not negative; NaN is neither."""
    require(
        _is_number(value) and 0 <= value < math.inf,
        lambda: f"{name}: expected a finite number from 0 on, got {quoted(value)}",
    )


def check_integer(name: str, value: int) -> None:
    """A whole number of any kind, Python's or NumPy's or the compiler's."""
    require(
        isinstance(value, int | torch.SymInt) or hasattr(value, "__index__"),
        lambda: f"{name}: expected a whole number, got {quoted(value)}",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | torch.SymInt | torch.SymFloat) or hasattr(value, "__float__")


class _Span(NamedTuple):
    """The bytes from a tensor's first element to the end of its last one."""

    begin: int
    end: int
    is_written: bool
    name: str
    place: int
    tensor: Tensor


def check_apart(written: dict[str, Sequence[Tensor | None]], read: dict[str, Sequence[Tensor]]) -> None:
    """No tensor that is written shares memory with another one of the call; what is only read may be the same twice.

    Raises:
        ValueError: naming both.

    """
    spans = [
        _span(tensor, is_written, name, place)
        for is_written, lists in ((True, written), (False, read))
        for name, tensors in lists.items()
        for place, tensor in enumerate(tensors)
        if tensor is not None and has_values(tensor) and tensor.numel() > 0
    ]
    spans.sort(key=_begin)
    reaching: list[
        _Span
    ] = []  # spans that reach beyond the beginning of the next one; hardly ever more than one
    for span in spans:
        reaching = [other for other in reaching if other.end > span.begin]
        for other in reaching:
            if (span.is_written or other.is_written) and _share_memory(span.tensor, other.tensor):
                names = sorted((f"{name}[{place}]" for *_, name, place, _ in (span, other)))
                raise ValueError(
                    f"{names[0]} and {names[1]} share memory; expected each tensor that is updated in memory of its own"
                )
        reaching.append(span)


def _begin(span: _Span) -> int:
    return span.begin


def _span(tensor: Tensor, is_written: bool, name: str, place: int) -> _Span:
    begin, count = tensor.data_ptr(), tensor.numel()
    reach = count if tensor.is_contiguous() else _reach(tensor)
    require(
        reach >= count or not is_written,
        lambda: (
            f"{name}[{place}]: expected each element in memory of its own, got a tensor that was expanded"
        ),
    )
    return _Span(begin, begin + reach * tensor.itemsize, is_written, name, place, tensor)


def _reach(tensor: Tensor) -> int:
    """How many elements lie between the first and the end of the last one in memory."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """For tensors whose spans overlap: columns of one matrix, for example, interleave and share nothing."""
    if (one.is_contiguous() and other.is_contiguous()) or one.itemsize != other.itemsize:
        return True
    places = [
        tensor.data_ptr() // tensor.itemsize
        + torch.arange(_reach(tensor)).as_strided(tensor.shape, tensor.stride()).flatten()
        for tensor in (one, other)
    ]
    return bool(torch.isin(*places).any())


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")
