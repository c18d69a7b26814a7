"""Confidence that means what it says: of the texts named with 80 % probability, 80 in 100 should be right.

A classifier that has learned its training texts well is too sure of others. One number mends that: the log-odds of the
named class against all others together are divided by a temperature, which is chosen on texts that were not learned
from (Platt 1999 without his offset). It changes no label, and the other classes keep their shares of the rest.

Tried in its place: a temperature for the scores (Guo et al. 2017). With many classes it cannot mend both ends: the
linear classifier on HuffPost says 97 % where it is right in 91 % of cases and 16 % where it is right in 20 %, and
keeps an expected calibration error of 5 %.

Letters: N texts, K classes.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from gpt2x.classify.metrics import confusion_matrix, macro_f1

COOLEST, HOTTEST = 0.1, 100.0
FEWEST = 100
"""Texts that it takes to choose a temperature; with fewer it stays 1."""

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


def cool(shares: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, K) with the log-odds of each row's largest divided by a temperature; it stays the largest.

    >>> cool(np.array([[0.8, 0.1, 0.1]]), 2.0).round(3).tolist()
    [[0.667, 0.167, 0.167]]
    """
    if temperature == 1 or not len(shares):
        return shares
    place = shares.argmax(axis=1)[:, None]
    others = np.array(shares, dtype=np.float64)
    np.put_along_axis(others, place, 0.0, axis=1)
    rest = others.sum(axis=1, keepdims=True)
    named = expit(_log_odds(shares) / temperature)[:, None]
    factor = np.divide(1 - named, rest, out=np.zeros_like(rest), where=rest > 0)
    runner_up = others.max(axis=1, keepdims=True)
    # A temperature below 1 lowers a share below a half: no further than to the second.
    floor = np.divide(runner_up, runner_up + rest, out=np.zeros_like(rest), where=rest > 0)
    is_low = named < floor
    named = np.where(is_low, floor * (1 + 1e-12), named)
    factor = np.where(is_low, np.divide(1 - named, rest, out=factor, where=rest > 0), factor)
    cooled = others * factor
    np.put_along_axis(cooled, place, np.where(rest > 0, named, 1.0), axis=1)
    return cooled


def fit_temperature(shares: np.ndarray, truth: np.ndarray) -> float:
    """The temperature under which it is most probable that these named classes were right and those wrong.

    Args:
        shares: (N, K) probabilities of texts that were not learned from.
        truth: (N,) class numbers. Fewer than `FEWEST` give 1.

    >>> shares = np.array([[0.9, 0.1]] * 400)  # nine in ten it says; it is three in four, whose odds are 3 and not 9
    >>> round(fit_temperature(shares, np.array([0, 0, 0, 1] * 100)), 2)
    2.0
    """
    if len(truth) < FEWEST:
        return 1.0
    odds, right = _log_odds(shares), shares.argmax(axis=1) == truth

    def loss(log_temperature: float) -> float:
        signed = np.where(right, -odds, odds) / np.exp(log_temperature)
        return float(np.logaddexp(0, signed).mean())

    bounds = (np.log(COOLEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))


def _log_odds(shares: np.ndarray) -> np.ndarray:
    """Of each row's largest against all others together: (N,)."""
    named = shares.max(axis=1)
    others = np.array(shares, dtype=np.float64)
    np.put_along_axis(others, shares.argmax(axis=1)[:, None], 0.0, axis=1)
    return np.log(np.maximum(named, 1e-300)) - np.log(np.maximum(others.sum(axis=1), 1e-300))


def fit_strength(scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    """How much of the classes' log share (K,) to take from the scores for the best macro-F1 (Menon et al. 2021)."""
    if len(truth) < FEWEST:
        return 0.5
    found = [
        macro_f1(confusion_matrix(truth, (scores - s * log_prior).argmax(axis=1), len(log_prior)))
        for s in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(found))]
