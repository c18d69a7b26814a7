"""Means of several lists of tensors: the call. On a GPU torch's own operations serve."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt2x.ops import backend, cuda, reference
from gpt2x.ops.calling import note_changes
from gpt2x.ops.checks import (
    check_apart,
    check_device,
    check_dtype,
    check_same_tensors,
    dtype_name,
    has_values,
    require,
)
from gpt2x.ops.derivatives import differentiates, transformed
from gpt2x.ops.library import OP, Operator, accumulation_dtype


def mean_(out: Sequence[Tensor], addends: Sequence[Sequence[Tensor]]) -> Tensor:
    """Write to each tensor of `out` the mean of the J tensors that stand in its place: of the gradients of J ranks.

    They are added in their order in float32 and divided by J: to the last bit what ``copy_``, ``add_`` and ``div_``
    make, in one pass. Where autograd records and a tensor needs a gradient, or in `torch.func`, these three serve.

    Args:
        out: float32, or float64 where the addends are; of any shapes, on one device. Each in memory of its own, but
            that it may be the first of its addends.
        addends: J lists as long as out, of tensors of the same shapes; the J in one place have one dtype.

    Returns:
        0-dim float64: the sum of the squares of all that was written, for the means' global norm. It does not depend
        on the number of threads, nor do the means.

    Raises:
        ValueError: lists, shapes, dtypes or devices that do not fit, or tensors that share memory; the message names
            it.

    >>> mean = torch.zeros(2)
    >>> mean_([mean], [[torch.tensor([1.0, 4.0])], [torch.tensor([3.0, 4.0])]]).item()
    20.0
    >>> mean.tolist()
    [2.0, 4.0]

    """
    out, addends = list(out), [list(tensors) for tensors in addends]
    require(len(addends) > 0, lambda: "addends: expected at least one list of tensors, got none")
    lists = {f"addends[{j}]": tensors for j, tensors in enumerate(addends)}
    check_same_tensors({"out": out, **lists})
    _check_dtypes(out, addends)
    first = [None if _are_same(one, other) else other for one, other in zip(out, addends[0], strict=True)]
    check_apart({"out": out}, {**lists, "addends[0]": first})
    flat = [tensor for tensors in addends for tensor in tensors]
    if not out or differentiates(*out, *flat) or not _are_flat_and_native(out, flat):
        return reference.mean_(out, addends)
    squares: Tensor = OP.mean_(out, flat)
    note_changes(out)
    return squares


def _check_dtypes(out: Sequence[Tensor], addends: Sequence[Sequence[Tensor]]) -> None:
    """The addends of a place have one dtype, and the mean their accumulation dtype; all stand on one device."""
    for i, (mean, *own) in enumerate(zip(out, *addends, strict=True)):
        if mean.device != out[0].device:
            check_device(f"out[{i}]", mean, "out[0]", out[0])
        for j, addend in enumerate(own):
            if addend.dtype != own[0].dtype:
                check_dtype(f"addends[{j}][{i}]", addend, f"addends[0][{i}]", own[0])
        expected = accumulation_dtype(own[0].dtype)
        if mean.dtype != expected:
            raise ValueError(
                f"out[{i}]: expected dtype {dtype_name(expected)} for addends of {dtype_name(own[0].dtype)}, "
                f"got {dtype_name(mean.dtype)}"
            )


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape are the same elements in memory."""
    return one is other or (
        has_values(one)
        and has_values(other)
        and one.data_ptr() == other.data_ptr()
        and (one.dtype, one.stride()) == (other.dtype, other.stride())
    )


def _are_flat_and_native(out: Sequence[Tensor], addends: Sequence[Tensor]) -> bool:
    """True when a kernel can walk each mean as one flat array."""
    return (
        not transformed()
        and all(mean.is_contiguous() for mean in out)
        and all(backend.serves(out[0].device, dtype) for dtype in {addend.dtype for addend in addends})
    )


operator = Operator("mean_")


@operator.fake
def _fake(out: list[Tensor], addends: list[Tensor]) -> Tensor:
    return out[0].new_empty((), dtype=torch.float64)


@operator.torch_on_cuda
def _cuda(out: list[Tensor], addends: list[Tensor]) -> Tensor:
    """The reference: nobody takes means on a GPU, where ranks exchange them through NCCL."""
    for i, addend in enumerate(addends):
        cuda.require_on(out[0].device, addends=addend, out=out[i % len(out)])
        cuda.require_shape(out[i % len(out)].shape, addends=addend)
    return reference.mean_(out, [addends[i : i + len(out)] for i in range(0, len(addends), len(out))])
