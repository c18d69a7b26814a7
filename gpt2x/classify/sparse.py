"""What naive Bayes and the linear classifier share: sparse word features, and one weight a class and feature.

Both score a text as ``x @ weights.T + intercepts`` with `x` sparse; they differ in how `x` is weighted and in how the
weights are found. A text has some 30 of 100,000 words, so `x` is never made dense: HuffPost's 168,000 training texts
would fill 67 GB in float32, and take 60 MB as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from gpt2x.classify.base import TextClassifier, draw_seed, split_rows
from gpt2x.classify.calibration import FEWEST
from gpt2x.classify.memory import check_memory
from gpt2x.classify.saved import write_strings
from gpt2x.classify.weighting import NEVER, WeightedClassifier, log_shares
from gpt2x.classify.word_weights import VOCABULARY, WORDS, probabilities, restore
from gpt2x.errors import InputDataError

HELD_BACK = 0.05
"""The share of the training texts on which the confidence is chosen, before all are learned."""


class SparseClassifier(WeightedClassifier):
    """A classifier over a sparse bag of words.

    How it counts words (`reading`: scikit-learn's names) is saved with it, and a folder that asks for another way
    than those of `word_weights.READINGS` is refused rather than read wrongly.

    Attributes:
        vectorizer_: scikit-learn's vectorizer, its vocabulary learned from the training texts alone.
        reading_: the `reading` that it was made with.
        weights_: (K, F) float32, one row a class and one column a feature.
        intercepts_: (K,) float32.

    """

    reading: ClassVar[Mapping[str, Any]] = WORDS
    """How texts become counts; arguments of the vectorizer."""
    state_of_version_1: ClassVar[Mapping[str, Any]] = {
        **TextClassifier.state_of_version_1,
        "reading": dict(WORDS),
    }

    calibrates: ClassVar[bool] = False
    """Whether to learn twice: first without a part of the texts, on which the confidence is chosen."""

    min_count: int
    random_state: Any
    reading_: dict[str, Any]
    vectorizer_: CountVectorizer
    weights_: np.ndarray
    intercepts_: np.ndarray

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        self.reading_ = dict(self.reading)
        vectorizer = self._make_vectorizer(None)
        try:
            counts = vectorizer.fit_transform(texts)  # (N, F), sparse
        except ValueError as error:
            if "vocabulary" not in str(error) and "no terms remain" not in str(error):
                raise
            raise InputDataError(
                f"no word is in {self.min_count} or more of the {len(texts)} training texts; "
                "give more text or a smaller min_count"
            ) from error
        num_texts, num_features = counts.shape
        # Weights in float64 while they are learned and in float32 afterwards; texts x classes where classes are coded.
        check_memory(8 * num_classes * (2 * num_features + 2 * num_texts), num_features, num_classes)
        strength = self._calibrate(counts, y, num_classes) if self.calibrates else 0.0
        weights, intercepts = self._learn_present(counts, y, self._row_weights, num_classes)
        intercepts = intercepts - strength * log_shares(y, num_classes, self._row_weights)
        self.vectorizer_ = vectorizer
        self.weights_ = weights.astype(np.float32)
        self.intercepts_ = intercepts.astype(np.float32)

    def _calibrate(self, counts: Any, y: np.ndarray, num_classes: int) -> float:
        """Choose the confidence on a part of the texts, with what is learned from the others.

        Returns:
            How much of the classes' log share to take from the scores: 0 for accuracy.

        """
        if len(y) * HELD_BACK < FEWEST:
            none = np.zeros(0, np.int64)
            return self._use_held_back(none, np.zeros((0, num_classes)), none, np.zeros(num_classes))
        rest, held = split_rows(y, HELD_BACK, np.random.default_rng(draw_seed(self.random_state)))
        learned, unseen = counts[rest], counts[held]
        known = np.flatnonzero(
            np.asarray(learned.sum(axis=0)).ravel()
        )  # words of held-back texts alone are unknown
        weights, intercepts = self._learn_present(
            learned[:, known], y[rest], self._row_weights[rest], num_classes
        )
        scores = np.asarray(unseen[:, known] @ weights.T) + intercepts
        log_prior = log_shares(y[rest], num_classes, self._row_weights[rest])
        return self._use_held_back(held, scores, y[held], log_prior, self._probabilities)

    def _learn_present(
        self, x: Any, y: np.ndarray, row_weights: np.ndarray, num_classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `_learn`, and for classes without a text weights under which they are never named."""
        present, own = np.unique(y, return_inverse=True)
        if len(present) == num_classes:
            return self._learn(x, y, row_weights, num_classes)
        weights, intercepts = np.zeros((num_classes, x.shape[1])), np.full(num_classes, NEVER)
        intercepts[present] = 0.0
        if len(present) > 1:
            weights[present], intercepts[present] = self._learn(x, own, row_weights, len(present))
        return weights, intercepts

    def _scores(self, texts: list[str]) -> np.ndarray:
        x = self.vectorizer_.transform(texts)  # (N, F), sparse
        return np.asarray(x @ self.weights_.T, dtype=np.float64) + self.intercepts_

    def _proba(self, texts: list[str]) -> np.ndarray:
        return self._probabilities(self._scores(texts))

    def _knows(self, texts: list[str]) -> np.ndarray:
        return np.diff(self.vectorizer_.transform(texts).indptr) > 0

    def _explain(self, text: str, k: int) -> dict[str, float]:
        x = self.vectorizer_.transform([text])  # (1, F), sparse
        own = self.weights_[k, x.indices] - self.weights_[:, x.indices].mean(axis=0)
        words = self.vectorizer_.get_feature_names_out()[x.indices]
        return {str(word): float(part) for word, part in zip(words, own * x.data, strict=True)}

    def _num_parameters(self) -> int:
        return self.weights_.size + self.intercepts_.size

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        write_strings(folder / VOCABULARY, self.vectorizer_.get_feature_names_out().tolist())
        arrays = {"weights": self.weights_, "intercepts": self.intercepts_, **self._feature_arrays()}
        return arrays, {"text_form": self.text_form_, "reading": self.reading_}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        saved = restore(self.kind, self.get_params(), folder, arrays, state, num_classes=num_classes)
        self.reading_ = dict(saved.reading)
        self.weights_, self.intercepts_ = arrays["weights"], saved.intercepts
        self.vectorizer_ = self._make_vectorizer(saved.places)
        self._restore_features(arrays)

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _make_vectorizer(self, vocabulary: dict[str, int] | None) -> CountVectorizer:
        raise NotImplementedError

    def _learn(
        self, x: Any, y: np.ndarray, row_weights: np.ndarray, num_classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, F) and intercepts (K,) from sparse features (N, F), class numbers (N,) and weights (N,).

        Each class has a text.
        """
        raise NotImplementedError

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Scores (N, K) to probabilities (N, K)."""
        return probabilities(self.kind, scores)

    def _feature_arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _restore_features(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass
