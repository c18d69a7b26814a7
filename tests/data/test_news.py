"""Labelled news from JSON lines and csv."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2x.data.news import read_news
from gpt2x.errors import InputDataError, UsageError


def huffpost(*rows: tuple[str, str, str]) -> str:
    names = ("headline", "short_description", "category")
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def test_a_huffpost_headline_is_lower_cased_and_the_description_is_not(tmp_path: Path) -> None:
    path = tmp_path / "news.json"
    path.write_text(huffpost(("Big News", "It IS big.", "WORLD"), ("Cats", "", "PETS")), encoding="utf-8")
    news = read_news(path)
    assert news.texts == ["big news It IS big.", "cats "]
    assert news.labels == ["WORLD", "PETS"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('"3","Shares up","They rose."\n"4","Probe","On Mars."\n', ["Shares up They rose.", "Probe On Mars."]),
        ('"3","Shares up . They rose."\n"4","Probe"\n', ["Shares up . They rose.", "Probe"]),
        ("Class Index,Title,Description\n3,Shares up,They rose.\n4,Probe,On Mars.\n",
         ["Shares up They rose.", "Probe On Mars."]),
        ("text,label\nShares up,3\nProbe,4\n", ["Shares up", "Probe"]),
    ],
    ids=["three columns", "two columns", "header", "other order"],
)  # fmt: skip
def test_ag_news_is_known_by_its_content(tmp_path: Path, content: str, texts: list[str]) -> None:
    path = tmp_path / "any.name"
    path.write_text(content, encoding="utf-8")
    news = read_news(path)
    assert news.texts == texts
    assert news.labels == ["Business", "Sci/Tech"]


def test_labels_of_other_csv_files_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("label,text\nspam,buy now\nham,see you\n", encoding="utf-8")
    assert read_news(path).labels == ["spam", "ham"]


def test_a_limit_takes_rows_evenly_from_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "news.json"
    path.write_text(huffpost(*((f"h{i}", "", "A") for i in range(10))), encoding="utf-8")
    assert read_news(path, limit=5).texts == ["h0 ", "h2 ", "h4 ", "h6 ", "h8 "]
    assert len(read_news(path, limit=100)) == 10
    with pytest.raises(UsageError, match="limit of 0"):
        read_news(path, limit=0)


def test_documents_without_text_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "news.json"
    path.write_text(huffpost(("", "", "A"), ("x", "", "A")), encoding="utf-8")
    assert len(read_news(path)) == 1


BAD_FILES = {
    "missing": (None, "No such file"),
    "empty": (b"", "is empty"),
    "not UTF-8": (b'{"headline": "\xff"}', "byte 0xff at offset 14"),
    "broken JSON": (huffpost(("a", "b", "C")).encode() + b'{"headline": "x"\n', "line 2 is not JSON"),
    "no category": (b'{"headline": "x"}\n', "line 1 has no category"),
    "no headline": (b'{"category": "x"}\n', "line 1 has no headline"),
    "another format": (b"once upon a time\nthere was\n", "neither JSON lines nor an AG News csv"),
    "a class too many": (b'"1","a","b"\n"9","c","d"\n', "starts on line 2 has the unknown label '9'"),
    "a field too few": (b'"1","a","b"\n"2","c"\n', "starts on line 2 has 2 fields"),
    "unclosed quote": (b'"1","a","b"\n"2","c","d\n', "starts on line 2"),
    "only empty texts": (b'"1","",""\n', "no document with text"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_in_one_sentence_that_names_the_line(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "bad.data"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputDataError) as caught:
        read_news(path)
    assert reason in str(caught.value)
    assert "bad.data" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_ag_news_files_are_balanced(shared_data: Callable[[str], Path]) -> None:
    news = read_news(shared_data("news/ag_news_test.csv.xz"))
    assert Counter(news.labels) == {"World": 1900, "Sports": 1900, "Business": 1900, "Sci/Tech": 1900}
    assert len(read_news(shared_data("news/ag_news_train10k.csv.xz"))) == 10_000


def test_the_real_huffpost_file_has_42_categories(shared_data: Callable[[str], Path]) -> None:
    news = read_news(shared_data("news/news_category_v3.jsonl.xz"), limit=20_000)
    assert len(news) == 20_000
    assert len(set(news.labels)) == 42
