"""The linear classifier at its best: softmax regression over hashed words, pairs, parts of words, fields and style.

What makes it better than TF-IDF over words and pairs, in the order of what each is worth on HuffPost: parts of words
(they join *climate* and *climates*), fields (a word in a headline is another than in a description), words as they are
written, and features left out at random while it learns, which keeps it from leaning on a few. What makes it fast: no
dictionary is built (hashing), two passes are enough (Adagrad), and both stand in C++ (csrc/text).

The features are defined in `features`, the learning in `softmax_reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2x import _text
from gpt2x.classify.base import draw_seed
from gpt2x.classify.calibration import OBJECTIVES
from gpt2x.classify.hashed_weights import HashedWeights, padded, restore
from gpt2x.classify.hashing import HashedClassifier
from gpt2x.classify.hyperparameters import Number, OneOf, Share, Whole
from gpt2x.classify.weighting import ClassWeight, WeightedClassifier, log_shares

_STEPS_AT_ONCE = 8192  # then Ctrl-C is listened to


class HashedLinear(WeightedClassifier, HashedClassifier):
    """Softmax regression over hashed features, learned by Adagrad.

    A twentieth of the training texts is held back at first. On these the confidence of the probabilities is chosen
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
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike, as in
            scikit-learn; None: all texts count 1.
        n_jobs: threads that read and score texts; -1 for all cores. The result does not depend on it.
        random_state: seed of the order of texts, of dropout, and of what is held back.

    Attributes:
        idf_: (F,) float32.
        log_prior_: as in `HashedClassifier`; 0 for a class of which no text counts.
        strength_: how much of `log_prior_` is taken from the scores; 0 with ``objective="accuracy"``.

    """

    kind = "linear"
    rules = MappingProxyType(
        {
            **HashedClassifier.rules,
            "idf_power": Number(0, 4),
            "epochs": Whole(1, 10**6),
            "learning_rate": Number(1e-6, 100),
            "decay": Number(1e-6, 1),
            "dropout": Share(),
            "objective": OneOf(OBJECTIVES),
            "class_weight": ClassWeight(),
        }
    )

    idf_: np.ndarray
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
        class_weight: Any = None,
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

    # -- learning ---------------------------------------------------------------------------------------------

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        rng = np.random.default_rng(draw_seed(self.random_state))
        row_weights = self._row_weights
        rest, held = self._hold_back(y, rng)
        rows = self._read(texts)
        counts = self._choose_features(rows, rest, num_classes)
        self.idf_ = (np.maximum(np.log(len(rest) / counts), 0.1) ** self.idf_power).astype(np.float32)
        rows.keep(self._columns(), self._threads())
        self.weights_ = np.zeros((len(self.numbers_), padded(num_classes)), np.float32)
        self.log_prior_ = log_shares(y, num_classes, row_weights)
        self.strength_ = 0.0  # while it is chosen
        squares = np.zeros(len(self.numbers_), np.float32)
        truth = y.astype(np.int32)

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
        scores = self._scores([texts[i] for i in held])
        self.strength_ = self._use_held_back(held, scores, y[held], self.log_prior_)
        learn(held)

    # -- use --------------------------------------------------------------------------------------------------

    def _hashed_weights(self) -> HashedWeights:
        return HashedWeights(
            bits=self.bits, numbers=self.numbers_, weights=self.weights_, log_prior=self.log_prior_, idf=self.idf_,
            groups=self.groups_, prior_weight=-self.strength_, threads=self._threads(),
        )  # fmt: skip

    # -- a folder and back --------------------------------------------------------------------------------------

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        return {**self._hashed_arrays(), "idf": self.idf_}, {
            **self._hashed_state(),
            "strength": self.strength_,
        }

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        weights = restore(self.kind, self.bits, arrays, state, num_classes, threads=self._threads())
        self._restore_hashed(weights)
        self.idf_, self.strength_ = weights.idf, -weights.prior_weight
