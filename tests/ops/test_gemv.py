"""gemv: every storage of the weight against its reference, and int8 against the matrix it stands for."""

from __future__ import annotations

import pytest
import torch
from ops_support import draw, relative_error, require_native

from gpt2x.ops import backend, gemv, quantize_rows, reference

# x, weight
STORAGES = {
    "float64": (torch.float64, torch.float64, 1e-14),
    "float32": (torch.float32, torch.float32, 2e-6),
    "float32 x bfloat16": (torch.float32, torch.bfloat16, 2e-6),
    "bfloat16": (torch.bfloat16, torch.bfloat16, 2.0**-9),
    "bfloat16 x float32": (torch.bfloat16, torch.float32, 2.0**-9),
    "float32 x int8": (torch.float32, torch.int8, 2e-6),
    "bfloat16 x int8": (torch.bfloat16, torch.int8, 2.0**-9),
}


@pytest.mark.parametrize("name", STORAGES)
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 768, 33), (3, 65, 127), (2, 0, 4), (0, 4, 4)], ids=str)
def test_it_is_as_exact_as_the_reference(device: str, name: str, size: tuple[int, int, int]) -> None:
    x_dtype, weight_dtype, floor = STORAGES[name]
    require_native(device, x_dtype)
    N, num_in, num_out = size
    x, bias = draw(1, N, num_in, dtype=x_dtype, device=device), draw(2, num_out, dtype=x_dtype, device=device)
    weight, scale = draw(3, num_out, num_in, device=device), None
    if weight_dtype == torch.int8:
        weight, scale = quantize_rows(weight)
    else:
        weight = weight.to(weight_dtype)
    got, expected = gemv(x, weight, scale, bias), reference.gemv(x, weight, scale, bias)
    truth = x.double() @ weight.double().T * (1 if scale is None else scale.double()) + bias.double()
    assert got.dtype == x_dtype
    assert relative_error(got, truth) <= 2 * relative_error(expected, truth) + floor


def test_any_strides_and_leading_dimensions() -> None:
    x, weight = draw(1, 5, 2, 3).permute(1, 2, 0), draw(2, 5, 4).T
    torch.testing.assert_close(gemv(x, weight), x @ weight.T)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_under_autocast_sums_are_float32(mode: str) -> None:
    x, weight = draw(1, 3, 70), draw(2, 5, 70)
    with backend.using(mode), torch.autocast("cpu", torch.bfloat16):
        y = gemv(x, weight)
    torch.testing.assert_close(y, x @ weight.T)


def test_int8_is_off_by_at_most_half_a_step_a_weight() -> None:
    weight = draw(1, 9, 40)
    weight[3] = 0
    stored, scale = quantize_rows(weight)
    assert stored.abs().max() == 127
    assert scale[3] == 0
    assert ((stored * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-7).all()


def test_what_is_not_finite_stays_in_its_vector() -> None:
    x, weight = draw(1, 2, 4), draw(2, 3, 4)
    x[0, 1] = float("nan")
    assert gemv(x, weight)[0].isnan().all()
    assert gemv(x, weight)[1].isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_has_no_int8(bad: float) -> None:
    with pytest.raises(ValueError, match="weight: expected finite numbers"):
        quantize_rows(torch.tensor([[1.0, bad]]))


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.ones(()), torch.ones(2, 2)), "x: expected"),
        ((torch.ones(2), torch.ones(2, 3)), r"weight: expected \(O, 2\), got shape \(2, 3\)"),
        ((torch.ones(2), torch.ones(3, 2).double()), "weight: expected dtype"),
        ((torch.ones(2), torch.ones(3, 2, dtype=torch.int8)), "scale: expected float32 of shape"),
        (
            (torch.ones(2), torch.ones(3, 2, dtype=torch.int8), torch.ones(2)),
            r"scale: expected float32 of shape \(3,\)",
        ),
        ((torch.ones(2), torch.ones(3, 2), torch.ones(3)), "scale: expected None"),
        ((torch.ones(2), torch.ones(3, 2), None, torch.ones(2)), r"bias: expected float32 of shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        gemv(*arguments)
