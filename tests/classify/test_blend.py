"""The blend: weights that suit what was held back, and the mean where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2x.classify.base import split_rows
from gpt2x.classify.blend import Member, blended, fit_blend
from gpt2x.classify.calibration import HeldBack, softmax
from gpt2x.classify.metrics import confusion_matrix, expected_calibration_error, macro_f1


def _says(truth: np.ndarray, num_classes: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities (N, K) of a classifier whose scores are `strength` times the truth, and noise."""
    scores = rng.normal(size=(len(truth), num_classes))
    scores[np.arange(len(truth)), truth] += strength
    return softmax(scores)


def _log_loss(shares: np.ndarray, truth: np.ndarray) -> float:
    return float(-np.log(shares[np.arange(len(truth)), truth]).mean())


def test_the_blend_is_better_and_surer_than_its_members_and_than_their_mean() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 4000)
    members = [_says(truth, 5, strength, rng) for strength in (2.0, 1.0, 0.0)]
    held, asked = np.arange(2000), np.arange(2000, 4000)
    blend = fit_blend([shares[held] for shares in members], truth[held], np.log(np.full(5, 0.2)))
    assert blend is not None
    found = blend([shares[asked] for shares in members])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    mean = np.mean([shares[asked] for shares in members], axis=0)
    assert _log_loss(found, truth[asked]) < _log_loss(mean, truth[asked])
    assert _log_loss(found, truth[asked]) < min(_log_loss(m[asked], truth[asked]) for m in members)
    assert expected_calibration_error(found, truth[asked]) < 0.03
    assert blend.weights[0] > blend.weights[1] > blend.weights[2], "who knows more says more"
    assert blend.weights[2] < 0.1, "who knows nothing says next to nothing"


def test_the_weights_are_those_of_the_least_log_loss() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 500)
    members = [_says(truth, 3, strength, rng) for strength in (1.5, 1.0)]
    blend = fit_blend(members, truth, np.log([0.2, 0.3, 0.5]))
    assert blend is not None

    def loss(weights: np.ndarray) -> float:
        scores = sum(w * np.log(m) for w, m in zip(weights, members, strict=True)) + blend.prior
        return _log_loss(softmax(scores), truth)

    best = loss(blend.weights)
    for change in ([0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]):
        assert loss(blend.weights + change) > best


def test_a_blend_for_macro_f1_helps_the_small_class() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(6000) < 0.04).astype(int)
    prior = np.log([0.96, 0.04])
    members = [softmax(np.log(_says(truth, 2, 1.0, rng)) + prior) for _ in range(2)]

    def f1(*, macro: bool) -> float:
        blend = fit_blend([m[:3000] for m in members], truth[:3000], prior, macro=macro)
        assert blend is not None
        return macro_f1(confusion_matrix(truth[3000:], blend([m[3000:] for m in members]).argmax(axis=1), 2))

    assert f1(macro=True) > f1(macro=False)


def test_rows_that_one_member_alone_held_back_are_not_used() -> None:
    rng = np.random.default_rng(4)
    learned = rng.integers(0, 3, 1000)
    rows = np.arange(0, 1000, 4)
    said = _says(learned, 3, 2.0, rng)
    asked = _says(rng.integers(0, 3, 50), 3, 1.0, rng)
    small = Member(asked, HeldBack(rows[::2], said[rows[::2]]), macro=False)
    large = Member(asked, HeldBack(rows, said[rows]), macro=False)
    spoiled = HeldBack(rows, np.where(np.isin(rows, rows[::2])[:, None], said[rows], 1 / 3))
    found, weights = blended([small, large], learned)
    again, same = blended([small, Member(asked, spoiled, macro=False)], learned)
    assert weights is not None
    assert same is not None
    np.testing.assert_array_equal(found, again)


def test_where_too_little_was_held_back_it_is_the_mean() -> None:
    rng = np.random.default_rng(5)
    learned = rng.integers(0, 3, 200)
    asked = [_says(rng.integers(0, 3, 20), 3, 1.0, rng) for _ in range(2)]
    few = HeldBack(np.arange(99), _says(learned[:99], 3, 1.0, rng))
    for held in (None, few):
        members = [Member(shares, held, macro=False) for shares in asked]
        found, weights = blended(members, learned)
        assert weights is None
        np.testing.assert_allclose(found, np.mean(asked, axis=0))


@pytest.mark.parametrize("fraction", [0.02, 0.1])
def test_one_seed_holds_back_the_same_rows_or_the_first_part_of_them(fraction: float) -> None:
    y = np.random.default_rng(6).integers(0, 7, 3000)
    _, larger = split_rows(y, 0.1, np.random.default_rng(9))
    _, part = split_rows(y, fraction, np.random.default_rng(9))
    assert np.isin(part, larger).all()
