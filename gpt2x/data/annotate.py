"""A file of texts read row by row, each with what it takes to write it out again with an answer added.

Rows keep all their columns: of a table the cells, of JSON the very characters of the object. A table is written as a
table, JSON (lines, or an array) as JSON lines.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.data.files import lines_of
from gpt2x.data.news_rows import BadRows, Columns, as_object, decode, is_json, normal
from gpt2x.data.tables import cell_text, check_distinct, check_width, plain, read_rows_text, table_rows
from gpt2x.errors import InputDataError, quoted

Answer = list[tuple[str, Any]]
"""Names and values to be added to a row; None is an empty cell, or null."""


@dataclass(frozen=True)
class TextRow:
    """One row: its text, and itself as it stands in the file (cells, or an object's characters)."""

    text: str
    source: list[Any] | str


@dataclass(frozen=True)
class TextFile:
    """The rows of a file, in order, read as they are asked for; `head` are a table's columns, None for JSON."""

    rows: Iterator[TextRow]
    head: list[str] | None
    separator: str = ","

    def first_line(self, added: Sequence[str]) -> str:
        """The header of what is written, with its line end; none for JSON.

        Raises:
            InputDataError: a column of one of these names is there already.

        """
        if self.head is None:
            return ""
        for name in added:
            if name in map(normal, self.head):
                raise InputDataError(f"the file has a column {quoted(name)} already; rename it")
        return self._table([[*self.head, *added]])

    def lines(self, rows: Iterable[TextRow], answers: Iterable[Answer]) -> str:
        """Rows with their answers, each with its line end."""
        both = zip(rows, answers, strict=True)
        if self.head is None:
            return "".join(_json_line(row.source, answer) for row, answer in both)
        return self._table(
            [*map(_written, row.source), *("" if value is None else str(value) for _, value in answer)]
            for row, answer in both
        )

    def _table(self, rows: Iterable[list[str]]) -> str:
        table = io.StringIO()
        csv.writer(table, delimiter=self.separator, lineterminator="\n").writerows(rows)
        return table.getvalue()


def _written(cell: Any) -> str:
    """A cell as it is written again; one that is no text may stand in a column that is not read."""
    try:
        return plain(cell, "", "")
    except InputDataError:
        return str(cell)


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _json_line(source: Any, answer: Answer) -> str:
    """An object as it stands in the file, with an answer at its end."""
    return f"{source.rstrip()[:-1]}, {_ENCODER.encode(dict(answer))[1:]}\n"


def read_texts(path: Path, columns: Columns, bad: BadRows, added: Sequence[str]) -> TextFile:
    """Open a file of texts; labels are not read.

    Args:
        path: as for `read_news`.
        columns: which columns make the text, and how.
        bad: what becomes of rows that cannot be read.
        added: keys that no object may have already.

    Raises:
        InputDataError: missing, empty, no such column; and, while rows are read, a broken row.

    """
    if path.suffix.lower() != ".parquet":
        start = next((line for line in lines_of(path) if line.strip()), "")
        if is_json(start):
            return TextFile(_objects(path, start, columns, bad, added), None)
    return _table(path, columns, bad)


# -- tables -------------------------------------------------------------------------------------------------------


def _table(path: Path, columns: Columns, bad: BadRows) -> TextFile:
    def is_head(cells: list[str]) -> bool:
        names = [normal(cell) for cell in cells]
        return bool(columns.texts_in(names)) and set(columns.texts) <= set(names)

    rows = table_rows(path, is_head, "give a file with a header and rows of texts")
    _, head = next(rows)
    names = [normal(cell) for cell in head]
    if not is_head(head):
        raise InputDataError(
            f"{path} has no column of texts: its first row is {quoted(', '.join(head))}; name one with --text-column"
        )
    texts = columns.texts_in(names)
    check_distinct(names, tuple(texts), path)
    places = [names.index(name) for name in texts]

    def read() -> Iterator[TextRow]:
        for row in rows:
            try:
                check_width(row, len(head), path)
                cells = [cell_text(row, place, head, path) for place in places]
            except InputDataError as error:
                bad.take(error)
                continue
            yield TextRow(columns.join(cells), row[1])

    is_tabbed = path.name.lower().removesuffix(".gz").removesuffix(".xz").endswith(".tsv")
    return TextFile(read(), head, "\t" if is_tabbed else ",")


# -- JSON ---------------------------------------------------------------------------------------------------------


def _objects(
    path: Path, start: str, columns: Columns, bad: BadRows, added: Sequence[str]
) -> Iterator[TextRow]:
    sources = _array_objects(path) if start.lstrip().startswith("[") else _lines(path)
    for where, source in sources:
        try:
            what = f"{path}, {where} is not JSON"
            row = as_object(decode(source, what, "one whole object a line"), f"{path}, {where}", columns)
            keys = columns.texts_in(row)
            if not keys:
                raise InputDataError(
                    f"{path}, {where} has no text: its keys are {quoted(', '.join(row))}; name one with --text-column"
                )
            taken = next((name for name in added if name in row), None)
            if taken is not None:
                raise InputDataError(f"{path}, {where} has a key {quoted(taken)} already; rename it")
            text = columns.join_object(keys, [plain(row[key], key, f"{path}, {where}") for key in keys])
        except InputDataError as error:
            bad.take(error)
            continue
        yield TextRow(text, source)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            yield f"line {number}", line.strip()


def _array_objects(path: Path) -> Iterator[tuple[str, str]]:
    """The characters of each element of an array, on one line."""
    content = read_rows_text(path).strip()
    decode(content, f"{path} starts like a JSON array and is none", "an array of objects")
    decoder, between, place = json.JSONDecoder(), re.compile(r"[\s,]*"), 1
    number = 0
    while True:
        match = between.match(content, place)
        place = match.end() if match else place
        if content[place] == "]":
            return
        number += 1
        value, end = decoder.raw_decode(content, place)
        del value
        yield f"row {number}", re.sub(r"[\r\n]+", " ", content[place:end])
        place = end
