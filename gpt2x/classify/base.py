"""What the four classifiers share: scikit-learn's shape, checked input, sorted labels, and how they are kept.

The idea to hold on to: ``__init__`` only stores hyperparameters, ``fit`` leaves all that was learned in attributes
with a trailing underscore, and a saved classifier is a folder of JSON and safetensors that is never pickled:

    classifier.json     kind, hyperparameters, sorted classes, what else was learned that is small
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
from safetensors import SafetensorError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gpt2x._version import __version__
from gpt2x.classify.kinds import FORMAT, FORMAT_VERSION, HEADER, read_header
from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import VOCABULARY_BYTES, atomic_folder, check_folder, read_text

Self = TypeVar("Self", bound="TextClassifier")

ARRAYS = "model.safetensors"
WHAT = "a saved classifier"

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.tiktoken")
_FILES_BEFORE_THEY_WERE_LISTED = (
    *(HEADER, ARRAYS, "vocabulary.json", *_TOKENIZER),
    *(f"gpt2/{name}" for name in ("config.json", "model.safetensors", *_TOKENIZER)),
)


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A document classifier: texts in, labels out.

    A subclass gives `kind` and four steps: `_fit` (learn from checked texts and class numbers), `_proba`
    (probabilities for checked texts), `_state` (what to keep) and `_restore` (the way back).

    Attributes:
        classes_: the labels, sorted; column i of `predict_proba` belongs to ``classes_[i]``.

    """

    kind: ClassVar[str]

    classes_: np.ndarray

    # -- scikit-learn's surface ---------------------------------------------------------------------------------

    def fit(self: Self, texts: Iterable[str], labels: Iterable[Any]) -> Self:
        """Learn from texts and their labels (strings or whole numbers).

        Raises:
            InputDataError: no texts, other than one label a text, something that is no text, or fewer than two classes.
            UsageError: a hyperparameter that can never work.

        """
        texts = check_texts(texts)
        classes, y = encode_labels(labels)
        if len(y) != len(texts):
            raise InputDataError(f"there are {len(texts)} texts and {len(y)} labels; give one label a text")
        if len(classes) < 2:
            raise InputDataError(
                f"all {len(texts)} texts have the label {str(classes[0])!r}; a classifier needs at least two classes"
            )
        self.__dict__.pop("classes_", None)
        self._fit(texts, y, len(classes))
        self.classes_ = classes  # last, so that an interrupted fit leaves the classifier unfitted
        return self

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """The probability of each class for each text: (N, K), rows sum to 1, columns as `classes_`."""
        check_is_fitted(self, "classes_")
        texts = check_texts(texts, allow_none=True)
        if not texts:
            return np.zeros((0, len(self.classes_)))
        return self._proba(texts)

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The most probable label of each text: (N,)."""
        shares = self.predict_proba(texts)
        return self.classes_[shares.argmax(axis=1)]

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
            header = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "kind": self.kind,
                "gpt2x": __version__,
                "params": {
                    name: value for name, value in self.get_params().items() if _is_plain(name, value)
                },
                "classes": self.classes_.tolist(),
                "state": state,
            }
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
        try:
            known = {k: v for k, v in header["params"].items() if k in cls._get_param_names()}
            model = cls(**known)
            classes = np.asarray(header["classes"])
            model._restore(folder, _read_arrays(folder / ARRAYS), header["state"], len(classes))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            if isinstance(error, InputDataError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise InputDataError(f"{folder} is damaged ({reason}); train the classifier again") from error
        model.classes_ = classes
        return model

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        raise NotImplementedError

    def _proba(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        """The arrays and the small values to keep; larger things may be written into `folder`."""
        raise NotImplementedError

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        raise NotImplementedError

    def _num_parameters(self) -> int:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


# -- input ------------------------------------------------------------------------------------------------------


def check_texts(texts: Iterable[str], *, allow_none: bool = False) -> list[str]:
    """The texts as a list of str; an empty text is a text.

    Raises:
        UsageError: one str instead of many.
        InputDataError: something in it is no text, or there is none.

    """
    if isinstance(texts, str | bytes):
        raise UsageError("texts is one string; give a list of strings")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputDataError(f"text {i} is {type(text).__name__} {text!r:.40}, not a string")
    if not texts and not allow_none:
        raise InputDataError("there is no text to learn from; give at least two, of two classes")
    return texts


def encode_labels(labels: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted classes, and each label as its number among them. The order never depends on hashing.

    Raises:
        InputDataError: a label is missing or cannot be printed, or labels are of several types.

    >>> classes, y = encode_labels(["b", "a", "b"])
    >>> classes.tolist(), y.tolist()
    (['a', 'b'], [1, 0, 1])
    """
    labels = list(labels)
    for kind in (str, int | np.integer):
        odd = next((label for label in labels if not isinstance(label, kind)), None)
        if odd is None and None not in labels:
            break
    else:
        raise InputDataError(f"labels must be all strings or all whole numbers; {odd!r:.40} is among them")
    classes, y = np.unique(np.asarray(labels), return_inverse=True)
    for label in classes.tolist():
        if isinstance(label, str) and any("\ud800" <= character <= "\udfff" for character in label):
            raise InputDataError(
                f"the label {label!r} is no text: half a character stands in it; rename the class"
            )
    return classes, y.astype(np.int64)


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
    """One seed from scikit-learn's `random_state` (None, a number, or a RandomState)."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_positive(**values: float) -> None:
    """Refuse hyperparameters that are not above zero, by name.

    Raises:
        UsageError: one is not.

    """
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{name} = {value} cannot work; give a number above 0")


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


def write_strings(path: Path, strings: list[str]) -> None:
    """Write a list of strings as a JSON array, one a line."""
    lines = ",\n".join(json.dumps(string, ensure_ascii=True) for string in strings)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_strings(path: Path) -> list[str]:
    """Read what `write_strings` wrote.

    Raises:
        InputDataError: missing or damaged.

    """
    try:
        strings = json.loads(read_text(path, limit=VOCABULARY_BYTES, regular=True))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{path} is damaged ({error}); train the classifier again") from error
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise InputDataError(f"{path} is no list of words; train the classifier again")
    return strings


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if path.exists() and not path.is_file():
        raise InputDataError(f"{path} is no regular file; train the classifier again")
    try:
        return safetensors.numpy.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputDataError(f"{path} is missing or damaged ({error}); train the classifier again") from error


def _dense(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array)


def _is_plain(name: str, value: Any) -> bool:
    """True for what JSON can hold; the device is where it was learned, which need not be where it is used."""
    return name != "device" and (value is None or isinstance(value, str | int | float | bool))
