"""What each text counts in training: scikit-learn's ``sample_weight`` and ``class_weight``, for classifiers that can.

A weight of 2 is like the text twice, one of 0 like no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from gpt2x.classify.base import Self, TextClassifier
from gpt2x.classify.calibration import HeldBack, fit_confidence, fit_strength, softmax
from gpt2x.classify.hyperparameters import Rule
from gpt2x.errors import InputDataError

NEVER = -1e30
"""The score of a class that is known and of which no text counts: its probability is 0, and the number can be saved."""

LARGEST = 1e18
"""All weights together may be this: some kinds add up their squares in float32."""


class ClassWeight(Rule):
    """None, "balanced", or a weight for some labels (1 for the others)."""

    wanted = "None, 'balanced' or a dict of labels and finite weights from 0 up"

    def allows(self, value: Any) -> bool:  # noqa: D102
        if isinstance(value, Mapping):
            return all(_is_weight(weight) for weight in value.values())
        return value is None or (isinstance(value, str) and value == "balanced")


class WeightedClassifier(TextClassifier):
    """A classifier whose texts may count more or less in training.

    Texts of weight 0 are left out before anything is learned or held back, so a kind sees none; a class may then have
    no text.
    """

    objective: str = "accuracy"
    """One of `calibration.OBJECTIVES`; a hyperparameter of those that can be made for more."""

    class_weight: Any
    _row_weights: np.ndarray

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None) -> Self:
        """Learn from texts and their labels; `sample_weight` (N,) says how much each text counts (1 by default).

        Raises:
            InputDataError: as `TextClassifier.fit`, or weights that are not one finite number from 0 up a text, or
                under which no text counts.
            UsageError: as `TextClassifier.fit`.

        """
        texts, classes, y = self._checked(texts, labels)
        weights = row_weights(sample_weight, self.class_weight, classes, y)
        counted = np.flatnonzero(weights)
        self._row_weights = weights[counted]
        try:
            self._fit_rows([texts[i] for i in counted.tolist()], classes, y[counted])
        finally:
            del self._row_weights
        if self.held_back_ is not None:
            self.held_back_ = replace(self.held_back_, rows=counted[self.held_back_.rows])
        return self

    def _use_held_back(
        self,
        rows: np.ndarray,
        scores: np.ndarray,
        truth: np.ndarray,
        log_prior: np.ndarray,
        shares_of: Callable[[np.ndarray], np.ndarray] = softmax,
    ) -> float:
        """Choose the confidence, and how much of the classes' log share to take from the scores.

        Args:
            rows: (M,) numbers of the held-back texts, ascending; maybe none.
            scores: (M, K) their scores before they were learned.
            truth: (M,) their class numbers.
            log_prior: (K,) `log_shares`.
            shares_of: turns scores into probabilities (M, K).

        Returns:
            One of `calibration.STRENGTHS`: 0 for accuracy.

        """
        strength = fit_strength(scores, truth, log_prior) if self.objective == "macro" else 0.0
        shares = shares_of(scores - strength * log_prior)
        self.confidence_ = fit_confidence(shares, truth)
        self.held_back_ = HeldBack.of(rows, shares)
        return strength


def row_weights(sample_weight: Any, class_weight: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What each text counts, its own weight times that of its class: (N,) float32.

    Raises:
        InputDataError: as `check_weights`, or no text counts, or all together count more than `LARGEST`.

    """
    own = check_weights(sample_weight, len(y))
    with np.errstate(over="ignore", under="ignore"):
        weights = own * class_weights(class_weight, classes, y[own > 0])[y]
        total = weights.sum()
        weights = weights.astype(np.float32)
    if not total <= LARGEST:
        raise InputDataError(
            f"sample_weight times class_weight comes to {total:.3g} for all texts together, and may be {LARGEST:.0e} "
            "at most; give smaller weights"
        )
    if not weights.any():
        raise InputDataError(
            "sample_weight times class_weight is 0 for every text (or too small for a float32), so that there is "
            "nothing to learn from; give some text a weight above 0"
        )
    return weights


def class_weights(wanted: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weight of each class: (K,).

    >>> class_weights("balanced", np.array(["a", "b"]), np.array([0, 0, 0, 1])).tolist()
    [0.6666666666666666, 2.0]
    """
    if wanted is None:
        return np.ones(len(classes))
    if isinstance(wanted, str):
        counts = np.bincount(y, minlength=len(classes))
        return len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.array([float(wanted.get(label, 1.0)) for label in classes.tolist()])


def log_shares(y: np.ndarray, num_classes: int, row_weights: np.ndarray | None = None) -> np.ndarray:
    """The log of each class's share of the rows, for taking it from the scores: (K,) float32.

    It is 0 for a class without a row, since taking a small share's logarithm would raise the score of that class.

    >>> [f"{share:.2f}" for share in log_shares(np.array([0, 0, 0, 2]), 3)]
    ['-0.29', '0.00', '-1.39']
    """
    return _log_shares(np.bincount(y, row_weights, minlength=num_classes), 0.0).astype(np.float32)


def class_log_shares(class_counts: np.ndarray) -> np.ndarray:
    """The log of each class's share of the texts (K,), `NEVER` for one without a text.

    >>> class_log_shares(np.array([1.0, 3.0, 0.0])).round(2).tolist()
    [-1.39, -0.29, -1e+30]
    """
    return _log_shares(class_counts, NEVER)


def _log_shares(counts: np.ndarray, of_none: float) -> np.ndarray:
    shares = np.maximum(counts, 1e-300) / counts.sum()
    return np.where(counts > 0, np.log(shares), of_none)


def check_weights(weights: Any, num_texts: int) -> np.ndarray:
    """The weights of the texts as (N,) float64; ones if none are given.

    Raises:
        InputDataError: they are not one finite number from 0 up a text, or all 0.

    """
    if weights is None:
        return np.ones(num_texts)
    try:
        weights = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputDataError("sample_weight is no list of numbers; give one a text") from error
    if weights.shape != (num_texts,):
        raise InputDataError(
            f"sample_weight has the shape {weights.shape} for {num_texts} texts; give one a text"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputDataError("sample_weight must be finite numbers from 0 up, and not all 0")
    return weights


def _is_weight(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and isfinite(value) and value >= 0
