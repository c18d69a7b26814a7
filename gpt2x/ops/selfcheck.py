"""How far each operator is from the truth on this machine: its error against its plain-torch reference in float64.

A few small inputs, forward and backward, on whatever implementation serves here. `gpt2x ops` prints the figures beside
the error that plain torch itself makes in the same dtype, which is what they should be judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt2x import ops as fused
from gpt2x.ops import library, reference


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the inputs are; each number at least 1."""

    rows: int = 67
    channels: int = 96
    vocabulary: int = 300
    padded: int = 320


Draw = Callable[..., Tensor]
"""Gives a tensor of random numbers of a shape."""


@dataclass(frozen=True, slots=True)
class OpError:
    """The largest error over results and gradients, relative to the largest element of the true tensor."""

    name: str
    dtype: str
    served: float
    reference: float


def measure_errors(
    device: str = "cpu",
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16),
    *,
    names: Sequence[str] = tuple(library.OPERATORS),
    shape: Shape | None = None,
) -> list[OpError]:
    """Run every operator, its reference, and its reference in float64 on the same small inputs.

    Args:
        device: where to run.
        dtypes: the storage types to try.
        names: which operators.
        shape: how large the inputs are.

    """
    errors, shape = [], shape or Shape()
    for name in names:
        for dtype in dtypes:
            case = _CASES[name]
            truth = case(reference, _inputs(device, dtype, torch.float64), shape)
            served = case(fused, _inputs(device, dtype, dtype), shape)
            expected = case(reference, _inputs(device, dtype, dtype), shape)
            label = str(dtype).removeprefix("torch.")
            errors.append(
                OpError(name, label, _largest_error(served, truth), _largest_error(expected, truth))
            )
    return errors


def _inputs(device: str, storage: torch.dtype, compute: torch.dtype) -> Draw:
    """A source of random tensors: the same numbers each time, rounded to `storage`, held in `compute`."""
    generator = torch.Generator().manual_seed(1234)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        values = (torch.randn(shape, generator=generator) * scale).to(storage)
        return values.to(device=device, dtype=compute).requires_grad_()

    return draw


def _largest_error(results: Sequence[Tensor], truths: Sequence[Tensor]) -> float:
    pairs = zip(results, truths, strict=True)
    errors = [
        (result.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30) for result, truth in pairs
    ]
    return float(torch.stack(errors).max())  # which is NaN where one is


def _with_gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], draw: Draw) -> list[Tensor]:
    torch.autograd.backward(outputs, [draw(*output.shape).detach() for output in outputs])
    return [tensor.detach() for tensor in outputs] + [
        tensor.grad for tensor in inputs if tensor.grad is not None
    ]


def _add_layer_norm(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    x, residual = draw(z.rows, z.channels), draw(z.rows, z.channels)
    weight, bias = draw(z.channels), draw(z.channels)
    outputs = ops.add_layer_norm(x, residual, weight, bias)
    return _with_gradients(outputs, (x, residual, weight, bias), draw)


def _bias_gelu(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    x, bias = draw(z.rows, z.channels), draw(z.channels)
    return _with_gradients([ops.bias_gelu(x, bias)], (x, bias), draw)


def _bias_relu2(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    x, bias = draw(z.rows, z.channels), draw(z.channels)
    return _with_gradients([ops.bias_relu2(x, bias)], (x, bias), draw)


def _linear_cross_entropy(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    hidden, weight = draw(z.rows, z.channels), draw(z.padded, z.channels, scale=0.1)
    targets = (torch.arange(z.rows, device=hidden.device) * 7) % z.vocabulary
    targets[4::5] = -100
    loss = ops.linear_cross_entropy(hidden, weight, targets, vocab_size=z.vocabulary)
    loss.backward()
    return [loss.detach(), *(tensor.grad for tensor in (hidden, weight) if tensor.grad is not None)]


def _global_norm(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    return [ops.global_norm([draw(z.rows, z.channels).detach(), draw(z.channels).detach()])]


def _adamw(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    params, grads = ([draw(z.rows, z.channels).detach(), draw(z.channels).detach()] for _ in range(2))
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for step in (1, 2):
        norm = ops.global_norm(grads)
        options = {"step": step, "lr": 0.01, "weight_decay": [0.1, 0.0], "grad_norm": norm, "max_norm": 1.0}
        ops.adamw_(params, grads, first, second, **options)
    return [*params, *first, *second]


def _mean(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    addends = [[draw(z.rows, z.channels).detach(), draw(z.channels).detach()] for _ in range(3)]
    out = [torch.empty_like(t, dtype=library.accumulation_dtype(t.dtype)) for t in addends[0]]
    return [ops.mean_(out, addends), *out]


def _linear(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    x, weight, bias = draw(z.rows, z.channels), draw(z.vocabulary, z.channels), draw(z.vocabulary)
    return _with_gradients([ops.linear(x, weight, bias)], (x, weight, bias), draw)


def _embedding_backward(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    dweight, dy = draw(z.vocabulary, z.channels).detach(), draw(z.rows, z.channels).detach()
    ops.embedding_backward_(dweight, dy, (torch.arange(z.rows, device=dy.device) * 7) % min(30, z.vocabulary))
    return [dweight]


def _gemv(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    """With a weight of every kind that stands beside x."""
    x, weight, bias = (
        t.detach() for t in (draw(2, z.channels), draw(z.vocabulary, z.channels), draw(z.vocabulary))
    )
    bf16_weight = weight.bfloat16()  # the same numbers whatever dtype holds x
    return [
        ops.gemv(x, weight, None, bias),
        ops.gemv(x, bf16_weight, None, bias),
        ops.gemv(x, *fused.quantize_rows(weight), bias),
    ]


def _qk_norm_rotary(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    qkv, angles = draw(2, z.rows, 3 * 48), draw(z.rows, 8).detach().repeat(1, 2)
    return _with_gradients([ops.qk_norm_rotary(qkv, 3, (angles.cos(), angles.sin()))], (qkv,), draw)


def _causal_attention(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    qkv = draw(2, z.rows, 3 * 48)
    return _with_gradients([ops.causal_attention(qkv, 3)], (qkv,), draw)


def _decode_attention(ops: Any, draw: Draw, z: Shape) -> list[Tensor]:
    query, keys, values = draw(2, 3, 16), draw(2, 3, z.rows, 16), draw(2, 3, z.rows, 16)
    return [ops.decode_attention(query.detach(), keys.detach(), values.detach())]


_CASES: dict[str, Callable[[Any, Draw, Shape], list[Tensor]]] = {
    "add_layer_norm": _add_layer_norm,
    "bias_gelu": _bias_gelu,
    "bias_relu2": _bias_relu2,
    "linear": _linear,
    "linear_cross_entropy": _linear_cross_entropy,
    "embedding_backward_": _embedding_backward,
    "gemv": _gemv,
    "qk_norm_rotary": _qk_norm_rotary,
    "causal_attention": _causal_attention,
    "decode_attention": _decode_attention,
    "adamw_": _adamw,
    "global_norm": _global_norm,
    "mean_": _mean,
}
