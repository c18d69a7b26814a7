"""The linear classifier at its best: softmax regression over hashed words, pairs, parts of words, fields and style.

What makes it better than TF-IDF over words and pairs, in the order of what each is worth on HuffPost: parts of words
(they join *climate* and *climates*), fields (a word in a headline is another than in a description), words as they are
written, and features left out at random while it learns, which keeps it from leaning on a few. What makes it fast: no
dictionary is built (hashing), two passes are enough (Adagrad), and both stand in C++ (csrc/text).

The features are defined in `features`, the learning in `softmax_reference`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from gpt2x import _text
from gpt2x.classify.base import Self, TextClassifier, check_array, draw_seed, one_of, split_rows
from gpt2x.classify.calibration import FEWEST, STRENGTHS, fit_strength, fit_temperature, softmax
from gpt2x.classify.features import GROUP_SHIFT, NUMBER_MASK, features_of, to_bytes
from gpt2x.classify.hyperparameters import Number, OneOf, Share, Threads, Whole
from gpt2x.classify.inputs import check_texts
from gpt2x.classify.room import check_room
from gpt2x.errors import InputDataError

DEFINITION = 1
"""The number of this definition of the features; a folder with another is refused."""

_STEPS_AT_ONCE = 8192  # then Ctrl-C is listened to
_TEXTS_AT_ONCE = 20_000


class HashedLinear(TextClassifier):
    """Softmax regression over hashed features, learned by Adagrad.

    A twentieth of the training texts is held back at first. On these the temperature of the probabilities is chosen
    (and with ``objective="macro"`` how far small classes are helped); then they are learned like the others.

    Args:
        bits: features are hashed to 2**bits numbers.
        min_count: leave out features that are in fewer training texts.
        idf_power: how much more rare features weigh: log(texts / texts with it) to this power.
        epochs: passes over the training texts.
        learning_rate: of the first pass.
        decay: what the learning rate is multiplied by after each pass.
        dropout: share of a text's features that a step leaves out.
        validation: share of the training texts that is held back at first; if that is fewer than 100, none is.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
        class_weight: None, or "balanced": each class weighs alike in training, as in scikit-learn.
        n_jobs: threads that read and score texts; -1 for all cores. The result does not depend on it.
        random_state: seed of the order of texts, of dropout, and of what is held back.

    Attributes:
        numbers_: (F,) int64, the hashed numbers that have a column, ascending.
        idf_: (F,) float32.
        weights_: (F, Kp) float32, classes padded to a multiple of 16.
        log_prior_: (K,) float32, the log of each class's share of the training texts.
        strength_: how much of `log_prior_` is taken from the scores; 0 with ``objective="accuracy"``.

    """

    kind = "linear"
    reads_fields = True
    rules = MappingProxyType(
        {
            **TextClassifier.rules,
            "bits": Whole(8, 24),
            "min_count": Whole(1, 10**9),
            "idf_power": Number(0, 4),
            "epochs": Whole(1, 10**6),
            "learning_rate": Number(1e-6, 100),
            "decay": Number(1e-6, 1),
            "dropout": Share(),
            "validation": Share(),
            "objective": OneOf(("accuracy", "macro")),
            "class_weight": OneOf(("balanced",), or_none=True),
            "n_jobs": Threads(),
        }
    )

    numbers_: np.ndarray
    idf_: np.ndarray
    weights_: np.ndarray
    log_prior_: np.ndarray
    strength_: float

    def __init__(
        self,
        *,
        bits: int = 22,
        min_count: int = 2,
        idf_power: float = 0.5,
        epochs: int = 2,
        learning_rate: float = 0.3,
        decay: float = 0.6,
        dropout: float = 0.3,
        validation: float = 0.05,
        objective: str = "accuracy",
        class_weight: str | None = None,
        n_jobs: int = -1,
        random_state: Any = None,
    ) -> None:
        self.bits = bits
        self.min_count = min_count
        self.idf_power = idf_power
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.decay = decay
        self.dropout = dropout
        self.validation = validation
        self.objective = objective
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any], sample_weight: Any = None) -> Self:
        """Learn from texts and their labels; `sample_weight` (N,) says how much each text counts (1 by default).

        Raises:
            InputDataError: as `TextClassifier.fit`, or weights that are not one finite number from 0 up a text.
            UsageError: as `TextClassifier.fit`.

        """
        texts = check_texts(texts)
        self._sample_weight = _check_weights(sample_weight, len(texts))
        try:
            return super().fit(texts, labels)
        finally:
            del self._sample_weight

    def decision_function(self, texts: Iterable[str]) -> np.ndarray:
        """Scores (N, K), columns as `classes_`: the largest is that of the label that `predict` gives."""
        self.num_parameters_  # noqa: B018  # refuses if it is not fitted
        return self._scores(self._as_read(check_texts(texts, allow_none=True)))

    def describe(self) -> str:
        """How many features it knows."""
        return f"{len(self.numbers_):,} hashed features"

    # -- learning ---------------------------------------------------------------------------------------------

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        rng = np.random.default_rng(draw_seed(self.random_state))
        row_weights = self._row_weights(y, num_classes)
        rest, held = self._hold_back(y, rng)
        rows = self._read(texts)
        self._choose_features(rows, rest)
        stride = -(-num_classes // _text.lanes) * _text.lanes
        check_room(4 * len(self.numbers_) * stride, len(self.numbers_), num_classes)
        rows.keep(self._columns(), self._threads())
        self.weights_ = np.zeros((len(self.numbers_), stride), np.float32)
        squares = np.zeros(len(self.numbers_), np.float32)
        truth = y.astype(np.int32)
        counts = np.bincount(y, row_weights, minlength=num_classes)
        self.log_prior_ = np.log(np.maximum(counts, 1e-9) / counts.sum()).astype(np.float32)

        def learn(part: np.ndarray) -> None:
            for epoch in range(self.epochs):
                order = rng.permutation(part)
                rate, seed = self.learning_rate * self.decay**epoch, int(rng.integers(2**63))
                for start in range(0, len(order), _STEPS_AT_ONCE):
                    steps = order[start : start + _STEPS_AT_ONCE]
                    _text.learn(
                        rows, steps, truth, row_weights, self.weights_, self.idf_, num_classes, squares, rate,
                        self.dropout, seed,
                    )  # fmt: skip

        learn(rest)
        self._calibrate([texts[i] for i in held], y[held])
        learn(held)

    def _hold_back(self, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if len(y) * self.validation < FEWEST:
            return np.arange(len(y)), np.zeros(0, np.int64)
        return split_rows(y, self.validation, rng)

    def _row_weights(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        """What each text counts: its sample weight times that of its class."""
        weights = np.ones(len(y)) if self._sample_weight is None else self._sample_weight.copy()
        if self.class_weight is None:
            return weights.astype(np.float32)
        return (weights * len(y) / (num_classes * np.bincount(y, minlength=num_classes)[y])).astype(
            np.float32
        )

    def _choose_features(self, rows: _text.FeatureRows, part: np.ndarray) -> None:
        counts = rows.document_counts(part.astype(np.int64))
        self.numbers_ = np.flatnonzero(counts >= self.min_count)
        if not len(self.numbers_):
            raise InputDataError(
                f"no feature is in {self.min_count} or more of the {len(rows)} training texts; give more text or a "
                "smaller min_count"
            )
        share = np.log(len(part) / counts[self.numbers_])
        self.idf_ = (np.maximum(share, 0.1) ** self.idf_power).astype(np.float32)

    def _calibrate(self, texts: list[str], truth: np.ndarray) -> None:
        self.strength_ = 0.0
        scores = self._scores(texts)
        if self.objective == "macro":
            self.strength_ = fit_strength(scores, truth, self.log_prior_)
            scores = scores - self.strength_ * self.log_prior_
        self.temperature_ = fit_temperature(softmax(scores), truth)

    # -- use --------------------------------------------------------------------------------------------------

    def _threads(self) -> int:
        return int(effective_n_jobs(self.n_jobs))

    def _read(self, texts: list[str]) -> _text.FeatureRows:
        cased = [to_bytes(text) for text in texts]
        lowered = [to_bytes(text.lower()) for text in texts]
        return _text.FeatureRows(cased, lowered, self.bits, self._threads())

    def _columns(self) -> np.ndarray:
        columns = np.full(1 << self.bits, -1, np.int32)
        columns[self.numbers_] = np.arange(len(self.numbers_), dtype=np.int32)
        return columns

    def _kept_rows(self, texts: list[str]) -> _text.FeatureRows:
        rows = self._read(texts)
        rows.keep(self._columns(), self._threads())
        return rows

    def _scores(self, texts: list[str]) -> np.ndarray:
        num_classes = len(self.log_prior_)
        scores = np.zeros((len(texts), num_classes), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows = self._kept_rows(texts[start : start + _TEXTS_AT_ONCE])
            part = slice(start, start + len(rows))
            scores[part] = _text.score(rows, self.weights_, self.idf_, num_classes, self._threads())
        return scores - self.strength_ * self.log_prior_

    def _proba(self, texts: list[str]) -> np.ndarray:
        return softmax(self._scores(texts))

    def _knows(self, texts: list[str]) -> np.ndarray:
        rows = self._kept_rows(texts)
        is_word = (bool((rows.row(i) >> GROUP_SHIFT == 0).any()) for i in range(len(rows)))
        return np.fromiter(is_word, bool, len(rows))

    def _explain(self, text: str, k: int) -> dict[str, float]:
        rows, columns, num_classes = self._kept_rows([text]), self._columns(), len(self.log_prior_)
        words: dict[str, float] = {}
        seen = set()
        groups = rows.row(0) >> GROUP_SHIFT
        norms = np.sqrt(np.bincount(groups, self.idf_[rows.row(0) & NUMBER_MASK] ** 2, minlength=16))
        for feature in features_of(text, self.bits):
            column = columns[feature.code & NUMBER_MASK]
            if column < 0 or feature.code in seen or not feature.words:
                continue
            seen.add(feature.code)
            weights = self.weights_[column, :num_classes]
            part = (weights[k] - weights.mean()) * self.idf_[column] / norms[feature.code >> GROUP_SHIFT]
            for word in feature.words:  # what a pair says is shared by its words
                words[word] = words.get(word, 0.0) + float(part) / len(feature.words)
        return words

    # -- a folder and back --------------------------------------------------------------------------------------

    def _num_parameters(self) -> int:
        return len(self.numbers_) * len(self.log_prior_)

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        arrays = {
            "weights": self.weights_[:, : len(self.log_prior_)],
            "numbers": self.numbers_,
            "idf": self.idf_,
            "log_prior": self.log_prior_,
        }
        state = {
            "text_form": self.text_form_,
            "definition": DEFINITION,
            "bits": int(self.bits),
            "strength": self.strength_,
        }
        return arrays, state

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        one_of(state, "definition", (DEFINITION,))
        one_of(state, "bits", (self.bits,))
        self.strength_ = one_of(state, "strength", STRENGTHS)
        self.numbers_ = check_array(arrays, "numbers", None, np.int64)
        if self.numbers_.ndim != 1 or not len(self.numbers_) or (np.diff(self.numbers_) <= 0).any():
            raise ValueError("numbers are not ascending")
        if self.numbers_[0] < 0 or self.numbers_[-1] >= 1 << self.bits:
            raise ValueError(f"numbers are not from 0 to below 2^{self.bits}")
        shape = (len(self.numbers_), num_classes)
        self.idf_ = check_array(arrays, "idf", shape[:1])
        self.log_prior_ = check_array(arrays, "log_prior", shape[1:])
        weights = check_array(arrays, "weights", shape)
        self.weights_ = np.zeros((shape[0], -(-num_classes // _text.lanes) * _text.lanes), np.float32)
        self.weights_[:, :num_classes] = weights


def _check_weights(weights: Any, num_texts: int) -> np.ndarray | None:
    if weights is None:
        return None
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
