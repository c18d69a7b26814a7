"""Tables in csv files, read with the same care for songs and for news; of songs also in Parquet files.

Three things differ from the bare csv module. A cell may be as long as it likes. Fields may be separated by commas,
semicolons, tabs or bars: the first row decides, being a header or not; between tabs a stray quote is a character
(`tab_separated`). And each row comes with the line it starts on, for whoever has to say what is wrong with it.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.data.files import lines_of, text_of
from gpt2x.data.tab_separated import TabReader
from gpt2x.errors import InputDataError, MissingComponentError, quoted
from gpt2x.paths import read_text
from gpt2x.paths.reading import UNPACKED_BYTES

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between the fields of a row, in the order in which it is tried."""

LONGEST_CELL = 2**31 - 1  # the largest limit that the csv module takes on every platform

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ROWS_AT_ONCE = 256
_limit_lock = threading.Lock()

Row = tuple[int, list[Any]]
"""The line that a row starts on, counted from 1, and its cells: of csv text, of Parquet any value (`plain`)."""


def read_rows_text(path: Path) -> str:
    """The text of a data file, without a byte order mark; ``.xz``, ``.gz`` and ``.zip`` are unpacked.

    Raises:
        InputDataError: missing, damaged, not UTF-8, or with NUL characters in it.

    """
    if path.suffix.lower() == ".zip":
        return _zipped_text(path)
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


def _zipped_text(path: Path) -> str:
    """The text of the one file in an archive, which may not unpack to more than other packed files."""
    parts, length = [], 0
    for part in text_of(path):
        parts.append(part)
        length += len(part)
        if length > UNPACKED_BYTES:
            raise InputDataError(
                f"{path} unpacks to more than {UNPACKED_BYTES >> 30} GiB, the most that is read of it; give "
                "another file"
            )
    return "".join(parts)


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
    return list(_rows_of_lines(io.StringIO(content, newline=""), path, is_head))


def table_rows(path: Path, is_head: Callable[[list[str]], bool], remedy: str) -> Iterator[Row]:
    """The rows of a csv or ``.parquet`` file, one after the other, in memory for a few of them; the header comes first.

    Args:
        path: a csv file, also packed (``.xz``, ``.gz``, ``.zip``), or a Parquet file.
        is_head: as in `csv_rows`.
        remedy: what to give instead of an empty file.

    Raises:
        InputDataError: as `csv_rows`; missing, damaged, empty, not UTF-8.
        MissingComponentError: a Parquet file, and pyarrow is not installed.

    """
    if path.suffix.lower() == ".parquet":
        yield from _parquet_rows(path)
        return
    lines = lines_of(path)
    blank = []
    for line in lines:
        blank.append(line)
        if line.strip():
            break
    else:
        raise InputDataError(f"{path} is empty; {remedy}")
    yield from _rows_of_lines(itertools.chain(blank, lines), path, is_head)


def _rows_of_lines(lines: Iterable[str], path: Path, is_head: Callable[[list[str]], bool]) -> Iterator[Row]:
    separator, lines = _find_separator(iter(lines), is_head)
    reader, line, found = _reader(lines, separator), 1, False
    at_end = False
    while not at_end:
        rows: list[Row] = []
        with _cells_of_any_length():  # for a few rows at a time, since others may read meanwhile
            try:
                for cells in itertools.islice(reader, _ROWS_AT_ONCE):
                    rows.append((line, cells))
                    line = reader.line_num + 1
            except csv.Error as error:
                raise InputDataError(
                    f"{path} is not a csv file: {_explain(error)} in the row that starts on line {line}"
                ) from error
        at_end = len(rows) < _ROWS_AT_ONCE
        filled = [row for row in rows if not _is_blank(row[1])]
        found = found or bool(filled)
        yield from filled
    if not found:
        raise InputDataError(f"{path} holds nothing but empty rows; give a csv file with a header")
    if separator != ",":
        say(f"{path}: its fields are separated by {SEPARATORS[separator]}")


def _parquet_rows(path: Path) -> Iterator[Row]:
    """The columns' names, then the rows, as they are; a row's line is its number, the names being line 1."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingComponentError(
            f"{path}: reading Parquet needs pyarrow: pip install pyarrow, or give a csv file"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            yield 1, list(file.schema_arrow.names)
            line = 2
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for cells in zip(*map(_values, batch.columns), strict=True):
                    yield line, list(cells)
                    line += 1
    except (OSError, ValueError, ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputDataError(f"cannot read {path}: {reason[:120]}; is the file complete?") from error


def _values(column: Any) -> list[Any]:
    """The cells of a column of Parquet; times that Python cannot hold, such as those to the nanosecond, as text."""
    try:
        cells: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        cells = column.cast("string").to_pylist()
    return cells


def plain(value: Any, key: str, where: str) -> str:
    """A cell of Parquet or a value of JSON as text: what is missing is empty, a truth value as JSON spells it.

    Args:
        value: the cell.
        key: the name of its column.
        where: its row, for errors.

    Raises:
        InputDataError: an array, an object, or bytes that are not UTF-8.

    >>> [plain(value, "label", "row 1") for value in ("a", b"a", None, float("nan"), True, 3, 0.5)]
    ['a', 'a', '', '', 'true', '3', '0.5']
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputDataError(f"{where} has bytes that are not UTF-8 for its {key}; give text") from error
    if isinstance(value, dict | list | tuple):
        kind = "an object" if isinstance(value, dict) else "an array"
        raise InputDataError(f"{where} has {kind} for its {key}; give text")
    return str(value)


def cell_text(row: Row, place: int, columns: Sequence[str], path: Path) -> str:
    """The cell of a row in one of the `columns`, as `plain` gives it; of a csv it is text already."""
    cell = row[1][place]
    return cell if isinstance(cell, str) else plain(cell, columns[place], row_place(row, path))


def row_place(row: Row, path: Path) -> str:
    """A row in words, for errors."""
    return f"{path}: the row that starts on line {row[0]}"


def check_width(row: Row, width: int, path: Path) -> None:
    """Refuse a row that has more or fewer fields than the first.

    Raises:
        InputDataError: it has; the sentence names its line.

    """
    if len(row[1]) != width:
        raise InputDataError(
            f"{row_place(row, path)} has {len(row[1])} fields where the first has {width}; is a field with a separator "
            "in it not quoted, or the file cut?"
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


def _find_separator(lines: Iterator[str], is_head: Callable[[list[str]], bool]) -> tuple[str, Iterator[str]]:
    """The first of `SEPARATORS` under which the first row is a head (a comma if there is none), and all lines again."""
    read: list[str] = []

    def from_start() -> Iterator[str]:
        yield from read
        for line in lines:
            read.append(line)
            yield line

    for separator in SEPARATORS:
        try:
            with _cells_of_any_length():
                rows = _reader(from_start(), separator)
                first: list[str] = next((cells for cells in rows if not _is_blank(cells)), [])
        except csv.Error:
            continue
        if is_head(first):
            break
    else:
        separator = ","
    return separator, itertools.chain(read, lines)


def _reader(lines: Iterable[str], separator: str) -> Any:
    if separator == "\t":
        return TabReader(lines)
    # Strict, because a quote that is never closed would otherwise swallow the rest of the file in silence.
    return csv.reader(lines, strict=True, delimiter=separator)


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _explain(error: csv.Error) -> str:
    """The csv module's message in the words of someone who looks at the file."""
    message = str(error)
    return "a quote is never closed" if "unexpected end of data" in message else message
