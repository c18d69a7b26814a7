"""What each text counts in training: scikit-learn's ``sample_weight`` and ``class_weight``, for classifiers that can.

A weight of 2 is like the text twice, one of 0 like no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import numpy as np

from gpt2x.classify.base import Self, TextClassifier
from gpt2x.classify.hyperparameters import Rule
from gpt2x.classify.inputs import check_texts, encode_labels
from gpt2x.errors import InputDataError

LEAST = 1e-9
"""A class of which no text counts counts this much a text, where a share of 0 would have no logarithm."""


class ClassWeight(Rule):
    """None, "balanced", or a weight for some labels (1 for the others)."""

    wanted = "None, 'balanced' or a dict of labels and finite weights from 0 up"

    def allows(self, value: Any) -> bool:  # noqa: D102
        if isinstance(value, Mapping):
            return all(_is_weight(weight) for weight in value.values())
        return value is None or (isinstance(value, str) and value == "balanced")


class WeightedClassifier(TextClassifier):
    """A classifier whose texts may count more or less in training."""

    class_weight: Any
    _row_weights: np.ndarray

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None) -> Self:
        """Learn from texts and their labels; `sample_weight` (N,) says how much each text counts (1 by default).

        Raises:
            InputDataError: as `TextClassifier.fit`, or weights that are not one finite number from 0 up a text.
            UsageError: as `TextClassifier.fit`.

        """
        ClassWeight().check("class_weight", self.class_weight)
        texts = check_texts(texts)
        weights = check_weights(sample_weight, len(texts))
        classes, y = encode_labels(labels)
        if len(y) == len(texts):  # else it is refused below
            weights = weights * class_weights(self.class_weight, classes, y)[y]
        self._row_weights = weights.astype(np.float32)
        try:
            return super().fit(texts, classes[y].tolist())
        finally:
            del self._row_weights


def class_weights(wanted: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weight of each class: (K,).

    >>> class_weights("balanced", np.array(["a", "b"]), np.array([0, 0, 0, 1])).tolist()
    [0.6666666666666666, 2.0]
    """
    if wanted is None:
        return np.ones(len(classes))
    if isinstance(wanted, str):
        return len(y) / (len(classes) * np.bincount(y, minlength=len(classes)))
    return np.array([float(wanted.get(label, 1.0)) for label in classes.tolist()])


def log_shares(y: np.ndarray, num_classes: int, row_weights: np.ndarray | None = None) -> np.ndarray:
    """The log of each class's share of the rows: (K,) float32."""
    counts = np.bincount(y, row_weights, minlength=num_classes)
    return np.log(np.maximum(counts, 1e-9) / counts.sum()).astype(np.float32)


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
