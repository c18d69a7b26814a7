"""What `gpt2x bench ops` measures: every operator at work, and the least that the work moves or computes.

`CASES` is the table. A case of memory has a number of *bytes*: each input read once, each result written once, and
nothing else; what an implementation moves beyond that (temporaries, lines that a cache reads before they are
overwritten) is what it loses. A case of arithmetic has a number of *flops*, two for each multiply-add of its matrix
products; what else it does is not counted. Bytes or flops over the time is the rate, which stands beside the measured
bandwidth or the measured peak of a matrix product.

Letters: N rows (B × T), C channels, V vocabulary, H heads, D = C / H, S tokens in the cache, P parameters, U distinct
ids, s bytes of an element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import quantize_rows, reference

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Ops = Any
"""An implementation: a module with the operators' names (functional, reference, torch_ops)."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the inputs are; by default those of GPT-2 124M with few tokens, for a CPU."""

    N: int = 512
    C: int = 768
    V: int = 50304
    H: int = 12
    S: int = 1024
    B: int = 1
    """Sequences that are decoded at the same time."""
    matrices: int = 4
    """How many C × 4C parameters the optimizer updates."""

    @property
    def D(self) -> int:
        """Channels of a head."""
        return self.C // self.H

    @property
    def P(self) -> int:
        """Numbers that the optimizer updates."""
        return self.matrices * 4 * self.C**2

    @cached_property
    def ids(self) -> Tensor:
        """N token ids below V, the frequent ones as frequent as in a text (Zipf's law: uniform in the logarithm)."""
        uniform = torch.rand(self.N, generator=torch.Generator().manual_seed(1))
        return (self.V**uniform).long().clamp_(max=self.V) - 1

    @cached_property
    def U(self) -> int:
        """Distinct ids."""
        return len(self.ids.unique())


GPU_SIZES = Sizes(N=16384, B=64, matrices=48)
"""Sizes that give a large GPU enough to do; the logits of 16384 rows still fit beside the rest."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call with its inputs: `prepare` makes what it uses up, outside of the time; `run` is timed."""

    run: Callable[[Ops, Any], Sequence[Tensor]]
    prepare: Callable[[Ops], Any] = lambda ops: None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line of the table."""

    name: str
    """The operator."""
    case: str = ""
    """Which part or kind of it, where there are several."""
    shape: str
    """What it works on, in the letters above."""
    num_bytes: Callable[[Sizes, int], int] | None = None
    """From the sizes and s; None for a case of arithmetic."""
    flops: Callable[[Sizes], int] | None = None
    build: Callable[[Sizes, Draw], Call]
    dtypes: tuple[str, ...] = tuple(DTYPES)
    in_torch: bool = True
    """Whether torch has a public function for it."""


class Draw:
    """Random tensors of one dtype on one device: the same ones for every case."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator(device).manual_seed(1)

    def __call__(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """Normal numbers with the standard deviation `scale`."""
        numbers = torch.randn(shape, generator=self.generator, device=self.device)
        return (numbers * scale).to(dtype or self.dtype)


def _differentiable(name: str, inputs: Sequence[Tensor], draw: Draw, *, backward: bool) -> Call:
    """An operator's forward pass as in training, where autograd takes notes; or its backward pass alone."""
    leaves = [tensor.requires_grad_() for tensor in inputs]

    def forward(ops: Ops) -> tuple[Tensor, ...]:
        result = getattr(ops, name)(*leaves)
        return result if isinstance(result, tuple) else (result,)

    if not backward:
        return Call(run=lambda ops, _: forward(ops))
    upstream = [draw(*out.shape) for out in forward(reference)]
    return Call(prepare=forward, run=lambda ops, outputs: torch.autograd.grad(outputs, leaves, upstream))


def _add_layer_norm(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    inputs = [draw(z.N, z.C), draw(z.N, z.C), draw(z.C), draw(z.C)]
    return _differentiable("add_layer_norm", inputs, draw, backward=backward)


def _bias_gelu(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    return _differentiable("bias_gelu", [draw(z.N, 4 * z.C), draw(4 * z.C)], draw, backward=backward)


def _bias_relu2(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    return _differentiable("bias_relu2", [draw(z.N, 4 * z.C), draw(4 * z.C)], draw, backward=backward)


def _linear(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    inputs = [draw(z.N, z.C), draw(4 * z.C, z.C, scale=0.02), draw(4 * z.C)]
    return _differentiable("linear", inputs, draw, backward=backward)


def _linear_cross_entropy(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    hidden, weight = draw(z.N, z.C), draw(z.V, z.C, scale=0.02)
    targets = z.ids.to(draw.device)

    def loss_alone(ops: Ops, _: Any) -> list[Tensor]:
        with torch.no_grad():
            return [ops.linear_cross_entropy(hidden, weight, targets)]

    def with_gradients(ops: Ops, _: Any) -> list[Tensor]:
        leaves = [tensor.requires_grad_() for tensor in (hidden, weight)]
        loss = ops.linear_cross_entropy(*leaves, targets)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    return Call(run=with_gradients if backward else loss_alone)


def _qk_norm_rotary(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    """Of one sequence."""
    qkv = draw(1, z.N, 3 * z.C).requires_grad_()
    angles = draw(z.N, z.D // 2, dtype=torch.float32).repeat(1, 2)
    sin = angles.sin()
    sin[:, : z.D // 2].neg_()
    rotation = angles.cos(), sin

    def forward(ops: Ops) -> tuple[Tensor, ...]:
        return (ops.qk_norm_rotary(qkv, z.H, rotation),)

    if not backward:
        return Call(run=lambda ops, _: forward(ops))
    upstream = [draw(1, z.N, 3 * z.C)]
    return Call(prepare=forward, run=lambda ops, y: torch.autograd.grad(y, [qkv], upstream))


def _causal_attention(z: Sizes, draw: Draw, *, backward: bool) -> Call:
    qkv = draw(1, z.N, 3 * z.C).requires_grad_()

    def forward(ops: Ops) -> tuple[Tensor, ...]:
        return (ops.causal_attention(qkv, z.H),)

    if not backward:
        return Call(run=lambda ops, _: forward(ops))
    upstream = [draw(1, z.N, z.C)]
    return Call(prepare=forward, run=lambda ops, y: torch.autograd.grad(y, [qkv], upstream))


def _embedding_backward(z: Sizes, draw: Draw) -> Call:
    dweight, dy, ids = draw(z.V, z.C).zero_(), draw(z.N, z.C), z.ids.to(draw.device)

    def run(ops: Ops, _: Any) -> list[Tensor]:
        ops.embedding_backward_(dweight, dy, ids)
        return [dweight]

    return Call(prepare=lambda ops: dweight.index_fill_(0, ids, 0.0), run=run)


def _adamw(z: Sizes, draw: Draw) -> Call:
    """Float32 parameters; in bfloat16 their gradients and bf16_params are."""
    short = draw.dtype == torch.bfloat16
    shape = (z.C, 4 * z.C)
    start = [draw(*shape, scale=0.02, dtype=torch.float32) for _ in range(z.matrices)]
    grads = [draw(*shape) for _ in range(z.matrices)]
    params, first, second = ([tensor.clone() for tensor in start] for _ in range(3))
    bf16_params = [tensor.bfloat16() for tensor in start] if short else None
    norm = reference.global_norm(grads)

    def prepare(ops: Ops) -> None:
        torch._foreach_copy_(params, start)
        torch._foreach_zero_(first)
        torch._foreach_zero_(second)

    def run(ops: Ops, _: Any) -> list[Tensor]:
        options = {"step": 1, "lr": 6e-4, "weight_decay": 0.1, "grad_norm": norm, "max_norm": 1.0}
        ops.adamw_(params, grads, first, second, **options, bf16_params=bf16_params)
        return [*params, *first, *second]

    return Call(prepare=prepare, run=run)


def _global_norm(z: Sizes, draw: Draw) -> Call:
    grads = [draw(z.C, 4 * z.C) for _ in range(z.matrices)]
    return Call(run=lambda ops, _: [ops.global_norm(grads)])


def _mean(z: Sizes, draw: Draw) -> Call:
    """Of the gradients of two ranks."""
    addends = [[draw(z.C, 4 * z.C) for _ in range(z.matrices)] for _ in range(2)]
    out = [torch.empty_like(first, dtype=torch.float32) for first in addends[0]]

    def run(ops: Ops, _: Any) -> list[Tensor]:
        ops.mean_(out, addends)
        return out

    return Call(run=run)


def _gemv(z: Sizes, draw: Draw, *, weight_dtype: torch.dtype) -> Call:
    x, weight = draw(1, z.C), draw(z.V, z.C, scale=0.02)
    if weight_dtype != torch.int8:
        stored = weight.to(weight_dtype)
        return Call(run=lambda ops, _: [ops.gemv(x, stored)])
    quantized, scale = quantize_rows(weight)
    return Call(run=lambda ops, _: [ops.gemv(x, quantized, scale)])


def _decode_attention(z: Sizes, draw: Draw) -> Call:
    query, keys, values = draw(z.B, z.H, z.D), draw(z.B, z.H, z.S, z.D), draw(z.B, z.H, z.S, z.D)
    return Call(run=lambda ops, _: [ops.decode_attention(query, keys, values)])


CASES = (
    # bytes: x, residual; sum, y
    Case(name="add_layer_norm", case="forward", shape="N × C", num_bytes=lambda z, s: 4 * z.N * z.C * s,
         build=lambda z, draw: _add_layer_norm(z, draw, backward=False)),
    # dy, dsum, sum; dx (which is the residual's gradient too)
    Case(name="add_layer_norm", case="backward", shape="N × C", num_bytes=lambda z, s: 4 * z.N * z.C * s,
         build=lambda z, draw: _add_layer_norm(z, draw, backward=True)),
    # x; y
    Case(name="bias_gelu", case="forward", shape="N × 4C", num_bytes=lambda z, s: 2 * z.N * 4 * z.C * s,
         build=lambda z, draw: _bias_gelu(z, draw, backward=False)),
    # dy, x; dx
    Case(name="bias_gelu", case="backward", shape="N × 4C", num_bytes=lambda z, s: 3 * z.N * 4 * z.C * s,
         build=lambda z, draw: _bias_gelu(z, draw, backward=True)),
    # as bias_gelu
    Case(name="bias_relu2", case="forward", shape="N × 4C", num_bytes=lambda z, s: 2 * z.N * 4 * z.C * s,
         build=lambda z, draw: _bias_relu2(z, draw, backward=False)),
    Case(name="bias_relu2", case="backward", shape="N × 4C", num_bytes=lambda z, s: 3 * z.N * 4 * z.C * s,
         build=lambda z, draw: _bias_relu2(z, draw, backward=True)),
    # flops: y
    Case(name="linear", case="forward", shape="N × C × 4C", flops=lambda z: 2 * z.N * z.C * 4 * z.C,
         build=lambda z, draw: _linear(z, draw, backward=False)),
    # dx, dweight
    Case(name="linear", case="backward", shape="N × C × 4C", flops=lambda z: 4 * z.N * z.C * 4 * z.C,
         build=lambda z, draw: _linear(z, draw, backward=True)),
    # qkv; y (the angles are few beside them)
    Case(name="qk_norm_rotary", case="forward", shape="N × 3C", num_bytes=lambda z, s: 2 * z.N * 3 * z.C * s,
         build=lambda z, draw: _qk_norm_rotary(z, draw, backward=False)),
    # dy, the queries and keys of qkv; dqkv
    Case(name="qk_norm_rotary", case="backward", shape="N × 3C", num_bytes=lambda z, s: 8 * z.N * z.C * s,
         build=lambda z, draw: _qk_norm_rotary(z, draw, backward=True)),
    # flops: scores and weighted values, for half of all pairs
    Case(name="causal_attention", case="forward", shape="N × N × C", flops=lambda z: 2 * z.N * z.N * z.C,
         build=lambda z, draw: _causal_attention(z, draw, backward=False)),
    # the gradients of both products
    Case(name="causal_attention", case="backward", shape="N × N × C", flops=lambda z: 4 * z.N * z.N * z.C,
         build=lambda z, draw: _causal_attention(z, draw, backward=True)),
    # logits
    Case(name="linear_cross_entropy", case="forward", shape="N × C × V", flops=lambda z: 2 * z.N * z.C * z.V,
         build=lambda z, draw: _linear_cross_entropy(z, draw, backward=False)),
    # logits, dhidden, dweight: forward and backward in one, as our operator computes them
    Case(name="linear_cross_entropy", case="both", shape="N × C × V", flops=lambda z: 6 * z.N * z.C * z.V,
         build=lambda z, draw: _linear_cross_entropy(z, draw, backward=True)),
    # dy, the rows of dweight that occur; these rows
    Case(name="embedding_backward_", shape="N × C of V", num_bytes=lambda z, s: (z.N + 2 * z.U) * z.C * s,
         build=_embedding_backward),
    # parameter, gradient, both moments; parameter, both moments (a bfloat16 gradient and a bf16 copy: as many bytes)
    Case(name="adamw_", shape="P", num_bytes=lambda z, s: 28 * z.P, build=_adamw),
    # every gradient
    Case(name="global_norm", shape="P", num_bytes=lambda z, s: z.P * s, build=_global_norm),
    # two gradients; their mean in float32
    Case(name="mean_", shape="2 × P", num_bytes=lambda z, s: z.P * (2 * s + 4), build=_mean),
    # the weight (and a scale a row)
    Case(name="gemv", case="float32 weight", shape="1 × C × V", num_bytes=lambda z, s: 4 * z.V * z.C,
         build=lambda z, draw: _gemv(z, draw, weight_dtype=torch.float32), dtypes=("float32",)),
    Case(name="gemv", case="bfloat16 weight", shape="1 × C × V", num_bytes=lambda z, s: 2 * z.V * z.C,
         build=lambda z, draw: _gemv(z, draw, weight_dtype=torch.bfloat16)),
    Case(name="gemv", case="int8 weight", shape="1 × C × V", num_bytes=lambda z, s: z.V * (z.C + 4),
         build=lambda z, draw: _gemv(z, draw, weight_dtype=torch.int8), in_torch=False),
    # keys, values
    Case(name="decode_attention", shape="B × H × S × D", num_bytes=lambda z, s: 2 * z.B * z.H * z.S * z.D * s,
         build=_decode_attention),
)  # fmt: skip
"""Every operator, in the order of a training step and then of decoding."""
