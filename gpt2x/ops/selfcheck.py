"""How far each operator is from the truth on this machine: its error against its plain-torch twin in float64.

A few small inputs, forward and backward, on whatever implementation serves here. `gpt2x ops` prints the figures beside
the error that plain torch itself makes in the same dtype, which is what they should be judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import backend, functional, reference

ROWS, CHANNELS, VOCABULARY, PADDED = 67, 96, 300, 320


@dataclass(frozen=True, slots=True)
class OpError:
    """The largest error over results and gradients, relative to the largest element of the true tensor."""

    name: str
    dtype: str
    served: float
    reference: float


def measure_errors(
    device: str = "cpu", dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16)
) -> list[OpError]:
    """Run every operator, its twin, and its twin in float64 on the same small inputs.

    Args:
        device: where to run.
        dtypes: the storage types to try.

    """
    errors = []
    for name in backend.OPERATORS:
        for dtype in dtypes:
            case = _CASES[name]
            truth = case(reference, _inputs(device, dtype, torch.float64))
            served = case(functional, _inputs(device, dtype, dtype))
            twin = case(reference, _inputs(device, dtype, dtype))
            label = str(dtype).removeprefix("torch.")
            errors.append(OpError(name, label, _largest_error(served, truth), _largest_error(twin, truth)))
    return errors


def _inputs(device: str, storage: torch.dtype, compute: torch.dtype) -> Callable[..., Tensor]:
    """A source of random tensors: the same numbers each time, rounded to `storage`, held in `compute`."""
    generator = torch.Generator().manual_seed(1234)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        values = (torch.randn(shape, generator=generator) * scale).to(storage)
        return values.to(device=device, dtype=compute).requires_grad_()

    return draw


def _largest_error(results: Sequence[Tensor], truths: Sequence[Tensor]) -> float:
    pairs = zip(results, truths, strict=True)
    return max(float((result.double() - truth).abs().max() / truth.abs().max()) for result, truth in pairs)


def _with_gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], draw: Callable[..., Tensor]
) -> list[Tensor]:
    torch.autograd.backward(outputs, [draw(*output.shape).detach() for output in outputs])
    return [tensor.detach() for tensor in outputs] + [
        tensor.grad for tensor in inputs if tensor.grad is not None
    ]


def _add_layer_norm(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    x, residual = draw(ROWS, CHANNELS), draw(ROWS, CHANNELS)
    weight, bias = draw(CHANNELS), draw(CHANNELS)
    outputs = ops.add_layer_norm(x, residual, weight, bias)
    return _with_gradients(outputs, (x, residual, weight, bias), draw)


def _bias_gelu(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    x, bias = draw(ROWS, CHANNELS), draw(CHANNELS)
    return _with_gradients([ops.bias_gelu(x, bias)], (x, bias), draw)


def _linear_cross_entropy(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    hidden, weight = draw(ROWS, CHANNELS), draw(PADDED, CHANNELS, scale=0.1)
    targets = (torch.arange(ROWS, device=hidden.device) * 7) % VOCABULARY
    targets[::5] = -100
    loss = ops.linear_cross_entropy(hidden, weight, targets, vocab_size=VOCABULARY)
    loss.backward()
    return [loss.detach(), *(tensor.grad for tensor in (hidden, weight) if tensor.grad is not None)]


def _global_norm(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    return [ops.global_norm([draw(ROWS, CHANNELS).detach(), draw(CHANNELS).detach()])]


def _adamw(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    params, grads = ([draw(ROWS, CHANNELS).detach(), draw(CHANNELS).detach()] for _ in range(2))
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    for step in (1, 2):
        norm = ops.global_norm(grads)
        options = {"step": step, "lr": 0.01, "weight_decay": [0.1, 0.0], "grad_norm": norm, "max_norm": 1.0}
        ops.adamw_(params, grads, first, second, **options)
    return [*params, *first, *second]


def _linear(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    x, weight, bias = draw(ROWS, CHANNELS), draw(VOCABULARY, CHANNELS), draw(VOCABULARY)
    return _with_gradients([ops.linear(x, weight, bias)], (x, weight, bias), draw)


def _embedding_backward(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    dweight, dy = draw(VOCABULARY, CHANNELS).detach(), draw(ROWS, CHANNELS).detach()
    ops.embedding_backward_(dweight, dy, (torch.arange(ROWS, device=dy.device) * 7) % 30)
    return [dweight]


def _gemv(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    x, weight, bias = (t.detach() for t in (draw(2, CHANNELS), draw(VOCABULARY, CHANNELS), draw(VOCABULARY)))
    return [ops.gemv(x, weight, None, bias)]


def _decode_attention(ops: Any, draw: Callable[..., Tensor]) -> list[Tensor]:
    query, keys, values = draw(2, 3, 16), draw(2, 3, ROWS, 16), draw(2, 3, ROWS, 16)
    return [ops.decode_attention(query.detach(), keys.detach(), values.detach())]


_CASES: dict[str, Callable[[Any, Callable[..., Tensor]], list[Tensor]]] = {
    "add_layer_norm": _add_layer_norm,
    "bias_gelu": _bias_gelu,
    "linear": _linear,
    "linear_cross_entropy": _linear_cross_entropy,
    "embedding_backward_": _embedding_backward,
    "gemv": _gemv,
    "decode_attention": _decode_attention,
    "adamw_": _adamw,
    "global_norm": _global_norm,
}
