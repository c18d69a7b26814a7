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
from gpt2x.classify.weighting import WeightedClassifier, row_weights
from gpt2x.errors import InputDataError, UsageError, quoted


class IncrementalClassifier(WeightedClassifier):
    """A classifier that learns by counting, from all texts at once (`fit`) or part by part (`partial_fit`).

    A subclass says how texts are counted (`_new_counts`, `_with_texts`) and how counts become weights (`_estimate`).
    """

    _so_far: tuple[np.ndarray, Any]
    """The classes (K,) of the first `partial_fit`, and what was counted since."""

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None) -> Self:
        """Learn from texts and their labels; what was learned before is forgotten. See `WeightedClassifier.fit`."""
        self.__dict__.pop("_so_far", None)
        return super().fit(texts, labels, sample_weight)

    def partial_fit(
        self: Self,
        texts: Iterable[str],
        labels: Iterable[Any],
        classes: Iterable[Any] | None = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn from more texts, beside those of earlier calls.

        Of a call that is interrupted no text is counted. One after which there are no weights yet, since no word is in
        `min_count` texts, is an error; its texts are counted, and further calls may mend it.

        Args:
            texts: the next part.
            labels: one a text, of `classes`.
            classes: all labels that will ever come; needed in the first call.
            sample_weight: how much each text counts, 1 by default.

        Raises:
            UsageError: no `classes` in the first call or others later, a hyperparameter that needs all texts at once,
                or a classifier that was fitted or loaded, which holds no counts.
            InputDataError: a label that is none of `classes`, or as `fit` of these texts.

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
        weights = row_weights(sample_weight, self.class_weight, known, y)
        counted = np.flatnonzero(weights)
        self.text_form_, self.confidence_, self.held_back_ = NFC, UNCHANGED, None
        self.row_form_ = None
        _, before = vars(self).get("_so_far") or (known, self._new_counts(len(known)))
        texts = self._as_read([texts[i] for i in counted.tolist()])
        counts = self._with_texts(before, texts, y[counted], weights[counted])
        self.__dict__.pop("classes_", None)  # so that an interrupt leaves no half-made weights in use
        try:
            self._estimate(counts)
        except InputDataError:
            self._so_far = known, counts
            raise
        self._so_far, self.classes_ = (known, counts), known
        return self

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _new_counts(self, num_classes: int) -> Any:
        """Counts of nothing."""
        raise NotImplementedError

    def _with_texts(self, counts: Any, texts: list[str], y: np.ndarray, row_weights: np.ndarray) -> Any:
        """Counts with texts (N) of these class numbers and weights (N,) in them; those before stay as they are."""
        raise NotImplementedError

    def _estimate(self, counts: Any) -> None:
        """Turn counts into weights."""
        raise NotImplementedError


def _check_can_be_partial(model: IncrementalClassifier) -> None:
    if isinstance(model.class_weight, str):
        raise UsageError(
            "class_weight='balanced' needs all texts at once; give partial_fit a dict of labels and weights"
        )
    if model.objective != "accuracy":
        raise UsageError(f"objective={model.objective!r} needs all texts at once; learn with fit")
    if "classes_" in vars(model) and "_so_far" not in vars(model):
        raise UsageError(
            "this classifier was learned by fit or loaded from a folder and holds no counts to add to; learn all texts "
            "with partial_fit, part by part, on a new one"
        )


def _known_classes(model: IncrementalClassifier, classes: Iterable[Any] | None) -> np.ndarray:
    """The classes of the first call, also where it came to no weights."""
    before, _ = vars(model).get("_so_far", (None, None))
    if classes is None:
        if before is None:
            raise UsageError("the first call of partial_fit needs classes: all labels that will ever come")
        return before
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
