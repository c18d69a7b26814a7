"""global_norm: native against float64, many sizes, threads, bad input."""

from __future__ import annotations

import pytest
import torch
from ops_support import DTYPES, draw, dtype_id, relative_error, require_native

from gpt2x.ops import backend, global_norm, reference

SIZES = [(1,), (0,), (7, 13), (32768,), (32769,), (3, 40000), ()]


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_the_norm_of_many_tensors_is_that_of_their_concatenation(device: str, dtype: torch.dtype) -> None:
    require_native(device, dtype)
    tensors = [draw(i, *size, dtype=dtype, device=device) for i, size in enumerate(SIZES)]
    truth = torch.cat([tensor.double().flatten() for tensor in tensors]).norm()
    norm = global_norm(tensors)
    assert norm.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert norm.shape == ()
    assert relative_error(norm, truth) < (1e-14 if dtype == torch.float64 else 1e-6)


def test_more_tensors_than_one_launch_takes(device: str) -> None:
    tensors = [torch.full((3,), float(i), device=device) for i in range(200)]
    truth = sum(3.0 * i * i for i in range(200)) ** 0.5
    assert global_norm(tensors).item() == pytest.approx(truth, rel=1e-6)


def test_float32_and_bfloat16_may_be_mixed(device: str) -> None:
    tensors = [draw(1, 50, device=device), draw(2, 60, dtype=torch.bfloat16, device=device)]
    assert relative_error(global_norm(tensors), reference.global_norm([t.double() for t in tensors])) < 1e-6


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_shows_in_the_norm(device: str, poison: float) -> None:
    tensors = [torch.ones(5, device=device), torch.tensor([1.0, poison], device=device)]
    assert not global_norm(tensors).isfinite()


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_nothing_has_norm_zero(mode: str) -> None:
    with backend.using(mode):
        assert global_norm([]).item() == 0
        assert global_norm([torch.zeros(0)]).item() == 0


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_the_gradient_flows_where_a_tensor_needs_one(mode: str) -> None:
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    with backend.using(mode):
        global_norm([x, torch.zeros(1)]).backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.6, 0.8]))


def test_non_contiguous_tensors_count_once(device: str) -> None:
    matrix = draw(1, 30, 40, device=device)
    assert (
        relative_error(
            global_norm([matrix.T, matrix[:, ::2]]), reference.global_norm([matrix, matrix[:, ::2]])
        )
        < 1e-6
    )


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tensors\[1\]: expected dtype .* got int64"):
        global_norm([torch.zeros(2), torch.zeros(2, dtype=torch.int64)])
    with pytest.raises(ValueError, match=r"tensors\[1\]: expected device cpu as tensors\[0\], got meta"):
        global_norm([torch.zeros(2), torch.zeros(2, device="meta")])
