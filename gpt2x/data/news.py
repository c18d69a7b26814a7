"""Labelled documents: HuffPost's JSON lines, AG News' csv files, and one's own, told apart by their content.

=========  =====================================================  ==========================================
source     one row                                                text given to a classifier (``playground``)
=========  =====================================================  ==========================================
HuffPost   ``{"headline": …, "short_description": …, "category"}``  lower-cased headline, a blank, description
AG News    ``"3","title","description"`` (or title and             title, a blank, description
           description in one field), without a header
your own   JSON objects, one a line or in one array, a csv with   the text columns, a blank between them
           a header, or Parquet; columns by their usual names
           (`LABEL_COLUMNS`, `TEXT_COLUMNS`), or as named
=========  =====================================================  ==========================================

The form ``full`` keeps what that one drops: each text column is a field of its own, in its original case, with
`FIELD_SEPARATOR` between them. Neither form reads the date.

The same rows give the same labels in either format: a label keeps its spelling, without the white space around it,
and a number or a truth value in JSON is what is written there (``3``, ``3.0``, ``true``). A row whose label or text is
empty (null and NaN are) is left out and counted.
"""

from __future__ import annotations

import operator
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.console import say
from gpt2x.data.fields import FIELD_SEPARATOR, FORMS
from gpt2x.data.news_rows import (
    AG_NEWS_CLASSES,
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    BadRows,
    Columns,
    Pair,
    check_form,
    read_pairs,
)
from gpt2x.errors import InputDataError, UsageError, quoted

__all__ = ["FIELD_SEPARATOR", "FORMS", "LABEL_COLUMNS", "TEXT_COLUMNS", "NewsData", "near_equal", "read_news"]


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
    label_column: str | None = None,
    text_columns: Sequence[str] = (),
    skip_bad: bool = False,
) -> NewsData:
    """Read labelled documents; ``.xz``, ``.gz`` and a ``.zip`` of one file are unpacked on the way.

    Only a csv file without a header that has all four of AG News' classes gets their names for labels. Rows without a
    label or text, and labels that are nearly equal, are said on stderr.

    Args:
        path: a file of JSON objects, one a line or in an array, a csv file, or a ``.parquet`` file (which needs
            pyarrow).
        limit: keep this many rows, evenly spaced over the file. (HuffPost is sorted by date and its categories
            changed over the years: the first rows alone would be another data set.)
        form: one of `FORMS`.
        keep_textless: keep rows that have a label and no text, so that row numbers are those of the file.
        label_column: the label's column, where it is not one of `LABEL_COLUMNS`; names count in any case.
        text_columns: the columns of the text, in the order in which they are joined, where they are not
            `TEXT_COLUMNS`.
        skip_bad: leave out rows that cannot be read, and say how many, instead of refusing the file.

    Raises:
        InputDataError: missing, empty, not UTF-8, neither format, no such column, or a broken row (named by its line
            or place).
        UsageError: `limit` is not a whole number above 0, there is no such form, or a label is to be a text, too.
        MissingComponentError: a Parquet file, and pyarrow is not installed.

    """
    _check_limit(limit)
    check_form(form)
    path, columns, bad = Path(path), Columns.of(label_column, text_columns, form), BadRows(skip_bad)
    if columns.label in columns.texts:
        raise UsageError(f"the column {quoted(columns.label)} cannot be label and text; name another")
    rows = read_pairs(path, columns, bad)
    bad.say()
    pairs = _with_both(rows.pairs, path, keep_textless, columns.needed)
    if rows.is_ag_news and {label for _, label in pairs} == set(AG_NEWS_CLASSES):
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


def _with_both(rows: list[Pair], path: Path, keep_textless: bool, needed: str) -> list[Pair]:
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
        raise InputDataError(f"{path} holds no document with text and label{why}; each row needs {needed}")
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
