"""What naive Bayes and the linear classifier share: sparse word features, and one weight a class and feature.

Both score a text as ``x @ weights.T + intercepts`` with `x` sparse; they differ in how `x` is weighted and in how the
weights are found. A text has some 30 of 100,000 words, so `x` is never made dense: HuffPost's 168,000 training texts
would fill 67 GB in float32, and take 60 MB as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from gpt2x.classify.base import TextClassifier, read_strings, write_strings
from gpt2x.errors import InputDataError

VOCABULARY = "vocabulary.json"


class SparseClassifier(TextClassifier):
    """A classifier over a sparse bag of words.

    Attributes:
        vectorizer_: scikit-learn's vectorizer, its vocabulary learned from the training texts alone.
        weights_: (K, F) float32, one row a class and one column a feature.
        intercepts_: (K,) float32.

    """

    min_count: int
    vectorizer_: CountVectorizer
    weights_: np.ndarray
    intercepts_: np.ndarray

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
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
        weights, intercepts = self._learn(counts, y, num_classes)
        self.vectorizer_ = vectorizer
        self.weights_ = weights.astype(np.float32)
        self.intercepts_ = intercepts.astype(np.float32)

    def _proba(self, texts: list[str]) -> np.ndarray:
        x = self.vectorizer_.transform(texts)  # (N, F), sparse
        return self._probabilities(np.asarray(x @ self.weights_.T, dtype=np.float64) + self.intercepts_)

    def _num_parameters(self) -> int:
        return self.weights_.size + self.intercepts_.size

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        write_strings(folder / VOCABULARY, self.vectorizer_.get_feature_names_out().tolist())
        return {"weights": self.weights_, "intercepts": self.intercepts_, **self._feature_arrays()}, {}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        words = read_strings(folder / VOCABULARY)
        self.weights_, self.intercepts_ = arrays["weights"], arrays["intercepts"]
        if self.weights_.shape != (num_classes, len(words)) or self.intercepts_.shape != (num_classes,):
            raise InputDataError(
                f"{folder} is damaged: {num_classes} classes and {len(words)} words, but weights of shape "
                f"{self.weights_.shape}; train the classifier again"
            )
        self.vectorizer_ = self._make_vectorizer({word: i for i, word in enumerate(words)})
        self._restore_features(arrays)

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _make_vectorizer(self, vocabulary: dict[str, int] | None) -> CountVectorizer:
        raise NotImplementedError

    def _learn(self, x: Any, y: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, F) and intercepts (K,) from sparse features (N, F) and class numbers (N,)."""
        raise NotImplementedError

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Scores (N, K) to probabilities (N, K)."""
        raise NotImplementedError

    def _feature_arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _restore_features(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass
