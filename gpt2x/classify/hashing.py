"""What the two classifiers over hashed features share: how texts become rows, and which features have a column.

The features are defined in `features`; csrc/text makes them. No dictionary is kept: `numbers_` says which hashed
numbers have a column, and a feature with another number is unknown.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from gpt2x import _text
from gpt2x.classify.base import TextClassifier, split_rows
from gpt2x.classify.calibration import FEWEST, softmax
from gpt2x.classify.hashed_weights import (
    BY_GROUP,
    DEFINITION,
    STATE_BEFORE_VERSION_6,
    HashedWeights,
    columns_of,
    padded,
    read_rows,
    with_padding,
)
from gpt2x.classify.hyperparameters import Share, Threads, Whole
from gpt2x.classify.memory import check_memory
from gpt2x.errors import InputDataError


class HashedClassifier(TextClassifier):
    """A classifier that adds up a weight a class for each hashed feature of a text.

    Attributes:
        numbers_: (F,) int64, the hashed numbers that have a column, ascending.
        weights_: (F, Kp) float32, classes padded to a multiple of 16.
        log_prior_: (K,) float32, the log of each class's share of the training texts.
        groups_: (F,) uint8, what each number was seen as in the training texts, a bit for each group of features.

    """

    reads_fields = True
    state_before_version_6 = STATE_BEFORE_VERSION_6
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
    groups_: np.ndarray

    def describe(self) -> str:
        """How many features it knows."""
        return f"{len(self.numbers_):,} hashed features"

    # -- learning ---------------------------------------------------------------------------------------------

    def _hold_back(self, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers to learn from, and to choose the confidence on (none, if these were too few)."""
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
        self.groups_ = rows.group_bits()[self.numbers_]
        check_memory(4 * len(self.numbers_) * padded(num_classes), len(self.numbers_), num_classes)
        return counts[self.numbers_]

    # -- use --------------------------------------------------------------------------------------------------

    def _threads(self) -> int:
        return int(effective_n_jobs(self.n_jobs))

    def _read(self, texts: list[str]) -> _text.FeatureRows:
        return read_rows(texts, self.bits, self._threads())

    def _columns(self) -> np.ndarray:
        return columns_of(self.numbers_, self.bits)

    def _hashed_weights(self) -> HashedWeights:
        """What was learned, ready to score texts."""
        raise NotImplementedError

    def _scores(self, texts: list[str]) -> np.ndarray:
        """Scores (N, K), whose softmax are the probabilities before `with_confidence`."""
        return self._hashed_weights().scores(texts)

    def _proba(self, texts: list[str]) -> np.ndarray:
        return softmax(self._scores(texts))

    def _knows(self, texts: list[str]) -> np.ndarray:
        return self._hashed_weights().knows(texts)

    def _explain(self, text: str, k: int) -> dict[str, float]:
        return self._hashed_weights().explain(text, k)

    # -- a folder and back --------------------------------------------------------------------------------------

    def _num_parameters(self) -> int:
        return len(self.numbers_) * len(self.log_prior_)

    def _hashed_arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights_[:, : len(self.log_prior_)],
            "numbers": self.numbers_,
            "log_prior": self.log_prior_,
            "groups": self.groups_,
        }

    def _hashed_state(self) -> dict[str, Any]:
        return {
            "text_form": self.text_form_,
            "definition": DEFINITION,
            "bits": int(self.bits),
            "known_words": BY_GROUP,
        }

    def _restore_hashed(self, weights: HashedWeights) -> None:
        self.numbers_, self.log_prior_, self.groups_ = weights.numbers, weights.log_prior, weights.groups
        self.weights_ = with_padding(weights.weights)
