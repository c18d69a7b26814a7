"""Other people's classifiers, which `compare` runs beside ours on the same split: scikit-learn's and fastText.

A peer is set up as its own documentation does for texts, and learns from the very texts that ours do (fields joined by
a blank). It is trained and asked inside this process, so that time and memory are measured alike. Nothing is kept of
it: no peer can be saved or loaded.

Letters: N texts, K classes.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from gpt2x.classify.inputs import encode_labels, without_fields
from gpt2x.errors import InputDataError, MissingComponentError


class Peer:
    """A classifier from elsewhere: `fit`, then `scores`.

    Attributes:
        classes_: the labels (K,), sorted.
        num_parameters_: how many numbers it learned.

    """

    gives_probabilities = True
    """Whether `scores` are probabilities."""

    classes_: np.ndarray
    num_parameters_: int

    def __init__(self, *, random_state: int = 1) -> None:
        self.random_state = random_state

    def fit(self, texts: list[str], labels: Sequence[Any]) -> Peer:
        """Learn from texts and their labels (N,).

        Raises:
            MissingComponentError: what it needs is not installed; the message tells how to install it.
            InputDataError: the texts have no word to learn from.

        """
        self.classes_, y = encode_labels(labels)
        self._fit(without_fields(texts), y)
        return self

    def scores(self, texts: list[str]) -> np.ndarray:
        """(N, K): the largest of a row is that of the label that is named."""
        return self._scores(without_fields(texts))

    def describe(self) -> str:
        """How it was set up, in a few words."""
        raise NotImplementedError

    def get_params(self) -> dict[str, Any]:
        """How it was set up, for the report."""
        return {name: value for name, value in vars(self).items() if not name.endswith("_")}

    def _fit(self, texts: list[str], y: np.ndarray) -> None:
        raise NotImplementedError

    def _scores(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError


# -- scikit-learn -------------------------------------------------------------------------------------------------


class SklearnSVC(Peer):
    """TF-IDF of words and pairs and a linear support vector machine, scikit-learn's usual answer to texts."""

    gives_probabilities = False

    def __init__(self, *, random_state: int = 1) -> None:
        super().__init__(random_state=random_state)
        self.ngram_range = (1, 2)
        self.min_df = 2
        self.sublinear_tf = True
        self.C = 1.0

    def describe(self) -> str:
        """The estimator, and how many words it knows."""
        name = type(self.estimator_).__name__
        return f"scikit-learn: TF-IDF of {len(self.vectorizer_.vocabulary_):,} words and pairs, {name}"

    def _fit(self, texts: list[str], y: np.ndarray) -> None:
        self.vectorizer_ = TfidfVectorizer(
            ngram_range=self.ngram_range, min_df=self.min_df, sublinear_tf=self.sublinear_tf, dtype=np.float32
        )
        try:
            x = self.vectorizer_.fit_transform(texts)
        except ValueError as error:  # an empty vocabulary
            raise InputDataError(
                f"the training texts have no word that scikit-learn can learn from: {error}"
            ) from error
        self.estimator_ = self._make_estimator().fit(x, y)
        self.num_parameters_ = self.estimator_.coef_.size + self.estimator_.intercept_.size

    def _make_estimator(self) -> Any:
        return LinearSVC(C=self.C, random_state=self.random_state)

    def _scores(self, texts: list[str]) -> np.ndarray:
        margins = self.estimator_.decision_function(self.vectorizer_.transform(texts))
        # With two classes scikit-learn gives one column: how far the second is above the first.
        return margins if margins.ndim == 2 else np.stack([-margins, margins], axis=1)


class SklearnLogistic(SklearnSVC):
    """The same features and multinomial logistic regression, which gives probabilities."""

    gives_probabilities = True

    def __init__(self, *, random_state: int = 1) -> None:
        super().__init__(random_state=random_state)
        self.C = 10.0
        self.max_iter = 100

    def _make_estimator(self) -> Any:
        return LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=self.random_state)

    def _fit(self, texts: list[str], y: np.ndarray) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it ends after max_iter, as described
            super()._fit(texts, y)

    def _scores(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self.estimator_.predict_proba(self.vectorizer_.transform(texts)), dtype=np.float64)


# -- fastText -----------------------------------------------------------------------------------------------------

_MARKS = re.compile(r"([.!?,'/()])")


class FastText(Peer):
    """fastText's supervised mode with word pairs (Joulin et al. 2016, arXiv:1607.01759).

    Dials are those at which its tutorial on text classification ends, softmax apart; texts are lower-cased and marks
    set apart, as there. Several threads write into one table without
    locks, so that two runs differ a little unless `threads` is 1.
    """

    def __init__(self, *, random_state: int = 1, threads: int | None = None) -> None:
        super().__init__(random_state=random_state)
        self.threads = threads or _num_cores()
        self.lr = 1.0
        self.epoch = 25
        self.dim = 100
        self.word_ngrams = 2
        self.bucket = 2_000_000

    def describe(self) -> str:
        """Its dials."""
        return (
            f"fastText: {self.dim} features, runs of up to {self.word_ngrams} words, {self.epoch} epochs, "
            f"{self.threads} thread{'s' * (self.threads > 1)}"
        )

    def _fit(self, texts: list[str], y: np.ndarray) -> None:
        fasttext = _import_fasttext()
        with tempfile.TemporaryDirectory(prefix="gpt2x.") as folder:
            file = Path(folder) / "texts"
            with file.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
                out.writelines(f"__label__{k} {_as_line(text)}\n" for k, text in zip(y, texts, strict=True))
            self.model_ = fasttext.train_supervised(
                str(file),
                lr=self.lr,
                epoch=self.epoch,
                dim=self.dim,
                wordNgrams=self.word_ngrams,
                bucket=self.bucket,
                loss="softmax",
                thread=self.threads,
                seed=self.random_state % 2**31,
                verbose=0,
            )
        rows = len(self.model_.get_words()) + self.bucket
        self.num_parameters_ = (rows + len(self.classes_)) * self.dim

    def _scores(self, texts: list[str]) -> np.ndarray:
        # Line by line: fastText's own batch call repeats the first probability for all labels.
        found = np.full((len(texts), len(self.classes_)), 1e-9)  # what fastText rounds to 0 is left out by it
        for row, text in enumerate(texts):
            line = _as_line(text).encode("utf-8", "replace").decode() + "\n"
            for share, name in self.model_.f.predict(line, len(self.classes_), 0.0, "strict"):
                found[row, int(name.removeprefix("__label__"))] = share
        return found / found.sum(axis=1, keepdims=True)


def _as_line(text: str) -> str:
    """A text as fastText reads it: one line, in which no word can be taken for a label."""
    text = _MARKS.sub(r" \1 ", text.lower()).replace("__label__", "__label __")
    return " ".join(text.replace("\0", " ").split())


def _import_fasttext() -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise MissingComponentError(
            "fastText is not installed; install it: pip install fasttext-wheel"
        ) from error
    return fasttext


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
