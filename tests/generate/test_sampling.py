from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, UsageError
from gpt2x.generate import GREEDY, SamplingConfig
from gpt2x.generate.history import History
from gpt2x.generate.sampling import (
    add_bias,
    adjust,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalize,
    rule_out,
    sample,
)

finite = st.floats(-30, 30, width=32)
many_logits = st.lists(finite, min_size=1, max_size=60).map(torch.tensor)
configs = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 70),
    top_p=st.floats(0.01, 1.0),
    min_p=st.sampled_from([0.0, 0.05, 0.9]),
    typical_p=st.sampled_from([1.0, 0.5, 0.01]),
    repetition_penalty=st.floats(0.5, 2.0),
    frequency_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    no_repeat_ngram=st.integers(0, 3),
    logit_bias=st.sampled_from([(), ((0, 2.0), (99, 5.0)), ((1, -math.inf),)]),
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
    scores = penalize(torch.tensor([2.0, -2.0, 1.0]), torch.tensor([True, True, False]), 2.0)
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


@pytest.mark.parametrize("temperature", [1e-46, 1e-300, 5e-324, 1e-31])
def test_the_smallest_temperatures_take_the_likeliest_token(temperature: float) -> None:
    sampling = SamplingConfig(temperature=temperature)
    assert sample(torch.tensor([0.0, 3.0, 2.9]), sampling, generator=seeded()) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 2.5), ("top_k", True), ("top_k", 0), ("temperature", True), ("temperature", "1"), ("top_p", True),
        ("min_p", 1.0), ("min_p", -0.1), ("min_p", math.nan), ("typical_p", 0.0), ("frequency_penalty", math.inf),
        ("presence_penalty", math.nan), ("no_repeat_ngram", -1), ("no_repeat_ngram", 2.0),
        ("temperature", 1e39), ("frequency_penalty", 1e39), ("presence_penalty", -1e39), ("repetition_penalty", 1e-40),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field):
        SamplingConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bias",
    [
        ((True, 1.0),),
        ((-1, 1.0),),
        ((1, math.nan),),
        ((1, math.inf),),
        ((1, "x"),),
        ((5, 1e39),),
        ((5, -1e39),),
    ],
)
def test_a_logit_bias_that_cannot_work_is_refused(bias: Any) -> None:
    with pytest.raises(UsageError, match="logit_bias"):
        SamplingConfig(logit_bias=bias)


@pytest.mark.parametrize(
    ("largest", "history"),
    [
        ({"logit_bias": ((1, 3e38), (1, 3e38))}, []),
        ({"frequency_penalty": -3e38}, [1, 1]),
        ({"repetition_penalty": 1.3e-38}, [1]),
    ],
    ids=str,
)
def test_numbers_that_add_up_to_more_than_float32_holds_still_give_a_token(
    largest: dict[str, Any], history: list[int]
) -> None:
    written = History([], 3)
    for token in history:
        written.append(token)
    logits = torch.tensor([0.0, 9.0, 1.0])
    assert sample(logits, SamplingConfig(**largest), generator=seeded(), history=written) == 1


@settings(max_examples=100, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 5), max_size=8),
    written=st.lists(st.integers(0, 5), max_size=30),
    n=st.integers(1, 4),
    taken=st.integers(0, 30),
)
def test_a_history_that_grew_and_shrank_is_one_that_was_made_at_once(
    prompt: list[int], written: list[int], n: int, taken: int
) -> None:
    taken = min(taken, len(written))
    grown = History(prompt, 5)
    for token in written:
        grown.would_repeat(n)
        grown.append(token)
    grown.take_back(taken)
    left = written[: len(written) - taken]
    text = prompt + left
    assert grown.ids == text
    assert grown.occurs.tolist() == [i in text for i in range(5)]
    assert grown.counts.tolist() == [left.count(i) for i in range(5)]
    runs = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
    repeated = [i for i in range(5) if len(text) >= n - 1 and (*text[len(text) - n + 1 :], i) in runs]
    assert grown.would_repeat(n).tolist() == repeated


def test_frequency_and_presence_look_at_what_was_written_and_not_at_the_prompt() -> None:
    history = History([0, 0, 0], 3)
    history.extend([1, 1])
    sampling = SamplingConfig(frequency_penalty=0.5, presence_penalty=1.0)
    assert adjust(torch.zeros(3), sampling, history).tolist() == [0.0, -2.0, 0.0]


def test_when_every_token_would_repeat_a_run_one_still_comes() -> None:
    sampling = SamplingConfig(no_repeat_ngram=1)
    assert sample(torch.tensor([1.0, 2.0]), sampling, generator=seeded(), history=[0, 1]) in (0, 1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), value=st.sampled_from([0.02, 0.3, 0.8]), length=st.integers(1, 12))
def test_each_step_computes_what_transformers_processor_of_that_name_computes(
    seed: int, value: float, length: int
) -> None:
    hf = pytest.importorskip("transformers")
    logits = torch.randn(40, generator=seeded(seed)) * 3
    ids = torch.randint(0, 40, (length,), generator=seeded(seed)).tolist() * 2
    batch, before = logits[None], torch.tensor([ids])
    history = History(ids, 40)

    def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        torch.testing.assert_close(ours, theirs[0], rtol=1e-6, atol=1e-6)

    same(keep_min_p(logits, value), hf.MinPLogitsWarper(value)(before, batch.clone()))
    same(keep_typical(logits, value), hf.TypicalLogitsWarper(value)(before, batch.clone()))
    penalty = hf.RepetitionPenaltyLogitsProcessor(1.0 + value)
    same(penalize(logits, history.occurs, 1.0 + value), penalty(before, batch.clone()))
    for n in (1, 2, 3):
        ban = hf.NoRepeatNGramLogitsProcessor(n)
        if n > 1 or length < 40:
            same(rule_out(logits, history.would_repeat(n)), ban(before, batch.clone()))
    bias = hf.SequenceBiasLogitsProcessor({(3,): 1.5, (7,): -4.0})
    same(add_bias(logits, [(3, 1.5), (7, -4.0)]), bias(before, batch.clone()))
