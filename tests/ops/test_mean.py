"""mean_: bit for bit what copy_, add_ and div_ make; aliases, views, several addends, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from ops_support import DTYPES, draw, dtype_id, relative_error, require_native, threads
from torch import Tensor

from gpt2x.ops import backend, mean_, reference
from gpt2x.ops.library import accumulation_dtype

SIZES = [(1,), (0,), (7, 13), (1023,), (1025,), (32769,), (3, 40000), ()]


def _places(count: int, dtype: torch.dtype, device: str = "cpu") -> tuple[list[Tensor], list[list[Tensor]]]:
    addends = [
        [draw(10 * j + i, *size, dtype=dtype, device=device) for i, size in enumerate(SIZES)]
        for j in range(count)
    ]
    return [torch.full_like(t, 7.0, dtype=accumulation_dtype(dtype)) for t in addends[0]], addends


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return (
        one.dtype == other.dtype
        and torch.equal(one.isnan(), other.isnan())
        and torch.equal(
            one.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf),
            other.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf),
        )
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_bits_are_those_of_adding_in_order_and_dividing(
    device: str, dtype: torch.dtype, count: int
) -> None:
    require_native(device, dtype)
    out, addends = _places(count, dtype, device)
    squares = mean_(out, addends)
    for i, mean in enumerate(out):
        expected = addends[0][i].to(mean.dtype).clone()
        for more in addends[1:]:
            expected.add_(more[i])
        assert torch.equal(mean, expected.div_(count)), f"tensor {i}"
    truth = sum(mean.double().square().sum() for mean in out)
    assert squares.dtype == torch.float64
    assert squares.shape == ()
    assert relative_error(squares, truth) < (1e-14 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_mean_may_stand_where_the_first_addend_is(mode: str, count: int) -> None:
    apart, addends = _places(count, torch.float32)
    mean_(apart, addends)
    with backend.using(mode):
        again = [addends[0][0], *(tensor.view_as(tensor) for tensor in addends[0][1:])]
        mean_(again, addends)
    assert all(torch.equal(one, other) for one, other in zip(again, apart, strict=True))


def test_float32_and_bfloat16_places_may_be_mixed(device: str) -> None:
    addends = [[draw(j, 50, device=device), draw(j, 60, dtype=torch.bfloat16, device=device)] for j in (1, 2)]
    out = [torch.empty(50, device=device), torch.empty(60, device=device)]
    mean_(out, addends)
    for i in (0, 1):
        assert torch.equal(out[i], (addends[0][i].float() + addends[1][i]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@pytest.mark.parametrize("offset", [1, 3, 8])
@pytest.mark.parametrize("count", [2, 3])
def test_views_inside_of_larger_tensors_get_their_means_and_nothing_around_them(
    device: str, dtype: torch.dtype, offset: int, count: int
) -> None:
    around = torch.full((2100,), 5.0, device=device)
    addends = [draw(j, 2100, dtype=dtype, device=device)[offset : offset + 2049] for j in range(count)]
    mean_([around[offset : offset + 2049]], [[addend] for addend in addends])
    expected = torch.full((2100,), 5.0, device=device)
    reference.mean_([expected[offset : offset + 2049]], [[addend] for addend in addends])
    assert torch.equal(around, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@pytest.mark.parametrize("count", [2, 3])
def test_what_is_not_ordinary_comes_out_as_torch_makes_it(dtype: torch.dtype, count: int) -> None:
    special = torch.tensor([0.0, -0.0, 1.0, 3e38, -3e38, 1e-40, math.inf, -math.inf, math.nan]).to(dtype)
    addends = [[t.flatten().clone()] for t in torch.meshgrid(*[special] * count, indexing="ij")]
    out, expected = torch.empty(len(addends[0][0])), torch.empty(len(addends[0][0]))
    squares = mean_([out], addends)
    reference.mean_([expected], addends)
    assert _same_bits(out, expected)
    assert torch.equal(out.signbit()[~out.isnan()], expected.signbit()[~out.isnan()])
    assert not squares.isfinite()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    require_native("cpu")
    results = []
    for count in (1, 2, 5):
        with threads(count):
            out, addends = _places(2, torch.bfloat16)
            results.append([mean_(out, addends), *out])
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


def test_strided_addends_and_means_are_served() -> None:
    out, addends = torch.empty(4, 6), [[draw(j, 6, 4).T] for j in (1, 2)]
    mean_([out], addends)
    assert torch.equal(out, (addends[0][0] + addends[1][0]) / 2)
    strided = torch.empty(6, 4).T
    mean_([strided], addends)
    assert torch.equal(strided, out)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_float16_is_added_in_float32(mode: str) -> None:
    out, addends = torch.empty(9), [[draw(j, 9, dtype=torch.float16)] for j in (1, 2)]
    with backend.using(mode):
        mean_([out], addends)
    assert torch.equal(out, (addends[0][0].float() + addends[1][0].float()) / 2)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_of_no_tensors_the_squares_are_zero(mode: str) -> None:
    with backend.using(mode):
        assert mean_([], [[], []]).item() == 0
        assert mean_([torch.zeros(0)], [[torch.zeros(0)]]).item() == 0


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_the_gradient_flows_where_an_addend_needs_one(mode: str) -> None:
    x, out = torch.ones(3, requires_grad=True), torch.zeros(3)
    with backend.using(mode):
        mean_([out], [[x], [torch.ones(3)]])
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5] * 3


def test_autograd_notices_that_the_means_were_written() -> None:
    leaf, out = torch.ones(3, requires_grad=True), torch.ones(3)
    product = leaf * out
    mean_([out], [[torch.ones(3)], [torch.ones(3)]])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


ONE, HALF, LONG = torch.ones(3), torch.ones(3).bfloat16(), torch.ones(8)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("out", "addends", "words"),
    [
        ([ONE], [], "addends: expected at least one list of tensors, got none"),
        ([ONE], [[HALF], []], r"addends\[1\]: expected 1 tensors as out, got 0"),
        ([ONE], [[HALF], [LONG]], r"addends\[1\]\[0\]: expected shape \(3,\) as out\[0\], got \(8,\)"),
        ([ONE], [[HALF], [ONE.long()]], r"addends\[1\]\[0\]: expected dtype float32, .* got int64"),
        ([ONE], [[HALF], [ONE.clone()]], r"addends\[1\]\[0\]: expected dtype bfloat16 as addends\[0\]\[0\]"),
        ([HALF], [[HALF]], r"out\[0\]: expected dtype float32 for addends of bfloat16, got bfloat16"),
        ([ONE], [[ONE.double()]], r"out\[0\]: expected dtype float64 for addends of float64, got float32"),
        ([ONE], [[HALF], [HALF.to("meta")]], r"addends\[1\]\[0\]: expected device cpu as out\[0\], got meta"),
        ([ONE], [[LONG[:3]], [ONE]], r"addends\[1\]\[0\] and out\[0\] share memory"),
        ([LONG[:3]], [[LONG[1:4]], [ONE]], r"addends\[0\]\[0\] and out\[0\] share memory"),
        ([ONE, ONE], [[HALF, HALF]], r"out\[0\] and out\[1\] share memory"),
        ([ONE[:1].expand(3)], [[HALF]], r"out\[0\]: expected each element in memory of its own"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    mode: str, out: list[Tensor], addends: list[list[Tensor]], words: str
) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        mean_(out, addends)


@pytest.mark.parametrize(
    ("out", "addends", "words"),
    [
        ([], [ONE], "addends: expected as many for each of the 0 tensors in out, got 1"),
        ([ONE, LONG], [ONE], "addends: expected as many for each of the 2 tensors in out, got 1"),
        ([ONE], [HALF, LONG], "addends: expected dtype BFloat16, got Float"),
        ([ONE], [LONG], r"addends: expected shape \(3\), got \(8\)"),
        ([HALF], [HALF], "out: expected dtype Float, got BFloat16"),
        ([LONG[::2]], [torch.ones(4)], "out: expected contiguous tensors, number 0 is not"),
        ([ONE], [ONE.half()], "addends: expected dtype float32, bfloat16 or float64"),
    ],
)
def test_the_kernel_keeps_inside_its_buffers(out: list[Tensor], addends: list[Tensor], words: str) -> None:
    require_native("cpu")
    with pytest.raises((ValueError, RuntimeError), match=words):
        torch.ops.gpt2x.mean_(out, addends)
