"""The Euclidean norm over many tensors: the call, and how CUDA computes it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from gpt2x.ops import backend, cuda, reference
from gpt2x.ops.checks import check_device, check_storage
from gpt2x.ops.derivatives import differentiates, transformed
from gpt2x.ops.library import OP, Operator, accumulation_dtype


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors laid end to end: the number that gradient clipping compares.

    Args:
        tensors: of any shapes, on one device. The result does not depend on the number of threads.

    Returns:
        0-dim float32 (float64 when the tensors are); 0 for an empty list. Where autograd records and a tensor needs a
        gradient, the plain-torch reference serves, so that the gradient flows.

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
    return OP.global_norm(tensors)


def _all_native(tensors: Sequence[Tensor]) -> bool:
    """True when one native call can take all of them: same dtype class, dtypes that the kernels know."""
    dtypes, device = {tensor.dtype for tensor in tensors}, tensors[0].device
    return (
        not transformed()
        and (len(dtypes) == 1 or torch.float64 not in dtypes)
        and all(backend.serves(device, dtype) for dtype in dtypes)
    )


operator = Operator("global_norm")


@operator.fake
def _fake(tensors: list[Tensor]) -> Tensor:
    return tensors[0].new_empty((), dtype=accumulation_dtype(tensors[0].dtype))


_kernel = cuda.Kernel("global_norm", [cuda.INT64] + [cuda.POINTER] * 6)


@operator.cuda
def _cuda(tensors: list[Tensor]) -> Tensor:
    device = tensors[0].device
    for i, tensor in enumerate(tensors):
        cuda.require_on(device, **{f"tensors[{i}]": tensor})
    tensors = [tensor.contiguous() for tensor in tensors]
    count = len(tensors)
    codes = (ctypes.c_int * count)(*(cuda.code(f"tensors[{i}]", tensor) for i, tensor in enumerate(tensors)))
    sizes = (ctypes.c_int64 * count)(*(tensor.numel() for tensor in tensors))
    partials = torch.empty(count * cuda.norm_blocks(), dtype=torch.float64, device=device)
    norm = torch.empty((), dtype=torch.float32, device=device)
    _kernel(device, count, cuda.pointers(tensors), sizes, codes, partials, norm)
    return norm
