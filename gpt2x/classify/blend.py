"""Several classifiers asked as one: a weighted product of what they say, fitted on texts that none had learned.

    score of class c = sum over members m of  w_m · log p_m(c)  +  v · log share(c)

This is the logarithmic opinion pool (Genest, Zidek 1986, "Combining probability distributions", section 3; fitted as in
Hinton 2002, "Training products of experts"). w and v are those of the least log-loss on the held-back texts, which is
convex; after them the blend gets its confidence (`calibration`) like any classifier. A mean of probabilities, which
needs no text to be fitted on and is taken where there are too few, is less sure than it is right, since its members
disagree.

Letters: N texts, M held-back texts, K classes, J members.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt2x.classify.calibration import (
    FEWEST,
    Confidence,
    HeldBack,
    fit_confidence,
    fit_strength,
    softmax,
    with_confidence,
)
from gpt2x.classify.weighting import log_shares

LEAST_SHARE = 1e-12
"""A probability below this counts as this: one member cannot rule a class out for all."""


@dataclass(frozen=True, slots=True)
class Blend:
    """How much each member says, and how sure they are together."""

    weights: np.ndarray
    """(J,) from 0 up."""
    prior: np.ndarray
    """(K,) what is added to each class's score."""
    confidence: Confidence

    def __call__(self, shares: Sequence[np.ndarray]) -> np.ndarray:
        """The probabilities (N, K) of J members, together: (N, K)."""
        scores = np.tensordot(self.weights, _log(shares), 1) + self.prior
        return with_confidence(softmax(scores), self.confidence)


@dataclass(frozen=True, slots=True)
class Member:
    """One classifier of a blend, with columns for all its classes."""

    shares: np.ndarray
    """(N, K) what it says of the texts that are asked."""
    held: HeldBack | None
    """What it said, confidence and all, of training texts before it learned them."""
    macro: bool
    """Whether it was made for macro-F1."""


def blended(members: Sequence[Member], learned: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """What members say together of the texts that are asked, and the weight of each.

    The weights are fitted on the training texts that all members held back: classifiers of one seed hold back the same
    ones, or the first part of them (`base.split_rows`).

    Args:
        members: two or more. If one was made for macro-F1, the blend is, too.
        learned: (L,) class numbers of the training texts.

    Returns:
        Probabilities (N, K), and weights (J,). Where fewer texts than `calibration.FEWEST` were held back by all, the
        probabilities are the members' mean, and the weights None.

    """
    held = [member.held for member in members if member.held is not None]
    if len(held) == len(members):
        common = functools.reduce(np.intersect1d, [part.rows for part in held])
        said = [part.shares[np.searchsorted(part.rows, common)] for part in held]
        log_prior = log_shares(learned, members[0].shares.shape[1])
        macro = any(member.macro for member in members)
        blend = fit_blend(said, learned[common], log_prior, macro=macro)
        if blend is not None:
            return blend([member.shares for member in members]), blend.weights
    return np.mean([member.shares for member in members], axis=0), None


def fit_blend(
    shares: Sequence[np.ndarray], truth: np.ndarray, log_prior: np.ndarray, *, macro: bool = False
) -> Blend | None:
    """The blend that suits these texts best; None if they are fewer than `calibration.FEWEST`.

    Args:
        shares: of each of J members, the probabilities (M, K) of texts that it had not learned.
        truth: (M,) their class numbers.
        log_prior: (K,) the log of each class's share of the training texts.
        macro: take part of `log_prior` from the scores, as is best for macro-F1 (`calibration.fit_strength`).

    """
    if len(truth) < FEWEST:
        return None
    from scipy.optimize import minimize  # half a second, and only learning needs it

    said = _log(shares)  # (J, M, K)
    rows = np.arange(len(truth))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.tensordot(values[:-1], said, 1) + values[-1] * log_prior
        found = softmax(scores)
        value = -np.log(np.maximum(found[rows, truth], 1e-300)).mean()
        found[rows, truth] -= 1  # the gradient by the scores
        by_member = np.tensordot(said, found, 2)
        return float(value), np.append(by_member, (found @ log_prior).sum()) / len(truth)

    start = np.append(np.full(len(shares), 1 / len(shares)), 0.0)
    bounds = [(0, None)] * len(shares) + [(None, None)]
    values = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    prior = values[-1] * log_prior
    scores = np.tensordot(values[:-1], said, 1) + prior
    if macro:
        taken = fit_strength(scores, truth, log_prior) * log_prior
        prior, scores = prior - taken, scores - taken
    return Blend(values[:-1], prior, fit_confidence(softmax(scores), truth))


def _log(shares: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities of J members to their logs: (J, N, K)."""
    return np.log(np.maximum(np.stack(shares), LEAST_SHARE))
