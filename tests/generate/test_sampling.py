from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, UsageError
from gpt2x.generate import GREEDY, SamplingConfig
from gpt2x.generate.sampling import draw, keep_top_k, keep_top_p, penalize, sample

finite = st.floats(-30, 30, width=32)
many_logits = st.lists(finite, min_size=1, max_size=60).map(torch.tensor)
configs = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 70),
    top_p=st.floats(0.01, 1.0),
    repetition_penalty=st.floats(0.5, 2.0),
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def survivors(scores: torch.Tensor) -> set[int]:
    return set(torch.isfinite(scores).nonzero().flatten().tolist())


@settings(max_examples=200, deadline=None)
@given(logits=many_logits, sampling=configs, seed=st.integers(0, 1000), data=st.data())
def test_ids_beyond_the_vocabulary_never_come_however_likely(
    logits: torch.Tensor, sampling: SamplingConfig, seed: int, data: st.DataObject
) -> None:
    num_ids = data.draw(st.integers(1, len(logits)))
    padded = torch.cat([logits[:num_ids], torch.full((5,), 1e30)])
    history = data.draw(st.lists(st.integers(0, len(padded) - 1), max_size=5))
    options = {"history": history, "num_ids": num_ids}
    token = sample(padded, sampling, generator=seeded(seed), **options)
    assert 0 <= token < num_ids
    assert token == sample(padded, sampling, generator=seeded(seed), **options), "a seed must decide"


@settings(max_examples=200, deadline=None)
@given(logits=many_logits, k=st.integers(1, 70))
def test_top_k_keeps_the_k_highest_and_those_that_tie_with_them(logits: torch.Tensor, k: int) -> None:
    values = logits.tolist()
    threshold = sorted(values, reverse=True)[min(k, len(values)) - 1]
    assert survivors(keep_top_k(logits, k)) == {i for i, value in enumerate(values) if value >= threshold}


@settings(max_examples=200, deadline=None)
@given(logits=many_logits, p=st.floats(0.001, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: torch.Tensor, p: float) -> None:
    kept = survivors(keep_top_p(logits, p))
    probabilities = logits.double().softmax(0)
    mass = sum(probabilities[i].item() for i in kept)
    least = min(probabilities[i].item() for i in kept)
    assert mass >= p - 1e-9
    assert mass - least < p + 1e-9, "one of the kept tokens is not needed"
    assert all(probabilities[i] <= least + 1e-12 for i in range(len(logits)) if i not in kept)


def test_top_p_looks_beyond_the_first_thousand_where_it_must() -> None:
    assert len(survivors(keep_top_p(torch.zeros(5000), 0.9))) == pytest.approx(4500, abs=1)


def test_of_tokens_that_tie_for_the_last_places_in_top_p_the_lower_ids_stay() -> None:
    assert survivors(keep_top_p(torch.zeros(10), 0.45)) == {0, 1, 2, 3, 4}
    assert survivors(keep_top_p(torch.tensor([0.0, 1.0, 0.0, 0.0]), 0.6)) == {0, 1}


def test_top_p_after_top_k_brings_back_no_token() -> None:
    scores = keep_top_k(torch.arange(9.0), 3)
    assert survivors(keep_top_p(scores, 0.999)) == {6, 7, 8}


def test_draws_come_as_often_as_their_probability_says() -> None:
    logits = torch.tensor([1.0, -math.inf, 0.0, 2.0])
    generator = seeded()
    counts = torch.bincount(torch.tensor([draw(logits, generator) for _ in range(4000)]), minlength=4)
    assert counts[1] == 0
    torch.testing.assert_close(counts / 4000, logits.softmax(0), atol=0.03, rtol=0)


def test_a_seed_draws_the_same_tokens_tomorrow() -> None:
    """These numbers are a promise: they change only when texts of old seeds may change."""
    logits = torch.arange(50).float() / 10
    generator = seeded(1)
    drawn = [
        sample(logits, SamplingConfig(temperature=0.8, top_p=0.95), generator=generator) for _ in range(8)
    ]
    assert drawn == [32, 39, 39, 37, 45, 35, 44, 47]


def test_temperature_zero_takes_the_likeliest_and_needs_no_generator() -> None:
    assert sample(torch.tensor([0.0, 5.0, 4.9]), GREEDY) == 1


def test_a_tiny_temperature_is_nearly_greedy_and_does_not_overflow() -> None:
    assert sample(torch.tensor([1e30, 5.0]), SamplingConfig(temperature=1e-30), generator=seeded()) == 0


def test_repetition_penalty_makes_used_tokens_less_likely_whatever_their_sign() -> None:
    scores = penalize(torch.tensor([2.0, -2.0, 1.0]), [0, 1, 1, 99], 2.0)
    assert scores.tolist() == [1.0, -4.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused_in_words(bad: float) -> None:
    with pytest.raises(InputDataError, match="damaged"):
        sample(torch.tensor([0.0, bad, 1.0]), SamplingConfig(), generator=seeded())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_any_dtype_work(dtype: torch.dtype) -> None:
    logits = torch.tensor([0.0, 10.0, -1.0], dtype=dtype)
    assert sample(logits, SamplingConfig(top_k=2, top_p=0.9), generator=seeded()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("repetition_penalty", 0.0),
    ],
)
def test_a_setting_that_cannot_work_is_refused_and_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        SamplingConfig(**{name: value})
