"""Real text in many scripts: id for id what tiktoken gives."""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiktoken

from gpt2x.tokenizer import Tokenizer

CORPORA = [
    "lyrics/lyrics_45k.csv.xz",
    "lyrics/spotify_millsongdata_2893.csv.xz",
    "pd_songs/pd_songs_ballads_hymns.csv.xz",
    "news/news_category_v3.jsonl.xz",
    "news/ag_news_test.csv.xz",
]
MULTILINGUAL = "multilingual/multilingual_mixed.jsonl.xz"


def documents(path: Path) -> Iterator[str]:
    """The texts of a file, one a row."""
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        if ".jsonl" in path.name:
            for line in file:
                row = json.loads(line)
                yield row["text"] if "text" in row else f"{row['headline']}\n{row['short_description']}"
        else:
            for row in csv.reader(file):
                yield "\n".join(row)


def check(ours: Tokenizer, oracle: tiktoken.Encoding, texts: list[str]) -> None:
    expected = oracle.encode_ordinary_batch(texts, num_threads=2)
    encoded = ours.encode_ordinary_batch(texts)
    for text, ids, right in zip(texts, encoded, expected, strict=True):
        if ids != right:
            first = next(i for i, (a, b) in enumerate(zip(ids, right, strict=False)) if a != b)
            around = ours.decode(right[max(0, first - 5) : first + 5])
            pytest.fail(f"token {first} differs, near {around!r} in {text[:60]!r}…")
        assert ours.decode_bytes(ids) == text.encode()


@pytest.mark.slow
def test_all_of_the_multilingual_text(
    gpt2_tokenizer: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, shared_data: Callable[[str], Path]
) -> None:
    check(gpt2_tokenizer, tiktoken_gpt2, list(documents(shared_data(MULTILINGUAL))))


@pytest.mark.parametrize("name", [MULTILINGUAL, *CORPORA])
def test_a_part_of_every_corpus(
    gpt2_tokenizer: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, shared_data: Callable[[str], Path], name: str
) -> None:
    """The first of every few rows, one by one and, since most are short, joined to one long text."""
    step = 40 if name == MULTILINGUAL else 1
    texts = [
        text
        for i, text in zip(range(1500 * step), documents(shared_data(name)), strict=False)
        if i % step == 0
    ]
    check(gpt2_tokenizer, tiktoken_gpt2, [*texts, "\n".join(texts)])


@pytest.mark.parametrize("name", ["text/bts_wikipedia.txt", "text/tinyshakespeare.txt"])
def test_whole_books(
    gpt2_tokenizer: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, shared_data: Callable[[str], Path], name: str
) -> None:
    text = shared_data(name).read_text(encoding="utf-8")
    check(gpt2_tokenizer, tiktoken_gpt2, [text])
    if "shakespeare" in name:
        assert gpt2_tokenizer.count(text) == 338_025
