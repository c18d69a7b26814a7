"""From the rows of a file to texts and labels: which columns are read, and how several become one text.

A file is a table (csv with any of `tables.SEPARATORS`, or Parquet) or JSON (one object a line, or one array of
objects). In both, the columns of label and text are those that the caller names, or else the known ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.data.fields import FIELD_SEPARATOR, FORMS, unseparated
from gpt2x.data.tables import (
    Row,
    cell_text,
    check_distinct,
    check_width,
    csv_rows,
    plain,
    read_rows_text,
    row_place,
    table_rows,
)
from gpt2x.errors import InputDataError, UsageError, quoted

AG_NEWS_CLASSES = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}
"""AG News numbers its classes; these are the names from its classes.txt."""

LABEL_COLUMNS = ("category", "label", "class", "class index")
"""What a label's column is called; where several are there, the first of these is read."""

TEXT_COLUMNS = ("headline", "title", "short_description", "description", "text")
"""What the columns of a text are called; all that are there are read, in this order."""

NEEDED = f"a label ({', '.join(LABEL_COLUMNS)}) and a text ({', '.join(TEXT_COLUMNS)})"

Pair = tuple[str, str]
"""A text and its label, either of which may be empty."""


def check_form(form: str) -> None:
    """Refuse what is none of `FORMS`.

    Raises:
        UsageError: it is none.

    """
    if form not in FORMS:
        raise UsageError(f"there is no form {quoted(form)}; give one of {', '.join(FORMS)}")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns are read, by names in any case, and how they become a text.

    Attributes:
        label: the label's column; None for the first of `LABEL_COLUMNS` that is there.
        texts: the text columns, in this order; none for all of `TEXT_COLUMNS` that are there.
        form: one of `FORMS`.

    """

    label: str | None = None
    texts: tuple[str, ...] = ()
    form: str = "playground"

    @staticmethod
    def of(label: str | None, texts: Iterable[str], form: str) -> Columns:
        """The columns of these names, as a header is read: lower-cased, without white space around them."""
        return Columns(
            label=None if label is None else normal(label),
            texts=tuple(dict.fromkeys(normal(name) for name in texts)),
            form=form,
        )

    @property
    def named(self) -> tuple[str, ...]:
        """Those that the caller named, which must be there."""
        return (*(() if self.label is None else (self.label,)), *self.texts)

    @property
    def needed(self) -> str:
        """What a row needs, in words."""
        if not self.named:
            return NEEDED
        label = ", ".join(LABEL_COLUMNS) if self.label is None else quoted(self.label)
        texts = ", ".join(map(quoted, self.texts)) if self.texts else ", ".join(TEXT_COLUMNS)
        return f"a label ({label}) and a text ({texts})"

    @property
    def remedy(self) -> str:
        """The end of a sentence on how to name those that the caller did not; empty where all are named."""
        flags = (("--text-column", bool(self.texts)), ("--label-column", self.label is not None))
        missing = " and ".join(flag for flag, is_given in flags if not is_given)
        return missing and f", or name yours with {missing}"

    def label_in(self, names: Collection[str]) -> list[str]:
        """The label's column first, then others that could be it."""
        if self.label is not None:
            return [self.label] if self.label in names else []
        return [name for name in LABEL_COLUMNS if name in names and name not in self.texts]

    def texts_in(self, names: Collection[str]) -> list[str]:
        """The text columns that are there, in the order in which they are joined."""
        known = self.texts or tuple(name for name in TEXT_COLUMNS if name != self.label)
        return [name for name in known if name in names]

    def join(self, texts: list[str]) -> str:
        """The text columns of a row as one text."""
        texts = [text.strip() for text in map(unseparated, texts)]
        return (
            FIELD_SEPARATOR.join(texts) if self.form == "full" else " ".join(text for text in texts if text)
        )

    def join_object(self, keys: list[str], texts: list[str]) -> str:
        """The same for a JSON object, where the playground's headline is lower-cased."""
        if self.form == "playground" and keys[0] == "headline":
            # Only the headline is lower-cased, as in the playground, whose accuracies we compare with.
            return " ".join(map(unseparated, [texts[0].lower(), *(texts[1:] or [""])]))
        return self.join(texts)


@dataclass
class BadRows:
    """Rows that cannot be read: an error, or counted and left out."""

    skip: bool
    count: int = 0
    first: str = ""

    def take(self, error: InputDataError) -> None:
        """Raise the error, or note it."""
        if not self.skip:
            raise error
        self.first = self.first or str(error)
        self.count += 1

    def say(self) -> None:
        """How many were left out, and why the first."""
        if self.count:
            say(
                f"left out {self.count:,} row{'s' * (self.count > 1)} that cannot be read; the first: {self.first}"
            )


@dataclass
class Rows:
    """The texts and labels of a file."""

    pairs: list[Pair] = field(default_factory=list)
    is_ag_news: bool = False
    """Whether it has AG News' own format: no header, and classes from 1 to 4."""


def read_pairs(path: Path, columns: Columns, bad: BadRows) -> Rows:
    """Each row's text and label.

    Raises:
        InputDataError: missing, empty, not UTF-8, no such columns, or a broken row (named by its line or place).

    """
    if path.suffix.lower() == ".parquet":
        rows = list(table_rows(path, lambda cells: True, "give a Parquet file with rows"))
        return _table_pairs(rows, path, columns, bad)
    content = read_rows_text(path)
    if not content.strip():
        raise InputDataError(
            f"{path} is empty; give JSON lines with headline and category, or a csv of class and text"
        )
    if is_json(content):
        objects = _json_array(content, path) if content.lstrip()[0] == "[" else json_lines(content, path, bad)
        return Rows(_json_pairs(objects, path, columns, bad))
    return _table_pairs(
        csv_rows(content, path, lambda cells: is_head(cells, columns)), path, columns, bad, content[:40]
    )


def is_json(content: str) -> bool:
    """Whether the beginning of a file is that of JSON."""
    return re.match(r"\s*[\[{]", content) is not None


def normal(name: str) -> str:
    """A column's name as it is compared."""
    return name.strip().lower()


# -- JSON ---------------------------------------------------------------------------------------------------------


def json_lines(content: str | Iterable[str], path: Path, bad: BadRows) -> Iterator[tuple[str, Any]]:
    """Each line's value and its place in words; lines may also end as on old Macs."""
    # Inside a JSON string a line end cannot stand as it is.
    lines = re.split(r"\r\n|\n|\r", content) if isinstance(content, str) else content
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = decode(line, f"{path}, line {number} is not JSON", "one whole object a line")
        except InputDataError as error:
            bad.take(error)
            continue
        yield f"line {number}", value


def _json_array(content: str, path: Path) -> Iterator[tuple[str, Any]]:
    remedy = "an array of objects, or one whole object a line"
    rows = decode(content, f"{path} starts like a JSON array and is none", remedy)
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _json_pairs(objects: Iterable[tuple[str, Any]], path: Path, columns: Columns, bad: BadRows) -> list[Pair]:
    pairs: list[Pair] = []
    missing = set(columns.named)
    for where, row in objects:
        try:
            pairs.append(_json_pair(row, f"{path}, {where}", columns))
        except InputDataError as error:
            bad.take(error)
            continue
        if missing:
            missing.difference_update(row)
    if missing and pairs:
        raise InputDataError(f"{path}: no row has the column {quoted(min(missing))}; check its name")
    return pairs


def _json_pair(row: Any, where: str, columns: Columns) -> Pair:
    row = as_object(row, where, columns)
    labels = columns.label_in(row)
    texts = columns.texts_in(row)
    if not labels or not texts:
        keys = f"its keys are {quoted(', '.join(row))}" if row else "it is empty"
        if not labels:
            what = "category or other label" if columns.label is None else f"column {quoted(columns.label)}"
        else:
            what = (
                f"column {', '.join(map(quoted, columns.texts))}"
                if columns.texts
                else "headline or other text"
            )
        raise InputDataError(
            f"{where} has no {what}: {keys}; each row needs {columns.needed}{columns.remedy}"
        )
    text = columns.join_object(texts, [plain(row[key], key, where) for key in texts])
    return text, plain(row[labels[0]], labels[0], where).strip()


def as_object(row: Any, where: str, columns: Columns) -> dict[str, Any]:
    """The row, if it is an object.

    Raises:
        InputDataError: it is something else.

    """
    if not isinstance(row, dict):
        raise InputDataError(
            f"{where} is {_kind(row)} and no object; give an object a row, with {columns.needed}"
        )
    return row


def decode(text: str, what: str, remedy: str) -> Any:
    """A JSON value, its objects' keys as a csv header is read.

    Raises:
        InputDataError: it is none; the sentence begins with `what`.

    """
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
    """An object with its keys as a csv header is read."""
    row = {normal(key): value for key, value in pairs}
    if len(row) < len(pairs):
        keys = [normal(key) for key, _ in pairs]
        raise ValueError(f"the key {quoted(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return row


# Numbers stay as they are spelled: a label 3 is "3" as in a csv file, and 1e400 or 5,000 digits are no trouble.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=str,
    parse_float=str,
    parse_constant=lambda name: None if name == "NaN" else name,
)


def _kind(value: Any) -> str:
    return {dict: "an object", list: "an array", type(None): "null"}.get(type(value), "a single value")


# -- tables -------------------------------------------------------------------------------------------------------


def _table_pairs(rows: list[Row], path: Path, columns: Columns, bad: BadRows, start: str = "") -> Rows:
    head = rows[0][1]
    has_header = _is_header(head, columns)
    if has_header:
        label_at, text_at = _places(head, path, columns)
        rows = rows[1:]
    elif columns.named or not _is_ag_news(head):
        raise InputDataError(_no_header(path, head, columns, start))
    else:
        label_at, text_at = 0, list(range(1, len(head)))
    pairs = []
    for row in rows:
        try:
            check_width(row, len(head), path)
            label, *texts = (cell_text(row, i, head, path) for i in (label_at, *text_at))
            if not has_header:
                _check_ag_news_class(label.strip(), row_place(row, path))
        except InputDataError as error:
            bad.take(error)
            continue
        pairs.append((columns.join(texts), label.strip()))
    return Rows(pairs, is_ag_news=not has_header)


def _no_header(path: Path, head: list[str], columns: Columns, start: str) -> str:
    missing = [name for name in columns.named if name not in _names(head)]
    if missing:
        return (
            f"{path} has no column {quoted(missing[0])}; its first row is {quoted(', '.join(_names(head)))}"
        )
    if columns.named or not start:
        first = quoted(", ".join(head))
        return f"{path} lacks a column; each row needs {columns.needed}{columns.remedy}; its first row is {first}"
    return (
        f"{path} is neither JSON lines nor an AG News csv: line 1 starts {quoted(start)}; give rows of "
        f"class (1-4), title, description, or a header that names a label and a text column{columns.remedy}"
    )


def _check_ag_news_class(label: str, where: str) -> None:
    if label and label not in AG_NEWS_CLASSES:
        raise InputDataError(
            f"{where} has the unknown label {quoted(label)}; without a header the first field is a class from 1 to 4, "
            "so give a header such as label,text if it is another"
        )


def is_head(cells: list[str], columns: Columns) -> bool:
    """Whether these cells can be the first row of a file."""
    return _is_header(cells, columns) or (not columns.named and _is_ag_news(cells))


def _is_ag_news(cells: list[str]) -> bool:
    return len(cells) in (2, 3) and cells[0].strip() in AG_NEWS_CLASSES


def _is_header(cells: list[str], columns: Columns) -> bool:
    """Whether the row names a label and a text column, and all that the caller named; else it is a row of data."""
    names = set(_names(cells))
    found = bool(columns.label_in(names)) and bool(columns.texts_in(names))
    return found and names.issuperset(columns.named)


def _places(head: list[str], path: Path, columns: Columns) -> tuple[int, list[int]]:
    """The label column and the text columns of a header.

    Raises:
        InputDataError: one of them stands twice.

    """
    names = _names(head)
    label, *others = columns.label_in(names)
    texts = columns.texts_in(names)
    check_distinct(names, (label, *others, *texts), path)
    if others:
        say(f"{path}: labels are taken from the column {label}; {', '.join(others)} is not read")
    return names.index(label), [names.index(name) for name in texts]


def _names(cells: list[str]) -> list[str]:
    return [normal(cell) for cell in cells]
