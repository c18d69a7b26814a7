"""The weights of a classifier over bags of words (`nb`, `tfidf`), and what they say of a text.

Words are counted as scikit-learn's vectorizers count them, with whose results a test holds this equal; here they are
counted without scikit-learn, whose import takes longer than naming a thousand texts.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2x.classify.calibration import expit, softmax
from gpt2x.classify.saved import check_array, check_complete, one_of, read_strings

VOCABULARY = "vocabulary.json"

WORDS = MappingProxyType({"lowercase": True, "token_pattern": r"(?u)\b\w\w+\b"})
"""How words are found: lower-cased, two letters, digits or underscores at least."""

TFIDF = MappingProxyType({**WORDS, "sublinear_tf": True, "norm": "l2"})
"""How `tfidf` counts them: 1 + log of the count, each text of length 1."""

READINGS: dict[str, tuple[Any, ...]] = {
    "lowercase": (True, False),
    "token_pattern": (WORDS["token_pattern"],),
    "sublinear_tf": (True, False),
    "norm": ("l2",),
}
"""The ways of counting words that this gpt2x knows, by scikit-learn's names."""

_TEXTS_AT_ONCE = 2000


@dataclass(kw_only=True)
class WordWeights:
    """Weights of words, and of runs of words.

    Attributes:
        kind: ``nb`` or ``tfidf``.
        words: (F) words and runs, sorted.
        reading: how they are counted, by the names of `READINGS`.
        ngrams: the longest run of words.
        weights: (F, K) float32.
        intercepts: (K,) float32.
        idf: (F,) float32, for ``tfidf``.

    """

    kind: str
    words: list[str]
    reading: Mapping[str, Any]
    ngrams: int
    weights: np.ndarray
    intercepts: np.ndarray
    idf: np.ndarray | None
    places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Number the words."""
        self.places = {word: i for i, word in enumerate(self.words)}
        self._find = re.compile(self.reading["token_pattern"]).findall

    def counts(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The columns of a text's known words, and their values."""
        tokens = self._find(text.lower() if self.reading["lowercase"] else text)
        runs = list(tokens)
        for length in range(2, self.ngrams + 1):
            runs += [" ".join(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
        found = Counter(self.places[run] for run in runs if run in self.places)
        columns = np.fromiter(found.keys(), np.int64, len(found))
        values = np.fromiter(found.values(), np.float32, len(found))
        if self.idf is not None:
            if self.reading["sublinear_tf"]:
                values = np.log(values) + 1
            values *= self.idf[columns]
            values /= max(float(np.linalg.norm(values)), 1e-30)
        return columns, values

    def shares_and_known(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, K) before `with_confidence`, and where a text has a known word: (N,) bool."""
        scores = np.zeros((len(texts), len(self.intercepts)))
        known = np.zeros(len(texts), bool)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = [self.counts(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
            lengths = np.array([len(columns) for columns, _ in part])
            filled = np.flatnonzero(lengths)
            if not len(filled):
                continue
            columns, values = (np.concatenate(arrays) for arrays in zip(*part, strict=True))
            products = self.weights[columns] * values[:, None]
            first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            scores[start + filled] = np.add.reduceat(products, first[filled], axis=0)
            known[start + filled] = True
        return probabilities(self.kind, scores + self.intercepts), known

    def explain(self, text: str, k: int) -> dict[str, float]:
        """What each word adds to the score of class k above the mean of all classes."""
        columns, values = self.counts(text)
        own = (self.weights[columns, k] - self.weights[columns].mean(axis=1)) * values
        return {self.words[column]: float(part) for column, part in zip(columns, own, strict=True)}


def probabilities(kind: str, scores: np.ndarray) -> np.ndarray:
    """Scores (N, K) to probabilities."""
    if kind == "nb":
        return softmax(scores)
    # Each class was set against the rest by itself. The floor keeps a text that all classes refuse from 0 / 0.
    share = np.maximum(expit(scores), 1e-300)
    return share / share.sum(axis=1, keepdims=True)


def restore(
    kind: str,
    params: Mapping[str, Any],
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    *,
    num_classes: int,
) -> WordWeights:
    """The weights of a saved classifier.

    Raises:
        ValueError: something in the folder is missing or another.

    """
    words = read_strings(folder / VOCABULARY)
    if not words or any(first >= second for first, second in itertools.pairwise(words)):
        raise ValueError(f"the words in {VOCABULARY} are not sorted, each once")
    check_complete(state, {"reading": dict})
    is_tfidf = kind == "tfidf"
    return WordWeights(
        kind=kind,
        words=words,
        reading={
            name: one_of(state["reading"], name, READINGS[name]) for name in (TFIDF if is_tfidf else WORDS)
        },
        ngrams=one_of(params, "ngrams", tuple(range(1, 17))) if is_tfidf else 1,
        weights=np.ascontiguousarray(check_array(arrays, "weights", (num_classes, len(words))).T),
        intercepts=check_array(arrays, "intercepts", (num_classes,)),
        idf=check_array(arrays, "idf", (len(words),)) if is_tfidf else None,
    )
