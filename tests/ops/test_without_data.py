"""Every operator where there is no data, or none yet: meta and fake tensors, sizes known as symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops_support import dtype_id
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gpt2x import ops
from gpt2x.ops import backend, library

C, V = 6, 9
MODES = pytest.mark.parametrize("mode", ["auto", "reference"])
Results = tuple[Tensor, ...]


def _adamw(x: Tensor) -> Results:
    lists = [[x.abs()] for _ in range(4)]
    norm = ops.global_norm(lists[1])
    bf16_params = [x.to(torch.bfloat16)] if x.dtype == torch.float32 else None
    ops.adamw_(
        *lists, step=1, lr=0.1, weight_decay=0.1, grad_norm=norm, max_norm=1.0, bf16_params=bf16_params
    )
    return lists[0][0], *(bf16_params or ())


def _embedding_backward(x: Tensor) -> Results:
    dweight = x.new_zeros(V, C)
    ops.embedding_backward_(dweight, x, _ids(x))
    return (dweight,)


def _mean(x: Tensor) -> Results:
    out = torch.empty_like(x, dtype=library.accumulation_dtype(x.dtype))
    return ops.mean_([out], [[x], [x * x], [x]]), out


def _ids(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)


def _loss(reduction: str) -> Callable[[Tensor], Results]:
    return lambda x: (
        ops.linear_cross_entropy(x, x.new_ones(V, C), _ids(x), vocab_size=7, reduction=reduction),
    )


# Each of x (N, C).
CASES: dict[str, Callable[[Tensor], Results]] = {
    "add_layer_norm": lambda x: ops.add_layer_norm(x, x, x.new_ones(C), x.new_ones(C)),
    "bias_gelu": lambda x: (ops.bias_gelu(x, x.new_ones(C)),),
    "bias_relu2": lambda x: (ops.bias_relu2(x, x.new_ones(C)),),
    "qk_norm_rotary": lambda x: (
        ops.qk_norm_rotary(torch.cat([x, x, x], dim=1)[None], 3, (x[:, :2], x[:, 2:4])),
    ),
    "linear": lambda x: (ops.linear(x, x.new_ones(V, C), x.new_ones(V)),),
    "linear_cross_entropy": _loss("mean"),
    "linear_cross_entropy, none": _loss("none"),
    "causal_attention": lambda x: (ops.causal_attention(torch.cat([x, x, x], dim=1)[None], num_heads=2),),
    "embedding_backward_": _embedding_backward,
    "adamw_": _adamw,
    "global_norm": lambda x: (ops.global_norm([x, x[0]]),),
    "mean_": _mean,
    "gemv": lambda x: (ops.gemv(x, x.new_ones(V, C), None, x.new_ones(V)),),
    "decode_attention": lambda x: (
        ops.decode_attention(x[:, None], *(x.new_ones(x.shape[0], 1, 5, C) for _ in range(2))),
    ),
}
BY_NAME = pytest.mark.parametrize("name", CASES)
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=dtype_id
)


def _described(results: Any) -> list[tuple[Any, ...]]:
    return [(tuple(t.shape), t.dtype) for t in results]


def test_every_operator_is_tried_here() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(library.OPERATORS)


@MODES
@BY_NAME
@DTYPES
def test_meta_tensors_give_shapes_and_dtypes(mode: str, name: str, dtype: torch.dtype) -> None:
    real = CASES[name](torch.ones(4, C, dtype=dtype))
    with backend.using(mode):
        meta = CASES[name](torch.ones(4, C, dtype=dtype, device="meta"))
    assert all(t.is_meta for t in meta)
    assert _described(meta) == _described(real)


def test_meta_tensors_need_no_kernels_even_where_these_are_demanded() -> None:
    with backend.using("native"):
        assert ops.bias_gelu(torch.ones(2, device="meta")).is_meta


@MODES
@BY_NAME
@DTYPES
def test_fake_tensors_give_shapes_and_dtypes(mode: str, name: str, dtype: torch.dtype) -> None:
    real = CASES[name](torch.ones(4, C, dtype=dtype))
    with backend.using(mode), FakeTensorMode():
        fake = CASES[name](torch.ones(4, C, dtype=dtype))
    assert _described(fake) == _described(real)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_quantizing_gives_shapes_and_dtypes(device: str) -> None:
    with FakeTensorMode():
        int8, scale = ops.quantize_rows(torch.ones(V, C, device=device))
    assert _described([int8, scale]) == [((V, C), torch.int8), ((V,), torch.float32)]


@MODES
@BY_NAME
@DTYPES
def test_no_rows_give_what_the_reference_gives(mode: str, name: str, dtype: torch.dtype) -> None:
    if name == "global_norm":
        pytest.skip("its second tensor is a row")
    with backend.using(mode):
        got = CASES[name](torch.ones(0, C, dtype=dtype))
    with backend.using("reference"):
        expected = CASES[name](torch.ones(0, C, dtype=dtype))
    assert _described(got) == _described(expected)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


@MODES
@BY_NAME
def test_one_graph_serves_every_number_of_rows(mode: str, name: str) -> None:
    torch._dynamo.reset()
    with backend.using(mode):
        compiled = torch.compile(CASES[name], fullgraph=True, backend="aot_eager", dynamic=True)
        for rows in (4, 5, 7):
            x = torch.linspace(-1, 1, rows * C).view(rows, C)
            torch._dynamo.mark_dynamic(x, 0)  # which is an error where the graph holds for one number alone
            for one, other in zip(compiled(x.clone()), CASES[name](x.clone()), strict=True):
                torch.testing.assert_close(one, other)


@MODES
@pytest.mark.parametrize("rate", ["number", "tensor"])
def test_one_graph_of_adamw_serves_every_step_and_every_learning_rate(mode: str, rate: str) -> None:
    """More steps than the compiler makes graphs of one function."""
    if (mode, rate) == ("reference", "number") and torch.__version__.startswith("2.10."):
        pytest.skip("this torch makes a new graph of its own operators for each number")

    def step(lists: list[list[Tensor]], number: int, lr: float | Tensor) -> None:
        options = {"weight_decay": 0.1, "grad_norm": ops.global_norm(lists[1]), "max_norm": 1.0}
        ops.adamw_(*lists, step=number, lr=lr, **options)

    torch._dynamo.reset()
    mine, plain = ([[torch.linspace(-1, 1, 5)] for _ in range(3)] + [[torch.ones(5)]] for _ in range(2))
    with backend.using(mode):
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        for number in range(1, 13):
            lr = 0.1 / number
            compiled(mine, number, torch.tensor(lr) if rate == "tensor" else lr)
            step(plain, number, lr)
    for one, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, other)
