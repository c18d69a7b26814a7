"""qk_norm_rotary: against its reference in float64, the model's own parts, and what it must leave alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops_support import (
    DTYPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    require_native,
    run_with_gradients,
    threads,
)
from torch import Tensor
from torch.library import opcheck

from gpt2x.model.gpt import prepare_qk, rotation_at
from gpt2x.ops import backend, qk_norm_rotary, reference

# B, T, H, D: one token and one pair; heads of GPT-2's relatives; halves that are no multiple of a vector, and shorter
# than one; nothing at all.
SIZES = (
    (1, 1, 1, 2),
    (2, 3, 2, 64),
    (1, 7, 3, 80),
    (2, 5, 1, 128),
    (3, 4, 5, 6),
    (1, 9, 2, 34),
    (0, 3, 2, 4),
    (2, 0, 2, 4),
)
PARTS = {"both": (True, True), "rotary": (True, False), "qk-norm": (False, True), "neither": (False, False)}
"""Whether heads are turned, and whether they are normalised."""
BY_PARTS = pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))


def prepare(
    H: int, D: int, parts: tuple[bool, bool], function: Callable[..., Tensor] = qk_norm_rotary
) -> Callable[[Tensor], Tensor]:
    """Of qkv (B, T, 3 H D) alone; its tokens stand from position 3 on."""
    is_turned, qk_norm = parts

    def call(qkv: Tensor) -> Tensor:
        positions = torch.arange(3, 3 + qkv.shape[1], device=qkv.device)
        rotation = rotation_at(positions, D) if is_turned else None
        return function(qkv, H, rotation, qk_norm=qk_norm)

    return call


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("size", SIZES, ids=str)
@BY_PARTS
def test_it_is_as_exact_as_the_reference(
    device: str, dtype: torch.dtype, size: tuple[int, ...], parts: tuple[bool, bool]
) -> None:
    require_native(device, dtype)
    B, T, H, D = size
    qkv = draw(1, B, T, 3 * H * D, dtype=dtype, scale=3.0, device=device)
    truth = run_with_gradients(prepare(H, D, parts, reference.qk_norm_rotary), [qkv], torch.float64)
    expected = run_with_gradients(prepare(H, D, parts, reference.qk_norm_rotary), [qkv])
    assert_as_exact_as_reference(run_with_gradients(prepare(H, D, parts), [qkv]), expected, truth, dtype)


@pytest.mark.parametrize("D", [5, 33])
def test_heads_of_an_odd_size_are_normalised(device: str, D: int) -> None:
    qkv = draw(1, 2, 3, 3 * 2 * D, device=device)
    parts = PARTS["qk-norm"]
    truth = run_with_gradients(prepare(2, D, parts, reference.qk_norm_rotary), [qkv], torch.float64)
    expected = run_with_gradients(prepare(2, D, parts, reference.qk_norm_rotary), [qkv])
    assert_as_exact_as_reference(
        run_with_gradients(prepare(2, D, parts), [qkv]), expected, truth, torch.float32
    )


@BY_PARTS
def test_it_is_what_the_model_does_with_heads_apart(device: str, parts: tuple[bool, bool]) -> None:
    B, T, H, D = 2, 6, 3, 16
    qkv = draw(1, B, T, 3 * H * D, device=device)
    q, k, v = reference.heads_of(qkv, H)  # (B, H, T, D) each
    rotation = rotation_at(torch.arange(3, 3 + T, device=device), D) if parts[0] else None
    expected = [*(prepare_qk(each, parts[1], rotation) for each in (q, k)), v]
    for got, one in zip(reference.heads_of(prepare(H, D, parts)(qkv), H), expected, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-6, atol=1e-6)


def test_a_product_of_turned_heads_depends_on_their_distance_alone(device: str) -> None:
    D = 32
    row = draw(1, 1, 1, 3 * D, device=device).expand(1, 20, -1)
    q, k, _ = qk_norm_rotary(row, 1, rotation_at(torch.arange(20, device=device), D)).chunk(3, dim=-1)
    scores = (q @ k.transpose(1, 2))[0]  # (20, 20), of one query and one key at every pair of positions
    for distance in (0, 1, 7):
        along = scores.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand(len(along)), rtol=1e-4, atol=1e-4)
    assert (scores.diagonal(-7)[0] - scores.diagonal()[0]).abs() > 0.1


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_values_and_their_gradient_pass_bit_for_bit(device: str, dtype: torch.dtype) -> None:
    require_native(device, dtype)
    H, D = 2, 16
    qkv = draw(1, 2, 5, 3 * H * D, dtype=dtype, device=device).requires_grad_()
    upstream = draw(2, *qkv.shape, dtype=dtype, device=device)
    y = prepare(H, D, PARTS["both"])(qkv)
    (dqkv,) = torch.autograd.grad(y, qkv, upstream)
    assert torch.equal(y[..., 2 * H * D :], qkv[..., 2 * H * D :])
    assert torch.equal(dqkv[..., 2 * H * D :], upstream[..., 2 * H * D :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@BY_PARTS
def test_views_are_read_as_what_they_show(dtype: torch.dtype, parts: tuple[bool, bool]) -> None:
    """A view that begins at an odd element, one with gaps, one with dimensions exchanged, and gradients with gaps."""
    H, D = 2, 8
    call, flat = prepare(H, D, parts), draw(1, 1 + 2 * 5 * 3 * H * D, dtype=dtype)
    offset = flat[1:].view(2, 5, 3 * H * D)
    gaps = draw(2, 2, 5, 2 * 3 * H * D, dtype=dtype)[:, :, ::2]
    for view in (offset, gaps, offset.transpose(0, 1)):
        for got, expected in zip(
            run_with_gradients(call, [view]), run_with_gradients(call, [view.contiguous()]), strict=True
        ):
            assert torch.equal(got, expected)
    leaf = offset.clone().requires_grad_()
    upstream = draw(3, 2, 3 * H * D, 5, dtype=dtype).transpose(1, 2)
    (got,) = torch.autograd.grad(call(leaf), leaf, upstream)
    (expected,) = torch.autograd.grad(call(leaf), leaf, upstream.contiguous())
    assert torch.equal(got, expected)


def test_a_rotation_may_be_a_view_and_of_any_dtype(device: str) -> None:
    qkv, (cos, sin) = draw(1, 2, 5, 3 * 8, device=device), rotation_at(torch.arange(9, device=device), 8)
    expected = qk_norm_rotary(qkv, 1, (cos[2:7].clone(), sin[2:7].clone()))
    assert torch.equal(qk_norm_rotary(qkv, 1, (cos[2:7], sin[2:7])), expected)
    assert torch.equal(qk_norm_rotary(qkv, 1, (cos[2:7].double(), sin[2:7].double())), expected)
    across = (cos[2:7].T.contiguous().T, sin[2:7].T.contiguous().T)
    assert torch.equal(qk_norm_rotary(qkv, 1, across), expected)


@BY_PARTS
def test_gradients_agree_with_finite_differences_in_float64(device: str, parts: tuple[bool, bool]) -> None:
    require_native(device, torch.float64)
    qkv = draw(1, 2, 3, 3 * 2 * 4, dtype=torch.float64, device=device).requires_grad_()
    assert torch.autograd.gradcheck(prepare(2, 4, parts), (qkv,))
    assert torch.autograd.gradgradcheck(prepare(2, 4, parts), (qkv,))


def test_the_formula_holds_for_factors_that_are_no_rotation(device: str) -> None:
    qkv = draw(1, 1, 3, 3 * 2 * 6, device=device)
    rotation = draw(2, 3, 6, device=device), draw(3, 3, 6, device=device)

    def call(function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda qkv: function(qkv, 2, rotation)

    truth = run_with_gradients(call(reference.qk_norm_rotary), [qkv], torch.float64)
    expected = run_with_gradients(call(reference.qk_norm_rotary), [qkv])
    assert_as_exact_as_reference(
        run_with_gradients(call(qk_norm_rotary), [qkv]), expected, truth, torch.float32
    )


def test_cosines_that_are_learned_get_their_gradient() -> None:
    qkv = draw(1, 1, 3, 3 * 4)
    cos, sin = (draw(seed, 3, 4).requires_grad_() for seed in (2, 3))
    got = torch.autograd.grad(qk_norm_rotary(qkv, 1, (cos, sin)).square().sum(), [cos, sin])
    expected = torch.autograd.grad(reference.qk_norm_rotary(qkv, 1, (cos, sin)).square().sum(), [cos, sin])
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)
        assert one.any()


def test_without_a_norm_nothing_but_the_rotation_is_kept_for_backward() -> None:
    kept: list[Tensor] = []
    qkv = draw(1, 2, 3, 3 * 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor), tensor)[1], lambda t: t
    ):
        prepare(1, 8, PARTS["rotary"])(qkv)
    assert [tuple(t.shape) for t in kept] == [(3, 8), (3, 8)]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e15])
def test_heads_of_any_length_come_out_finite_and_as_the_references(scale: float) -> None:
    """A head of zeros stays one, and has the gradient of a division by the root of epsilon.

    Of long heads the reference is taken in float64: its gradient in float32 goes through the cube of 1e-15. Of short
    ones in float32, whose epsilon counts there.
    """
    qkv = draw(1, 1, 2, 3 * 8) * scale
    in_float64 = torch.float64 if scale > 1 else None
    native = run_with_gradients(prepare(1, 8, PARTS["both"]), [qkv])
    expected = run_with_gradients(prepare(1, 8, PARTS["both"], reference.qk_norm_rotary), [qkv], in_float64)
    for one, other in zip(native, expected, strict=True):
        assert one.isfinite().all()
        largest = float(other.abs().max())
        torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-5, atol=1e-6 * largest)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_number_harms_its_own_head_alone(bad: float) -> None:
    qkv = draw(1, 2, 3, 3 * 2 * 8)
    qkv[1, 2, 9] = bad  # a query's second head
    results = run_with_gradients(prepare(2, 8, PARTS["both"]), [qkv])
    for tensor in results:
        harmed = tensor.unflatten(-1, (6, 8)).isfinite().all(-1).logical_not()
        assert harmed.nonzero().tolist() == [[1, 2, 1]]


def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    results = []
    for count in (1, 2, 5):
        with threads(count):
            results.append(run_with_gradients(prepare(3, 16, PARTS["both"]), [draw(1, 3, 211, 3 * 48)]))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@BY_PARTS
def test_the_registration_passes_torchs_own_check(
    device: str, dtype: torch.dtype, parts: tuple[bool, bool]
) -> None:
    require_native(device, dtype)
    qkv = draw(1, 2, 6, 3 * 8, dtype=dtype, device=device).requires_grad_()
    rotation: Any = rotation_at(torch.arange(6, device=device), 4) if parts[0] else (None, None)
    opcheck(torch.ops.gpt2x.qk_norm_rotary.default, (qkv, *rotation, 2, parts[1]))


def _table(T: int, D: int) -> tuple[Tensor, Tensor]:
    return torch.ones(T, D), torch.ones(T, D)


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("shape", "num_heads", "rotation", "message"),
    [
        ((2, 3), 1, None, r"qkv: expected \(B, T, 3 C\)"),
        ((1, 2, 4), 1, None, r"qkv: expected \(B, T, 3 C\)"),
        ((1, 2, 12), 3, None, "num_heads: expected a divisor of C = 4, got 3"),
        ((1, 2, 12), 0, None, "num_heads: expected a divisor of C = 4, got 0"),
        ((1, 2, 9), 1, _table(2, 3), "rotation: expected None for heads of 3 channels"),
        ((1, 2, 12), 1, _table(3, 4), r"rotation\[0\]: expected shape \(2, 4\), got \(3, 4\)"),
        ((1, 2, 12), 1, (torch.ones(2, 4), torch.ones(2, 2)), r"rotation\[1\]: expected shape \(2, 4\)"),
        ((1, 2, 12), 1, (torch.ones(2, 4, dtype=torch.int64),) * 2, r"rotation\[0\]: expected dtype"),
        ((1, 2, 12), 1, (torch.ones(2, 4),), "rotation: expected cosines and sines, got 1 tensors"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    mode: str, shape: tuple[int, ...], num_heads: int, rotation: Any, message: str
) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=message):
        qk_norm_rotary(torch.zeros(shape), num_heads, rotation)


@pytest.mark.parametrize(
    ("cos", "sin", "words"),
    [
        (torch.ones(2, 4), None, "cos, sin: expected both or none"),
        (torch.ones(2, 4), torch.ones(1, 4), "sin: expected shape"),
        (torch.ones(2, 4).double(), torch.ones(2, 4).double(), "cos: expected dtype"),
    ],
)
def test_a_kernel_that_is_called_directly_stays_inside_its_buffers(
    cos: Tensor, sin: Tensor | None, words: str
) -> None:
    require_native("cpu")
    qkv = torch.zeros(1, 2, 12)
    with pytest.raises(ValueError, match=words):
        torch.ops.gpt2x.qk_norm_rotary(qkv, cos, sin, 1, True)
    with pytest.raises(ValueError, match=words):
        torch.ops.gpt2x.qk_norm_rotary_backward(qkv, qkv, cos, sin, 1)
    with pytest.raises(ValueError, match="qkv: expected shape"):
        torch.ops.gpt2x.qk_norm_rotary_backward(qkv, torch.zeros(1, 1, 12), None, None, 1)


def test_without_kernels_the_reference_serves() -> None:
    qkv = draw(1, 1, 5, 3 * 4)
    with backend.using("reference"):
        got = prepare(2, 2, PARTS["both"])(qkv)
    assert torch.equal(got, prepare(2, 2, PARTS["both"], reference.qk_norm_rotary)(qkv))
