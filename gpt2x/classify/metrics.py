"""Numbers that say how good a classifier is, and how sure that is. Pure functions of class numbers.

Letters: N texts, K classes.
"""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054
"""97.5 % of a normal distribution lies below this many deviations."""


def wilson_interval(correct: int, total: int, z: float = Z95) -> tuple[float, float]:
    """The interval that holds the true accuracy 95 times in 100 (Wilson 1927).

    Unlike accuracy ± 1.96 deviations it never leaves [0, 1] and is right for few texts too.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if total == 0:
        return 0.0, 1.0
    share, width = correct / total, z * z / total
    centre = (share + width / 2) / (1 + width)
    half = z / (1 + width) * math.sqrt(share * (1 - share) / total + width / (4 * total))
    # With none or all correct the bound is 0 or 1 itself; rounding must not move it past the accuracy.
    return 0.0 if correct == 0 else centre - half, 1.0 if correct == total else centre + half


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) counts: row the true class, column the predicted one.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def per_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class, (K,) each; 0 where a class was never predicted or never there."""
    hits = confusion.diagonal().astype(float)
    predicted, there = confusion.sum(axis=0), confusion.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(there, 1)
    f1 = 2 * hits / np.maximum(predicted + there, 1)
    return precision, recall, f1


def macro_f1(confusion: np.ndarray) -> float:
    """The mean F1 of the classes that are there or were predicted: small classes count as much as large ones.

    >>> round(macro_f1(np.array([[1, 1], [0, 1]])), 3)
    0.667
    """
    seen = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(per_class(confusion)[2][seen].mean()) if seen.any() else 0.0


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """The p-value of McNemar's exact test that two classifiers are equally good, on the same texts.

    Only texts on which one is right and the other wrong tell anything; if both are equally good, each is as likely to
    be the one that is right (McNemar 1947; Dietterich 1998).

    Args:
        right_a: (N,) bool, where the first is right.
        right_b: (N,) bool, where the second is.

    >>> mcnemar(np.array([True] * 8 + [False]), np.array([False] * 8 + [True]))
    0.0390625
    """
    from scipy.stats import binomtest

    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(min(only_a, only_b), only_a + only_b, 0.5).pvalue)


def expected_calibration_error(shares: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """How far confidence is from accuracy, on average over texts: 0 is honest (Naeini, Cooper, Hauskrecht 2015).

    Texts are sorted into `bins` of equal width by the probability of the class that was named.

    Args:
        shares: (N, K) probabilities.
        truth: (N,) class numbers.
        bins: how many.

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)
    return float(np.abs(gaps).sum() / max(len(truth), 1))


def abstaining(shares: np.ndarray, truth: np.ndarray, least: float) -> tuple[float, float]:
    """The share of texts whose class is named with at least this probability, and the accuracy on these (1 if none).

    >>> abstaining(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), 0.8)
    (0.5, 1.0)
    """
    sure = shares.max(axis=1) >= least
    right = shares.argmax(axis=1) == truth
    return float(sure.mean()), float(right[sure].mean()) if sure.any() else 1.0
