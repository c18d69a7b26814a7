"""GELU of a biased input in one pass."""

from __future__ import annotations

from torch import Tensor

from gpt2x.ops import bias_activation, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.library import OP, Operator


def bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU (tanh form, as GPT-2) of ``x + bias`` in one pass.

    Args:
        x: (..., C), float32, bfloat16, float16 or float64.
        bias: (C,), in x's dtype, or float32 beside a 16-bit x; or None.

    Returns:
        Shaped and typed like x.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> import torch
    >>> bias_gelu(torch.tensor([0.0, 10.0])).tolist()
    [0.0, 10.0]

    """
    bias_activation.check(x, bias)
    if not is_native(x):
        return reference.bias_gelu(x, bias)
    y: Tensor = OP.bias_gelu(x, bias)
    return y


operator = Operator("bias_gelu")
backward = Operator("bias_gelu_backward", called=False)
_cuda, _cuda_backward = bias_activation.register(operator, backward, reference.bias_gelu)
