"""What is given to a classifier: texts and labels, checked, and texts brought to one form.

Two spellings that look the same are the same word. A text is read in Unicode's composed form (NFC: "é" is one
character, however it was typed), and the typographic apostrophe is the one on the keyboard ("don’t" is "don't").
That is the text form `NFC`; classifiers that were saved before there was one have the form `AS_IS`, and keep it.

A text may have fields, such as a headline and a description, with `FIELD_SEPARATOR` between them. So it stays one
string, which lists, arrays and scikit-learn's tools carry as any other; a classifier that knows no fields reads a
blank there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any

import numpy as np

from gpt2x.data.fields import FIELD_SEPARATOR, unseparated
from gpt2x.errors import InputDataError, UsageError, quoted

AS_IS = "as-is"
NFC = "nfc-apostrophe"
TEXT_FORMS = (AS_IS, NFC)
"""What `in_form` can do; the name is saved with a classifier."""

APOSTROPHES = "\u2019\u2018\u02bc\uff07"
"""What becomes ' in the form `NFC`: the two single quotation marks, the modifier letter and the full-width form."""

LONGEST_LABEL = 1000
"""A label of more characters is refused: it is a text, in the wrong place."""

MISSING = ("NAType", "NaTType")
"""What pandas has where a value is missing, by name, since it need not be installed."""

INT64 = (-(2**63), 2**63 - 1)


def check_texts(texts: Iterable[str], *, allow_none: bool = False) -> list[str]:
    """The texts as a list of str; an empty text is a text.

    Raises:
        UsageError: one str instead of many, a table, a mapping or a set.
        InputDataError: something in it is no text, or there is none.

    """
    texts = _as_list(texts, "texts", "text")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputDataError(f"text {i} is {_shown(text)}, not a string{_remedy(text)}")
    if not texts and not allow_none:
        raise InputDataError("there is no text to learn from; give at least two, of two classes")
    return texts


def encode_labels(labels: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted classes, and each label as its number among them. The order never depends on hashing.

    Labels are all strings, all whole numbers (1.0, as pandas writes a column with a gap, is 1), or all truth values.

    Raises:
        UsageError: one str instead of many, a table, a mapping or a set.
        InputDataError: a label is missing or cannot be printed, or labels are of several types.

    >>> classes, y = encode_labels(["b", "a", "b"])
    >>> classes.tolist(), y.tolist()
    (['a', 'b'], [1, 0, 1])
    """
    plain = [_plain_label(label, i) for i, label in enumerate(_as_list(labels, "labels", "label"))]
    odd = next((i for i, label in enumerate(plain) if type(label) is not type(plain[0])), None)
    if odd is not None:
        raise InputDataError(
            f"labels must be all strings or all whole numbers; label {odd} is {_shown(plain[odd])} and label 0 is "
            f"{_shown(plain[0])}"
        )
    classes = sorted(set(plain))
    place = {label: k for k, label in enumerate(classes)}
    for label in classes:
        if isinstance(label, str):
            _check_printable(label)
    return np.asarray(classes), np.fromiter((place[label] for label in plain), np.int64, len(plain))


def names_of(classes: np.ndarray, y: np.ndarray) -> list[Any]:
    """The label of each class number (N,), as Python's own.

    An array of them would make room for the longest in each place.

    >>> names_of(np.array(["arts", "sport"]), np.array([1, 0, 1]))
    ['sport', 'arts', 'sport']
    """
    names = classes.tolist()
    return [names[k] for k in y.tolist()]


def in_form(texts: list[str], form: str) -> list[str]:
    """The texts in one of `TEXT_FORMS`.

    >>> in_form(["cafe\\u0301", "don’t"], NFC)
    ['café', "don't"]
    """
    if form == AS_IS:
        return texts
    return [text if text.isascii() else _nfc(text) for text in texts]


def split_lines(data: bytes) -> list[str]:
    r"""The texts of raw lines of UTF-8, one a line.

    Lines end with ``\n`` or ``\r\n`` and with nothing else; what is behind the last line end is one too, unless it is
    empty.

    >>> split_lines(b"one\r\n\ntwo\x0c\xe2\x80\xa8three")
    ['one', '', 'two\x0c\u2028three']
    """
    lines = data.decode("utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def with_fields(texts: list[str]) -> list[str]:
    """Texts whose fields a tab separates, as texts with `FIELD_SEPARATOR`."""
    return [text.replace("\t", FIELD_SEPARATOR) for text in texts]


def without_fields(texts: list[str]) -> list[str]:
    """The texts as one field each, for classifiers that know of none.

    >>> without_fields(["Rain\x1fIt is wet", "one field"])
    ['Rain It is wet', 'one field']
    """
    return [unseparated(text) for text in texts]


def _nfc(text: str) -> str:
    for mark in APOSTROPHES:
        text = text.replace(mark, "'")  # four passes in C: str.translate takes ten times as long
    return unicodedata.normalize("NFC", text)


def _as_list(values: Any, what: str, column: str) -> list[Any]:
    """Many values as a list of Python's own; what only looks like many values is refused with the remedy.

    Tables are known by what they have, since pandas, polars and pyarrow need not be installed.
    """
    if isinstance(values, str | bytes | bytearray | memoryview):
        kind = "string" if isinstance(values, str) else "bytes object"
        raise UsageError(f"{what} is one {kind}; give a list of strings")
    table = type(values).__name__
    ndim = getattr(values, "ndim", 1)
    if hasattr(type(values), "columns") or hasattr(type(values), "column_names"):
        raise UsageError(
            f'{what} is a table ({table}), which would be read as its column names; give one column: df["{column}"]'
        )
    if isinstance(values, Mapping) or (hasattr(values, "keys") and not hasattr(values, "ndim")):
        raise UsageError(
            f'{what} is a {table}, which would be read as its keys; give one of its values: data["{column}"]'
        )
    if isinstance(values, set | frozenset):
        raise UsageError(f"{what} is a {table}, which has no order to go by; give a list")
    if isinstance(values, np.ndarray) and ndim == 2 and values.shape[1] == 1:
        values, ndim = values[:, 0], 1  # one column, as scikit-learn's ensembles hand it on
    if isinstance(ndim, int) and ndim != 1:
        raise UsageError(
            f'{what} has {ndim} dimensions ({table}); give one, such as a column: {what}[:, 0] or df["{column}"]'
        )
    try:
        # An array or a Series knows best how its values are Python's own.
        listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    except TypeError as error:
        raise UsageError(f"{what} is {_shown(values)}; give a list of strings") from error
    return [value.item() if isinstance(value, np.generic) else value for value in listed]


def _plain_label(label: Any, i: int) -> Any:
    """A label as Python's own str, int or bool."""
    if isinstance(label, bool):
        return label
    if isinstance(label, str):
        return label if type(label) is str else str.__str__(label)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int):
        if not INT64[0] <= label <= INT64[1]:
            raise InputDataError(
                f"label {i} is {quoted(label)}, which does not fit 64 bits; give it as a string"
            )
        return int(label)
    is_missing = (
        label is None or type(label).__name__ in MISSING or (isinstance(label, float) and isnan(label))
    )
    advice = "leave out rows without a label" if is_missing else "give Python's own, such as labels.tolist()"
    raise InputDataError(
        f"labels must be all strings or all whole numbers; label {i} is {_shown(label)}; {advice}"
    )


def _check_printable(label: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in label):
        raise InputDataError(
            f"the label {quoted(label)} is no text: half a character stands in it; rename the class"
        )
    if "\0" in label:
        raise InputDataError(f"the label {quoted(label)} has a NUL character in it; rename the class")
    if len(label) > LONGEST_LABEL:
        raise InputDataError(
            f"the label {quoted(label)} has {len(label):,} characters and a label has {LONGEST_LABEL:,} at most; "
            "are texts and labels in each other's place?"
        )


def _shown(value: Any) -> str:
    """A value for a sentence; of a container only what it is."""
    if isinstance(value, str | int | float | bytes) or value is None:
        return "None" if value is None else f"{type(value).__name__} {quoted(value)}"
    return f"a {type(value).__name__}"


def _remedy(text: Any) -> str:
    if isinstance(text, bytes):
        return "; decode it first: text.decode()"
    if isinstance(text, Mapping):
        return '; give one value of each row: [row["text"] for row in rows]'
    return "; leave out rows without a text, and convert numbers with str()"
