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
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2x.classify.base import draw_seed
from gpt2x.classify.calibration import OBJECTIVES
from gpt2x.classify.features import GROUPS
from gpt2x.classify.hashed_weights import BAYES_PRIOR, ONES, HashedWeights, columns_of, padded, restore
from gpt2x.classify.hashing import HashedClassifier
from gpt2x.classify.hyperparameters import Number, OneOf
from gpt2x.classify.incremental import IncrementalClassifier
from gpt2x.classify.weighting import NEVER, ClassWeight, class_log_shares, log_shares
from gpt2x.errors import InputDataError

# For each group of `features.GROUPS` its weight, and μ as a multiple of the mean n_c.
# Chosen on a validation part of HuffPost's training rows (full texts).
WEIGHTS = (0.18, 0.24, 0.06, 0.052, 0.05, 0.031, 0.36)
MU = (2.5, 0.16, 0.16, 0.1, 0.1, 0.13, 0.23)


@dataclass
class HashedCounts:
    """What was counted of texts so far, of each hashed number that is in one."""

    numbers: np.ndarray
    """(F,) int64, ascending."""
    in_class: np.ndarray
    """(F, Kp) float32: texts of a class with the feature, each one its weight."""
    texts_with: np.ndarray
    """(F,) int64: how many these are, each 1."""
    groups: np.ndarray
    """(F,) int8: of a number that features of several groups share, the last."""
    group_bits: np.ndarray
    """(F,) uint8: all of them, a bit each."""
    of_class: np.ndarray
    """(K,) texts of a class, each one its weight."""

    def extended(self, numbers: np.ndarray) -> tuple[HashedCounts, np.ndarray]:
        """A copy with room for these numbers, too, and where each of them stands."""
        union = np.union1d(self.numbers, numbers)
        old = np.searchsorted(union, self.numbers)

        def spread(before: np.ndarray) -> np.ndarray:
            after = np.zeros((len(union), *before.shape[1:]), before.dtype)
            after[old] = before
            return after

        copy = HashedCounts(
            union, spread(self.in_class), spread(self.texts_with), spread(self.groups), spread(self.group_bits),
            self.of_class.copy(),
        )  # fmt: skip
        return copy, np.searchsorted(union, numbers)


class HashedBayes(IncrementalClassifier, HashedClassifier):
    """Naive Bayes over hashed features, smoothed and damped.

    Args:
        bits: features are hashed to 2**bits numbers.
        min_count: leave out features that are in fewer training texts.
        mixing: λ, the share of the language of all classes.
        validation: share of the training texts on which the confidence is chosen, before all are counted.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike, as in
            scikit-learn; None: all texts count 1.
        n_jobs: threads that read and score texts; -1 for all cores. The result does not depend on it.
        random_state: seed of which texts are held back.

    Attributes:
        log_prior_: as in `HashedClassifier` (`weighting.NEVER` for a class of which no text counts); with
            ``objective="macro"`` less what is taken from the scores.

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
        weights, scores = self._row_weights, np.zeros((0, num_classes))
        if len(held):
            self._count([texts[i] for i in rest], y[rest], weights[rest], num_classes)
            scores = self._scores([texts[i] for i in held])
        log_prior = log_shares(y[rest], num_classes, weights[rest])
        strength = self._use_held_back(held, scores, y[held], log_prior)
        self._count(texts, y, weights, num_classes)
        present = self.log_prior_ > NEVER
        self.log_prior_[present] *= 1 - strength / BAYES_PRIOR

    def _count(self, texts: list[str], y: np.ndarray, weights: np.ndarray, num_classes: int) -> None:
        rows, counted = self._read(texts), np.arange(len(texts))
        self._choose_features(rows, counted, num_classes)
        rows.keep(self._columns(), self._threads())
        counts = np.zeros((len(self.numbers_), padded(num_classes)), np.float32)
        rows.class_counts(counted, y.astype(np.int32), weights, counts)
        self.log_prior_ = _log_prior(np.bincount(y, weights, minlength=num_classes))
        self._weigh(counts, rows.groups()[: len(self.numbers_)], num_classes)

    def _weigh(self, counts: np.ndarray, groups: np.ndarray, num_classes: int) -> None:
        """Turn counts (F, Kp) into weights, in their place, since they are as large; groups (F,)."""
        for group in range(len(GROUPS)):
            own = groups == group
            if own.any():
                ratios = log_ratios(counts[own, :num_classes], MU[group], self.mixing)
                counts[own, :num_classes] = WEIGHTS[group] * ratios
        self.weights_ = counts

    # -- part by part ---------------------------------------------------------------------------------------------

    def _new_counts(self, num_classes: int) -> HashedCounts:
        none = np.zeros(0, np.int64)
        in_class = np.zeros((0, padded(num_classes)), np.float32)
        return HashedCounts(
            none, in_class, none, np.zeros(0, np.int8), np.zeros(0, np.uint8), np.zeros(num_classes)
        )

    def _with_texts(
        self, counts: HashedCounts, texts: list[str], y: np.ndarray, row_weights: np.ndarray
    ) -> HashedCounts:
        rows, counted = self._read(texts), np.arange(len(texts))
        num_texts, groups = rows.document_counts(counted), rows.groups()  # (2**bits,)
        numbers = np.flatnonzero(groups >= 0)
        counts, place = counts.extended(numbers)
        group_bits = rows.group_bits()
        rows.keep(columns_of(numbers, self.bits), self._threads())
        found = np.zeros((len(numbers), counts.in_class.shape[1]), np.float32)
        rows.class_counts(counted, y.astype(np.int32), row_weights, found)
        counts.in_class[place] += found
        counts.texts_with[place] += num_texts[numbers]
        counts.groups[place] = groups[numbers]
        counts.group_bits[place] |= group_bits[numbers]
        counts.of_class += np.bincount(y, row_weights, minlength=len(counts.of_class))
        return counts

    def _estimate(self, counts: HashedCounts) -> None:
        kept = counts.texts_with >= self.min_count
        if not kept.any():
            raise InputDataError(
                f"no feature is in {self.min_count} or more of the texts so far; give more text or a smaller min_count"
            )
        self.numbers_, self.groups_ = counts.numbers[kept], counts.group_bits[kept]
        self.log_prior_ = _log_prior(counts.of_class)
        self._weigh(counts.in_class[kept], counts.groups[kept], len(counts.of_class))

    def _hashed_weights(self) -> HashedWeights:
        return HashedWeights(
            bits=self.bits, numbers=self.numbers_, weights=self.weights_, log_prior=self.log_prior_, idf=ONES,
            groups=self.groups_, prior_weight=BAYES_PRIOR, threads=self._threads(),
        )  # fmt: skip

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        return self._hashed_arrays(), self._hashed_state()

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        weights = restore(self.kind, self.bits, arrays, state, num_classes, threads=self._threads())
        self._restore_hashed(weights)


def _log_prior(of_class: np.ndarray) -> np.ndarray:
    return class_log_shares(of_class).astype(np.float32)


def log_ratios(counts: np.ndarray, mu: float, mixing: float) -> np.ndarray:
    """How much more probable each feature of one group is in a class than in all, smoothed, as a log: (F, K).

    >>> log_ratios(np.array([[9.0, 1.0], [1.0, 9.0]]), mu=1.0, mixing=0.0).round(2).tolist()
    [[0.34, -0.51], [-0.51, 0.34]]
    """
    shares = counts.sum(axis=1, keepdims=True) / counts.sum()  # p_f
    mu = mu * counts.sum() / counts.shape[1]
    ratios = (counts / shares + mu) / (counts.sum(axis=0) + mu)
    return np.log((1 - mixing) * ratios + mixing)
