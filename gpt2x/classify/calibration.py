"""Confidence that means what it says: of the texts named with 80 % probability, 80 in 100 should be right.

A classifier that has learned its training texts well is too sure of others. Four numbers mend that. The log-odds of the
named class against all others together are divided by a temperature T; of the probability p that this gives, new
ones are made, a · log p − b · log(1 − p) + c (beta calibration: Kull, Silva Filho, Flach 2017, AISTATS). With a and b
from 0 up no label changes, and the other classes keep their shares of the rest. The four are chosen on texts that were
not learned from.

Tried in its place: a temperature for the scores (Guo et al. 2017). With many classes it cannot mend both ends: the
linear classifier on HuffPost says 97 % where it is right in 91 % of cases and 16 % where it is right in 20 %, and
keeps an expected calibration error of 5 %. Temperature and offset alone (Platt 1999): naive Bayes keeps an error of 3 %
and has 1 with all four. Both weights without the temperature: its p is so near 1 that log p says nothing.

Letters: N texts, K classes, M held-back texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpt2x.classify.metrics import confusion_matrix, macro_f1

COOLEST, HOTTEST = 0.1, 100.0
"""Bounds of the temperature."""

STEEPEST = 20.0
"""Bound of a and b."""

FARTHEST = 50.0
"""Bound of c on either side of 0."""

LEAST = 1e-290
"""What all other classes together must have to share in what is taken from the named one."""

FEWEST = 100
"""Texts that it takes to choose a confidence; with fewer, probabilities stay as they are."""

OBJECTIVES = ("accuracy", "macro")
"""What a classifier may be made for: ``macro`` is macro-F1, in which small classes count as much as large ones."""

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What `fit_strength` chooses from."""

MOST_NUMBERS = 1 << 26
"""So many probabilities of held-back texts are kept with a classifier: a quarter of a GB."""


class Confidence(NamedTuple):
    """What is made of the named class's probability."""

    temperature: float = 1.0
    """T."""
    named: float = 1.0
    """a, the weight of log p."""
    others: float = 1.0
    """b, the weight of -log(1 - p)."""
    offset: float = 0.0
    """c."""


UNCHANGED = Confidence()


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Texts that a classifier had not learned when it said this of them."""

    rows: np.ndarray
    """(M,) their numbers among the training texts, ascending."""
    shares: np.ndarray
    """(M, K) float32, their probabilities before `with_confidence`."""

    @staticmethod
    def of(rows: np.ndarray, shares: np.ndarray) -> HeldBack | None:
        """These; None if there are none, or so many that they would be a burden to keep."""
        return HeldBack(rows, shares.astype(np.float32)) if 0 < shares.size <= MOST_NUMBERS else None


def softmax(scores: np.ndarray) -> np.ndarray:
    """Scores (N, K) to probabilities.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    with np.errstate(invalid="ignore", over="ignore"):  # weights too large give NaN, which the caller refuses
        shares = np.asarray(scores, dtype=np.float64)
        shares = np.exp(shares - shares.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def expit(scores: np.ndarray) -> np.ndarray:
    """The logistic function, of any finite score without overflow.

    >>> expit(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1, small) / (1 + small)


def with_confidence(shares: np.ndarray, confidence: Confidence) -> np.ndarray:
    """Probabilities (N, K) with the largest of each row made as large as it is right; it stays the largest.

    >>> with_confidence(np.array([[0.8, 0.1, 0.1]]), Confidence(temperature=2.0)).round(3).tolist()
    [[0.667, 0.167, 0.167]]
    """
    if confidence == UNCHANGED or not len(shares):
        return shares
    place, others = _others(shares)
    rest = others.sum(axis=1, keepdims=True)
    others = np.divide(others, rest, out=np.zeros_like(others), where=rest > LEAST)
    odds = _log(shares.max(axis=1)) - _log(rest[:, 0])
    named = expit(np.array(confidence[1:]) @ _logarithms(odds / confidence.temperature))[:, None]
    second = others.max(axis=1, keepdims=True)
    # A share that is lowered is lowered no further than to the second.
    named = np.maximum(named, second / (1 + second) * (1 + 1e-12))
    named[rest <= LEAST] = 1.0
    changed = others * (1 - named)
    np.put_along_axis(changed, place, named, axis=1)
    return changed


def fit_confidence(shares: np.ndarray, truth: np.ndarray) -> Confidence:
    """That under which it is most probable that these named classes were right, those wrong.

    Args:
        shares: (N, K) probabilities of texts that were not learned from.
        truth: (N,) class numbers. Fewer than `FEWEST` leave probabilities unchanged.

    """
    if len(truth) < FEWEST:
        return UNCHANGED
    from scipy.optimize import minimize  # half a second, and only learning needs it

    place, others = _others(shares)
    right = place[:, 0] == truth
    odds = _log(shares.max(axis=1)) - _log(others.sum(axis=1))

    def surprise(new_odds: np.ndarray) -> float:
        return float(np.logaddexp(0, np.where(right, -new_odds, new_odds)).mean())

    bounds = ((np.log(COOLEST), np.log(HOTTEST)), (-FARTHEST, FARTHEST))
    found = minimize(
        lambda values: surprise(odds / np.exp(values[0]) + values[1]),
        (0.5, 0.0), method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4},
    ).x  # fmt: skip
    temperature = float(np.clip(np.exp(found[0]), COOLEST, HOTTEST))
    x = _logarithms(odds / temperature)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        return surprise(values @ x), x @ (expit(values @ x) - right) / len(truth)

    limits = ((0.0, STEEPEST), (0.0, STEEPEST), (-FARTHEST, FARTHEST))
    weights = minimize(loss, (1.0, 1.0, found[1]), jac=True, method="L-BFGS-B", bounds=limits).x
    return Confidence(
        temperature, *(float(np.clip(w, *limit)) for w, limit in zip(weights, limits, strict=True))
    )


def _others(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the largest of each row is, (N, 1), and a copy (N, K) with 0 there."""
    place = shares.argmax(axis=1)[:, None]
    others = np.array(shares, dtype=np.float64)
    np.put_along_axis(others, place, 0.0, axis=1)
    return place, others


def _logarithms(odds: np.ndarray) -> np.ndarray:
    """log p, -log(1 - p) and 1 for log-odds (N,): (3, N)."""
    return np.stack([-np.logaddexp(0, -odds), np.logaddexp(0, odds), np.ones(len(odds))])


def _log(shares: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(shares, 1e-300))


def fit_strength(scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    """How much of the classes' log share (K,) to take from the scores for the best macro-F1 (Menon et al. 2021)."""
    if len(truth) < FEWEST:
        return 0.5
    found = [
        macro_f1(confusion_matrix(truth, (scores - s * log_prior).argmax(axis=1), len(log_prior)))
        for s in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(found))]
