"""Naive Bayes at its best: counts only, over the same features as the hashed linear classifier.

    score of class c = prior · log P(c) + sum over groups g of  weight_g · sum over features f of g in the text of
                       log( (1 − λ) · (n_fc + μ_g · p_f) / (n_c + μ_g) / p_f + λ )

    n_fc  training texts of class c that have the feature;  n_c  its sum over the features of the group
    p_f   the share of the feature in its group over all classes

The fraction is Dirichlet smoothing: a class borrows μ features from the language of all. λ mixes in that language once
more (Jelinek–Mercer), so that no feature rules a class out (Zhai, Lafferty 2004, "A study of smoothing methods for
language models"). Each feature is taken as if it were alone, which pairs, words in a field and parts of words are not:
the weights of the groups damp what is said twice. Textbook naive Bayes (`nb`) is the group of words alone, weight 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2x.classify.base import draw_seed
from gpt2x.classify.calibration import OBJECTIVES, fit_confidence, fit_strength, softmax
from gpt2x.classify.features import GROUPS
from gpt2x.classify.hashed_weights import BAYES_PRIOR, ONES, HashedWeights, padded, restore
from gpt2x.classify.hashing import HashedClassifier
from gpt2x.classify.hyperparameters import Number, OneOf
from gpt2x.classify.weighting import ClassWeight, WeightedClassifier, log_shares

# For each group of `features.GROUPS` its weight, and μ as a multiple of the mean n_c.
# Chosen on a validation part of HuffPost's training rows (full texts).
WEIGHTS = (0.18, 0.24, 0.06, 0.052, 0.05, 0.031, 0.36)
MU = (2.5, 0.16, 0.16, 0.1, 0.1, 0.13, 0.23)


class HashedBayes(WeightedClassifier, HashedClassifier):
    """Naive Bayes over hashed features, smoothed and damped.

    Args:
        bits: features are hashed to 2**bits numbers.
        min_count: leave out features that are in fewer training texts.
        mixing: λ, the share of the language of all classes.
        validation: share of the training texts on which the temperature is chosen, before all are counted.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike, as in
            scikit-learn; None: all texts count 1.
        n_jobs: threads that read and score texts; -1 for all cores. The result does not depend on it.
        random_state: seed of which texts are held back.

    Attributes:
        strength_: how much of `log_prior_` is taken from the scores; 0 with ``objective="accuracy"``.

    """

    kind = "hashed-nb"
    rules = MappingProxyType(
        {
            **HashedClassifier.rules,
            "mixing": Number(1e-9, 1 - 1e-9),
            "objective": OneOf(OBJECTIVES),
            "class_weight": ClassWeight(),
        }
    )

    strength_: float

    def __init__(
        self,
        *,
        bits: int = 22,
        min_count: int = 2,
        mixing: float = 0.2,
        validation: float = 0.05,
        objective: str = "accuracy",
        class_weight: Any = None,
        n_jobs: int = -1,
        random_state: Any = None,
    ) -> None:
        self.bits = bits
        self.min_count = min_count
        self.mixing = mixing
        self.validation = validation
        self.objective = objective
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        rest, held = self._hold_back(y, np.random.default_rng(draw_seed(self.random_state)))
        weights, self.strength_ = self._row_weights, 0.0
        if len(held) and weights[rest].any():
            self._count([texts[i] for i in rest], y[rest], weights[rest], num_classes)
            self._calibrate([texts[i] for i in held], y[held])
        self._count(texts, y, weights, num_classes)

    def _calibrate(self, texts: list[str], truth: np.ndarray) -> None:
        scores = self._scores(texts)
        if self.objective == "macro":
            self.strength_ = fit_strength(scores, truth, self.log_prior_)
            scores = scores - self.strength_ * self.log_prior_
        self.temperature_, self.offset_ = fit_confidence(softmax(scores), truth)

    def _count(self, texts: list[str], y: np.ndarray, weights: np.ndarray, num_classes: int) -> None:
        rows, counted = self._read(texts), np.flatnonzero(weights)
        self._choose_features(rows, counted, num_classes)
        rows.keep(self._columns(), self._threads())
        counts = np.zeros((len(self.numbers_), padded(num_classes)), np.float32)
        rows.class_counts(counted, y.astype(np.int32), weights, counts)
        self.log_prior_ = log_shares(y, num_classes, weights)
        groups = rows.groups()[: len(self.numbers_)]
        for group in range(len(GROUPS)):
            own = groups == group
            if own.any():
                ratios = log_ratios(counts[own, :num_classes], MU[group], self.mixing)
                counts[own, :num_classes] = WEIGHTS[group] * ratios
        self.weights_ = counts  # in the place of the counts, which are as large

    def _hashed_weights(self) -> HashedWeights:
        return HashedWeights(
            bits=self.bits, numbers=self.numbers_, weights=self.weights_, log_prior=self.log_prior_, idf=ONES,
            prior_weight=BAYES_PRIOR - self.strength_, threads=self._threads(),
        )  # fmt: skip

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        return self._hashed_arrays(), {**self._hashed_state(), "strength": self.strength_}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        weights = restore(self.kind, self.bits, arrays, state, num_classes, threads=self._threads())
        self._restore_hashed(weights)
        self.strength_ = BAYES_PRIOR - weights.prior_weight


def log_ratios(counts: np.ndarray, mu: float, mixing: float) -> np.ndarray:
    """How much more probable each feature of one group is in a class than in all, smoothed, as a log: (F, K).

    >>> log_ratios(np.array([[9.0, 1.0], [1.0, 9.0]]), mu=1.0, mixing=0.0).round(2).tolist()
    [[0.34, -0.51], [-0.51, 0.34]]
    """
    shares = counts.sum(axis=1, keepdims=True) / counts.sum()  # p_f
    mu = mu * counts.sum() / counts.shape[1]
    ratios = (counts / shares + mu) / (counts.sum(axis=0) + mu)
    return np.log((1 - mixing) * ratios + mixing)
