"""bias_gelu and bias_relu2: native against the reference, gradients, extreme numbers, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from ops_support import (
    DTYPES,
    SHAPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    require_native,
    run_with_gradients,
    shape_id,
)

from gpt2x.ops import backend, bias_gelu, bias_relu2, reference

Op = Callable[..., torch.Tensor]

PLAIN = {bias_gelu: reference.bias_gelu, bias_relu2: reference.bias_relu2}

both = pytest.mark.parametrize("op", PLAIN, ids=["gelu", "relu2"])


@both
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_results_and_gradients_are_as_exact_as_the_references(
    device: str, op: Op, shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool
) -> None:
    require_native(device, dtype)
    x = draw(1, *shape, dtype=dtype, scale=2.0, device=device)
    inputs = [x, draw(2, shape[-1], dtype=dtype, device=device) if with_bias else None]
    native = run_with_gradients(op, inputs)
    expected = run_with_gradients(PLAIN[op], inputs)
    truth = run_with_gradients(PLAIN[op], inputs, torch.float64)
    assert_as_exact_as_reference(native, expected, truth, dtype)


@both
def test_a_float32_bias_serves_beside_bfloat16_activations(device: str, op: Op) -> None:
    inputs = [draw(1, 7, 24, dtype=torch.bfloat16, device=device), draw(2, 24, device=device)]
    native = run_with_gradients(op, inputs)
    expected = run_with_gradients(PLAIN[op], inputs)
    truth = run_with_gradients(PLAIN[op], inputs, torch.float64)
    assert_as_exact_as_reference(native, expected, truth, torch.bfloat16)
    assert native[-1].dtype == torch.float32


@both
def test_gradients_agree_with_finite_differences_in_float64(device: str, op: Op) -> None:
    require_native(device, torch.float64)
    x, bias = (
        draw(seed, *shape, dtype=torch.float64, device=device) for seed, shape in ((1, (4, 5)), (2, (5,)))
    )
    assert torch.autograd.gradcheck(op, [x.requires_grad_(), bias.requires_grad_()])
    assert torch.autograd.gradcheck(op, [x.requires_grad_()])


def test_gelus_left_tail_keeps_its_relative_precision(device: str) -> None:
    x = torch.linspace(-9, -3, 200, device=device)
    truth = bias_gelu(x.double())  # the logistic form, in double
    got = bias_gelu(x).double()
    visible = truth.abs() > 1e-30
    assert ((got - truth).abs() / truth.abs())[visible].max() < 2e-5


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e20, -1e20, 3e38, -3e38, 0.0, -0.0, 88.0, -88.0])
def test_extreme_numbers_come_out_of_gelu_as_from_the_reference(device: str, value: float) -> None:
    x = torch.full((3,), value, device=device)
    torch.testing.assert_close(bias_gelu(x), reference.bias_gelu(x), equal_nan=True, rtol=1e-6, atol=1e-30)


def test_gelus_slope_is_finite_where_squares_overflow(device: str) -> None:
    x = torch.tensor([1e25, -1e25], device=device, requires_grad=True)
    bias_gelu(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_in_float32_relu2_is_torchs_to_the_last_bit(device: str) -> None:
    inputs = [draw(1, 33, 70, device=device), draw(2, 70, device=device)]

    def torchs(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + bias).square()

    native, expected = run_with_gradients(bias_relu2, inputs), run_with_gradients(torchs, inputs)
    for one, other in zip(native[:2], expected[:2], strict=True):  # the bias's is a sum in another order
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e20, -1e20, 3e38, -3e38, 0.0, -0.0])
def test_extreme_numbers_come_out_of_relu2_as_from_the_reference(device: str, value: float) -> None:
    """Results and slopes; at 0 both are 0, and what overflows is infinite."""
    x = torch.full((3,), value, device=device)
    native, expected = run_with_gradients(bias_relu2, [x]), run_with_gradients(reference.bias_relu2, [x])
    for one, other in zip(native, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)


@both
def test_non_contiguous_input_gives_what_its_copy_gives(device: str, op: Op) -> None:
    x = draw(1, 32, 6, device=device).T
    bias = draw(2, 64, device=device)[::2]
    assert torch.equal(op(x, bias), op(x.contiguous(), bias.contiguous()))


@both
@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.zeros(2, 4, dtype=torch.int32),), "x: expected dtype .* got int32"),
        ((torch.zeros(()),), "x: expected"),
        ((torch.zeros(2, 4), torch.zeros(3)), r"bias: expected shape \(4,\), got \(3,\)"),
        ((torch.zeros(2, 4), torch.zeros(4).double()), "bias: expected dtype float32"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op: Op, mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        op(*arguments)
