"""Tab-separated rows with quotes as csv writers set them, with quotes that are characters, and with both."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpt2x.data.news import read_news
from gpt2x.data.tab_separated import MOST_LINES, TabReader
from gpt2x.errors import InputDataError

CELLS = st.text(st.sampled_from('ab "\t'), max_size=6) | st.text(st.sampled_from('ab "\n\r'), max_size=6)


def rows_of(text: str) -> list[list[str]]:
    return list(TabReader(io.StringIO(text, newline="")))


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_a_csv_writer_wrote_is_read_back(rows: list[list[str]]) -> None:
    assume(not any(_may_be_several(row) for row in rows))
    assert rows_of(_written([["x", "y", "z"], *rows])) == [["x", "y", "z"], *rows]


def _written(rows: list[list[str]]) -> str:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(rows)
    return written.getvalue()


def _may_be_several(row: list[str]) -> bool:
    """Whether each line of a row of several is a whole row, too; then these are meant, by the reader's rule."""
    lines = list(io.StringIO(_written([row]), newline=""))
    return len(lines) > 1 and all(line.count("\t") + 1 == len(row) for line in lines)


def test_a_row_whose_lines_are_rows_each_is_several() -> None:
    assert rows_of(_written([["x", "y", "z"], ["\t", "\r", "\t"]]))[1:] == [['"', '"', '"']] * 2


@given(st.lists(st.lists(st.text(st.sampled_from("ab 'é")), min_size=2, max_size=2), min_size=1, max_size=6))
def test_fields_without_quotes_are_what_stands_there(rows: list[list[str]]) -> None:
    assert rows_of("".join("\t".join(row) + "\n" for row in rows)) == rows


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('sport\tHe said "no" twice', ["sport", 'He said "no" twice']),
        ('sport\t"Yes" he said', ["sport", '"Yes" he said']),
        ('sport\t"Never closed', ["sport", '"Never closed']),
        ('sport\t"', ["sport", '"']),
        ('sport\t5" pipe', ["sport", '5" pipe']),
        ('"Yes" and\t"no" and "', ['"Yes" and', '"no" and "']),
        ('sport\t"all of it"', ["sport", "all of it"]),
        ('sport\t"a ""word"" in it"', ["sport", 'a "word" in it']),
        ('sport\t"a\ttab"', ["sport", "a\ttab"]),
        ('"open\tclose"', ['"open', 'close"']),
        ('sport\t""', ["sport", ""]),
    ],
)
def test_a_quote_is_a_character_unless_it_closes_the_field(line: str, cells: list[str]) -> None:
    assert rows_of(f"label\ttext\n{line}\nnews\tnext one\n") == [
        ["label", "text"],
        cells,
        ["news", "next one"],
    ]


def test_a_quoted_field_may_have_line_ends_and_lines_are_counted() -> None:
    reader = TabReader(io.StringIO('label\ttext\r\nnews\t"one\r\ntwo"\r\nnews\tthree', newline=""))
    found = [(next(reader), reader.line_num) for _ in range(3)]
    assert found == [(["label", "text"], 1), (["news", "one\r\ntwo"], 3), (["news", "three"], 4)]


def test_a_stray_quote_swallows_no_row() -> None:
    rows = [
        ["label", "text"],
        ["a", '"open'],
        *(["b", f"text {i}"] for i in range(2 * MOST_LINES)),
        ["c", 'close"'],
    ]
    assert rows_of("".join("\t".join(row) + "\n" for row in rows)) == rows
    near = [["label", "text"], ["a", '"open'], ["b", "between"], ["c", 'close"']]
    assert rows_of("".join("\t".join(row) + "\n" for row in near)) == near


def test_news_with_stray_quotes_are_read_and_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "news.tsv"
    path.write_text('label\ttext\nsport\t"Goal" he said\nweather\tRain "again\nsport\t"Open\n')
    assert read_news(path).texts == ['"Goal" he said', 'Rain "again', '"Open']
    path.write_text('label\ttext\nsport\t"Goal" he said\nweather\t"Rain\tand" snow\tand more\nsport\tx\n')
    with pytest.raises(InputDataError, match=r"news\.tsv: the row that starts on line 3 has 4 fields"):
        read_news(path)
