"""add_layer_norm: native against its reference, gradients, edges, bad input."""

from __future__ import annotations

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

from gpt2x.ops import add_layer_norm, reference


def _inputs(
    shape: tuple[int, ...], dtype: torch.dtype, parameters: torch.dtype, device: str
) -> list[torch.Tensor]:
    channels = shape[-1]
    x, residual = (draw(seed, *shape, dtype=dtype, device=device) for seed in (1, 2))
    weight, bias = (draw(seed, channels, dtype=parameters, device=device) for seed in (3, 4))
    return [x, residual, weight, bias]


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("given", ["residual+bias", "residual", "bias", "neither"])
def test_results_and_gradients_are_as_exact_as_the_references(
    device: str, shape: tuple[int, ...], dtype: torch.dtype, given: str
) -> None:
    require_native(device, dtype)
    x, residual, weight, bias = _inputs(shape, dtype, dtype, device)
    inputs = [x, residual if "residual" in given else None, weight, bias if "bias" in given else None]

    def only_y_without_residual(f):
        return lambda *tensors: f(*tensors) if tensors[1] is not None else f(*tensors)[0]

    native = run_with_gradients(only_y_without_residual(add_layer_norm), inputs)
    by_reference = run_with_gradients(only_y_without_residual(reference.add_layer_norm), inputs)
    truth = run_with_gradients(only_y_without_residual(reference.add_layer_norm), inputs, torch.float64)
    assert_as_exact_as_reference(native, by_reference, truth, dtype)


def test_float32_parameters_serve_beside_bfloat16_activations(device: str) -> None:
    inputs = _inputs((9, 64), torch.bfloat16, torch.float32, device)
    native = run_with_gradients(add_layer_norm, inputs)
    by_reference = run_with_gradients(reference.add_layer_norm, inputs)
    truth = run_with_gradients(reference.add_layer_norm, inputs, torch.float64)
    assert_as_exact_as_reference(native, by_reference, truth, torch.bfloat16)
    assert native[-1].dtype == torch.float32


def test_two_dtypes_are_promoted_as_torch_does(device: str) -> None:
    x, residual, weight, bias = _inputs((4, 8), torch.bfloat16, torch.float32, device)
    y, total = add_layer_norm(x, residual.float(), weight, bias)
    assert y.dtype == total.dtype == torch.float32
    torch.testing.assert_close(total, x.float() + residual.float(), rtol=0, atol=0)


def test_non_contiguous_inputs_give_what_their_copies_give(device: str) -> None:
    x = draw(1, 32, 6, device=device).T  # (6, 32), stride 1 along the rows
    residual = draw(2, 6, 64, device=device)[:, ::2]
    weight = draw(3, 64, device=device)[::2]
    bias = draw(4, 1, device=device).expand(32)
    got = run_with_gradients(lambda: add_layer_norm(x, residual, weight.requires_grad_(), bias), [])
    expected = add_layer_norm(x.contiguous(), residual.contiguous(), weight.contiguous(), bias.contiguous())
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=0, atol=0)


def test_gradients_agree_with_finite_differences_in_float64(device: str) -> None:
    require_native(device, torch.float64)
    inputs = [t.requires_grad_() for t in _inputs((3, 7), torch.float64, torch.float64, device)]
    assert torch.autograd.gradcheck(add_layer_norm, inputs)
    assert torch.autograd.gradcheck(lambda x, w: add_layer_norm(x, None, w), [inputs[0], inputs[2]])


@pytest.mark.parametrize("used", [0, 1])
def test_either_output_may_go_unused(device: str, used: int) -> None:
    inputs = _inputs((5, 12), torch.float32, torch.float32, device)
    native = [t.clone().requires_grad_() for t in inputs]
    by_reference = [t.clone().requires_grad_() for t in inputs]
    add_layer_norm(*native)[used].square().sum().backward()
    reference.add_layer_norm(*by_reference)[used].square().sum().backward()
    for one, other in zip(native, by_reference, strict=True):
        if other.grad is None:
            assert one.grad is None
        else:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)


def test_without_a_residual_the_sum_is_x_itself(device: str) -> None:
    x, _, weight, bias = _inputs((2, 8), torch.float32, torch.float32, device)
    assert add_layer_norm(x, None, weight, bias)[1] is x


def test_a_single_channel_normalises_to_its_bias(device: str) -> None:
    x = draw(1, 5, 1, device=device).requires_grad_()
    y, _ = add_layer_norm(x, None, torch.ones(1, device=device), torch.tensor([0.25], device=device))
    y.sum().backward()
    assert (y == 0.25).all()
    assert x.grad.abs().max() < 1e-4  # rounding times rstd, which is 316 where the variance is 0


def test_a_row_far_from_zero_keeps_its_precision(device: str) -> None:
    x = draw(1, 4, 512, device=device) + 1000.0
    weight = torch.ones(512, device=device)
    y, _ = add_layer_norm(x, None, weight, None)
    truth, _ = reference.add_layer_norm(x.double(), None, weight.double(), None)
    assert (y - truth).abs().max() < 1e-3  # E[x²] - E[x]² would be off by about 0.06


@pytest.mark.parametrize("distance", [100.0, 1000.0])
@pytest.mark.parametrize("channels", [4096, 50304])
def test_long_rows_far_from_zero_are_as_exact_as_the_references(
    device: str, channels: int, distance: float
) -> None:
    inputs = [draw(1, 4, channels, device=device) + distance, None, torch.ones(channels, device=device)]
    results = [
        function(*(None if t is None else t.to(dtype) for t in inputs))[0]
        for function, dtype in (
            (add_layer_norm, torch.float32),
            (reference.add_layer_norm, torch.float32),
            (reference.add_layer_norm, torch.float64),
        )
    ]
    assert_as_exact_as_reference(*([result] for result in results), torch.float32)


def test_equal_numbers_far_from_zero_have_no_variance(device: str) -> None:
    x, weight = torch.full((1, 50304), 1e8 / 3, device=device), torch.ones(50304, device=device)
    y, _ = add_layer_norm(x, None, weight)
    assert (y.abs() < 1e4).all()  # one rounding of the mean, 2, times 316


def test_parameter_gradients_over_many_rows_lose_nothing() -> None:
    require_native("cpu")
    x, weight, bias = draw(1, 200_000, 4), torch.ones(4), torch.zeros(4, requires_grad=True)
    y, _ = add_layer_norm(x, None, weight, bias)
    y.backward(torch.full_like(x, 1 / len(x)))
    assert (bias.grad - 1).abs().max() < 2e-6


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_number_spoils_its_row_and_no_other(device: str, poison: float) -> None:
    x, residual, weight, bias = _inputs((4, 40), torch.float32, torch.float32, device)
    x[2, 17] = poison
    y, _ = add_layer_norm(x, residual, weight, bias)
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


x, w = torch.zeros(2, 4), torch.ones(4)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((x.long(), None, w), "x: expected dtype .* got int64"),
        ((torch.zeros(()), None, w), r"x: expected \(..., C\)"),
        ((torch.zeros(3, 0), None, w[:0]), "x: expected .* C > 0"),
        ((x, torch.zeros(2, 5), w), r"residual: expected shape \(2, 4\) as x, got \(2, 5\)"),
        ((x, None, torch.ones(5)), r"weight: expected shape \(4,\), got \(5,\)"),
        ((x, None, w.double()), "weight: expected dtype float32 as x, got float64"),
        ((x, None, w, torch.ones(3)), r"bias: expected shape \(4,\), got \(3,\)"),
        ((x, None, w, None, -1.0), "eps: expected"),
        (("x", None, w), "x: expected a tensor, got str"),
        ((x, x.to("meta"), w), "residual: expected device cpu as x, got meta"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    from gpt2x.ops import backend

    with backend.using(mode), pytest.raises(ValueError, match=words):
        add_layer_norm(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((x, torch.zeros(3, 4), w, None, 1e-5), "residual: expected shape"),
        ((x, None, torch.ones(3), None, 1e-5), "weight: expected shape"),
        ((x.half(), None, w.half(), None, 1e-5), "x: expected dtype"),
        ((x, None, w, w.double(), 1e-5), "bias: expected dtype"),
    ],
)
def test_the_kernel_itself_stays_inside_its_buffers(arguments: tuple, words: str) -> None:
    require_native("cpu")
    with pytest.raises(ValueError, match=words):
        torch.ops.gpt2x.add_layer_norm(*arguments)
