"""A saved classifier for answering only, at once: neither scikit-learn nor torch is loaded where numbers suffice.

`load` gives back the estimator, which can be trained, cloned and searched over, and needs scikit-learn for that.
A `Predictor` of the same folder gives the same probabilities; a test holds them together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gpt2x.classify import hashed_weights, word_weights
from gpt2x.classify.calibration import UNCHANGED, Confidence, softmax, with_confidence
from gpt2x.classify.inputs import AS_IS, TEXT_FORMS, in_form, split_lines, with_fields, without_fields
from gpt2x.classify.kinds import KINDS, read_header
from gpt2x.classify.saved import (
    ARRAYS,
    RowForm,
    one_of,
    open_arrays,
    read_confidence,
    refused_as_damaged,
    restored_classes,
)
from gpt2x.errors import InputDataError

FEW_TEXTS = 200
"""For so many texts their own rows of hashed weights are read one by one. Of what was learned from HuffPost's 209,522
texts (260 MB in the system's cache) the rows of one headline take 1 ms, of 200 headlines 46 ms, and all rows 110 ms."""


class Scorer(Protocol):
    """What turns texts in the form in which they are read into probabilities before `with_confidence`."""

    reads_fields: bool

    def shares_and_known(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, K), and where a text has a known word: (N,) bool."""

    def explain(self, text: str, k: int) -> dict[str, float]:
        """What each word adds to the score of class k above the mean of all classes."""


class Predictor:
    """A classifier that answers and cannot be trained.

    Attributes:
        kind: the name of its kind (`kinds.KINDS`).
        classes: its labels, sorted.
        row_form: how the rows of a file became the texts that it learned; None where its folder does not say.

    """

    row_form: RowForm | None = None

    def __init__(
        self, kind: str, classes: np.ndarray, text_form: str, confidence: Confidence, scorer: Scorer
    ) -> None:
        self.kind, self.classes = kind, classes
        self._text_form, self._confidence, self._scorer = text_form, confidence, scorer

    def answer(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, K), and where a text has a word that the classifier knows: (N,) bool.

        Raises:
            InputDataError: weights that give no probability.

        """
        if not texts:
            return np.zeros((0, len(self.classes))), np.zeros(0, bool)
        shares, known = self._scorer.shares_and_known(self._as_read(texts))
        return self._confident(shares), known

    def answer_lines(self, data: bytes, *, fields: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The same for raw lines of UTF-8 (`inputs.split_lines`), sooner than for a list where a kind can.

        Args:
            data: whole lines.
            fields: a tab separates the fields of a text.

        Raises:
            InputDataError: as `answer`.

        """
        if not isinstance(self._scorer, _Hashed) or not self._scorer.is_for_many(data.count(b"\n") + 1):
            texts = split_lines(data)
            return self.answer(with_fields(texts) if fields else texts)
        shares, known = self._scorer.shares_of_lines(data, self._text_form, fields)
        return self._confident(shares), known

    def _confident(self, shares: np.ndarray) -> np.ndarray:
        if not np.isfinite(shares).all():
            raise InputDataError(
                "the weights of this classifier give no probability for some of the texts (NaN or infinite); train "
                "it again"
            )
        return with_confidence(shares, self._confidence)

    def explain(self, text: str, k: int) -> list[tuple[str, float]]:
        """How much each word of a text speaks for class k, the most first."""
        words = self._scorer.explain(self._as_read([text])[0], k)
        return sorted(words.items(), key=lambda item: (-item[1], item[0]))

    def _as_read(self, texts: list[str]) -> list[str]:
        texts = in_form(texts, self._text_form)
        return texts if self._scorer.reads_fields else without_fields(texts)


class _Hashed:
    """Weights of which the first few texts read their own rows; when more come, all are read, once."""

    reads_fields = True

    def __init__(self, folder: Path, stored: hashed_weights.StoredWeights) -> None:
        self._folder, self._stored = folder, stored
        self._num_texts = 0
        self._whole: hashed_weights.HashedWeights | None = None

    def is_for_many(self, num_texts: int) -> bool:
        """Whether all weights are there, or will be read for so many more texts."""
        return self._whole is not None or self._num_texts + num_texts > FEW_TEXTS

    def shares_and_known(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        scores, known = self._weights_of(texts).scores_and_known(texts)
        return softmax(scores), known

    def shares_of_lines(self, data: bytes, text_form: str, fields: bool) -> tuple[np.ndarray, np.ndarray]:
        scores, known = self._all_weights().scores_of_lines(data, text_form, fields)
        return softmax(scores), known

    def explain(self, text: str, k: int) -> dict[str, float]:
        return self._weights_of([text]).explain(text, k)

    def _weights_of(self, texts: list[str]) -> hashed_weights.HashedWeights:
        if self.is_for_many(len(texts)):
            return self._all_weights()
        self._num_texts += len(texts)
        with refused_as_damaged(self._folder):
            return self._stored.of(texts)

    def _all_weights(self) -> hashed_weights.HashedWeights:
        if self._whole is None:
            with refused_as_damaged(self._folder):
                self._whole = self._stored.whole()
        return self._whole


class _Words:
    reads_fields = False

    def __init__(self, weights: word_weights.WordWeights) -> None:
        self.shares_and_known = weights.shares_and_known
        self.explain = weights.explain


class _Estimator:
    """A neural classifier, which brings torch and reads and cools by itself."""

    reads_fields = True

    def __init__(self, folder: Path) -> None:
        from gpt2x.classify.loading import load

        self._model = load(folder)
        self.classes = self._model.classes_

    def shares_and_known(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return self._model.predict_proba(texts), self._model.knows(texts)

    def explain(self, text: str, k: int) -> dict[str, float]:
        return dict(self._model.explain(text, self.classes[k].item()))


def open_predictor(folder: str | os.PathLike[str]) -> Predictor:
    """Read a saved classifier of any kind, to name labels with it.

    Raises:
        InputDataError: the folder is missing, holds no classifier, or is damaged.
        MissingComponentError: it needs something that is not here.

    """
    folder = Path(folder)
    header = read_header(folder)
    with refused_as_damaged(folder):
        row_form = RowForm.of_header(header)
        if KINDS[header["kind"]].neural:
            model = _Estimator(folder)
            predictor = Predictor(header["kind"], model.classes, AS_IS, UNCHANGED, model)
        else:
            predictor = _restored(folder, header)
    predictor.row_form = row_form
    return predictor


def _restored(folder: Path, header: Mapping[str, Any]) -> Predictor:
    kind, params, state = header["kind"], header["params"], header["state"]
    classes = restored_classes(header["classes"])
    arrays = open_arrays(folder / ARRAYS)
    scorer: Scorer
    if kind in ("linear", "hashed-nb"):
        bits = one_of(params, "bits", tuple(range(8, 25)))
        if header["version"] < 6:
            state = {**hashed_weights.STATE_BEFORE_VERSION_6, **state}
        stored = hashed_weights.open_stored(kind, bits, arrays, state, len(classes), threads=num_threads())
        scorer = _Hashed(folder, stored)
    else:
        if header["version"] == 1:
            reading = dict(word_weights.TFIDF if kind == "tfidf" else word_weights.WORDS)
            state = {"text_form": AS_IS, "reading": reading, **state}
        scorer = _Words(word_weights.restore(kind, params, folder, arrays, state, num_classes=len(classes)))
    return Predictor(kind, classes, one_of(state, "text_form", TEXT_FORMS), read_confidence(header), scorer)


def num_threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
