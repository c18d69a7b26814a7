"""Plain text as documents: text files, folders of them, JSON lines.

One file is cut where it says ``<|endoftext|>``; one that never does, into passages at empty lines, so that there is
something to split into a part to train on and a part to validate with. In a folder each file is a document.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from gpt2x.data.files import files_below, lines_of, text_of
from gpt2x.errors import InputDataError, quoted

SEPARATOR = "<|endoftext|>"
"""Ends a document in a text file."""

PASSAGE = 1 << 14
"""Characters after which a passage ends at the next empty line, and at the next line end after twice as many."""

TEXT_SUFFIXES = (".txt", ".md", ".text")
JSON_SUFFIXES = (".jsonl", ".ndjson")
PACKING = (".xz", ".gz", ".zip")


def text_documents(path: str | os.PathLike[str]) -> Iterator[str]:
    """Read the documents of a text file, of a ``.jsonl`` file (objects with a field ``text``), or of a folder of both.

    ``.xz``, ``.gz`` and ``.zip`` are unpacked on the way. Documents with nothing but white space are passed over.

    Raises:
        InputDataError: missing, damaged, not UTF-8, without any text; a line that is no such object, which is named.

    """
    path = Path(path)
    found = False
    for document in _in_folder(path) if path.is_dir() else _in_file(path):
        if document.strip():
            found = True
            yield document
    if not found:
        raise InputDataError(f"{path} holds no text; give a text file, a .jsonl file, or a folder of them")


def _in_file(path: Path) -> Iterator[str]:
    return _json_documents(path) if _kind(path) in JSON_SUFFIXES else _passages(path)


def _in_folder(folder: Path) -> Iterator[str]:
    files = [path for path in files_below(folder) if _kind(path) in (*TEXT_SUFFIXES, *JSON_SUFFIXES)]
    if not files:
        known = ", ".join((*TEXT_SUFFIXES, *JSON_SUFFIXES))
        raise InputDataError(f"{folder} holds no file of text; its files should end with one of {known}")
    for path in files:
        if _kind(path) in JSON_SUFFIXES:
            yield from _json_documents(path)
        else:
            yield from "".join(text_of(path)).split(SEPARATOR)


def _kind(path: Path) -> str:
    """The suffix that says what is in a file, below that of its packing: ``.jsonl`` for tales.jsonl.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKING:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _json_documents(path: Path) -> Iterator[str]:
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputDataError(
                f'{path}: line {number} is no JSON object with a field "text": {quoted(line.strip())}'
            ) from error
        if not isinstance(text, str):
            raise InputDataError(f'{path}: the field "text" on line {number} is no string: {quoted(text)}')
        yield text


def _passages(path: Path) -> Iterator[str]:
    """The parts between separators; where there are none, passages."""
    # A pipe gives its lines once, and no more than may be held in memory.
    kept = None if path.is_file() else list(lines_of(path))
    separated = any(SEPARATOR in line for line in (lines_of(path) if kept is None else kept))
    passage: list[str] = []
    size = 0
    for line in lines_of(path) if kept is None else kept:
        if SEPARATOR in line:
            before, *others = line.split(SEPARATOR)
            yield "".join([*passage, before])
            yield from others[:-1]
            passage, size = [others[-1].removeprefix("\n")], len(others[-1])
            continue
        passage.append(line)
        size += len(line)
        if not separated and size >= PASSAGE and (not line.strip() or size >= 2 * PASSAGE):
            yield "".join(passage)
            passage, size = [], 0
    yield "".join(passage)
