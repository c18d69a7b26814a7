"""The weights of a classifier over hashed features, and what they say of a text.

This is all that answering needs; `hashing` learns them. Loads no scikit-learn.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from gpt2x import _text
from gpt2x.classify.array_file import ArrayFile
from gpt2x.classify.calibration import STRENGTHS
from gpt2x.classify.features import GROUP_SHIFT, GROUPS, NUMBER_MASK, features_of, to_bytes
from gpt2x.classify.inputs import NFC, in_form, with_fields
from gpt2x.classify.saved import check_array, check_finite, check_form, one_of
from gpt2x.classify.softmax_reference import values_of

DEFINITION = 1
"""The number of this definition of the features; a folder with another is refused."""

BY_GROUP, BY_NUMBER = "group", "number"
"""What makes a word known: that a word of the training texts had its number, or that anything had."""

STATE_BEFORE_VERSION_6 = MappingProxyType({"known_words": BY_NUMBER})
"""What folders of format 5 and below do not say."""

ANY_GROUP = (1 << len(GROUPS)) - 1
"""All groups of features, as bits; the bit above is that of a letter (`features.LETTER`)."""

BAYES_PRIOR = 0.9
"""The weight of the prior in `hashed_bayes`, chosen with those of the groups."""

ONES = np.zeros(0, np.float32)
"""No idf: each feature has the value 1."""

_TEXTS_AT_ONCE = 20_000
_ALL = slice(None)


@dataclass(kw_only=True)
class HashedWeights:
    """Weights that are added up for each feature of a text.

    Attributes:
        bits: features are hashed to 2**bits numbers.
        numbers: (F,) int64, those that have a column, ascending.
        weights: (F, K) float32, or more columns than classes, which are not read.
        log_prior: (K,) float32, the log of each class's share of the training texts.
        idf: (F,) float32, or `ONES`.
        groups: (F,) uint8, what each number was seen as in the training texts: the bits of ``FeatureRows.group_bits``.
        prior_weight: what `log_prior` is multiplied by before it is added to the sums.
        threads: that read and score texts; the result does not depend on it.

    """

    bits: int
    numbers: np.ndarray
    weights: np.ndarray
    log_prior: np.ndarray
    idf: np.ndarray
    groups: np.ndarray
    prior_weight: float
    threads: int

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """The column of each number, -1 for none: (2**bits,) int32."""
        return columns_of(self.numbers, self.bits)

    def rows(self, texts: list[str]) -> _text.FeatureRows:
        """The features of texts that have a column."""
        rows = read_rows(texts, self.bits, self.threads)
        rows.keep(self.columns, self.threads)
        return rows

    @functools.cached_property
    def scorer(self) -> _text.Scorer:
        """What makes scores of texts; it reads `weights` where they stand."""
        return _text.Scorer(self.numbers, self.bits, self.weights, self.idf, self.groups, len(self.log_prior))

    def scores(self, texts: list[str]) -> np.ndarray:
        """Scores (N, K), whose softmax are the probabilities before `with_confidence`."""
        return self.scores_and_known(texts)[0]

    def knows(self, texts: list[str]) -> np.ndarray:
        """Where a text has a word, or a letter of a script without blanks, that has a column: (N,) bool."""
        return self.scores_and_known(texts)[1]

    def scores_and_known(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Both of these, from one reading of the texts."""
        sums = np.zeros((len(texts), len(self.log_prior)), np.float32)
        known = np.zeros(len(texts), bool)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = slice(start, start + _TEXTS_AT_ONCE)
            sums[part], known[part] = self.scorer.score(*_cased_and_lowered(texts[part]), self.threads)
        return sums + self.prior_weight * self.log_prior, known

    def scores_of_lines(self, data: bytes, text_form: str, fields: bool) -> tuple[np.ndarray, np.ndarray]:
        """The same of raw lines of UTF-8 (`inputs.split_lines`), without a Python string for each.

        Args:
            data: whole lines.
            text_form: one of `inputs.TEXT_FORMS`.
            fields: a tab separates the fields of a text.

        """
        sums, known, bounds, left = self.scorer.score_lines(data, text_form == NFC, fields, self.threads)
        scores = sums + self.prior_weight * self.log_prior
        if len(left):  # characters whose composed form or lower case Unicode's tables tell
            texts = [data[start:end].decode() for start, end in bounds[left].tolist()]
            texts = in_form(with_fields(texts) if fields else texts, text_form)
            scores[left], known[left] = self.scores_and_known(texts)
        return scores, known

    def explain(self, text: str, k: int) -> dict[str, float]:
        """What each word adds to the score of class k above the mean of all classes."""
        row = self.rows([text]).row(0)
        values = values_of(row.astype(np.int64), self.idf)[1] if len(self.idf) else np.ones(len(row))
        value_of = dict(zip(row.tolist(), values.tolist(), strict=True))
        parts: dict[str, float] = {}
        for feature in {feature.code: feature for feature in features_of(text, self.bits)}.values():
            column = int(self.columns[feature.code & NUMBER_MASK])
            if column < 0 or not feature.words:
                continue
            weights = self.weights[column, : len(self.log_prior)]
            value = value_of[feature.code >> GROUP_SHIFT << GROUP_SHIFT | column]
            for word in feature.words:  # what a pair says is shared by its words
                share = float(weights[k] - weights.mean()) * value / len(feature.words)
                parts[word] = parts.get(word, 0.0) + share
        return parts


def read_rows(texts: list[str], bits: int, threads: int) -> _text.FeatureRows:
    """The features of texts, all of them."""
    return _text.FeatureRows(*_cased_and_lowered(texts), bits, threads)


def _cased_and_lowered(texts: list[str]) -> tuple[list[bytes], list[bytes]]:
    return [to_bytes(text) for text in texts], [to_bytes(text.lower()) for text in texts]


def columns_of(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The column of each of 2**bits numbers, -1 for none."""
    columns = np.full(1 << bits, -1, np.int32)
    columns[numbers] = np.arange(len(numbers), dtype=np.int32)
    return columns


def with_padding(weights: np.ndarray) -> np.ndarray:
    """Weights (F, K) as (F, Kp), as they are learned."""
    num_features, num_classes = weights.shape
    wide = np.zeros((num_features, padded(num_classes)), np.float32)
    wide[:, :num_classes] = weights
    return wide


def padded(num_classes: int) -> int:
    """The width of a row of weights: classes rounded up to what the native code reads at once."""
    return -(-num_classes // _text.lanes) * _text.lanes


@dataclass(frozen=True, kw_only=True)
class Frame:
    """All that a saved classifier has but its weights and idf; the attributes are those of `HashedWeights`."""

    bits: int
    numbers: np.ndarray
    groups: np.ndarray
    log_prior: np.ndarray
    has_idf: bool
    prior_weight: float
    threads: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What belongs into it, float32, and of which shape."""
        num_features = len(self.numbers)
        shapes: dict[str, tuple[int, ...]] = {"weights": (num_features, len(self.log_prior))}
        return shapes | ({"idf": (num_features,)} if self.has_idf else {})

    def filled(
        self, weights: np.ndarray, idf: np.ndarray = ONES, *, places: np.ndarray | slice = _ALL
    ) -> HashedWeights:
        """The classifier of the numbers at these places."""
        return HashedWeights(
            bits=self.bits, numbers=self.numbers[places], weights=weights, log_prior=self.log_prior, idf=idf,
            groups=self.groups[places], prior_weight=self.prior_weight, threads=self.threads,
        )  # fmt: skip


@dataclass(frozen=True)
class StoredWeights:
    """The weights in the folder of a saved classifier: read as a whole, or the rows that a few texts need."""

    frame: Frame
    arrays: ArrayFile

    def whole(self) -> HashedWeights:
        """All weights.

        Raises:
            ValueError: some are NaN or infinite, or the file is no longer whole.

        """
        arrays = {name: check_finite(name, self.arrays[name]) for name in self.frame.shapes}
        return self.frame.filled(**arrays)

    def of(self, texts: list[str]) -> HashedWeights:
        """Those of these texts' features, by which the texts get the scores that all weights give, to the last bit.

        Raises:
            ValueError: as `whole`.

        """
        rows, numbers = read_rows(texts, self.frame.bits, self.frame.threads), self.frame.numbers
        found = np.unique(np.concatenate([rows.row(i) & NUMBER_MASK for i in range(len(rows))]))
        places = np.searchsorted(numbers, found)
        places = places[numbers[np.minimum(places, len(numbers) - 1)] == found]
        arrays = {name: check_finite(name, self.arrays.rows(name, places)) for name in self.frame.shapes}
        return self.frame.filled(**arrays, places=places)


def restore(
    kind: str,
    bits: Any,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    num_classes: int,
    *,
    threads: int,
) -> HashedWeights:
    """The weights of a saved classifier: ``linear`` or ``hashed-nb``.

    Raises:
        ValueError: something in the folder is missing or another.

    """
    frame = _read_frame(kind, bits, arrays, state, num_classes, threads=threads)
    checked = {name: check_array(arrays, name, shape) for name, shape in frame.shapes.items()}
    return frame.filled(**checked)


def open_stored(
    kind: str, bits: Any, arrays: ArrayFile, state: Mapping[str, Any], num_classes: int, *, threads: int
) -> StoredWeights:
    """The same, of which weights are read when texts ask for them.

    Raises:
        ValueError: as `restore`, but for what can only be known of weights by reading them.

    """
    frame = _read_frame(kind, bits, arrays, state, num_classes, threads=threads)
    for name, shape in frame.shapes.items():
        check_form(name, arrays.entry(name), shape)
    return StoredWeights(frame, arrays)


def _read_frame(
    kind: str,
    bits: Any,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    num_classes: int,
    *,
    threads: int,
) -> Frame:
    one_of(state, "definition", (DEFINITION,))
    bits = one_of(state, "bits", (bits,))
    numbers = check_array(arrays, "numbers", None, np.int64)
    if numbers.ndim != 1 or not len(numbers) or (np.diff(numbers) <= 0).any():
        raise ValueError("numbers are not ascending")
    if numbers[0] < 0 or numbers[-1] >= 1 << bits:
        raise ValueError(f"numbers are not from 0 to below 2^{bits}")
    is_linear = kind == "linear"
    return Frame(
        bits=bits,
        numbers=numbers,
        groups=_read_groups(arrays, state, len(numbers)),
        log_prior=check_array(arrays, "log_prior", (num_classes,)),
        has_idf=is_linear,
        prior_weight=-one_of(state, "strength", STRENGTHS) if is_linear else BAYES_PRIOR,
        threads=threads,
    )


def _read_groups(arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_features: int) -> np.ndarray:
    """The groups of each column: any, where a folder does not tell."""
    if one_of(state, "known_words", (BY_GROUP, BY_NUMBER)) == BY_NUMBER:
        return np.full(num_features, ANY_GROUP, np.uint8)
    groups = check_array(arrays, "groups", (num_features,), np.uint8)
    if not (groups & ANY_GROUP).all():
        raise ValueError("groups has columns of no group")
    return groups
