"""scikit-learn's `partial_fit` for classifiers that count: texts come in parts, and need not fit into memory at once.

Counts add up, so after any number of parts the weights are those that `fit` would learn from all texts together. What
`fit` does beyond counting looks at all texts and has no place here: no part is held back, so that probabilities stay
as they come, and there is neither ``objective="macro"`` nor ``class_weight="balanced"``.

The counts of all features, rare ones too, stay in the estimator: a feature that is rare by now may be frequent later.
A saved folder holds weights and no counts, so a loaded classifier answers and cannot be continued.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gpt2x.classify.base import Self
from gpt2x.classify.calibration import UNCHANGED
from gpt2x.classify.hyperparameters import check_all
from gpt2x.classify.inputs import NFC, check_texts, encode_labels
from gpt2x.classify.weighting import WeightedClassifier, check_weights, class_weights
from gpt2x.errors import InputDataError, UsageError, quoted

NEVER = -1e30
"""The score of a class that is known and has no text yet: its probability is 0, and the number can be saved."""


class IncrementalClassifier(WeightedClassifier):
    """A classifier that learns by counting, from all texts at once (`fit`) or part by part (`partial_fit`).

    A subclass says how texts are counted (`_new_counts`, `_add`) and how counts become weights (`_estimate`).
    """

    objective: str

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None) -> Self:
        """Learn from texts and their labels; what was learned before is forgotten. See `WeightedClassifier.fit`."""
        self.__dict__.pop("_counts", None)
        return super().fit(texts, labels, sample_weight)

    def partial_fit(
        self: Self,
        texts: Iterable[str],
        labels: Iterable[Any],
        classes: Iterable[Any] | None = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn from more texts, beside those of earlier calls.

        Args:
            texts: the next part.
            labels: one a text, of `classes`.
            classes: all labels that will ever come; needed in the first call.
            sample_weight: how much each text counts, 1 by default.

        Raises:
            UsageError: no `classes` in the first call or others later, a hyperparameter that needs all texts at once,
                or a classifier that was fitted or loaded, which holds no counts.
            InputDataError: a label that is none of `classes`, or as `fit`.

        >>> from gpt2x.classify import NaiveBayes
        >>> model = NaiveBayes().partial_fit(["rain"], ["weather"], classes=["sport", "weather"])
        >>> model.partial_fit(["goal"], ["sport"]).predict(["a goal"]).tolist()
        ['sport']

        """
        check_all(self.rules, self.get_params(deep=False))
        _check_can_be_partial(self)
        texts = check_texts(texts)
        known = _known_classes(self, classes)
        y = _numbers(labels, known, len(texts))
        weights = check_weights(sample_weight, len(texts)) * class_weights(self.class_weight, known, y)[y]
        self.text_form_, self.confidence_, self.held_back_ = NFC, UNCHANGED, None
        counts = self.__dict__.get("_counts") or self._new_counts(len(known))
        self._add(counts, self._as_read(texts), y, weights.astype(np.float32))
        self._counts = counts
        self._estimate(counts)
        self.classes_ = known
        return self

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _new_counts(self, num_classes: int) -> Any:
        """Counts of nothing."""
        raise NotImplementedError

    def _add(self, counts: Any, texts: list[str], y: np.ndarray, row_weights: np.ndarray) -> None:
        """Count texts (N) of these class numbers and weights (N,)."""
        raise NotImplementedError

    def _estimate(self, counts: Any) -> None:
        """Turn counts into weights."""
        raise NotImplementedError


def class_log_shares(class_counts: np.ndarray) -> np.ndarray:
    """The log of each class's share of the texts (K,), `NEVER` for one without a text.

    >>> class_log_shares(np.array([1.0, 3.0, 0.0])).round(2).tolist()
    [-1.39, -0.29, -1e+30]
    """
    shares = np.maximum(class_counts, 1e-300) / class_counts.sum()
    return np.where(class_counts > 0, np.log(shares), NEVER)


def _check_can_be_partial(model: IncrementalClassifier) -> None:
    if isinstance(model.class_weight, str):
        raise UsageError(
            "class_weight='balanced' needs all texts at once; give partial_fit a dict of labels and weights"
        )
    if model.objective != "accuracy":
        raise UsageError(f"objective={model.objective!r} needs all texts at once; learn with fit")
    if "classes_" in vars(model) and "_counts" not in vars(model):
        raise UsageError(
            "this classifier was learned by fit or loaded from a folder and holds no counts to add to; learn all texts "
            "with partial_fit, part by part, on a new one"
        )


def _known_classes(model: IncrementalClassifier, classes: Iterable[Any] | None) -> np.ndarray:
    """The classes of the first call."""
    before = vars(model).get("classes_")
    if classes is None:
        if before is None:
            raise UsageError("the first call of partial_fit needs classes: all labels that will ever come")
        return np.asarray(before)
    given, _ = encode_labels(classes)
    if len(given) < 2:
        raise InputDataError(f"classes has {len(given)} label; a classifier needs at least two")
    if before is not None and given.tolist() != before.tolist():
        raise UsageError(
            "classes are not those of the first call of partial_fit; leave them out, or begin anew"
        )
    return given


def _numbers(labels: Iterable[Any], classes: np.ndarray, num_texts: int) -> np.ndarray:
    """The number of each label among the classes: (N,)."""
    own, y = encode_labels(labels)
    if len(y) != num_texts:
        raise InputDataError(f"there are {num_texts} texts and {len(y)} labels; give one label a text")
    place = {label: k for k, label in enumerate(classes.tolist())}
    unknown = [label for label in own.tolist() if label not in place]
    if unknown:
        raise InputDataError(f"the label {quoted(str(unknown[0]))} is none of the classes of the first call")
    return np.array([place[label] for label in own.tolist()], np.int64)[y]
