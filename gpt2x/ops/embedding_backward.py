"""The gradient of an embedding, added where it belongs: the call. On a GPU torch's own indexing serves."""

from __future__ import annotations

import torch
from torch import Tensor

from gpt2x.ops import cuda, reference
from gpt2x.ops.calling import as_rows, is_native, note_changes
from gpt2x.ops.checks import (
    check_apart,
    check_ids,
    check_parameter,
    check_range,
    check_storage,
    require,
    shape_or_type,
)
from gpt2x.ops.derivatives import differentiates
from gpt2x.ops.library import OP, Operator


def embedding_backward_(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """Add an embedding's gradient to `dweight` in place: ``dweight[ids[n]] += dy[n]``.

    Where the embedding shares its matrix with the output layer, the gradient of that layer is there already; adding
    N rows to it replaces a matrix of zeros and a pass over both. The result does not depend on the number of threads.
    Where autograd records and one of the two needs a gradient, torch's own indexing serves, so that the gradient flows.

    Args:
        dweight: (V, C), contiguous, in memory of its own; in dy's dtype, or float32 beside a 16-bit dy.
        dy: (..., C) gradient of the embedded tokens.
        ids: (...) int64 in 0..V-1; there is no id for padding, and none is counted from the end.

    Raises:
        ValueError: a dtype, shape or device does not fit, or dy shares memory with dweight; the message names the
            argument.
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
        lambda: f"dweight: expected a contiguous (V, C), got {shape_or_type(dweight)}",
    )
    V, C = dweight.shape
    require(
        dy.dim() >= 1 and dy.shape[-1] == C,
        lambda: f"dy: expected (..., {C}) as dweight, got {tuple(dy.shape)}",
    )
    check_parameter("dweight", dweight, "dy", dy, (V, C))
    check_ids("ids", ids, tuple(dy.shape[:-1]), "dy", dy)
    check_apart({"dweight": [dweight]}, {"dy": [dy]})
    if differentiates(dweight, dy) or not is_native(dy):
        check_range("ids", ids, V)  # the kernel does it itself
        reference.embedding_backward_(dweight, dy, ids)
        return
    OP.embedding_backward_(dweight, as_rows(dy), ids.reshape(-1))
    note_changes([dweight])


operator = Operator("embedding_backward_")


@operator.fake
def _fake(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    return None


@operator.torch_on_cuda
def _cuda(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """The reference: torch sorts the ids and adds a token's rows one after the other, the same bits in every run."""
    cuda.require_on(dweight.device, dy=dy, ids=ids)
    cuda.require_shape((ids.numel(), dweight.shape[1]), dy=dy)
    cuda.require_dtype(torch.int64, ids=ids)
    reference.embedding_backward_(dweight, dy, ids)
