"""What torch is told about the operators: schemas, fakes and gradients hold under opcheck and torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops_support import draw, require_native

from gpt2x import ops
from gpt2x.ops import backend


def _samples() -> dict[str, list[tuple[Any, ...]]]:
    x, residual = (draw(seed, 3, 2, 8).requires_grad_() for seed in (1, 2))
    weight, bias = (draw(seed, 8).requires_grad_() for seed in (3, 4))
    half = x.detach().bfloat16().requires_grad_()
    rows, matrix = draw(5, 6, 8).requires_grad_(), draw(6, 10, 8).requires_grad_()
    targets = torch.tensor([0, 1, -100, 8, 3, 2])
    plain = [t.detach() for t in (x, residual, weight)]
    mean, rstd = plain[0].mean(-1), plain[0].var(-1, unbiased=False).add(1e-5).rsqrt()
    lists = [[draw(7 + k, 4), draw(8 + k, 2, 3)] for k in range(3)]
    squares = [t.square() for t in lists[2]]
    return {
        "add_layer_norm": [
            (x, residual, weight, bias, 1e-5),
            (x, None, weight, None, 1e-5),
            (half, None, weight, bias, 1e-5),
        ],
        "add_layer_norm_backward": [
            (plain[0], plain[1], plain[0], plain[2], mean, rstd, True),
            (plain[0], None, plain[0], plain[2], mean, rstd, False),
        ],
        "bias_gelu": [(x, bias), (x, None), (half, bias)],
        "bias_gelu_backward": [(plain[0], plain[1], plain[2]), (plain[0], plain[1], None)],
        "linear_cross_entropy": [
            (rows, matrix, targets, -100, 9, True, True),
            (rows, matrix.detach(), targets, -100, 9, True, False),
            (rows.detach(), matrix.detach(), targets, -100, 9, False, False),
            (rows.detach().bfloat16().requires_grad_(), matrix, targets, -100, 9, True, True),
        ],
        "global_norm": [([t.detach() for t in lists[0]],)],
        "adamw_": [
            (*lists, squares, shadows, 1, 0.1, 0.9, 0.95, 1e-8, [0.1, 0.0], torch.tensor(2.0), 1.0)
            for shadows in ([], [t.bfloat16() for t in lists[0]])
        ],
        "linear": [(rows, matrix, draw(6, 10).requires_grad_()), (rows, matrix, None)],
        "linear_backward": [
            (draw(7, 6, 10), rows.detach(), matrix.detach(), *needed)
            for needed in ((True, True, True), (True, False, False))
        ],
        "embedding_backward_": [(draw(8, 10, 8), rows.detach(), torch.tensor([1, 9, 1, 0, 1, 3]))],
        "gemv": [
            (rows.detach(), matrix.detach(), None, draw(9, 10)),
            (rows.detach(), matrix.detach().to(torch.int8), draw(9, 10), None),
        ],
        "decode_attention": [(draw(1, 2, 3, 8), draw(2, 2, 3, 5, 8), draw(3, 2, 3, 5, 8))],
    }


BACKWARD = ["add_layer_norm_backward", "bias_gelu_backward", "linear_backward"]


@pytest.mark.parametrize("name", [*backend.OPERATORS, *BACKWARD])
def test_opcheck_finds_nothing(name: str) -> None:
    require_native("cpu")
    for sample in _samples()[name]:
        torch.library.opcheck(getattr(torch.ops.gpt2x, name).default, sample)


def _block(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    y, total = ops.add_layer_norm(x, x * 0.5, weight, bias)
    y, _ = ops.add_layer_norm(ops.bias_gelu(y, bias), total, weight, bias)
    y = ops.linear(y, head[:8], bias)
    return ops.linear_cross_entropy(y, head, targets, vocab_size=9)


@pytest.mark.parametrize("mode", ["native", "reference"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
def test_a_training_step_compiles_as_one_graph(mode: str, autocast: bool) -> None:
    if mode == "native":
        require_native("cpu")
    targets = torch.tensor([0, 1, -100, 8, 3, 2])

    def step(function: Any) -> list[torch.Tensor]:
        inputs = [t.requires_grad_() for t in (draw(1, 6, 8), draw(2, 8), draw(3, 8), draw(4, 10, 8))]
        with backend.using(mode), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = function(*inputs, targets)
        loss.backward()
        return [loss.detach(), *(t.grad for t in inputs)]

    torch._dynamo.reset()
    compiled = torch.compile(_block, fullgraph=True, backend="aot_eager")
    for one, other in zip(step(compiled), step(_block), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_optimizer_step_compiles_as_one_graph() -> None:
    require_native("cpu")

    def step(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor) -> None:
        ops.adamw_([p], [g], [m], [v], step=1, lr=0.1, grad_norm=ops.global_norm([g]), max_norm=1.0)

    def tensors() -> list[torch.Tensor]:
        return [draw(1, 5), draw(2, 5), torch.zeros(5), torch.zeros(5)]

    torch._dynamo.reset()
    compiled, eager = tensors(), tensors()
    torch.compile(step, fullgraph=True, backend="aot_eager")(*compiled)
    step(*eager)
    for one, other in zip(compiled, eager, strict=True):
        torch.testing.assert_close(one, other)


def test_float16_is_served_by_the_twin() -> None:
    x = draw(1, 2, 8, dtype=torch.float16)
    assert ops.bias_gelu(x).dtype == torch.float16
    assert ops.add_layer_norm(x, None, torch.ones(8))[0].dtype == torch.float16
