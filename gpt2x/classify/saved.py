"""What stands in the folder of a saved classifier, read and checked. Loads no scikit-learn, as `predictor` needs it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt2x.classify.array_file import ArrayFile, Entry
from gpt2x.classify.calibration import COOLEST, FARTHEST, HOTTEST, STEEPEST, UNCHANGED, Confidence
from gpt2x.classify.inputs import encode_labels
from gpt2x.classify.kinds import HEADER
from gpt2x.data.fields import FORMS
from gpt2x.errors import InputDataError, MissingComponentError
from gpt2x.paths import VOCABULARY_BYTES, read_text

ARRAYS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class RowForm:
    """How the rows of a file became the texts that a classifier learned: what `gpt2x classify train` was told."""

    form: str
    """One of `FORMS`."""
    text_columns: tuple[str, ...] = ()
    """Those that were named; none for the usual ones."""

    def as_header(self) -> dict[str, Any]:
        """What a header says of it."""
        return {"input": self.form, "text_columns": list(self.text_columns)}

    @staticmethod
    def of_header(header: Mapping[str, Any]) -> RowForm | None:
        """What a header says of it; None where it does not, as those of earlier versions and those kept from Python.

        Raises:
            ValueError: it is none of `FORMS`, or no list of names.

        """
        if "input" not in header and "text_columns" not in header:
            return None
        columns = header.get("text_columns")
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise ValueError(f"text_columns in {HEADER} is no list of names")
        return RowForm(one_of(header, "input", FORMS), tuple(columns))


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


NOT_ALWAYS_SAVED = (
    *("device", "random_state", "tokenizer", "gpt2", "class_weight"),
    *("head_dropout", "label_smoothing", "cache_gib", "precision", "objective", "shapes"),
)
"""Hyperparameters that may be missing in a folder: objects that JSON cannot hold, and what only `fit` needs (in the
second line those that folders of earlier versions lack)."""


def check_complete(values: Mapping[str, Any], parts: Mapping[str, type]) -> None:
    """Refuse a part of a header that lacks some of these names, or has a value of another type there.

    Raises:
        ValueError: it does.

    """
    for name, kind in parts.items():
        if name not in values:
            raise ValueError(f"{HEADER} does not say {name}")
        if not isinstance(values[name], kind):
            raise ValueError(f"{name} in {HEADER} is of another type")


def one_of(state: Mapping[str, Any], name: str, allowed: tuple[Any, ...]) -> Any:
    """A value of a header that is one of a few, of the same type.

    Raises:
        ValueError: another.

    """
    value = state.get(name)
    found = next((one for one in allowed if type(value) is type(one) and value == one), None)
    if found is None:
        raise ValueError(f"{name} in {HEADER} is not one of {', '.join(map(str, allowed))}")
    return found


def check_array(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] | None, dtype: type = np.float32
) -> np.ndarray:
    """The saved array of this name, of this shape and type, and with finite numbers only.

    Raises:
        ValueError: it is missing or another.

    """
    if name not in arrays:
        raise ValueError(f"{ARRAYS} has no array {name}")
    array = arrays[name]
    check_form(name, array, shape, dtype)
    return check_finite(name, array)


def check_form(
    name: str, array: np.ndarray | Entry, shape: tuple[int, ...] | None, dtype: type = np.float32
) -> None:
    """Refuse an array of another shape or type.

    Raises:
        ValueError: it is.

    """
    if array.dtype != dtype or (shape is not None and array.shape != shape):
        wanted = "" if shape is None else f" of shape {shape}"
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)}{wanted}")


def check_finite(name: str, array: np.ndarray) -> np.ndarray:
    """The array, if all its numbers are finite.

    Raises:
        ValueError: one is not.

    """
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite numbers in it")
    return array


def restored_classes(saved: list[Any]) -> np.ndarray:
    """The classes of a header.

    Raises:
        ValueError: they are not two or more, sorted, each once.

    """
    classes, _ = encode_labels(saved)
    if len(classes) < 2 or classes.tolist() != saved:
        raise ValueError(f"the classes in {HEADER} are not two or more, sorted, each once")
    return classes


def restored_number(state: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A number of a header, within bounds.

    Raises:
        ValueError: it is another.

    """
    value = state.get(name)
    if type(value) is not float or not low <= value <= high:
        raise ValueError(f"{name} in {HEADER} is not a number from {low:g} to {high:g}")
    return value


def read_confidence(header: Mapping[str, Any]) -> Confidence:
    """What is made of the named class's probability; nothing in folders from before there was that.

    Raises:
        ValueError: they are no numbers within their bounds.

    """
    if header["version"] < 3:
        return UNCHANGED
    if header["version"] < 5:
        state = header["state"]
        temperature = restored_number(state, "temperature", COOLEST, HOTTEST)
        return Confidence(temperature, offset=restored_number(state, "offset", -FARTHEST, FARTHEST))
    state = header["state"].get("confidence")
    if not isinstance(state, dict) or state.keys() != set(Confidence._fields):
        raise ValueError(f"confidence in {HEADER} is not an object of {', '.join(Confidence._fields)}")
    return Confidence(
        restored_number(state, "temperature", COOLEST, HOTTEST),
        restored_number(state, "named", 0.0, STEEPEST),
        restored_number(state, "others", 0.0, STEEPEST),
        restored_number(state, "offset", -FARTHEST, FARTHEST),
    )


@contextlib.contextmanager
def refused_as_damaged(folder: Path) -> Iterator[None]:
    """Make one sentence of whatever a library says of what stands in a damaged folder.

    Raises:
        InputDataError: anything went wrong.
        MissingComponentError: something is not here that the folder needs.

    """
    try:
        yield
    except (InputDataError, MissingComponentError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputDataError(f"{folder} is damaged ({reason}); train the classifier again") from error


def open_arrays(path: Path) -> ArrayFile:
    """The learned arrays, to be read when they are asked for.

    Raises:
        InputDataError: the file is missing, or its header damaged.

    """
    try:
        return ArrayFile(path)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = (getattr(error, "strerror", None) or str(error))[:200]
        raise InputDataError(
            f"{path} is missing or damaged ({reason}); train the classifier again"
        ) from error
