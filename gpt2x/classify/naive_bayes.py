"""Multinomial naive Bayes: the class under which the words of a text are most probable, each taken by itself.

    log P(class | text) = log P(class) + sum over words of count · log P(word | class) + constant
    P(word | class) = (count of word in class + alpha) / (count of all words in class + alpha · V)

The second line is additive smoothing, without which one unseen word would rule a class out (Manning, Raghavan,
Schütze, Introduction to Information Retrieval, section 13.2). scikit-learn counts and estimates; it does both well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from gpt2x.classify.base import TextClassifier
from gpt2x.classify.calibration import OBJECTIVES
from gpt2x.classify.hyperparameters import Number, OneOf, Whole
from gpt2x.classify.incremental import IncrementalClassifier
from gpt2x.classify.sparse import SparseClassifier
from gpt2x.classify.weighting import ClassWeight, class_log_shares
from gpt2x.errors import InputDataError


@dataclass(kw_only=True)
class WordCounts:
    """What was counted of texts so far."""

    place: dict[str, int] = field(default_factory=dict)
    """The column of each word, in the order in which they came."""
    in_class: np.ndarray
    """(K, columns) how often a word is in the texts of a class, each text's times its weight; then zeros."""
    texts_with: np.ndarray
    """(columns,) in how many texts a word is."""
    of_class: np.ndarray
    """(K,) texts of a class, each one its weight."""

    def copy(self) -> WordCounts:
        """The same, to be counted on."""
        return WordCounts(
            place=dict(self.place),
            in_class=self.in_class.copy(),
            texts_with=self.texts_with.copy(),
            of_class=self.of_class.copy(),
        )

    def columns_of(self, words: list[str]) -> np.ndarray:
        """The column of each of these words; new words get a new one."""
        columns = np.array([self.place.setdefault(word, len(self.place)) for word in words], np.int64)
        missing = len(self.place) - self.in_class.shape[1]
        if missing > 0:
            wider = max(missing, self.in_class.shape[1])  # twice as many, so that little is copied
            self.in_class = np.pad(self.in_class, ((0, 0), (0, wider)))
            self.texts_with = np.pad(self.texts_with, (0, wider))
        return columns


class NaiveBayes(IncrementalClassifier, SparseClassifier):
    """Multinomial naive Bayes over lower-cased words.

    Args:
        alpha: what is added to each count. Laplace's 1 drowns the rare words of small classes when the vocabulary is
            large: from 20,000 HuffPost rows 1 gives 39 % and 0.1 gives 51 %, from all rows 52 % and 57 % (validation).
        min_count: leave out words that are in fewer training texts.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike;
            None: all texts count 1.
        random_state: seed of which texts are held back to choose the confidence; the counts have no chance in them.

    """

    kind = "nb"
    calibrates = True  # counting twice costs seconds
    rules = MappingProxyType(
        {
            **TextClassifier.rules,
            "alpha": Number(1e-10, 1e9),
            "min_count": Whole(1, 10**9),
            "objective": OneOf(OBJECTIVES),
            "class_weight": ClassWeight(),
        }
    )

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        min_count: int = 1,
        objective: str = "accuracy",
        class_weight: Any = None,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.min_count = min_count
        self.objective = objective
        self.class_weight = class_weight
        self.random_state = random_state

    def describe(self) -> str:
        """How many words it knows."""
        return f"{self.weights_.shape[1]:,} words"

    def _make_vectorizer(self, vocabulary: dict[str, int] | None) -> CountVectorizer:
        return CountVectorizer(min_df=self.min_count, vocabulary=vocabulary, **self.reading_)

    def _learn(
        self, x: Any, y: np.ndarray, row_weights: np.ndarray, num_classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        bayes = MultinomialNB(alpha=self.alpha).fit(x, y, row_weights.astype(np.float64))
        return bayes.feature_log_prob_, bayes.class_log_prior_

    # -- part by part ---------------------------------------------------------------------------------------------

    def _new_counts(self, num_classes: int) -> WordCounts:
        return WordCounts(
            in_class=np.zeros((num_classes, 1024)),
            texts_with=np.zeros(1024, np.int64),
            of_class=np.zeros(num_classes),
        )

    def _with_texts(
        self, counts: WordCounts, texts: list[str], y: np.ndarray, row_weights: np.ndarray
    ) -> WordCounts:
        counts, weights = counts.copy(), row_weights.astype(np.float64)
        counts.of_class += np.bincount(y, weights, minlength=len(counts.of_class))
        vectorizer = CountVectorizer(**self.reading)
        try:
            x = vectorizer.fit_transform(texts)  # (N, words of these texts), sparse
        except ValueError:  # not one word
            return counts
        columns = counts.columns_of(vectorizer.get_feature_names_out().tolist())
        of_class = scipy.sparse.csr_array((weights, (y, np.arange(len(y)))), (len(counts.of_class), len(y)))
        counts.in_class[:, columns] += (of_class @ x).toarray()
        counts.texts_with[columns] += np.bincount(x.indices, minlength=len(columns))
        return counts

    def _estimate(self, counts: WordCounts) -> None:
        words = sorted(word for word, i in counts.place.items() if counts.texts_with[i] >= self.min_count)
        if not words:
            raise InputDataError(
                f"no word is in {self.min_count} or more of the texts so far; give more text or a smaller min_count"
            )
        found = counts.in_class[:, [counts.place[word] for word in words]] + self.alpha  # (K, F)
        self.reading_ = dict(self.reading)
        self.vectorizer_ = self._make_vectorizer({word: i for i, word in enumerate(words)})
        self.weights_ = (np.log(found) - np.log(found.sum(axis=1, keepdims=True))).astype(np.float32)
        self.intercepts_ = class_log_shares(counts.of_class).astype(np.float32)
