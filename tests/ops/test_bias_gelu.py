"""bias_gelu: native against its reference, gradients, tails, bad input."""

from __future__ import annotations

import pytest
import torch
from ops_support import (
    DTYPES,
    SHAPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    relative_error,
    require_native,
    run_with_gradients,
    shape_id,
)

from gpt2x.ops import backend, bias_gelu, reference


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_results_and_gradients_are_as_exact_as_the_references(
    device: str, shape: tuple[int, ...], dtype: torch.dtype, with_bias: bool
) -> None:
    require_native(device, dtype)
    x = draw(1, *shape, dtype=dtype, scale=2.0, device=device)
    inputs = [x, draw(2, shape[-1], dtype=dtype, device=device) if with_bias else None]
    native = run_with_gradients(bias_gelu, inputs)
    expected = run_with_gradients(reference.bias_gelu, inputs)
    truth = run_with_gradients(reference.bias_gelu, inputs, torch.float64)
    assert_as_exact_as_reference(native, expected, truth, dtype)


def test_a_float32_bias_serves_beside_bfloat16_activations(device: str) -> None:
    inputs = [draw(1, 7, 24, dtype=torch.bfloat16, device=device), draw(2, 24, device=device)]
    native = run_with_gradients(bias_gelu, inputs)
    expected = run_with_gradients(reference.bias_gelu, inputs)
    truth = run_with_gradients(reference.bias_gelu, inputs, torch.float64)
    assert_as_exact_as_reference(native, expected, truth, torch.bfloat16)
    assert native[-1].dtype == torch.float32


def test_a_bias_gradient_over_many_rows_loses_nothing() -> None:
    require_native("cpu")
    bias = torch.full((4,), 0.5, requires_grad=True)
    bias_gelu(torch.zeros(200_000, 4), bias).backward(torch.full((200_000, 4), 1 / 200_000))
    one = torch.full((4,), 0.5, dtype=torch.float64, requires_grad=True)
    reference.bias_gelu(torch.zeros(1, 4).double(), one).sum().backward()
    assert relative_error(bias.grad, one.grad) < 2e-6


def test_gradients_agree_with_finite_differences_in_float64(device: str) -> None:
    require_native(device, torch.float64)
    x, bias = (
        draw(seed, *shape, dtype=torch.float64, device=device) for seed, shape in ((1, (4, 5)), (2, (5,)))
    )
    assert torch.autograd.gradcheck(bias_gelu, [x.requires_grad_(), bias.requires_grad_()])
    assert torch.autograd.gradcheck(bias_gelu, [x.requires_grad_()])


def test_the_left_tail_keeps_its_relative_precision(device: str) -> None:
    x = torch.linspace(-9, -3, 200, device=device)
    truth = bias_gelu(x.double())  # the logistic form, in double
    got = bias_gelu(x).double()
    visible = truth.abs() > 1e-30
    assert ((got - truth).abs() / truth.abs())[visible].max() < 2e-5


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e20, -1e20, 3e38, -3e38, 0.0, -0.0, 88.0, -88.0]
)
def test_extreme_numbers_come_out_as_from_the_reference(device: str, value: float) -> None:
    x = torch.full((3,), value, device=device)
    torch.testing.assert_close(bias_gelu(x), reference.bias_gelu(x), equal_nan=True, rtol=1e-6, atol=1e-30)


def test_the_slope_is_finite_where_squares_overflow(device: str) -> None:
    x = torch.tensor([1e25, -1e25], device=device, requires_grad=True)
    bias_gelu(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_non_contiguous_input_gives_what_its_copy_gives(device: str) -> None:
    x = draw(1, 32, 6, device=device).T
    bias = draw(2, 64, device=device)[::2]
    assert torch.equal(bias_gelu(x, bias), bias_gelu(x.contiguous(), bias.contiguous()))


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
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        bias_gelu(*arguments)
