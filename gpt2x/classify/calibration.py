"""Confidence that means what it says: of the texts named with 80 % probability, 80 in 100 should be right.

A classifier that has learned its training texts well is too sure of others. Two numbers mend that: the log-odds of the
named class against all others together are divided by a temperature, and an offset is added (Platt 1999). They are
chosen on texts that were not learned from, and change no label; the other classes keep their shares of the rest.

Tried in its place: a temperature for the scores (Guo et al. 2017). With many classes it cannot mend both ends: the
linear classifier on HuffPost says 97 % where it is right in 91 % of cases and 16 % where it is right in 20 %, and
keeps an expected calibration error of 5 %.

Letters: N texts, K classes.
"""

from __future__ import annotations

import numpy as np

from gpt2x.classify.metrics import confusion_matrix, macro_f1

COOLEST, HOTTEST = 0.1, 100.0
FARTHEST = 10.0
"""Bounds of the temperature, and of the offset on either side of 0."""

LEAST = 1e-290
"""What all other classes together must have to share in what is taken from the named one."""

FEWEST = 100
"""Texts that it takes to choose a temperature; with fewer it stays 1."""

OBJECTIVES = ("accuracy", "macro")
"""What a classifier may be made for: ``macro`` is macro-F1, in which small classes count as much as large ones."""

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What `fit_strength` chooses from."""


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


def cool(shares: np.ndarray, temperature: float, offset: float = 0.0) -> np.ndarray:
    """Probabilities (N, K) with the log-odds of each row's largest divided by a temperature and moved; it stays.

    >>> cool(np.array([[0.8, 0.1, 0.1]]), 2.0).round(3).tolist()
    [[0.667, 0.167, 0.167]]
    """
    if (temperature == 1 and offset == 0) or not len(shares):
        return shares
    place = shares.argmax(axis=1)[:, None]
    others = np.array(shares, dtype=np.float64)
    np.put_along_axis(others, place, 0.0, axis=1)
    rest = others.sum(axis=1, keepdims=True)
    others = np.divide(others, rest, out=np.zeros_like(others), where=rest > LEAST)
    odds = _log_odds_of(shares.max(axis=1), rest[:, 0])
    named = expit(odds / temperature + offset)[:, None]
    second = others.max(axis=1, keepdims=True)
    # A share that is lowered is lowered no further than to the second.
    named = np.maximum(named, second / (1 + second) * (1 + 1e-12))
    named[rest <= LEAST] = 1.0
    cooled = others * (1 - named)
    np.put_along_axis(cooled, place, named, axis=1)
    return cooled


def fit_confidence(shares: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The temperature and offset under which it is most probable that these named classes were right, those wrong.

    Args:
        shares: (N, K) probabilities of texts that were not learned from.
        truth: (N,) class numbers. Fewer than `FEWEST` give 1 and 0.

    """
    if len(truth) < FEWEST:
        return 1.0, 0.0
    from scipy.optimize import minimize  # half a second, and only learning needs it

    odds, right = _log_odds(shares), shares.argmax(axis=1) == truth

    def loss(values: np.ndarray) -> float:
        new = odds / np.exp(values[0]) + values[1]
        return float(np.logaddexp(0, np.where(right, -new, new)).mean())

    bounds = ((np.log(COOLEST), np.log(HOTTEST)), (-FARTHEST, FARTHEST))
    found = minimize(loss, (0.5, 0.0), method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4}).x
    return float(np.clip(np.exp(found[0]), COOLEST, HOTTEST)), float(found[1])


def _log_odds(shares: np.ndarray) -> np.ndarray:
    """Of each row's largest against all others together: (N,)."""
    others = np.array(shares, dtype=np.float64)
    np.put_along_axis(others, shares.argmax(axis=1)[:, None], 0.0, axis=1)
    return _log_odds_of(shares.max(axis=1), others.sum(axis=1))


def _log_odds_of(named: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(named, 1e-300)) - np.log(np.maximum(others, 1e-300))


def fit_strength(scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    """How much of the classes' log share (K,) to take from the scores for the best macro-F1 (Menon et al. 2021)."""
    if len(truth) < FEWEST:
        return 0.5
    found = [
        macro_f1(confusion_matrix(truth, (scores - s * log_prior).argmax(axis=1), len(log_prior)))
        for s in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(found))]
