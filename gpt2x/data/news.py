"""Labelled news: HuffPost's JSON lines and AG News' csv files, told apart by their content.

=========  =====================================================  ==========================================
source     one row                                                text given to a classifier
=========  =====================================================  ==========================================
HuffPost   ``{"headline": …, "short_description": …, "category"}``  lower-cased headline, a blank, description
AG News    ``"3","title","description"`` (or title and             title, a blank, description
           description in one field), with or without a header
=========  =====================================================  ==========================================
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import read_text

AG_NEWS_CLASSES = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}
"""AG News numbers its classes; these are the names from its classes.txt."""

LABEL_COLUMNS = ("category", "label", "class", "class index")
TEXT_COLUMNS = ("headline", "title", "short_description", "description", "text")


@dataclass(frozen=True, slots=True)
class NewsData:
    """Documents and their labels, in the order of the file."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def read_news(path: str | os.PathLike[str], limit: int | None = None) -> NewsData:
    """Read labelled documents; ``.xz`` and ``.gz`` are unpacked on the way.

    Args:
        path: a file of JSON lines or a csv file.
        limit: keep this many rows, evenly spaced over the file. (HuffPost is sorted by date and its categories
            changed over the years: the first rows alone would be another data set.)

    Raises:
        InputDataError: missing, empty, not UTF-8, neither format, or a broken line (named by number).
        UsageError: `limit` is not positive.

    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} rows leaves nothing to read; give at least 1")
    path = Path(path)
    content = read_text(path).removeprefix("\ufeff")
    if not content.strip():
        raise InputDataError(
            f"{path} is empty; give JSON lines with headline and category, or a csv of class and text"
        )
    rows = _json_rows(content, path) if content.lstrip().startswith("{") else _csv_rows(content, path)
    pairs = [(text, label) for text, label in rows if text.strip()]
    if not pairs:
        raise InputDataError(f"{path} holds no document with text")
    if limit is not None and limit < len(pairs):
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]
    elif limit is not None and limit > len(pairs):
        say(f"{path} holds {len(pairs)} documents, fewer than the limit of {limit}; all are used")
    labels = [label for _, label in pairs]
    if set(labels) <= set(AG_NEWS_CLASSES):
        labels = [AG_NEWS_CLASSES[label] for label in labels]
    return NewsData([text for text, _ in pairs], labels)


def _json_rows(content: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputDataError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("category"), str) or not row["category"]:
            raise InputDataError(
                f"{path}, line {number} has no category; each line needs headline and category"
            )
        yield _huffpost_text(row, path, number), row["category"]


def _huffpost_text(row: dict[str, Any], path: Path, number: int) -> str:
    headline, description = row.get("headline"), row.get("short_description", "")
    if not isinstance(headline, str) or not isinstance(description, str):
        raise InputDataError(f"{path}, line {number} has no headline; each line needs headline and category")
    # Only the headline is lower-cased, as in the seed, whose accuracies we compare with.
    return f"{headline.lower()} {description}"


def _csv_rows(content: str, path: Path) -> Iterator[tuple[str, str]]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    label_at, text_at, line = 0, [1, 2], 1
    num_columns: int | None = None
    allowed: dict[str, str] | None = None  # labels that may occur; any, where a header names the column
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputDataError(
                f"{path} is not a csv file: {error} in the row that starts on line {line}"
            ) from error
        if cells is None:
            return
        if num_columns is None:
            num_columns = len(cells)
            header = _header(cells)
            if header is not None:
                label_at, text_at = header
                line = reader.line_num + 1
                continue
            if num_columns not in (2, 3) or cells[0].strip() not in AG_NEWS_CLASSES:
                raise InputDataError(
                    f"{path} is neither JSON lines nor an AG News csv: line 1 starts {content[:40]!r}; give rows of "
                    "class (1-4), title, description, or a header that names a label and a text column"
                )
            text_at, allowed = text_at[: num_columns - 1], AG_NEWS_CLASSES
        elif cells and len(cells) != num_columns:
            raise InputDataError(
                f"{path}: the row that starts on line {line} has {len(cells)} fields where the first has {num_columns}"
            )
        if cells:
            label = cells[label_at].strip()
            if not label or (allowed is not None and label not in allowed):
                raise InputDataError(
                    f"{path}: the row that starts on line {line} has the unknown label {label!r}"
                )
            yield " ".join(cells[i].strip() for i in text_at if cells[i].strip()), label
        line = reader.line_num + 1


def _header(cells: list[str]) -> tuple[int, list[int]] | None:
    """(label column, text columns) if the first row names columns; None if it is a row of data."""
    names = [cell.strip().lower() for cell in cells]
    labels = [i for i, name in enumerate(names) if name in LABEL_COLUMNS]
    texts = [i for i, name in enumerate(names) if name in TEXT_COLUMNS]
    if not labels or not texts:
        return None
    return labels[0], sorted(texts, key=lambda i: TEXT_COLUMNS.index(names[i]))
