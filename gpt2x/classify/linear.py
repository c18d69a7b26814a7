"""TF-IDF and a linear classifier: the baseline that more learned models have to beat.

A word weighs (1 + log of its count) · log of how few texts have it; words and pairs of neighbouring words are
features. The weights come from logistic regression, one class against the rest, by stochastic gradient descent, which
passes over sparse rows only and so learns 42 classes × 400,000 features from 168,000 texts in about a minute on two
cores. Tried in its place on the full HuffPost set: LinearSVC (the same within half a point, but slower and
without probabilities), LogisticRegression with L-BFGS (a point lower after 100 iterations), and words without pairs
(a point lower).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from gpt2x.classify.base import TextClassifier, draw_seed
from gpt2x.classify.hyperparameters import Number, Threads, Whole
from gpt2x.classify.sparse import SparseClassifier
from gpt2x.classify.weighting import ClassWeight
from gpt2x.classify.word_weights import TFIDF


class TfidfLinear(SparseClassifier):
    """Logistic regression, one against the rest, over TF-IDF of words and word pairs.

    Args:
        C: inverse strength of the L2 penalty; it does not depend on how many texts there are.
        ngrams: longest run of words that is a feature: 1 words, 2 words and pairs.
        min_count: leave out features that are in fewer training texts.
        epochs: passes over the training texts.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike;
            None: all texts count 1.
        n_jobs: threads, one class each; -1 for all cores. The result does not depend on it.
        random_state: seed of the order in which texts are visited, and of which are held back for the confidence.

    """

    kind = "tfidf"
    calibrates = True
    rules = MappingProxyType(
        {
            **TextClassifier.rules,
            "C": Number(1e-6, 1e9),
            "ngrams": Whole(1, 16),
            "min_count": Whole(1, 10**9),
            "epochs": Whole(1, 10**6),
            "class_weight": ClassWeight(),
            "n_jobs": Threads(),
        }
    )
    reading = TFIDF
    state_of_version_1: ClassVar[Mapping[str, Any]] = {
        **TextClassifier.state_of_version_1,
        "reading": dict(reading),
    }

    def __init__(
        self,
        *,
        C: float = 20.0,
        ngrams: int = 2,
        min_count: int = 2,
        epochs: int = 15,
        class_weight: Any = None,
        n_jobs: int = -1,
        random_state: Any = None,
    ) -> None:
        self.C = C
        self.ngrams = ngrams
        self.min_count = min_count
        self.epochs = epochs
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state

    def describe(self) -> str:
        """How many words and pairs it knows."""
        return f"{self.weights_.shape[1]:,} {'words and pairs' if self.ngrams > 1 else 'words'}"

    def _make_vectorizer(self, vocabulary: dict[str, int] | None) -> CountVectorizer:
        return TfidfVectorizer(
            ngram_range=(1, self.ngrams),
            min_df=self.min_count,
            dtype=np.float32,
            vocabulary=vocabulary,
            **self.reading_,
        )

    def _learn(
        self, x: Any, y: np.ndarray, row_weights: np.ndarray, num_classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        sgd = SGDClassifier(
            loss="log_loss",
            alpha=1 / (self.C * x.shape[0]),
            max_iter=self.epochs,
            tol=None,  # a fixed number of passes: no part of the training texts is needed to decide when to stop
            n_jobs=self.n_jobs,
            random_state=draw_seed(self.random_state),
        ).fit(x, y, sample_weight=row_weights.astype(np.float64))
        if num_classes == 2:  # scikit-learn keeps one row for two classes
            return np.concatenate([-sgd.coef_, sgd.coef_]), np.concatenate([-sgd.intercept_, sgd.intercept_])
        return sgd.coef_, sgd.intercept_

    def _feature_arrays(self) -> dict[str, np.ndarray]:
        return {"idf": np.asarray(self.vectorizer_.idf_, dtype=np.float32)}

    def _restore_features(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.vectorizer_.idf_ = arrays["idf"]
