"""Checks of operator arguments; each message names the argument, what was expected and what came.

They run in Python before any implementation, so that the fused operators and plain torch refuse the same things in
the same words. `csrc/ops/checks.h` repeats only what keeps the native code inside its buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gpt2x.errors import quoted
from gpt2x.ops import derivatives

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
    """A parameter of the given shape, in the dtype of `like` or in float32 beside a 16-bit one, on its device."""
    check_storage(name, tensor)
    require(
        tuple(tensor.shape) == shape, lambda: f"{name}: expected shape {shape}, got {tuple(tensor.shape)}"
    )
    check_device(name, tensor, like_name, like)
    float32_beside_16_bits = tensor.dtype == torch.float32 and like.dtype in (torch.bfloat16, torch.float16)
    require(
        tensor.dtype == like.dtype or float32_beside_16_bits,
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


def check_ids(name: str, ids: Tensor, shape: tuple[int, ...], like_name: str, like: Tensor) -> None:
    """Token ids are int64, of the given shape, on the device of `like`."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        got = dtype_name(ids.dtype) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"{name}: expected a tensor of dtype int64, got {got}")
    require(tuple(ids.shape) == shape, lambda: f"{name}: expected shape {shape}, got {tuple(ids.shape)}")
    check_device(name, ids, like_name, like)


def check_qkv(name: str, qkv: Tensor, num_heads: int) -> None:
    """Queries, keys and values side by side, (B, T, 3 C), of heads that divide C."""
    check_storage(name, qkv)
    require(
        qkv.dim() == 3 and qkv.shape[2] % 3 == 0 and qkv.shape[2] > 0,
        lambda: f"{name}: expected (B, T, 3 C) with C > 0, got {shape_or_type(qkv)}",
    )
    check_integer("num_heads", num_heads)
    C = qkv.shape[2] // 3
    require(
        num_heads > 0 and C % num_heads == 0,
        lambda: f"num_heads: expected a divisor of C = {C}, got {num_heads}",
    )


def check_from_zero(name: str, value: float) -> None:
    """A finite number that is not negative; NaN is neither."""
    require(
        is_number(value) and 0 <= value < math.inf,
        lambda: f"{name}: expected a finite number from 0 on, got {quoted(value)}",
    )


def check_integer(name: str, value: int) -> None:
    """A whole number of any kind, Python's or NumPy's or the compiler's."""
    require(
        isinstance(value, int | torch.SymInt) or hasattr(value, "__index__"),
        lambda: f"{name}: expected a whole number, got {quoted(value)}",
    )


def is_number(value: object) -> bool:
    """Whether a number of Python's, NumPy's or the compiler's."""
    return isinstance(value, int | float | torch.SymInt | torch.SymFloat) or hasattr(value, "__float__")


class _Span(NamedTuple):
    """The bytes from a tensor's first element to the end of its last one."""

    begin: int
    end: int
    is_written: bool
    name: str
    place: int
    tensor: Tensor


def check_apart(
    written: dict[str, Sequence[Tensor | None]], read: dict[str, Sequence[Tensor | None]]
) -> None:
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


def shape_or_type(value: object) -> str:
    """What came, for a message: the shape of a tensor, else the type."""
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
