"""Csv files, read once with the same care for songs and for news.

Three things differ from the bare csv module. A cell may be as long as it likes. Fields may be separated by commas,
semicolons, tabs or bars: the first row decides, being a header or not. And each row comes with the line it starts on,
for whoever has to say what is wrong with it.
"""

from __future__ import annotations

import codecs
import csv
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.errors import InputDataError, quoted
from gpt2x.paths import read_text

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between the fields of a row, in the order in which it is tried."""

LONGEST_CELL = 2**31 - 1  # the largest limit that the csv module takes on every platform

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_limit_lock = threading.Lock()

Row = tuple[int, list[str]]
"""The line that a row starts on, counted from 1, and its cells."""


def read_rows_text(path: Path) -> str:
    """The text of a data file, without a byte order mark.

    Raises:
        InputDataError: missing, damaged, not UTF-8, or with NUL characters in it.

    """
    try:
        content = read_text(path).removeprefix("\ufeff")
    except InputDataError as error:
        cause = error.__cause__
        if isinstance(cause, UnicodeDecodeError) and cause.object.startswith(_UTF16):
            raise InputDataError(
                f"{path} is UTF-16 and not UTF-8; convert it first: iconv -f UTF-16 -t UTF-8"
            ) from error
        raise
    if "\0" in content:
        line = content.count("\n", 0, content.index("\0")) + 1
        raise InputDataError(
            f"{path} has a NUL character on line {line}; is it UTF-16, or no text? give UTF-8 text"
        )
    return content


def csv_rows(content: str, path: Path, is_head: Callable[[list[str]], bool]) -> list[Row]:
    """All rows of a csv file, in order; lines with nothing but white space on them are no rows.

    Args:
        content: the text of the file.
        path: its name, for errors.
        is_head: whether these cells can be the first row; decides what separates the fields.

    Raises:
        InputDataError: there is no row, or a quote is never closed or stands where none can; the sentence names
            the line.

    """
    file = io.StringIO(content, newline="")
    with _cells_of_any_length():
        separator = _find_separator(file, is_head)
        file.seek(0)
        reader = _reader(file, separator)
        rows, line = [], 1
        try:
            for cells in reader:
                if not _is_blank(cells):
                    rows.append((line, cells))
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputDataError(
                f"{path} is not a csv file: {_explain(error)} in the row that starts on line {line}"
            ) from error
    if not rows:
        raise InputDataError(f"{path} holds nothing but empty rows; give a csv file with a header")
    if separator != ",":
        say(f"{path}: its fields are separated by {SEPARATORS[separator]}")
    return rows


def check_width(row: Row, width: int, path: Path) -> None:
    """Refuse a row that has more or fewer fields than the first.

    Raises:
        InputDataError: it has; the sentence names its line.

    """
    line, cells = row
    if len(cells) != width:
        raise InputDataError(
            f"{path}: the row that starts on line {line} has {len(cells)} fields where the first has {width}; "
            "is a field with a separator in it not quoted, or the file cut?"
        )


def check_distinct(names: list[str], wanted: tuple[str, ...], path: Path) -> None:
    """Refuse a header in which a wanted column stands twice, since only one of the two would be read.

    Raises:
        InputDataError: one does.

    """
    twice = next((name for name in names if name in wanted and names.count(name) > 1), None)
    if twice is not None:
        raise InputDataError(
            f"{path}: its header names the column {quoted(twice)} {names.count(twice)} times; rename all but one"
        )


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Lift the csv module's limit on the length of a cell (131,072 characters) inside the block.

    The limit belongs to the whole process; it is put back, and two threads that read at a time take turns.
    """
    with _limit_lock:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _find_separator(file: io.StringIO, is_head: Callable[[list[str]], bool]) -> str:
    """The first of `SEPARATORS` under which the first row is a head; a comma if there is none."""
    for separator in SEPARATORS:
        file.seek(0)
        try:
            first: list[str] = next((cells for cells in _reader(file, separator) if not _is_blank(cells)), [])
        except csv.Error:
            continue
        if is_head(first):
            return separator
    return ","


def _reader(file: io.StringIO, separator: str) -> Any:
    # Strict, because a quote that is never closed would otherwise swallow the rest of the file in silence.
    return csv.reader(file, strict=True, delimiter=separator)


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _explain(error: csv.Error) -> str:
    """The csv module's message in the words of someone who looks at the file."""
    message = str(error)
    return "a quote is never closed" if "unexpected end of data" in message else message
