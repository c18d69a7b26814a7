"""causal_attention: against its reference in float64, torch's own attention, and what a token must not see."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
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

from gpt2x.ops import backend, causal_attention, reference
from gpt2x.ops.causal_attention import _by_torch

# B, T, H, D: one token; one row of vectors and its neighbours; tiles and parts of tiles; every head size of GPT-2's
# relatives; sizes that are no multiple of a vector; nothing at all.
SIZES = (
    (1, 1, 1, 1),
    (2, 1, 2, 16),
    (1, 15, 3, 16),
    (1, 17, 1, 32),
    (2, 63, 1, 64),
    (1, 64, 3, 64),
    (1, 65, 2, 80),
    (1, 130, 1, 128),
    (1, 193, 1, 64),
    (2, 33, 5, 7),
    (0, 3, 2, 4),
    (2, 0, 2, 4),
)


def attend(
    num_heads: int, module: Callable[[Tensor, int], Tensor] = causal_attention
) -> Callable[[Tensor], Tensor]:
    return lambda qkv: module(qkv, num_heads)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_as_exact_as_the_reference(device: str, dtype: torch.dtype, size: tuple[int, ...]) -> None:
    require_native(device, dtype)
    B, T, H, D = size
    qkv = draw(1, B, T, 3 * H * D, dtype=dtype, device=device)
    truth = run_with_gradients(attend(H, reference.causal_attention), [qkv], torch.float64)
    expected = run_with_gradients(attend(H, reference.causal_attention), [qkv])
    assert_as_exact_as_reference(run_with_gradients(attend(H), [qkv]), expected, truth, dtype)


def test_it_is_torchs_attention_with_the_heads_side_by_side(device: str) -> None:
    qkv = draw(1, 2, 70, 3 * 6 * 8, device=device)
    q, k, v = qkv.view(2, 70, 3, 6, 8).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    torch.testing.assert_close(causal_attention(qkv, 6), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@pytest.mark.parametrize("function", [causal_attention, reference.causal_attention, _by_torch])
def test_under_autocast_it_computes_what_it_computes_without(
    function: Callable[[Tensor, int], Tensor], dtype: torch.dtype
) -> None:
    qkv = draw(1, 2, 20, 3 * 16, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = function(qkv, 2)
    assert y.dtype == dtype
    assert torch.equal(y, function(qkv, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_a_token_does_not_see_those_after_it(dtype: torch.dtype) -> None:
    qkv = draw(1, 1, 150, 3 * 16, dtype=dtype)
    changed = qkv.clone()
    changed[:, 77:] = draw(2, 73, 3 * 16, dtype=dtype)
    assert torch.equal(causal_attention(qkv, 2)[:, :77], causal_attention(changed, 2)[:, :77])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_views_are_read_as_what_they_show(dtype: torch.dtype) -> None:
    """A view that begins at an odd element, one with gaps, and one whose gradient comes with gaps."""
    H, flat = 2, draw(1, 1 + 2 * 20 * 3 * 16, dtype=dtype)
    offset = flat[1:].view(2, 20, 3 * 16)
    gaps = draw(2, 2, 20, 2 * 3 * 16, dtype=dtype)[:, :, ::2]
    for view in (offset, gaps, offset.transpose(0, 1)):
        dense = view.contiguous()
        for got, expected in zip(
            run_with_gradients(attend(H), [view]), run_with_gradients(attend(H), [dense]), strict=True
        ):
            assert torch.equal(got, expected)
    leaf = offset.clone().requires_grad_()
    upstream = draw(3, 2, 16, 20, dtype=dtype).transpose(1, 2)
    (got,) = torch.autograd.grad(causal_attention(leaf, H), leaf, upstream)
    (expected,) = torch.autograd.grad(causal_attention(leaf, H), leaf, upstream.contiguous())
    assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_heads_that_do_not_divide_by_the_threads_give_the_same_bits(dtype: torch.dtype) -> None:
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(run_with_gradients(attend(5), [draw(1, 1, 140, 3 * 5 * 16, dtype=dtype)]))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_key_harms_its_own_head_and_row_and_no_token_a_tile_earlier(
    bad: float, dtype: torch.dtype
) -> None:
    qkv = draw(1, 2, 130, 3 * 32, dtype=dtype)
    qkv[1, 100, 32] = bad  # the first channel of a key, head 0
    y = causal_attention(qkv, 2)
    assert not y[1, 100:, :16].isfinite().all()
    assert y[0].isfinite().all()
    assert y[1, :, 16:].isfinite().all()
    assert y[1, :64, :16].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_huge_scores_do_not_overflow(dtype: torch.dtype) -> None:
    qkv = draw(1, 1, 80, 3 * 16, dtype=dtype)
    qkv[..., :32] *= 1e4
    assert all(tensor.isfinite().all() for tensor in run_with_gradients(attend(1), [qkv]))


def test_tokens_with_a_score_of_minus_infinity_count_for_nothing() -> None:
    """A whole tile of them, in front of others."""
    qkv = draw(1, 1, 70, 3)
    qkv[..., 0] = 1.0
    qkv[:, :65, 1] = -math.inf
    y = causal_attention(qkv, 1)
    assert y[:, :65].isnan().all()
    torch.testing.assert_close(y[:, 65:], reference.causal_attention(qkv[:, 65:], 1))


def test_the_gradient_in_float64_is_that_of_finite_differences() -> None:
    qkv = draw(1, 1, 5, 3 * 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(attend(2), (qkv,))
    assert torch.autograd.gradgradcheck(attend(2), (qkv,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_id)
def test_the_registration_passes_torchs_own_check(device: str, dtype: torch.dtype) -> None:
    require_native(device, dtype)
    qkv = draw(1, 2, 6, 3 * 8, dtype=dtype, device=device).requires_grad_()
    opcheck(torch.ops.gpt2x.causal_attention.default, (qkv, 2))


@pytest.mark.parametrize(
    ("shape", "num_heads", "message"),
    [
        ((2, 3), 1, r"qkv: expected \(B, T, 3 C\)"),
        ((1, 2, 4), 1, r"qkv: expected \(B, T, 3 C\)"),
        ((1, 2, 0), 1, r"qkv: expected \(B, T, 3 C\)"),
        ((1, 2, 12), 3, "num_heads: expected a divisor of C = 4, got 3"),
        ((1, 2, 12), 0, "num_heads: expected a divisor of C = 4, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], num_heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_attention(torch.zeros(shape), num_heads)
    if 0 not in shape:
        require_native("cpu")
        with pytest.raises(ValueError, match=r"qkv|num_heads"):
            torch.ops.gpt2x.causal_attention(torch.zeros(shape), num_heads)


def test_without_kernels_the_reference_serves() -> None:
    qkv = draw(1, 1, 5, 3 * 4)
    with backend.using("reference"):
        assert torch.equal(causal_attention(qkv, 2), reference.causal_attention(qkv, 2))
