"""The texts that are learned from: what every machine has, or files of your own. Nothing is ever repeated."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gpt2x.bench.bpe.encode.inputs import documents, prose, standard_library, take
from gpt2x.bench.text import load_documents
from gpt2x.errors import InputDataError


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text, and what it is."""

    what: str
    text: str


def everything() -> Iterator[str]:
    """The packaged songs, Python's help pages, and the sources of its standard library."""
    yield from load_documents(None)
    with contextlib.suppress(ImportError):  # a Python that was stripped of its documentation
        yield from importlib.import_module("pydoc_data.topics").topics.values()
    yield from standard_library()


def gather(data: Sequence[Path], small_bytes: int, large_bytes: int | None) -> tuple[Text, Text]:
    """A smaller text, mostly English, and a larger one.

    Args:
        data: files or folders; the smaller text is their beginning. Without any, what every machine has.
        small_bytes: how long the smaller one is at most.
        large_bytes: how long the larger one is at most; None for all there is.

    Raises:
        InputDataError: a file is missing, empty or of another kind.

    """
    most = large_bytes if large_bytes is not None else 2**62
    if not data:
        return (
            Text(
                what="the packaged songs, Python's help pages and docstrings",
                text=take(prose(), small_bytes, between="\n"),
            ),
            Text(
                what="the packaged songs, Python's help pages and the sources of its standard library",
                text=take(everything(), most, between="\n"),
            ),
        )
    names = ", ".join(path.name for path in data)
    text = take(chain.from_iterable(map(documents, data)), most)
    if not text.strip():
        raise InputDataError(f"{names}: there is no text to learn from; give a file that is not empty")
    small = take([text], small_bytes)
    what = names if len(small) == len(text) else f"the beginning of {names}"
    return Text(what=what, text=small), Text(what=names, text=text)
