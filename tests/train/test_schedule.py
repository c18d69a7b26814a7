"""The learning rate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.train.schedule import learning_rate

SEED = dict(steps=50, lr=6e-4, min_lr=6e-5, warmup=10)


def test_it_rises_in_a_line_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, **SEED) for step in range(50)]
    assert rates[0] == pytest.approx(6e-5)
    assert rates[9] == rates[10] == 6e-4
    assert rates[49] == 6e-5
    middle = 6e-5 + 0.5 * (1 + math.cos(math.pi * 19 / 39)) * (6e-4 - 6e-5)
    assert rates[29] == pytest.approx(middle)


@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 300))
def test_it_stays_between_nothing_and_the_highest_for_every_step(steps: int, warmup: int, step: int) -> None:
    rate = learning_rate(step, steps=steps, lr=1.0, min_lr=0.1, warmup=warmup)
    assert 0 < rate <= 1.0
    if step >= warmup:
        assert rate >= 0.1
    if step >= max(warmup, steps - 1):
        assert rate == 0.1


def test_a_run_of_one_step_and_no_warm_up_works() -> None:
    assert learning_rate(0, steps=1, lr=1.0, min_lr=0.5, warmup=0) == 0.5
