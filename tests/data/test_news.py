"""Labelled news from JSON lines and csv."""

from __future__ import annotations

import csv
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


AG_NEWS = '"1","War","Far."\n"2","Goal","Late."\n"3","Shares up","They rose."\n"4","Probe","On Mars."\n'


@pytest.mark.parametrize(
    "content",
    [
        AG_NEWS,
        '"1","War . Far."\n"2","Goal . Late."\n"3","Shares up . They rose."\n"4","Probe . On Mars."\n',
        AG_NEWS.replace("\n", "\r\n"),
        AG_NEWS.replace("\n", "\r"),
        AG_NEWS.replace(",", ";"),
        AG_NEWS.replace(",", "\t"),
        "\ufeff\n \n" + AG_NEWS + "\n\n",
    ],
    ids=["three columns", "two columns", "CRLF", "CR", "semicolons", "tabs", "mark and empty lines"],
)
def test_a_file_without_header_that_has_all_four_classes_gets_ag_news_names(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "any.name"
    path.write_text(content, encoding="utf-8", newline="")
    news = read_news(path)
    assert news.labels == ["World", "Sports", "Business", "Sci/Tech"]
    assert news.texts[2].replace(" . ", " ") == "Shares up They rose."
    assert read_news(path, limit=2).labels == ["World", "Business"]


@pytest.mark.parametrize(
    "content",
    [
        '"1","bad","never again"\n"2","poor","cold"\n',
        "label,text\n1,never again\n2,cold\n",
        "Class Index,Title,Description\n1,never,again\n2,cold,soup\n3,so,so\n4,good,soup\n",
        "text;label\nnever again;1\ncold;2\n",
        '{"category": 1, "headline": "never again"}\n{"category": 2, "headline": "cold"}\n',
        '[{"label": "1", "text": "never again"}, {"label": "2", "text": "cold"}]',
    ],
    ids=["headless, two classes", "header", "header, all four", "semicolons", "JSON lines", "JSON array"],
)
def test_star_ratings_stay_numbers(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stars"
    path.write_text(content, encoding="utf-8")
    assert read_news(path).labels[:2] == ["1", "2"]


def test_the_same_rows_give_the_same_labels_and_texts_as_csv_lines_and_array(tmp_path: Path) -> None:
    rows = [("sport ", "Goal!"), ("Spörť", "one, two"), ("3", "7"), ("3.0", "x" * 200_000), ("1e400", "a")]
    csv_file, lines, array = (tmp_path / name for name in ("rows.csv", "rows.jsonl", "rows.json"))
    with csv_file.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows])
    objects = [json.dumps({"label": label, "text": text}) for label, text in rows]
    objects = [
        line.replace('"3"', "3").replace('"3.0"', "3.0").replace('"1e400"', "1e400") for line in objects
    ]
    objects = [line.replace('"7"', "7") for line in objects]
    lines.write_text("\ufeff" + "\r\n".join(objects), encoding="utf-8", newline="")
    array.write_text("[" + ",\n".join(objects) + "]", encoding="utf-8")
    expected = ["sport", "Spörť", "3", "3.0", "1e400"], [text for _, text in rows]
    for path in (csv_file, lines, array):
        news = read_news(path)
        assert (news.labels, news.texts) == expected, path.name


def test_truth_values_in_json_are_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"Label": true, "Text": "yes"}, {"Label": false, "Text": false}]', encoding="utf-8")
    news = read_news(path)
    assert (news.labels, news.texts) == (["true", "false"], ["yes", "false"])


@pytest.mark.parametrize(
    ("first", "second"),
    [("Sport", "sport"), ("Sci Tech", "SciTech"), ("caf\u00e9", "cafe\u0301"), ("fine", "\ufb01ne")],
)
def test_nearly_equal_labels_stay_as_they_are_and_one_line_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str, second: str
) -> None:
    for name, content in (
        ("rows.csv", f"label,text\n{first},a\n{second} ,b\nother,c\n"),
        ("rows.json", huffpost(("a", "", first), ("b", "", f" {second}"), ("c", "", "other"))),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert read_news(tmp_path / name).labels == [first, second, "other"]
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "differ only in case, white space or Unicode form" in said
        assert all(repr(label) in said or ascii(label) in said for label in (first, second))


def test_labels_that_are_not_nearly_equal_are_read_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("label,text\nspam,buy now\nham,see you\nspam,act\n", encoding="utf-8")
    assert read_news(path).labels == ["spam", "ham", "spam"]
    assert capsys.readouterr().err == ""


def test_rows_without_label_or_text_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("x", "A"), ("", "A"), (" ", "A"), ("y", ""), (None, "A"), ("z", None), ("w", float("nan"))]
    lines = [
        json.dumps({"headline": text, "short_description": None, "category": label}) for text, label in rows
    ]
    (tmp_path / "rows.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    assert len(read_news(tmp_path / "rows.jsonl")) == 1
    assert "left out 6 of 7 rows: 3 have no label, 3 have no text" in capsys.readouterr().err
    (tmp_path / "rows.csv").write_text("label,text\nA,x\nA,\n\n,y\n , \n", encoding="utf-8")
    assert len(read_news(tmp_path / "rows.csv")) == 1
    assert "left out 3 of 4 rows: 2 have no label, 1 has no text" in capsys.readouterr().err


def test_of_several_label_columns_the_one_that_is_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("label,category,text\n1,A,x\n2,B,y\n", encoding="utf-8")
    assert read_news(path).labels == ["A", "B"]
    assert "from the column category; label is not read" in capsys.readouterr().err


def test_a_limit_takes_rows_evenly_from_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "news.json"
    path.write_text(huffpost(*((f"h{i}", "", "A") for i in range(10))), encoding="utf-8")
    assert read_news(path, limit=5).texts == ["h0 ", "h2 ", "h4 ", "h6 ", "h8 "]
    assert len(read_news(path, limit=100)) == 10
    for wrong in (0, -1, True, 2.5, float("nan"), "many"):
        with pytest.raises(UsageError, match="a limit of .* leaves nothing to read"):
            read_news(path, limit=wrong)  # type: ignore[arg-type]


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
    "only empty texts": (b'"1","",""\n', "no document with text and label (of 1 rows 1 has no text)"),
    "only a header": (b"label,text\n", "no document with text"),
    "an empty array": (b"[]", "no document with text"),
    "an array of arrays": (b'[["a", "b"]]', "row 1 is an array and no object"),
    "lines of arrays": (
        b'["a", "b"]\n["c", "d"]\n',
        "starts like a JSON array and is none: Extra data at line 2",
    ),
    "a line of null": (b'{"text": "a", "label": "b"}\nnull\n', "line 2 is null and no object"),
    "a list as label": (b'{"text": "a", "label": ["b"]}', "line 1 has an array for its label"),
    "an object as text": (b'[{"text": {}, "label": "b"}]', "row 1 has an object for its text"),
    "a key twice": (b'{"text": "a", "Text": "b", "label": "c"}', "the key 'text' stands twice"),
    "a text column twice": (b"label,text,text\na,b,c\n", "names the column 'text' 2 times"),
    "a label column twice": (b"label,LABEL ,text\na,b,c\n", "names the column 'label' 2 times"),
    "deep nesting": (b'{"text": ' + b"[" * 10**5, "nested too deeply"),
    "deep array": (b"[" * 10**5, "nested too deeply"),
    "UTF-16": ("label,text\na,b\n".encode("utf-16"), "is UTF-16 and not UTF-8; convert it"),
    "UTF-16 without a mark": ("label,text\na,b\n".encode("utf-16-le"), "NUL character on line 1"),
    "a NUL": (b"label,text\na,b\nc,d\0e\n", "NUL character on line 3"),
    "an empty cell": (b'""\n', "nothing but empty rows"),
    "no separator": (b"label:text\na:b\n", "neither JSON lines nor an AG News csv"),
    "a long line": (b"x" * 10**6, "neither JSON lines nor an AG News csv"),
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
    assert len(str(caught.value)) < 500


def test_the_real_ag_news_files_are_balanced(shared_data: Callable[[str], Path]) -> None:
    news = read_news(shared_data("news/ag_news_test.csv.xz"))
    assert Counter(news.labels) == {"World": 1900, "Sports": 1900, "Business": 1900, "Sci/Tech": 1900}
    assert len(read_news(shared_data("news/ag_news_train10k.csv.xz"))) == 10_000


def test_the_real_huffpost_file_has_42_categories(shared_data: Callable[[str], Path]) -> None:
    news = read_news(shared_data("news/news_category_v3.jsonl.xz"), limit=20_000)
    assert len(news) == 20_000
    assert len(set(news.labels)) == 42


def test_the_full_form_keeps_fields_and_case(tmp_path: Path) -> None:
    lines = [
        {
            "headline": "Rain TODAY",
            "short_description": "It\x1fis wet.",
            "category": "W",
            "date": "2020-01-01",
        },
        {"headline": "", "short_description": "", "category": "W"},
    ]
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read_news(path, form="full").texts == ["Rain TODAY\x1fIt is wet."]
    assert read_news(path).texts == ["rain today It is wet."]
    assert len(read_news(path, keep_textless=True)) == 2, "row numbers stay those of the file"
    csv = tmp_path / "news.csv"
    csv.write_text("label,title,description\nW,Rain TODAY,It is wet.\n")
    assert read_news(csv, form="full").texts == ["Rain TODAY\x1fIt is wet."]
    with pytest.raises(UsageError, match="there is no form 'odd'; give one of playground, full"):
        read_news(path, form="odd")
