"""What torch is told about the operators: schemas, fakes and gradients hold under opcheck and torch.compile."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from ops_support import draw, require_native

from gpt2x import ops
from gpt2x.ops import backend, library


def _samples() -> dict[str, list[tuple[Any, ...]]]:
    x, residual = (draw(seed, 3, 2, 8).requires_grad_() for seed in (1, 2))
    weight, bias = (draw(seed, 8).requires_grad_() for seed in (3, 4))
    half = x.detach().bfloat16().requires_grad_()
    rows, matrix = draw(5, 6, 8).requires_grad_(), draw(6, 10, 8).requires_grad_()
    targets = torch.tensor([0, 1, -100, 8, 3, 2])
    plain = [t.detach() for t in (x, residual, weight)]
    mean, rstd = plain[0].mean(-1), plain[0].var(-1, unbiased=False).add(1e-5).rsqrt()
    rotation = draw(9, 6, 4), draw(10, 6, 4)
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
        "bias_relu2": [(x, bias), (x, None), (half, bias)],
        "bias_relu2_backward": [(plain[0], plain[1], plain[2]), (plain[0], plain[1], None)],
        "linear_cross_entropy": [
            (rows, matrix, targets, None, 1, -100, 9, 0.0, 0.0, True, True),
            (rows, matrix.detach(), targets, None, 2, -100, 9, 0.0, 0.0, True, False),
            (rows, matrix, targets, None, 0, -100, 9, 0.1, 1e-4, False, False),
            (rows.detach(), matrix.detach(), targets, draw(7, 6), 0, -100, 9, 0.0, 0.0, True, True),
            (rows.detach(), matrix.detach(), targets, None, 1, -100, 9, 0.1, 1e-4, False, False),
            (
                rows.detach().bfloat16().requires_grad_(),
                matrix,
                targets,
                None,
                1,
                -100,
                9,
                0.1,
                1e-4,
                True,
                True,
            ),
        ],
        "global_norm": [([t.detach() for t in lists[0]],)],
        "adamw_": [
            (
                *lists,
                squares,
                bf16_params,
                1,
                torch.tensor(0.1),
                0.9,
                0.95,
                1e-8,
                [0.1, 0.0],
                torch.tensor(2.0),
                1.0,
            )
            for bf16_params in ([], [t.bfloat16() for t in lists[0]])
        ],
        "mean_": [(lists[0], [t.detach() for k in (3, 4) for t in (draw(k, 4), draw(k, 2, 3))])],
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
        "qk_norm_rotary": [
            (draw(1, 2, 6, 24).requires_grad_(), *parts)
            for parts in ((*rotation, 2, True), (*rotation, 2, False), (None, None, 2, True))
        ],
        "qk_norm_rotary_backward": [
            (draw(1, 2, 6, 24), draw(2, 2, 6, 24), *rotation, 2),
            (draw(1, 2, 6, 24), None, *rotation, 2),
        ],
        "causal_attention": [(draw(1, 2, 6, 24).requires_grad_(), 2)],
        "causal_attention_backward": [
            (*(draw(k, 2, 6, C) for k, C in ((1, 8), (2, 24), (3, 8))), draw(4, 2, 2, 6), 2)
        ],
        "decode_attention": [(draw(1, 2, 3, 8), draw(2, 2, 3, 5, 8), draw(3, 2, 3, 5, 8))],
    }


BACKWARD = [
    f"{name}_backward"
    for name in (
        "add_layer_norm",
        "bias_gelu",
        "bias_relu2",
        "causal_attention",
        "linear",
        "qk_norm_rotary",
    )
]


@pytest.mark.parametrize("name", [*library.OPERATORS, *BACKWARD])
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
    return ops.linear_cross_entropy(y, head, targets, vocab_size=9, label_smoothing=0.1, z_loss=1e-4)


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


def test_inductor_compiles_what_stands_around_the_operators() -> None:
    require_native("cpu")
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")

    def branch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        y, total = ops.add_layer_norm(x, x.sin(), weight, bias)
        return (ops.bias_gelu(y * 2, bias) + total).square().mean()

    def step(function: Any) -> list[torch.Tensor]:
        inputs = [t.requires_grad_() for t in (draw(1, 6, 8), draw(2, 8), draw(3, 8))]
        loss = function(*inputs)
        loss.backward()
        return [loss.detach(), *(t.grad for t in inputs)]

    torch._dynamo.reset()
    for one, other in zip(step(torch.compile(branch, fullgraph=True)), step(branch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_decoding_step_compiles_as_one_graph() -> None:
    require_native("cpu")
    int8, scale = ops.quantize_rows(draw(1, 12, 8))
    keys, values = draw(2, 1, 3, 5, 4), draw(3, 1, 3, 5, 4)

    def step(x: torch.Tensor) -> torch.Tensor:
        query = ops.gemv(x, int8, scale).view(1, 3, 4)
        return ops.decode_attention(query, keys, values).flatten(1)

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(draw(4, 1, 8)), step(draw(4, 1, 8)))


def test_adding_an_embeddings_gradient_compiles_as_one_graph() -> None:
    require_native("cpu")

    def add(dweight: torch.Tensor, dy: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        ops.embedding_backward_(dweight, dy, ids)
        return dweight * 2

    torch._dynamo.reset()
    compiled, ids = torch.compile(add, fullgraph=True, backend="aot_eager"), torch.tensor([1, 0, 1])
    mine, plain = draw(1, 4, 5), draw(1, 4, 5)
    torch.testing.assert_close(compiled(mine, draw(2, 3, 5), ids), add(plain, draw(2, 3, 5), ids))
    torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize(
    "name", ["add_layer_norm", "bias_gelu", "bias_relu2", "linear", "linear_cross_entropy"]
)
def test_under_autocast_every_operator_takes_what_the_layer_before_gives(name: str) -> None:
    """Layers before it give bfloat16, parameters stay float32; results and gradients come in the right dtype."""
    x, weight, bias = (t.requires_grad_() for t in (draw(1, 6, 8).bfloat16(), draw(2, 8), draw(3, 8)))
    matrix = draw(4, 10, 8).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = {
            "add_layer_norm": lambda: ops.add_layer_norm(x, None, weight, bias)[0],
            "bias_gelu": lambda: ops.bias_gelu(x, bias),
            "bias_relu2": lambda: ops.bias_relu2(x, bias),
            "linear": lambda: ops.linear(x, matrix),
            "linear_cross_entropy": lambda: ops.linear_cross_entropy(x, matrix, torch.arange(6)),
        }[name]()
    expected = torch.float32 if name == "linear_cross_entropy" else torch.bfloat16
    assert outputs.dtype == expected
    outputs.float().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert all(t.grad is None or t.grad.dtype == torch.float32 for t in (weight, bias, matrix))


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


def test_float16_is_served_by_the_reference() -> None:
    x = draw(1, 2, 8, dtype=torch.float16)
    assert ops.bias_gelu(x).dtype == torch.float16
    assert ops.add_layer_norm(x, None, torch.ones(8))[0].dtype == torch.float16
