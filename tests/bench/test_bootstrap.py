"""Rounds and ratios: an interval holds the truth as often as it says, equal things are seldom told apart."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from gpt2x.bench import bootstrap
from gpt2x.bench.bootstrap import FASTER, SLOWER, UNCLEAR, of_two, paired, without_rounds
from gpt2x.bench.stats import spread


def normal(chance: random.Random) -> float:
    return math.exp(chance.gauss(0.0, 0.03))


def disturbed(chance: random.Random) -> float:
    """One round in five is disturbed, much."""
    return math.exp(chance.gauss(0.0, 0.01 if chance.random() < 0.8 else 0.1))


@pytest.mark.parametrize("noise", [normal, disturbed])
@pytest.mark.parametrize("rounds", [5, 6, 8, 12, 20])
def test_nine_of_ten_intervals_hold_the_truth_and_few_equal_pairs_are_called_different(
    rounds: int, noise: object
) -> None:
    chance = random.Random(rounds)
    found = [paired([noise(chance) for _ in range(rounds)]) for _ in range(1500)]  # type: ignore[operator]
    held = sum(ratio.low <= 1.0 <= ratio.high for ratio in found) / len(found)  # type: ignore[operator]
    different = sum(ratio.is_clear for ratio in found) / len(found)
    assert 0.86 < held < 0.95
    assert different < 0.04


@pytest.mark.parametrize("rounds", [3, 4])
def test_few_rounds_tell_equal_pairs_no_more_often_apart(rounds: int) -> None:
    chance = random.Random(rounds)
    found = [paired([normal(chance) for _ in range(rounds)]) for _ in range(1500)]
    assert sum(ratio.is_clear for ratio in found) / len(found) < 0.05


def test_a_difference_that_is_there_is_found() -> None:
    chance = random.Random(1)
    found = [paired([1.1 * normal(chance) for _ in range(8)]).verdict for _ in range(200)]
    assert found.count(FASTER) > 180
    assert SLOWER not in found


@pytest.mark.parametrize("rounds", [3, 4, 5])
def test_the_distribution_is_that_of_all_resamples(rounds: int) -> None:
    values = [float(2**place) for place in range(rounds)]
    counted: dict[float, int] = {}
    for resample in itertools.product(values, repeat=rounds):
        median = statistics.median(resample)
        counted[median] = counted.get(median, 0) + 1
    exact = {value: 0.0 for value in counted}
    for value, weight in bootstrap._distribution(values):
        exact[value] += weight
    assert exact == pytest.approx({value: count / rounds**rounds for value, count in counted.items()})


def test_the_inverse_ratio_has_the_inverse_interval_and_verdict() -> None:
    ratios = [1.18, 1.20, 1.17, 1.25, 1.19, 1.16]
    up, down = paired(ratios), paired([1 / ratio for ratio in ratios])
    assert (down.median, down.low, down.high) == pytest.approx((1 / up.median, 1 / up.high, 1 / up.low))  # type: ignore[operator]
    assert (up.verdict, down.verdict) == (FASTER, SLOWER)


def test_drift_that_both_share_is_in_no_paired_ratio_but_in_one_of_two_runs() -> None:
    drift = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    before, after = [100.0 * d for d in drift], [90.0 * d for d in drift]
    assert paired([b / a for a, b in zip(after, before, strict=True)]).width < 1e-9
    assert of_two([1 / a for a in after], [1 / b for b in before]).width > 0.2


def test_two_runs_of_the_same_are_seldom_told_apart() -> None:
    chance = random.Random(3)
    found = [
        of_two([normal(chance) for _ in range(7)], [normal(chance) for _ in range(9)]) for _ in range(400)
    ]
    held = sum(ratio.low <= 1.0 <= ratio.high for ratio in found) / len(found)  # type: ignore[operator]
    assert 0.86 < held < 0.97
    assert sum(ratio.is_clear for ratio in found) / len(found) < 0.04


def test_without_rounds_the_middle_halves_decide() -> None:
    slow, fast, wide = spread([120, 121, 122]), spread([100, 101, 102]), spread([90, 100, 150])
    assert without_rounds(0.8, slow, fast).verdict == SLOWER
    assert without_rounds(1.2, fast, slow).verdict == FASTER
    assert without_rounds(1.1, wide, slow).verdict == UNCLEAR
    assert not without_rounds(0.8, slow, fast).has_interval


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rounds make no interval"):
        paired([1.0, 1.0])
    with pytest.raises(ValueError, match="1 rounds make no interval"):
        of_two([1.0], [1.0, 1.0, 1.0])
