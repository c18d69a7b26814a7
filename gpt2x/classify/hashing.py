"""What the two classifiers over hashed features share: how texts become rows, and which features have a column.

The features are defined in `features`; csrc/text makes them. No dictionary is kept: `numbers_` says which hashed
numbers have a column, and a feature with another number is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from gpt2x import _text
from gpt2x.classify.base import TextClassifier, check_array, one_of, split_rows
from gpt2x.classify.calibration import FEWEST, softmax
from gpt2x.classify.features import GROUP_SHIFT, NUMBER_MASK, features_of, to_bytes
from gpt2x.classify.hyperparameters import Share, Threads, Whole
from gpt2x.classify.room import check_room
from gpt2x.errors import InputDataError

DEFINITION = 1
"""The number of this definition of the features; a folder with another is refused."""

_TEXTS_AT_ONCE = 20_000


class HashedClassifier(TextClassifier):
    """A classifier that adds up a weight a class for each hashed feature of a text.

    Attributes:
        numbers_: (F,) int64, the hashed numbers that have a column, ascending.
        weights_: (F, Kp) float32, classes padded to a multiple of 16.
        log_prior_: (K,) float32, the log of each class's share of the training texts.

    """

    reads_fields = True
    rules = MappingProxyType(
        {
            **TextClassifier.rules,
            "bits": Whole(8, 24),
            "min_count": Whole(1, 10**9),
            "validation": Share(),
            "n_jobs": Threads(),
        }
    )

    bits: int
    min_count: int
    validation: float
    n_jobs: int
    numbers_: np.ndarray
    weights_: np.ndarray
    log_prior_: np.ndarray

    def describe(self) -> str:
        """How many features it knows."""
        return f"{len(self.numbers_):,} hashed features"

    # -- learning ---------------------------------------------------------------------------------------------

    def _hold_back(self, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers to learn from, and to choose the temperature on (none, if these were too few)."""
        if len(y) * self.validation < FEWEST:
            return np.arange(len(y)), np.zeros(0, np.int64)
        return split_rows(y, self.validation, rng)

    def _choose_features(self, rows: _text.FeatureRows, part: np.ndarray, num_classes: int) -> np.ndarray:
        """Decide which numbers have a column; returns in how many rows of `part` each of these is: (F,)."""
        counts = rows.document_counts(part.astype(np.int64))
        self.numbers_ = np.flatnonzero(counts >= self.min_count)
        if not len(self.numbers_):
            raise InputDataError(
                f"no feature is in {self.min_count} or more of the {len(rows)} training texts; give more text or a "
                "smaller min_count"
            )
        check_room(4 * len(self.numbers_) * padded(num_classes), len(self.numbers_), num_classes)
        return counts[self.numbers_]

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

    def _sums(self, texts: list[str], idf: np.ndarray) -> np.ndarray:
        """What the weights of each text's features add up to: (N, K)."""
        sums = np.zeros((len(texts), len(self.log_prior_)), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows = self._kept_rows(texts[start : start + _TEXTS_AT_ONCE])
            sums[start : start + len(rows)] = _text.score(
                rows, self.weights_, idf, len(self.log_prior_), self._threads()
            )
        return sums

    def _scores(self, texts: list[str]) -> np.ndarray:
        """Scores (N, K), whose softmax are the probabilities before the temperature."""
        raise NotImplementedError

    def _values(self, row: np.ndarray) -> np.ndarray:
        """What the weight of each feature of a row is multiplied by."""
        raise NotImplementedError

    def _proba(self, texts: list[str]) -> np.ndarray:
        return softmax(self._scores(texts))

    def _knows(self, texts: list[str]) -> np.ndarray:
        rows = self._kept_rows(texts)
        is_word = (bool((rows.row(i) >> GROUP_SHIFT == 0).any()) for i in range(len(rows)))
        return np.fromiter(is_word, bool, len(rows))

    def _explain(self, text: str, k: int) -> dict[str, float]:
        columns, row = self._columns(), self._kept_rows([text]).row(0)
        value_of = dict(zip(row.tolist(), self._values(row).tolist(), strict=True))
        parts: dict[str, float] = {}
        for feature in {feature.code: feature for feature in features_of(text, self.bits)}.values():
            column = int(columns[feature.code & NUMBER_MASK])
            if column < 0 or not feature.words:
                continue
            weights = self.weights_[column, : len(self.log_prior_)]
            value = value_of[feature.code >> GROUP_SHIFT << GROUP_SHIFT | column]
            for word in feature.words:  # what a pair says is shared by its words
                share = float(weights[k] - weights.mean()) * value / len(feature.words)
                parts[word] = parts.get(word, 0.0) + share
        return parts

    # -- a folder and back --------------------------------------------------------------------------------------

    def _num_parameters(self) -> int:
        return len(self.numbers_) * len(self.log_prior_)

    def _hashed_arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights_[:, : len(self.log_prior_)],
            "numbers": self.numbers_,
            "log_prior": self.log_prior_,
        }

    def _hashed_state(self) -> dict[str, Any]:
        return {"text_form": self.text_form_, "definition": DEFINITION, "bits": int(self.bits)}

    def _restore_hashed(
        self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        one_of(state, "definition", (DEFINITION,))
        one_of(state, "bits", (self.bits,))
        self.numbers_ = check_array(arrays, "numbers", None, np.int64)
        if self.numbers_.ndim != 1 or not len(self.numbers_) or (np.diff(self.numbers_) <= 0).any():
            raise ValueError("numbers are not ascending")
        if self.numbers_[0] < 0 or self.numbers_[-1] >= 1 << self.bits:
            raise ValueError(f"numbers are not from 0 to below 2^{self.bits}")
        self.log_prior_ = check_array(arrays, "log_prior", (num_classes,))
        weights = check_array(arrays, "weights", (len(self.numbers_), num_classes))
        self.weights_ = np.zeros((len(self.numbers_), padded(num_classes)), np.float32)
        self.weights_[:, :num_classes] = weights


def padded(num_classes: int) -> int:
    """The width of a row of weights: classes rounded up to what the native code reads at once."""
    return -(-num_classes // _text.lanes) * _text.lanes


def log_shares(y: np.ndarray, num_classes: int, row_weights: np.ndarray | None = None) -> np.ndarray:
    """The log of each class's share of the rows: (K,) float32."""
    counts = np.bincount(y, row_weights, minlength=num_classes)
    return np.log(np.maximum(counts, 1e-9) / counts.sum()).astype(np.float32)
