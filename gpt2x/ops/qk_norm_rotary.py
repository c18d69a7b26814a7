"""QK-norm and rotary positions in one pass over a projection's rows: the call and its gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gpt2x.ops import derivatives, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.checks import check_device, check_qkv, check_storage, require
from gpt2x.ops.library import OP, Operator, accumulation_dtype

Rotation = tuple[Tensor, Tensor]


def qk_norm_rotary(
    qkv: Tensor, num_heads: int, rotation: Rotation | None = None, *, qk_norm: bool = True
) -> Tensor:
    """Normalise queries and keys and turn them by their position, in H heads at once; values stay as they are.

    What stands between the projection and `gpt2x.ops.causal_attention` in a model with QK-norm, rotary positions or
    both. Statistics and angles are float32 (float64 for float64). Backward computes the norm again from qkv; without
    QK-norm it keeps the rotation alone.

    Args:
        qkv: (B, T, 3 C), as `gpt2x.ops.causal_attention` reads it.
        num_heads: H, a divisor of C; D = C / H.
        rotation: cosines and sines of the T positions, (T, D) each of any dtype: ``y_i = x_i cos_i + x_p(i) sin_i``
            where p exchanges the halves of a head. Positions turn pairs where both halves of `cos` are the same and
            the second half of `sin` is the first with its sign changed, as `gpt2x.model.gpt.rotation_at` gives them.
            None: nothing is turned.
        qk_norm: divide every head by its root mean square.

    Returns:
        Shaped and typed like qkv.

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    >>> import torch
    >>> qkv = torch.tensor([[[3.0, 4.0, 0.0, 5.0, 6.0, 7.0]]])  # one head of two channels
    >>> quarter = (torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, 1.0]]))
    >>> qk_norm_rotary(qkv, 1, quarter, qk_norm=False).tolist()
    [[[-4.0, 3.0, -5.0, 0.0, 6.0, 7.0]]]

    """
    check_qkv("qkv", qkv, num_heads)
    if rotation is not None:
        _check_rotation(rotation, qkv, qkv.shape[2] // (3 * num_heads))
    if not is_native(qkv) or (rotation is not None and derivatives.differentiates(*rotation)):
        return reference.qk_norm_rotary(qkv, num_heads, rotation, qk_norm=qk_norm)
    dtype = accumulation_dtype(qkv.dtype)
    cos, sin = (None, None) if rotation is None else (part.to(dtype) for part in rotation)
    y: Tensor = OP.qk_norm_rotary(qkv, cos, sin, num_heads, qk_norm)
    return y


def _check_rotation(rotation: Rotation, qkv: Tensor, D: int) -> None:
    require(D % 2 == 0, lambda: f"rotation: expected None for heads of {D} channels, which is an odd number")
    require(len(rotation) == 2, lambda: f"rotation: expected cosines and sines, got {len(rotation)} tensors")
    for place, part in enumerate(rotation):
        _check_part(f"rotation[{place}]", part, qkv, (qkv.shape[1], D))


def _check_part(name: str, part: Tensor, qkv: Tensor, shape: tuple[int, int]) -> None:
    check_storage(name, part)
    check_device(name, part, "qkv", qkv)
    require(tuple(part.shape) == shape, lambda: f"{name}: expected shape {shape}, got {tuple(part.shape)}")


operator = Operator("qk_norm_rotary")
backward = Operator("qk_norm_rotary_backward", called=False)


@operator.fake
def _fake(qkv: Tensor, cos: Tensor | None, sin: Tensor | None, num_heads: int, qk_norm: bool) -> Tensor:
    return qkv.new_empty(qkv.shape)


@backward.fake
def _backward_fake(
    dy: Tensor, qkv: Tensor | None, cos: Tensor | None, sin: Tensor | None, num_heads: int
) -> Tensor:
    return dy.new_empty(dy.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, cos, sin, ctx.num_heads, qk_norm = inputs
    ctx.save_for_backward(qkv if qk_norm else None, cos, sin)


@operator.gradient(_setup)
def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, None, None]:
    qkv, cos, sin = ctx.saved_tensors
    differentiate = _by_torch if derivatives.asked_again() else OP.qk_norm_rotary_backward
    return differentiate(dy, qkv, cos, sin, ctx.num_heads), None, None, None, None


def _by_torch(
    dy: Tensor, qkv: Tensor | None, cos: Tensor | None, sin: Tensor | None, num_heads: int
) -> Tensor | None:
    """The gradient in plain torch, which can be differentiated again."""
    rotation = None if cos is None or sin is None else (cos, sin)
    if qkv is None:  # the transposed rotation
        if rotation is not None:
            rotation = rotation[0], rotation[1].roll(rotation[1].shape[-1] // 2, dims=-1)
        return reference.qk_norm_rotary(dy, num_heads, rotation, qk_norm=False)

    def again(qkv: Tensor) -> Tensor:
        return reference.qk_norm_rotary(qkv, num_heads, rotation)

    return derivatives.through_reference(again, (qkv,), (True,), dy)[0]


# ----------------------------------------------------------------------------------------------------------------
# On a GPU: torch's own operations.


@operator.torch_on_cuda
def _cuda(qkv: Tensor, cos: Tensor | None, sin: Tensor | None, num_heads: int, qk_norm: bool) -> Tensor:
    rotation = None if cos is None or sin is None else (cos, sin)
    return reference.qk_norm_rotary(qkv, num_heads, rotation, qk_norm=qk_norm)


@backward.torch_on_cuda
def _cuda_backward(
    dy: Tensor, qkv: Tensor | None, cos: Tensor | None, sin: Tensor | None, num_heads: int
) -> Tensor:
    dqkv = _by_torch(dy, qkv, cos, sin, num_heads)
    assert dqkv is not None  # it is asked for
    return dqkv.detach()
