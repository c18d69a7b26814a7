"""What the classifiers share: scikit-learn's shape, checked hyperparameters, and how they are kept.

The idea to hold on to: ``__init__`` only stores hyperparameters, ``fit`` leaves all that was learned in attributes
with a trailing underscore, and a saved classifier is a folder of JSON and safetensors that is never pickled:

    classifier.json     kind, hyperparameters, sorted classes, how texts are read, what else was learned that is small
    model.safetensors   the learned arrays
    vocabulary.json, tokenizer.json, gpt2/ …     what a kind adds
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import safetensors.numpy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gpt2x._version import __version__
from gpt2x.classify.calibration import UNCHANGED, Confidence, HeldBack, with_confidence
from gpt2x.classify.hyperparameters import Rule, Seed, check_all
from gpt2x.classify.inputs import (
    AS_IS,
    NFC,
    TEXT_FORMS,
    check_texts,
    encode_labels,
    in_form,
    without_fields,
)
from gpt2x.classify.kinds import FORMAT, FORMAT_VERSION, HEADER, read_header
from gpt2x.classify.saved import (
    ARRAYS,
    NOT_ALWAYS_SAVED,
    RowForm,
    check_complete,
    one_of,
    open_arrays,
    read_confidence,
    refused_as_damaged,
    restored_classes,
)
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import VOCABULARY_BYTES, atomic_folder, check_folder, read_text

Self = TypeVar("Self", bound="TextClassifier")

WHAT = "a saved classifier"

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.tiktoken")
_FILES_BEFORE_THEY_WERE_LISTED = (
    *(HEADER, ARRAYS, "vocabulary.json", *_TOKENIZER),
    *(f"gpt2/{name}" for name in ("config.json", "model.safetensors", *_TOKENIZER)),
)


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A document classifier: texts in, labels out.

    A subclass gives `kind`, `rules` for its hyperparameters, and four steps: `_fit` (learn from checked texts and
    class numbers), `_proba` (probabilities for checked texts), `_state` (what to keep) and `_restore` (the way back).

    Attributes:
        classes_: the labels, sorted; column i of `predict_proba` belongs to ``classes_[i]``.
        confidence_: what is made of the probability of the named class (`calibration`), if something was held back.
        held_back_: what it said of the texts on which that was chosen, before it learned them too; None if
            there were none or too many to be kept, and in one that was loaded.
        text_form_: the form that texts are brought to before they are read (`inputs.TEXT_FORMS`).
        row_form_: how `gpt2x classify train` made texts of the rows of a file (`saved.RowForm`); None where it did not.

    """

    kind: ClassVar[str]

    rules: ClassVar[Mapping[str, Rule]] = {"random_state": Seed()}
    """What each hyperparameter may be."""

    state_of_version_1: ClassVar[Mapping[str, Any]] = {"text_form": AS_IS}
    """What folders of format 1 do not say, since there was one way only."""

    state_before_version_4: ClassVar[Mapping[str, Any]] = {}
    """What folders of format 3 and below do not say."""

    state_before_version_6: ClassVar[Mapping[str, Any]] = {}
    """What folders of format 5 and below do not say."""

    reads_fields: ClassVar[bool] = False
    """Whether it tells the fields of a text apart (`inputs.FIELD_SEPARATOR`)."""

    classes_: np.ndarray
    confidence_: Confidence
    text_form_: str
    held_back_: HeldBack | None = None
    row_form_: RowForm | None = None

    # -- scikit-learn's surface ---------------------------------------------------------------------------------

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any]) -> Self:
        """Learn from texts and their labels (all strings, all whole numbers, or all truth values).

        Raises:
            InputDataError: no texts, other than one label a text, something that is no text, or fewer than two classes.
            UsageError: a hyperparameter that can never work, or a table, a mapping or a set in place of a list.

        """
        return self._fit_rows(*self._checked(texts, labels))

    def _checked(
        self, texts: Iterable[str], labels: Iterable[Any]
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Texts, sorted classes (K,) and class numbers (N,), if they can be learned from; see `fit`."""
        check_all(self.rules, self.get_params(deep=False))
        texts = check_texts(texts)
        classes, y = encode_labels(labels)
        if len(y) != len(texts):
            raise InputDataError(f"there are {len(texts)} texts and {len(y)} labels; give one label a text")
        if len(classes) < 2:
            raise InputDataError(
                f"all {len(texts)} texts have the label {quoted(str(classes[0]))}; a classifier needs at least two "
                "classes"
            )
        return texts, classes, y

    def _fit_rows(self: Self, texts: list[str], classes: np.ndarray, y: np.ndarray) -> Self:
        """Learn from what was checked. A class may have no text among these."""
        self.__dict__.pop("classes_", None)
        self.text_form_, self.confidence_, self.held_back_ = NFC, UNCHANGED, None
        self.row_form_ = None
        self._fit(self._as_read(texts), y, len(classes))
        self.classes_ = classes  # last, so that an interrupted fit leaves the classifier unfitted
        return self

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """The probability of each class for each text: (N, K), rows sum to 1, columns as `classes_`.

        Raises:
            InputDataError: something that is no text, or weights that give no probability.
            UsageError: a table, a mapping or a set in place of a list.

        """
        check_is_fitted(self, "classes_")
        texts = check_texts(texts, allow_none=True)
        if not texts:
            return np.zeros((0, len(self.classes_)))
        shares = self._proba(self._as_read(texts))
        if not np.isfinite(shares).all():
            raise InputDataError(
                "the weights of this classifier give no probability for some of the texts (NaN or infinite); train "
                "it again"
            )
        return with_confidence(shares, self.confidence_)

    def predict_log_proba(self, texts: Iterable[str]) -> np.ndarray:
        """The logarithm of `predict_proba`: (N, K); -inf where a probability is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(texts))

    def decision_function(self, texts: Iterable[str]) -> np.ndarray:
        """Scores (N, K), columns as `classes_`: the largest is that of the label that `predict` gives.

        With two classes (N,), as scikit-learn has it: how far the second is above the first.
        """
        check_is_fitted(self, "classes_")
        scores = self._scores(self._as_read(check_texts(texts, allow_none=True)))
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The most probable label of each text: (N,)."""
        shares = self.predict_proba(texts)
        return self.classes_[shares.argmax(axis=1)]

    def knows(self, texts: Iterable[str]) -> np.ndarray:
        """Where a text has at least one word that the classifier learned: (N,) bool."""
        check_is_fitted(self, "classes_")
        return self._knows(self._as_read(check_texts(texts, allow_none=True)))

    def explain(self, text: str, label: Any = None) -> list[tuple[str, float]]:
        """How much each word of a text speaks for a label (by default the one `predict` gives), the most first.

        The numbers are shares of the label's score above the mean of all labels, as the classifier adds it up.

        Raises:
            UsageError: this kind cannot tell, or the label is none of `classes_`.

        """
        check_is_fitted(self, "classes_")
        if label is None:
            label = self.predict([text])[0]
        found = np.flatnonzero(self.classes_ == label)
        if not len(found):
            raise UsageError(f"{quoted(str(label))} is no label of this classifier")
        words = self._explain(self._as_read(check_texts([text]))[0], int(found[0]))
        return sorted(words.items(), key=lambda item: (-item[1], item[0]))

    def _as_read(self, texts: list[str]) -> list[str]:
        texts = in_form(texts, self.text_form_)
        return texts if self.reads_fields else without_fields(texts)

    @property
    def num_parameters_(self) -> int:
        """How many numbers were learned."""
        check_is_fitted(self, "classes_")
        return self._num_parameters()

    def describe(self) -> str:
        """What else a reader of a table should know of the fitted classifier, in a few words."""
        return ""

    # -- a folder and back --------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted classifier as a folder, whole or not at all; a classifier that was there is replaced.

        Raises:
            OutputError: it cannot be written, or `folder` holds anything else, which is named and never replaced.

        """
        check_is_fitted(self, "classes_")
        with atomic_folder(folder, files_of_classifier, WHAT) as staged:
            arrays, state = self._state(staged)
            state["confidence"] = self.confidence_._asdict()
            header: dict[str, Any] = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "kind": self.kind,
                "gpt2x": __version__,
                "params": {
                    name: _plain(value) for name, value in self.get_params().items() if _is_plain(name, value)
                },
                "classes": self.classes_.tolist(),
                "state": state,
            }
            if self.row_form_ is not None:
                header |= self.row_form_.as_header()
            (staged / ARRAYS).write_bytes(safetensors.numpy.save({k: _dense(v) for k, v in arrays.items()}))
            written = [file.relative_to(staged).as_posix() for file in staged.rglob("*") if file.is_file()]
            header["files"] = sorted([HEADER, *written])
            (staged / HEADER).write_text(json.dumps(header, indent=2) + "\n", encoding="ascii")

    @classmethod
    def load(cls: type[Self], folder: str | os.PathLike[str]) -> Self:
        """Read a classifier of this kind that `save` wrote.

        Raises:
            InputDataError: the folder is missing, holds another kind, or is damaged.

        """
        folder = Path(folder)
        header = read_header(folder)
        if header["kind"] != cls.kind:
            raise InputDataError(
                f"{folder} holds a classifier of kind {header['kind']!r}, not {cls.kind!r}; use gpt2x.classify.load"
            )
        with refused_as_damaged(folder):
            return cls._from_header(folder, header)

    @classmethod
    def _from_header(cls: type[Self], folder: Path, header: Mapping[str, Any]) -> Self:
        params, classes, state = header["params"], header["classes"], header["state"]
        if header["version"] < 6:
            state = {**cls.state_before_version_6, **state}
        if header["version"] < 4:
            state = {**cls.state_before_version_4, **state}
        if header["version"] == 1:
            state = {**cls.state_of_version_1, **state}
        else:
            needed = [name for name in cls._get_param_names() if name not in NOT_ALWAYS_SAVED]
            check_complete(params, dict.fromkeys(needed, object))
        model = cls(
            **{name: params[name] for name in cls._get_param_names() if name in params and name != "device"}
        )
        check_all(model.rules, model.get_params(deep=False))
        model.classes_ = restored_classes(classes)
        model.text_form_ = one_of(state, "text_form", TEXT_FORMS)
        model.confidence_ = read_confidence(header)
        model.row_form_ = RowForm.of_header(header)
        model._restore(folder, dict(open_arrays(folder / ARRAYS)), state, len(model.classes_))
        return model

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        raise NotImplementedError

    def _proba(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError

    def _scores(self, texts: list[str]) -> np.ndarray:
        """Scores (N, K) that are in the order of the probabilities: their logarithm, if a kind has no others."""
        return np.log(np.maximum(self._proba(texts), 1e-300)) if texts else np.zeros((0, len(self.classes_)))

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        """The arrays and the small values to keep; larger things may be written into `folder`."""
        raise NotImplementedError

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        raise NotImplementedError

    def _num_parameters(self) -> int:
        raise NotImplementedError

    def _knows(self, texts: list[str]) -> np.ndarray:
        return np.array([bool(text.strip()) for text in texts], dtype=bool)

    def _explain(self, text: str, k: int) -> dict[str, float]:
        """What each word adds to the score of class k."""
        raise UsageError(
            f"a classifier of kind {self.kind} cannot name the words that decided; nb, hashed-nb, linear, tfidf can"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


# -- rows -------------------------------------------------------------------------------------------------------


def split_rows(
    y: np.ndarray, fraction: float, rng: np.random.Generator, *, at_least: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into (rest, part) with `fraction` of each class in the part, and never a whole class.

    Args:
        y: (N,) class numbers.
        fraction: share of the rows that goes to the part.
        rng: decides which rows.
        at_least: rows of each class of two rows or more that go to the part, however small its share.

    """
    parts, rests = [], []
    for k in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == k))
        share = len(rows) * fraction
        size = int(share) + (
            rng.random() < share % 1
        )  # rounds up as often as the share says: small classes count too
        size = min(max(size, at_least), len(rows) - 1)
        parts.append(rows[:size])
        rests.append(rows[size:])
    return np.sort(np.concatenate(rests)), np.sort(np.concatenate(parts))


def draw_seed(random_state: Any) -> int:
    """One seed from `random_state`: None, a number, a RandomState, or a Generator, which scikit-learn does not take."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


# -- files ------------------------------------------------------------------------------------------------------


def check_replaceable(folder: Path) -> None:
    """Refuse to replace anything that is not of a saved classifier.

    Raises:
        OutputError: `folder` is no folder, or holds something else, which is named.

    """
    check_folder(folder, files_of_classifier, WHAT)


def files_of_classifier(folder: Path) -> list[str]:
    """The files of a saved classifier; none where the header in the folder is not of our format."""
    try:
        header = json.loads(read_text(folder / HEADER, limit=VOCABULARY_BYTES, regular=True))
    except (InputDataError, ValueError, RecursionError):
        return []
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return []
    files = header.get("files", _FILES_BEFORE_THEY_WERE_LISTED)
    return [name for name in files if isinstance(name, str)] if isinstance(files, list | tuple) else []


def _dense(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_plain(name: str, value: Any) -> bool:
    """True for what JSON can hold; the device is where it was learned, which need not be where it is used."""
    return name != "device" and (value is None or isinstance(_plain(value), str | int | float | bool))
