"""Confidence that is honest on unseen texts, and never another label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.classify import HashedBayes, HashedLinear, NaiveBayes, TextClassifier, TfidfLinear
from gpt2x.classify.calibration import (
    UNCHANGED,
    Confidence,
    fit_confidence,
    fit_strength,
    softmax,
    with_confidence,
)
from gpt2x.classify.metrics import abstaining, expected_calibration_error
from tests.classify.conftest import OWN_WORDS

SCORES = st.lists(
    st.lists(st.floats(-900, 900, allow_subnormal=False), min_size=3, max_size=3), min_size=1, max_size=5
)


@given(SCORES, st.floats(0.1, 100), st.floats(0, 20), st.floats(0, 20), st.floats(-50, 50))
def test_labels_stay_and_probabilities_remain_probabilities(
    scores: list[list[float]], temperature: float, a: float, b: float, c: float
) -> None:
    shares = softmax(np.array(scores))
    changed = with_confidence(shares, Confidence(temperature, a, b, c))
    assert (changed >= 0).all()
    np.testing.assert_allclose(changed.sum(axis=1), 1, rtol=1e-9)
    named = shares.argmax(axis=1)
    np.testing.assert_allclose(changed[np.arange(len(named)), named], changed.max(axis=1), rtol=1e-9)


def test_odds_are_divided_and_the_rest_is_shared_as_before() -> None:
    changed = with_confidence(np.array([[0.9, 0.08, 0.02]]), Confidence(temperature=2.0))[0]
    assert changed[0] / (1 - changed[0]) == pytest.approx(3)  # nine to one
    assert changed[1] / changed[2] == pytest.approx(4)


def test_both_ends_have_a_weight_of_their_own() -> None:
    near_1, near_0 = np.array([[0.999, 0.001]]), np.array([[0.501, 0.499]])
    assert with_confidence(near_1, Confidence(1.0, 1.0, 0.1, 0.0))[0, 0] == pytest.approx(0.666, abs=1e-3)
    assert with_confidence(near_0, Confidence(1.0, 0.1, 1.0, 0.0))[0, 0] == pytest.approx(0.651, abs=1e-3)


def test_what_made_it_too_sure_is_found() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(1, 2, 20_000)
    honest = 1 / (1 + np.exp(-np.abs(odds)))
    truth = (rng.random(20_000) > honest).astype(int)
    too_sure = 1 / (1 + np.exp(-np.abs(odds) * 3))
    shares = np.stack([too_sure, 1 - too_sure], axis=1)
    found = fit_confidence(shares, truth)
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found[1:3] == pytest.approx((1, 1), abs=0.1)
    assert expected_calibration_error(shares, truth) > 0.1
    assert expected_calibration_error(with_confidence(shares, found), truth) < 0.01
    assert expected_calibration_error(with_confidence(shares, Confidence(temperature=3.0)), truth) < 0.01


def test_few_texts_decide_nothing() -> None:
    assert fit_confidence(np.full((99, 2), 0.5), np.zeros(99, int)) == UNCHANGED


def test_the_strength_is_the_one_that_serves_small_classes() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(4000) < 0.1).astype(int)
    prior = np.log([0.9, 0.1])
    scores = np.stack([1 - truth, truth], axis=1) + rng.normal(0, 1, (4000, 2)) + prior
    assert fit_strength(scores, truth, prior) > 0


def test_abstaining_names_fewer_and_these_more_surely() -> None:
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.15, 0.85]])
    assert abstaining(shares, np.array([0, 1, 1]), 0.8) == (pytest.approx(2 / 3), 1.0)
    assert abstaining(shares, np.array([0, 1, 1]), 1.0) == (0.0, 1.0)


def noisy(num_texts: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts whose label is right in four of five cases, so that being sure of it is wrong."""
    rng = np.random.default_rng(seed)
    names = list(OWN_WORDS)
    said = rng.integers(3, size=num_texts)
    labels = np.where(rng.random(num_texts) < 0.8, said, rng.integers(3, size=num_texts))
    texts = [" ".join([*rng.choice(OWN_WORDS[names[k]], 3), f"w{rng.integers(500)}"]) for k in said]
    return texts, [names[k] for k in labels]


def test_the_linear_classifier_is_as_sure_as_it_is_right() -> None:
    model = HashedLinear(random_state=0, epochs=6).fit(*noisy(4000, 0))
    texts, labels = noisy(4000, 1)
    truth = np.searchsorted(model.classes_, labels)
    shares = model.predict_proba(texts)
    error = expected_calibration_error(shares, truth)
    model.confidence_ = UNCHANGED
    assert error < 0.08
    assert error < 0.8 * expected_calibration_error(model.predict_proba(texts), truth)


@pytest.mark.parametrize("kind", [NaiveBayes, HashedBayes])
def test_naive_bayes_is_no_longer_far_too_sure(kind: type[TextClassifier]) -> None:
    def repeated(num_texts: int, seed: int) -> tuple[list[str], list[str]]:
        texts, labels = noisy(num_texts, seed)
        return [f"{text} {text} {text}" for text in texts], labels

    model = kind(random_state=0).fit(*repeated(4000, 0))
    texts, labels = repeated(4000, 1)
    truth = np.searchsorted(model.classes_, labels)
    error = expected_calibration_error(model.predict_proba(texts), truth)
    model.confidence_ = UNCHANGED
    assert error < 0.06
    assert error < expected_calibration_error(model.predict_proba(texts), truth)


def test_tfidf_is_calibrated_and_changes_no_label() -> None:
    model = TfidfLinear(random_state=0).fit(*noisy(4000, 0))
    texts, labels = noisy(4000, 1)
    truth = np.searchsorted(model.classes_, labels)
    shares = model.predict_proba(texts)
    assert model.confidence_ != UNCHANGED
    model.confidence_ = UNCHANGED
    assert model.predict(texts).tolist() == model.classes_[shares.argmax(axis=1)].tolist()
    error = expected_calibration_error(shares, truth)
    assert error < 0.08
    assert error < expected_calibration_error(model.predict_proba(texts), truth)


def test_the_rnn_is_calibrated_on_the_texts_that_stop_it(tmp_path: Path) -> None:
    from gpt2x.classify import RNNClassifier, load

    model = RNNClassifier(
        tokenizer="learn", embedding=16, hidden=16, epochs=4, learning_rate=0.02, device="cpu", random_state=0
    ).fit(*noisy(2400, 0))
    texts, labels = noisy(2000, 1)
    shares = model.predict_proba(texts)
    assert model.confidence_ != UNCHANGED
    assert expected_calibration_error(shares, np.searchsorted(model.classes_, labels)) < 0.08
    model.save(tmp_path / "kept")
    np.testing.assert_allclose(load(tmp_path / "kept").predict_proba(texts), shares, rtol=1e-4, atol=1e-6)
