"""Softmax regression by Adagrad in NumPy: the definition that csrc/text/softmax.cpp is held to, a few lines long.

    value of a feature     x_f = idf_f / norm of its group in the row        (each group of a text has length 1)
    probabilities          p = softmax(sum over f of x_f · W_f)
    gradient of scores     g = row weight · (p − one-hot truth)
    Adagrad, one sum a feature (Duchi, Hazan, Singer 2011)
                           G_f += |g|² / 2 · x_f²,    W_f −= rate / sqrt(G_f + 1e-8) · x_f · g

In training a step leaves out each feature with probability `dropout` and enlarges the others by 1 / (1 − dropout).

Letters: F columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gpt2x.classify.features import GROUP_SHIFT, GROUPS, NUMBER_MASK, mix

_MASK = (1 << 64) - 1


def values_of(row: np.ndarray, idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of one row of ``group << 28 | column``, of all kept features."""
    groups, columns = row >> GROUP_SHIFT, row & NUMBER_MASK
    values = idf[columns].astype(np.float64)
    norms = np.sqrt(np.bincount(groups, values**2, minlength=len(GROUPS)))
    return columns, values / norms[groups]


def kept_by_dropout(count: int, dropout: float, seed: int, row: int) -> np.ndarray:
    """Which of a row's features a step uses: (count,) bool, from xorshift64 (Marsaglia 2003)."""
    state, limit = mix((seed + row) & _MASK) | 1, int(np.float32(dropout) * 2.0**32)
    kept = np.ones(count, dtype=bool)
    for k in range(count if dropout else 0):
        state ^= state << 13 & _MASK
        state ^= state >> 7
        state ^= state << 17 & _MASK
        kept[k] = state >> 32 >= limit
    return kept


def learn(
    rows: Sequence[np.ndarray],
    order: Iterable[int],
    *,
    truth: np.ndarray,
    row_weights: np.ndarray,
    weights: np.ndarray,
    idf: np.ndarray,
    squares: np.ndarray,
    learning_rate: float,
    dropout: float,
    seed: int,
) -> float:
    """One step for each row number in `order`; changes `weights` (F, K) and `squares` (F,), and returns the loss."""
    loss = 0.0
    for i in order:
        columns, x = values_of(rows[i], idf)
        kept = kept_by_dropout(len(x), dropout, seed, i)
        columns, x = columns[kept], x[kept] / (1 - dropout)
        if not len(x):
            continue
        scores = x @ weights[columns]  # (K,)
        p = np.exp(scores - scores.max())
        p /= p.sum()
        loss -= row_weights[i] * np.log(p[truth[i]])
        gradient = row_weights[i] * (p - (np.arange(len(p)) == truth[i]))
        for column, value in zip(
            columns, x, strict=True
        ):  # one after the other: two features may share a column
            squares[column] += gradient @ gradient / 2 * value**2
            weights[column] -= learning_rate / np.sqrt(squares[column] + 1e-8) * value * gradient
    return loss
