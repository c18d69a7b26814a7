"""Labelled documents: HuffPost's JSON lines, AG News' csv files, and one's own, told apart by their content.

=========  =====================================================  ==========================================
source     one row                                                text given to a classifier (``playground``)
=========  =====================================================  ==========================================
HuffPost   ``{"headline": …, "short_description": …, "category"}``  lower-cased headline, a blank, description
AG News    ``"3","title","description"`` (or title and             title, a blank, description
           description in one field), without a header
your own   JSON objects, one a line or in one array, or a csv     the text columns, a blank between them
           with a header, of a label and a text column
=========  =====================================================  ==========================================

The form ``full`` keeps what that one drops: each text column is a field of its own, in its original case, with
`FIELD_SEPARATOR` between them. Neither form reads the date.

The same rows give the same labels in either format: a label keeps its spelling, without the white space around it,
and a number or a truth value in JSON is what is written there (``3``, ``3.0``, ``true``). A row whose label or text is
empty (null and NaN are) is left out and counted.
"""

from __future__ import annotations

import json
import operator
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.data.tables import check_distinct, check_width, csv_rows, read_rows_text
from gpt2x.errors import InputDataError, UsageError, quoted

AG_NEWS_CLASSES = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}
"""AG News numbers its classes; these are the names from its classes.txt."""

LABEL_COLUMNS = ("category", "label", "class", "class index")
"""What a label's column is called; where several are there, the first of these is read."""

TEXT_COLUMNS = ("headline", "title", "short_description", "description", "text")
"""What the columns of a text are called; all that are there are read, in this order."""

FIELD_SEPARATOR = "\x1f"
"""Stands between the fields of a text: ASCII's unit separator. One that stands in a file is read as a blank."""

FORMS = ("playground", "full")
"""How the text columns of a row become one text; see the table above."""

NEEDED = f"a label ({', '.join(LABEL_COLUMNS)}) and a text ({', '.join(TEXT_COLUMNS)})"

Pair = tuple[str, str]
"""A text and its label, either of which may be empty."""


@dataclass(frozen=True, slots=True)
class NewsData:
    """Documents and their labels, in the order of the file."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def read_news(
    path: str | os.PathLike[str],
    limit: int | None = None,
    *,
    form: str = "playground",
    keep_textless: bool = False,
) -> NewsData:
    """Read labelled documents; ``.xz`` and ``.gz`` are unpacked on the way.

    Only a csv file without a header that has all four of AG News' classes gets their names for labels. Rows without a
    label or text, and labels that are nearly equal, are said on stderr.

    Args:
        path: a file of JSON objects, one a line or in an array, or a csv file.
        limit: keep this many rows, evenly spaced over the file. (HuffPost is sorted by date and its categories
            changed over the years: the first rows alone would be another data set.)
        form: one of `FORMS`.
        keep_textless: keep rows that have a label and no text, so that row numbers are those of the file.

    Raises:
        InputDataError: missing, empty, not UTF-8, neither format, or a broken row (named by its line or place).
        UsageError: `limit` is not a whole number above 0, or there is no such form.

    """
    _check_limit(limit)
    if form not in FORMS:
        raise UsageError(f"there is no form {quoted(form)}; give one of {', '.join(FORMS)}")
    path = Path(path)
    content = read_rows_text(path)
    if not content.strip():
        raise InputDataError(
            f"{path} is empty; give JSON lines with headline and category, or a csv of class and text"
        )
    is_ag_news = False
    if re.match(r"\s*[\[{]", content):
        rows = list(_json_rows(content, path, form))
    else:
        rows, is_ag_news = _csv_pairs(content, path, form)
    pairs = _with_both(rows, path, keep_textless)
    if is_ag_news and {label for _, label in pairs} == set(AG_NEWS_CLASSES):
        pairs = [(text, AG_NEWS_CLASSES[label]) for text, label in pairs]
    _say_near_equal({label for _, label in pairs}, path)
    if limit is not None and limit < len(pairs):
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]
    elif limit is not None and limit > len(pairs):
        say(f"{path} holds {len(pairs)} documents, fewer than the limit of {limit}; all are used")
    return NewsData([text for text, _ in pairs], [label for _, label in pairs])


def _check_limit(limit: Any) -> None:
    if limit is None:
        return
    try:
        usable = not isinstance(limit, bool) and operator.index(limit) >= 1
    except TypeError:
        usable = False
    if not usable:
        raise UsageError(
            f"a limit of {quoted(limit)} rows leaves nothing to read; give a whole number of at least 1"
        )


def _with_both(rows: list[Pair], path: Path, keep_textless: bool) -> list[Pair]:
    """The rows that have a label and a text (or only a label, if asked); how many others there are is said.

    Raises:
        InputDataError: no row has both.

    """
    pairs = [(text, label) for text, label in rows if label and (keep_textless or text.strip())]
    no_label = sum(not label for _, label in rows)
    no_text = len(rows) - len(pairs) - no_label
    reasons = [
        f"{count:,} {'has' if count == 1 else 'have'} no {what}"
        for count, what in ((no_label, "label"), (no_text, "text"))
        if count
    ]
    if not pairs:
        why = f" (of {len(rows):,} rows {' and '.join(reasons)})" if reasons else ""
        raise InputDataError(f"{path} holds no document with text and label{why}; each row needs {NEEDED}")
    if reasons:
        say(f"{path}: left out {no_label + no_text:,} of {len(rows):,} rows: {', '.join(reasons)}")
    return pairs


# -- labels -------------------------------------------------------------------------------------------------------


def near_equal(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that differ only in case, white space or Unicode form, sorted.

    >>> near_equal(["sport", "Sport", "arts"])
    [['Sport', 'sport']]
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        key = "".join(unicodedata.normalize("NFKC", label).casefold().split())
        groups.setdefault(key, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _say_near_equal(labels: set[str], path: Path) -> None:
    groups = near_equal(labels)
    if not groups:
        return
    first, second = groups[0][:2]
    # Two forms of one character look the same on a screen; their numbers do not.
    same = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
    pair = " and ".join(ascii(label)[:80] if same else quoted(label) for label in (first, second))
    more = sum(map(len, groups)) - 2
    others = f" (and {more} more such label{'s' * (more > 1)})" if more else ""
    say(
        f"{path}: the labels {pair}{others} differ only in case, white space or Unicode form, and are classes of "
        "their own; rename them if they are not meant to be"
    )


# -- JSON ---------------------------------------------------------------------------------------------------------


def _json_rows(content: str, path: Path, form: str) -> Iterator[Pair]:
    """Each object's text and label; errors name the line, or the place in the array."""
    for where, row in (
        _json_array(content, path) if content.lstrip()[0] == "[" else _json_lines(content, path)
    ):
        if not isinstance(row, dict):
            raise InputDataError(
                f"{path}, {where} is {_kind(row)} and no object; give an object a row, with {NEEDED}"
            )
        yield _json_pair(row, f"{path}, {where}", form)


def _json_lines(content: str, path: Path) -> Iterator[tuple[str, Any]]:
    # Also where lines end as on old Macs; inside a JSON string a line end cannot stand as it is.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", content), start=1):
        if line.strip():
            yield (
                f"line {number}",
                _decode(line, f"{path}, line {number} is not JSON", "one whole object a line"),
            )


def _json_array(content: str, path: Path) -> Iterator[tuple[str, Any]]:
    remedy = "an array of objects, or one whole object a line"
    rows = _decode(content, f"{path} starts like a JSON array and is none", remedy)
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _decode(text: str, what: str, remedy: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise InputDataError(f"{what}: {error.msg} at {where}; give {remedy}") from error
    except RecursionError as error:
        raise InputDataError(f"{what} that can be read: it is nested too deeply; give {remedy}") from error
    except ValueError as error:
        raise InputDataError(f"{what} that can be read: {error}; give {remedy}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its keys as a csv header is read: lower-cased, without white space around them."""
    row = {key.strip().lower(): value for key, value in pairs}
    if len(row) < len(pairs):
        keys = [key.strip().lower() for key, _ in pairs]
        raise ValueError(f"the key {quoted(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return row


# Numbers stay as they are spelled: a label 3 is "3" as in a csv file, and 1e400 or 5,000 digits are no trouble.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=str,
    parse_float=str,
    parse_constant=lambda name: None if name == "NaN" else name,
)


def _json_pair(row: dict[str, Any], where: str, form: str) -> Pair:
    label_key = next((key for key in LABEL_COLUMNS if key in row), None)
    text_keys = [key for key in TEXT_COLUMNS if key in row]
    if label_key is None or not text_keys:
        keys = f"its keys are {quoted(', '.join(row))}" if row else "it is empty"
        what = "category or other label" if label_key is None else "headline or other text"
        raise InputDataError(f"{where} has no {what}: {keys}; each row needs {NEEDED}")
    texts = [_plain(row[key], key, where) for key in text_keys]
    label = _plain(row[label_key], label_key, where).strip()
    if form == "playground" and text_keys[0] == "headline":
        # Only the headline is lower-cased, as in the playground, whose accuracies we compare with.
        texts = [texts[0].lower(), *(texts[1:] or [""])]
        return " ".join(_unseparated(texts)), label
    return _joined(texts, form), label


def _joined(texts: list[str], form: str) -> str:
    """The text columns of a row as one text."""
    texts = [text.strip() for text in _unseparated(texts)]
    return FIELD_SEPARATOR.join(texts) if form == "full" else " ".join(text for text in texts if text)


def _unseparated(texts: list[str]) -> list[str]:
    return [text.replace(FIELD_SEPARATOR, " ") for text in texts]


def _plain(value: Any, key: str, where: str) -> str:
    """A JSON value as text: null is empty, a truth value its spelling.

    Raises:
        InputDataError: an array or an object.

    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    raise InputDataError(f"{where} has {_kind(value)} for its {key}; give text")


def _kind(value: Any) -> str:
    return {dict: "an object", list: "an array", type(None): "null"}.get(type(value), "a single value")


# -- csv ----------------------------------------------------------------------------------------------------------


def _csv_pairs(content: str, path: Path, form: str) -> tuple[list[Pair], bool]:
    """Each row's text and label, and whether it is AG News' own format: no header, and classes from 1 to 4."""
    rows = csv_rows(content, path, lambda cells: _is_header(cells) or _is_ag_news(cells))
    head = rows[0][1]
    has_header = _is_header(head)
    if has_header:
        label_at, text_at = _columns(head, path)
        rows = rows[1:]
    elif _is_ag_news(head):
        label_at, text_at = 0, list(range(1, len(head)))
    else:
        raise InputDataError(
            f"{path} is neither JSON lines nor an AG News csv: line 1 starts {quoted(content[:40])}; give rows of "
            "class (1-4), title, description, or a header that names a label and a text column"
        )
    pairs = []
    for row in rows:
        check_width(row, len(head), path)
        line, cells = row
        label = cells[label_at].strip()
        if not has_header and label and label not in AG_NEWS_CLASSES:
            raise InputDataError(
                f"{path}: the row that starts on line {line} has the unknown label {quoted(label)}; without a header "
                "the first field is a class from 1 to 4, so give a header such as label,text if it is another"
            )
        pairs.append((_joined([cells[i] for i in text_at], form), label))
    return pairs, not has_header


def _is_ag_news(cells: list[str]) -> bool:
    return len(cells) in (2, 3) and cells[0].strip() in AG_NEWS_CLASSES


def _is_header(cells: list[str]) -> bool:
    """Whether the row names a label and a text column; else it is a row of data."""
    names = set(_names(cells))
    return not names.isdisjoint(LABEL_COLUMNS) and not names.isdisjoint(TEXT_COLUMNS)


def _columns(head: list[str], path: Path) -> tuple[int, list[int]]:
    """The label column and the text columns of a header.

    Raises:
        InputDataError: one of them stands twice.

    """
    names = _names(head)
    check_distinct(names, LABEL_COLUMNS + TEXT_COLUMNS, path)
    label, *others = [name for name in LABEL_COLUMNS if name in names]
    if others:
        say(f"{path}: labels are taken from the column {label}; {', '.join(others)} is not read")
    return names.index(label), [names.index(name) for name in TEXT_COLUMNS if name in names]


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]
