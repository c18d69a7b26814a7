"""`gpt2x bench ops`: each operator of gpt2x.ops, native beside its plain-torch twin, forward and backward.

The two are first held against each other, then timed in turn (A B A B …). Loads torch when called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2x.bench.measure import MS_PER_SECOND, spread

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 9


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operator at work: `prepare` makes what a call changes, outside of the time; `run` is timed."""

    name: str
    shape: str
    run: Callable[[Any], list[Tensor]]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True, kw_only=True)
class OpTimes:
    """One operator: milliseconds of both implementations, and how far their results are apart."""

    name: str
    shape: str
    native_ms: float | None
    reference_ms: float
    difference: float | None
    """The largest absolute difference of any result or gradient, as a share of the largest value in it."""
    reason: str

    @property
    def speedup(self) -> float | None:
        """How many times as fast the native one is."""
        return self.reference_ms / self.native_ms if self.native_ms else None


def bench_ops(
    device: str = "auto", *, rows: int = 512, width: int = 768, vocab: int = 16384
) -> list[OpTimes]:
    """Measure all operators; `rows` is B × T, `width` C, `vocab` V.

    Raises:
        MissingComponentError: the device is not here.

    """
    from gpt2x.model.device import pick_device
    from gpt2x.ops import backend

    where = pick_device(device)
    status = {op.name: op for op in backend.report(where.type)}
    found = []
    for call in _calls(where, rows, width, vocab):
        native = status[call.name].implementation == "native"
        times: dict[str, list[float]] = {"native": [], "reference": []}
        results: dict[str, list[Any]] = {}
        modes = ("native", "reference") if native else ("reference",)
        for number in range(ROUNDS + 2):  # two rounds to warm up
            for mode in modes:
                with backend.using(mode):
                    elapsed_ms, results[mode] = _timed(call, where.type)
                if number >= 2:
                    times[mode].append(elapsed_ms)
        found.append(
            OpTimes(
                name=call.name,
                shape=call.shape,
                native_ms=spread(times["native"]).median if native else None,
                reference_ms=spread(times["reference"]).median,
                difference=_difference(results["native"], results["reference"]) if native else None,
                reason=status[call.name].reason,
            )
        )
    return found


def _timed(call: Call, device_type: str) -> tuple[float, list[Any]]:
    import torch

    def wait() -> None:
        if device_type == "cuda":
            torch.cuda.synchronize()

    prepared = call.prepare()
    wait()
    start = time.perf_counter()
    results = call.run(prepared)
    wait()
    return (time.perf_counter() - start) * MS_PER_SECOND, results


def _difference(a: list[Any], b: list[Any]) -> float:
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-30)) for x, y in zip(a, b, strict=True))


def _calls(device: Any, N: int, C: int, V: int) -> list[Call]:
    """Each operator with its inputs."""
    import torch

    from gpt2x import ops

    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int, scale: float = 1.0) -> Any:
        return (torch.randn(*shape, generator=generator) * scale).to(device).requires_grad_()

    x, residual, weight, bias = randn(N, C), randn(N, C), randn(C), randn(C)
    wide, wide_bias = randn(N, 4 * C), randn(4 * C)
    head, targets = randn(V, C, scale=0.02), torch.randint(0, V, (N,), generator=generator).to(device)
    params = [randn(C, 4 * C, scale=0.02).detach() for _ in range(4)]
    grads = [randn(C, 4 * C).detach() for _ in range(4)]

    def with_gradients(function: Callable[..., Any], *inputs: Any) -> list[Any]:
        out = function(*inputs)
        outs = list(out) if isinstance(out, tuple) else [out]
        torch.autograd.backward([o.sum() for o in outs])
        gradients = [i.grad for i in inputs if isinstance(i, torch.Tensor) and i.grad is not None]
        for i in inputs:
            if isinstance(i, torch.Tensor):
                i.grad = None
        return [o.detach() for o in outs] + gradients

    def fresh() -> tuple[list[Any], list[list[Any]]]:
        return [t.clone() for t in params], [[torch.zeros_like(t) for t in params] for _ in range(2)]

    def adamw(state: tuple[list[Any], list[list[Any]]]) -> list[Any]:
        changed, averages = state
        norm = ops.global_norm(grads)
        ops.adamw_(changed, grads, *averages, step=1, lr=6e-4, weight_decay=0.1, grad_norm=norm, max_norm=1.0)
        return changed

    rows_of_ids = torch.randint(0, V, (N,), generator=generator).to(device)
    gradient, dy = torch.zeros(V, C).to(device), randn(N, C).detach()
    one = randn(1, C).detach()
    query, keys, values = (randn(*shape).detach() for shape in ((1, 12, 64), (1, 12, N, 64), (1, 12, N, 64)))
    stretch = randn(4 * C, C, scale=0.02)

    def add_rows(_: Any) -> list[Any]:
        gradient.zero_()
        ops.embedding_backward_(gradient, dy, rows_of_ids)
        return [gradient]

    size = f"{sum(p.numel() for p in params) / 1e6:.1f}M numbers"
    return [
        Call(
            name="add_layer_norm",
            shape=f"{N} × {C}",
            run=lambda _: with_gradients(ops.add_layer_norm, x, residual, weight, bias),
        ),
        Call(
            name="bias_gelu",
            shape=f"{N} × {4 * C}",
            run=lambda _: with_gradients(ops.bias_gelu, wide, wide_bias),
        ),
        Call(
            name="linear_cross_entropy",
            shape=f"{N} × {C} × {V}",
            run=lambda _: with_gradients(ops.linear_cross_entropy, x, head, targets),
        ),
        Call(name="adamw_", shape=f"{size}, with the clip", run=adamw, prepare=fresh),
        Call(name="global_norm", shape=size, run=lambda _: [ops.global_norm(grads)]),
        Call(
            name="linear",
            shape=f"{N} × {C} × {4 * C}",
            run=lambda _: with_gradients(ops.linear, x, stretch, wide_bias),
        ),
        Call(name="embedding_backward_", shape=f"{N} of {V} × {C}", run=add_rows),
        Call(name="gemv", shape=f"1 × {C} × {V}", run=lambda _: [ops.gemv(one, head.detach())]),
        Call(
            name="decode_attention",
            shape=f"12 × {N} × 64",
            run=lambda _: [ops.decode_attention(query, keys, values)],
        ),
    ]
