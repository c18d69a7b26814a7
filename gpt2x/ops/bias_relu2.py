"""ReLU² of a biased input in one pass."""

from __future__ import annotations

from torch import Tensor

from gpt2x.ops import bias_activation, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.library import OP, Operator


def bias_relu2(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """ReLU², ``max(0, x + bias)²``, in one pass.

    Args:
        x: (..., C), float32, bfloat16, float16 or float64.
        bias: (C,), in x's dtype, or float32 beside a 16-bit x; or None.

    Returns:
        Shaped and typed like x.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> import torch
    >>> bias_relu2(torch.tensor([-2.0, 2.0]), torch.tensor([1.0, 1.0])).tolist()
    [0.0, 9.0]

    """
    bias_activation.check(x, bias)
    if not is_native(x):
        return reference.bias_relu2(x, bias)
    y: Tensor = OP.bias_relu2(x, bias)
    return y


operator = Operator("bias_relu2")
backward = Operator("bias_relu2_backward", called=False)
_cuda, _cuda_backward = bias_activation.register(operator, backward, reference.bias_relu2)
