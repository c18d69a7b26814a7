"""From samples to figures, and whether a loss still matches."""

from __future__ import annotations

import math

import pytest

from gpt2x.bench.ladder.loss_check import Learned, check_loss
from gpt2x.bench.ladder.rungs import RUNGS, Rung
from gpt2x.bench.stats import is_slower, spread, tokens_per_second
from gpt2x.model.peak import utilisation

PLAIN = Rung(key="plain", title="plain", change="nothing", why="None.", loss_bound=0.02)


def learned(losses: list[float], parameters: int = 100, tokens_per_step: int = 16) -> Learned:
    return Learned(losses=losses, parameters=parameters, vocab_size=61, tokens_per_step=tokens_per_step)


def rung(key: str) -> Rung:
    return next(rung for rung in RUNGS if rung.key == key)


def test_a_rate_is_for_a_second_and_a_step_is_in_milliseconds() -> None:
    """8 × 1024 tokens in 100 ms are 81,920 a second; dividing by milliseconds would give 81.92."""
    assert tokens_per_second(8 * 1024, 100.0) == 81_920.0


def test_utilisation_is_the_share_of_the_peak() -> None:
    assert utilisation(1000.0, 2e6, 1e10) == pytest.approx(0.2)
    assert utilisation(1000.0, 2e6, 0.0) is None


def test_one_disturbed_sample_moves_neither_median_nor_quartiles() -> None:
    calm, disturbed = spread([1.0, 2.0, 3.0, 4.0, 5.0]), spread([1.0, 2.0, 3.0, 4.0, 500.0])
    assert calm == disturbed
    assert (calm.median, calm.q1, calm.q3, calm.relative) == (3.0, 2.0, 4.0, pytest.approx(2 / 3))


def test_a_single_sample_has_no_spread() -> None:
    assert spread([7.0]).relative == 0.0


@pytest.mark.parametrize(
    ("after", "before", "slower"),
    [
        ([106.0, 107.0, 108.0], [100.0, 100.5, 101.0], True),
        ([104.0, 104.5, 105.0], [100.0, 100.5, 101.0], False),  # less than 5 %
        ([90.0, 110.0, 130.0], [80.0, 100.0, 120.0], False),  # within the spread of both
        ([50.0, 51.0, 52.0], [100.0, 101.0, 102.0], False),
    ],
)
def test_a_step_is_slower_only_by_more_than_five_percent_and_beyond_both_spreads(
    after: list[float], before: list[float], slower: bool
) -> None:
    assert is_slower(spread(after), spread(before)) is slower


def test_equal_losses_match() -> None:
    check = check_loss(PLAIN, learned([4.0, 3.0]), learned([4.0, 3.01]))
    assert check.verdict == "matches"
    assert check.counts


def test_a_loss_beyond_the_bound_does_not_count() -> None:
    check = check_loss(PLAIN, learned([4.0, 3.5]), learned([4.0, 3.0]))
    assert check.verdict == "differs"
    assert not check.counts
    assert check.reason == "off by 0.5 nats after 2 steps, allowed 0.02"


def test_losses_are_compared_after_the_same_number_of_steps() -> None:
    """The faster rung has made more steps, and its loss has fallen further; that says nothing."""
    check = check_loss(PLAIN, learned([4.0, 3.0, 2.0, 1.0]), learned([4.0, 3.0]))
    assert (check.verdict, check.steps, check.loss, check.before) == ("matches", 2, 3.0, 3.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_never_counts(broken: float) -> None:
    assert not check_loss(rung("clip"), learned([4.0, broken]), learned([4.0, 3.0])).counts
    assert not check_loss(PLAIN, learned([broken]), None).counts


def test_a_rung_that_alters_the_result_says_so() -> None:
    check = check_loss(rung("clip"), learned([4.0, 3.2]), learned([4.0, 3.0]))
    assert (check.verdict, check.reason) == ("changes", "large gradients shrink")


def test_sharing_has_to_save_parameters() -> None:
    before = learned([4.0], parameters=130)
    assert check_loss(rung("sharing"), learned([9.0], parameters=100), before).counts
    assert "no fewer" in check_loss(rung("sharing"), learned([4.0], parameters=130), before).reason


def test_initialisation_has_to_start_at_the_loss_of_a_guess() -> None:
    before = learned([8.0, 7.0])
    assert check_loss(rung("init"), learned([math.log(61) + 0.1, 4.0]), before).counts
    assert "not near ln(V) = 4.11" in check_loss(rung("init"), learned([6.0, 4.0]), before).reason


def test_a_rung_after_which_the_model_no_longer_learns_does_not_count() -> None:
    assert not check_loss(rung("accumulation"), learned([4.0, 3.9]), learned([4.0, 3.0])).counts


def test_with_more_tokens_a_step_losses_are_not_held_against_each_other() -> None:
    check = check_loss(
        PLAIN, learned([4.0, 2.7], tokens_per_step=32), learned([4.0, 3.0], tokens_per_step=16)
    )
    assert (check.verdict, check.reason) == ("changes", "more tokens a step")
