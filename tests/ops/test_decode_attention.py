"""decode_attention: one token over a cache, against its reference and torch's own attention."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from ops_support import DTYPES, draw, dtype_id, relative_error, require_native

from gpt2x.ops import backend, decode_attention, reference

FLOORS = {torch.float64: 1e-14, torch.float32: 2e-6, torch.bfloat16: 2.0**-9}


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize(
    "size",
    [
        (1, 1, 1, 1),
        (1, 12, 65, 64),
        (3, 2, 17, 5),
        (1, 2, 513, 7),
        (1, 1, 1027, 64),
        (0, 2, 3, 4),
        (2, 0, 3, 4),
    ],
    ids=str,
)
def test_it_is_as_exact_as_the_reference(device: str, dtype: torch.dtype, size: tuple[int, ...]) -> None:
    require_native(device, dtype)
    B, H, S, D = size
    query = draw(1, B, H, D, dtype=dtype, device=device)
    keys, values = (draw(k, B, H, S, D, dtype=dtype, device=device) for k in (2, 3))
    got, by_reference = decode_attention(query, keys, values), reference.decode_attention(query, keys, values)
    truth = reference.decode_attention(query.double(), keys.double(), values.double())
    assert got.dtype == dtype
    assert relative_error(got, truth) <= 2 * relative_error(by_reference, truth) + FLOORS[dtype]


def test_it_is_torchs_attention_of_the_last_token_over_a_part_of_a_longer_cache(device: str) -> None:
    cache = [draw(k, 2, 3, 40, 8, device=device) for k in (1, 2)]
    query = draw(3, 2, 3, 8, device=device)
    keys, values = (t[:, :, :11] for t in cache)  # no copy: rows of a head stand as in the whole cache
    expected = F.scaled_dot_product_attention(query[:, :, None], keys, values)[:, :, 0]
    torch.testing.assert_close(decode_attention(query, keys, values), expected)


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_under_autocast_sums_are_float32(mode: str) -> None:
    query, keys, values = draw(1, 2, 3, 16), draw(2, 2, 3, 40, 16), draw(3, 2, 3, 40, 16)
    with backend.using(mode), torch.autocast("cpu", torch.bfloat16):
        y = decode_attention(query, keys, values)
    torch.testing.assert_close(y, decode_attention(query, keys, values))


def test_elements_that_do_not_stand_side_by_side(device: str) -> None:
    query, keys = draw(1, 1, 2, 4, device=device), draw(2, 1, 2, 4, 6, device=device).transpose(2, 3)
    torch.testing.assert_close(
        decode_attention(query, keys, keys), reference.decode_attention(query, keys, keys)
    )


def test_huge_scores_do_not_overflow() -> None:
    query, keys = torch.full((1, 1, 2), 1e4), torch.tensor([[[[1e4, 1e4], [1e4, 0.0], [-1e4, 0.0]]]])
    values = torch.tensor([[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]])
    assert decode_attention(query, keys, values).tolist() == [[[1.0, 2.0]]]


@pytest.mark.parametrize("S", [6, 1100])
def test_tokens_with_a_score_of_minus_infinity_count_for_nothing(S: int) -> None:
    query, keys, values = torch.ones(1, 1, 2), draw(2, 1, 1, S, 2), draw(3, 1, 1, S, 2)
    keys[:, :, 3:] = -math.inf  # from 512 on, whole parts see nothing
    expected = decode_attention(query, keys[:, :, :3], values[:, :, :3])
    torch.testing.assert_close(decode_attention(query, keys, values), expected)
    keys[:] = -math.inf
    assert decode_attention(query, keys, values).isnan().all()
    assert reference.decode_attention(query, keys, values).isnan().all()


def test_a_nan_among_the_values_comes_out(device: str) -> None:
    query, keys, values = (
        draw(k, 1, 2, *rest, 4, device=device) for k, rest in ((1, ()), (2, (600,)), (3, (600,)))
    )
    values[0, 1, 555, 2] = math.nan
    y = decode_attention(query, keys, values)
    assert y.isnan().sum() == 1
    assert y[0, 1, 2].isnan()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_head(bad: float) -> None:
    query, keys, values = draw(1, 1, 2, 4), draw(2, 1, 2, 5, 4), draw(3, 1, 2, 5, 4)
    query[0, 0, 1] = bad
    y = decode_attention(query, keys, values)
    assert y[0, 0].isnan().all()
    assert y[0, 1].isfinite().all()


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("query", "keys", "values", "words"),
    [
        ((2, 3), (1, 2, 4, 3), (1, 2, 4, 3), r"query: expected \(B, H, D\)"),
        ((1, 2, 3), (1, 2, 4, 5), (1, 2, 4, 3), r"keys: expected \(1, 2, S, 3\), got \(1, 2, 4, 5\)"),
        ((1, 2, 3), (1, 2, 0, 3), (1, 2, 0, 3), "keys: expected S > 0"),
        ((1, 2, 3), (1, 2, 4, 3), (1, 2, 5, 3), r"values: expected \(1, 2, 4, 3\) as keys"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    mode: str, query: tuple, keys: tuple, values: tuple, words: str
) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        decode_attention(torch.ones(query), torch.ones(keys), torch.ones(values))


def test_another_dtype_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="keys: expected dtype float32 as query, got float64"):
        decode_attention(torch.ones(1, 1, 2), torch.ones(1, 1, 3, 2).double(), torch.ones(1, 1, 3, 2))
