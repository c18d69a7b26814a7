"""Labelled texts from any file: columns by name, packed files, rows that cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gpt2x.data.annotate import read_texts
from gpt2x.data.news import read_news
from gpt2x.data.news_rows import BadRows, Columns
from gpt2x.data.tables import plain
from gpt2x.errors import InputDataError, UsageError

HEAD = ["id", "Summary", "review", "stars"]
ROWS = [["1", "Fine", "I like it; really", "5"], ["2", "Bad", "", "1"], ["3", "", 'so "so", at best', "3"]]
TEXTS, LABELS = ["Fine I like it; really", "Bad", 'so "so", at best'], ["5", "1", "3"]


def table(separator: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([HEAD, *ROWS])
    return out.getvalue().encode()


def objects(*, null: bool = True) -> list[dict[str, Any]]:
    """The rows as objects; an empty cell is null, or its key is not there."""
    rows = [dict(zip(HEAD, row, strict=True)) for row in ROWS]
    if null:
        return [{key: value or None for key, value in row.items()} for row in rows]
    return [{key: value for key, value in row.items() if value} for row in rows]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.data", data)
    return out.getvalue()


FILES = {
    "commas.csv": table(","),
    "semicolons.csv": table(";"),
    "tabs.tsv": table("\t"),
    "bars.txt": table("|"),
    "nulls.jsonl": lines(objects()),
    "keys that are not there.jsonl": lines(objects(null=False)),
    "array.json": json.dumps(objects()).encode(),
    "commas.csv.gz": gzip.compress(table(",")),
    "nulls.jsonl.xz": lzma.compress(lines(objects())),
    "tabs.zip": zipped(table("\t")),
    "array.zip": zipped(json.dumps(objects()).encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_columns_are_read_by_the_names_that_are_given_from_any_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    news = read_news(tmp_path / name, text_columns=["summary", " REVIEW"], label_column="Stars")
    assert (news.texts, news.labels) == (TEXTS, LABELS)
    if name.startswith("keys that"):
        return  # a row without its one text column is an error
    full = read_news(tmp_path / name, text_columns=["review"], label_column="stars", form="full")
    assert full.texts == ["I like it; really", 'so "so", at best']


def test_a_parquet_file_is_read_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(objects()), tmp_path / "rows.parquet")
    news = read_news(tmp_path / "rows.parquet", text_columns=["Summary", "review"], label_column="stars")
    assert (news.texts, news.labels) == (TEXTS, LABELS)
    with pytest.raises(InputDataError, match="lacks a column; each row needs a label"):
        read_news(tmp_path / "rows.parquet")


CELLS = ["a ", "", None, float("nan"), True, False, 3, 2.5, b"caf\xc3\xa9"]


def test_a_cell_is_the_text_that_json_gives_it() -> None:
    found = [plain(cell, "label", "row 1") for cell in CELLS]
    assert found == ["a ", "", "", "", "true", "false", "3", "2.5", "caf\u00e9"]
    for wrong, why in ((b"\xff", "bytes that are not UTF-8"), ([1], "an array"), ({"a": 1}, "an object")):
        with pytest.raises(InputDataError, match=f"rows.parquet, row 3 has {why} for its label; give text"):
            plain(wrong, "label", "rows.parquet, row 3")


@pytest.mark.parametrize(
    "of_one_type", [CELLS[:3], [*CELLS[4:6], None], [7, None, 3], [2.5, float("nan"), None]]
)
def test_labels_of_each_kind_are_the_same_from_any_file(tmp_path: Path, of_one_type: list[Any]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"text": f"text {i}", "label": label, "unread": [i]} for i, label in enumerate(of_one_type)]
    if pyarrow.types.is_boolean(pyarrow.array(of_one_type).type):
        spelled = [str(label).lower() if label is not None else "" for label in of_one_type]
    else:
        spelled = ["" if label is None or str(label) == "nan" else str(label) for label in of_one_type]
    table = pyarrow.table(
        {
            "text": [row["text"] for row in rows],
            "label": pyarrow.array(of_one_type, from_pandas=False),
            "unread": [row["unread"] for row in rows],
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    content = "".join(f"text {i},{label}\n" for i, label in enumerate(spelled))
    (tmp_path / "rows.csv").write_text("text,label\n" + content, encoding="utf-8")
    csv_news, json_news, parquet_news = (
        read_news(tmp_path / f"rows.{ending}") for ending in ("csv", "jsonl", "parquet")
    )
    assert csv_news == json_news == parquet_news
    assert parquet_news.labels == [label.strip() for label in spelled if label.strip()]


def test_cells_that_are_no_text_are_refused_by_their_row(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"text": [b"good", b"\xff", b"fine"], "label": [b"x", b"y", b"z"], "image": [b"\xff"] * 3}
    )
    parquet.write_table(table, tmp_path / "bytes.parquet")
    with pytest.raises(
        InputDataError, match="row that starts on line 3 has bytes that are not UTF-8 for its text"
    ):
        read_news(tmp_path / "bytes.parquet")
    assert read_news(tmp_path / "bytes.parquet", skip_bad=True).labels == ["x", "z"]
    parquet.write_table(pyarrow.table({"text": [["a"]], "label": ["x"]}), tmp_path / "lists.parquet")
    with pytest.raises(
        InputDataError, match="row that starts on line 2 has an array for its text; give text"
    ):
        read_news(tmp_path / "lists.parquet")
    bad = BadRows(skip=True)
    file = read_texts(tmp_path / "bytes.parquet", Columns(), bad, ["predicted_label"])
    rows = list(file.rows)
    assert ([row.text for row in rows], bad.count) == (["good", "fine"], 1)
    written = file.lines(rows, [[("predicted_label", None)]] * 2)
    assert written.splitlines()[0] == "good,x,b'\\xff',"


def test_the_order_of_the_names_is_that_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(table(","))
    news = read_news(tmp_path / "rows.csv", text_columns=["review", "summary"], label_column="stars")
    assert news.texts[0] == "I like it; really Fine"


def test_one_of_the_two_may_be_named_and_the_other_known(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("label,body\nA,x\nB,y\n", encoding="utf-8")
    assert read_news(tmp_path / "rows.csv", text_columns=["body"]).labels == ["A", "B"]
    (tmp_path / "rows.json").write_text('[{"text": "x", "mood": "A"}]', encoding="utf-8")
    assert read_news(tmp_path / "rows.json", label_column="mood").labels == ["A"]
    (tmp_path / "title.csv").write_text("title,text\nA,x\nB,y\n", encoding="utf-8")
    assert read_news(tmp_path / "title.csv", label_column="title").texts == ["x", "y"]


def test_huffpost_with_null_descriptions_is_read_without_being_told(tmp_path: Path) -> None:
    row = {"headline": "Big News", "short_description": None, "category": "WORLD"}
    (tmp_path / "news.json").write_text(json.dumps(row), encoding="utf-8")
    assert read_news(tmp_path / "news.json").texts == ["big news "]


@pytest.mark.parametrize(
    ("content", "names", "label", "sentence"),
    [
        ("a,b\n1,2\n", ["text"], "a", "has no column 'text'; its first row is 'a, b'"),
        ("a,b\n1,2\n", ["b"], None, "lacks a column; each row needs a label (category"),
        ("a,b,b\n1,2,3\n", ["b"], "a", "names the column 'b' 2 times"),
        ('{"a": "1", "b": "2"}', ["c"], "a", "line 1 has no column 'c'"),
        ('{"a": "1", "b": "2"}', ["b"], "c", "line 1 has no column 'c'"),
        ('{"a": "1", "b": "2"}', ["b", "c"], "a", "no row has the column 'c'; check its name"),
    ],
)
def test_a_column_that_is_not_there_is_named(
    tmp_path: Path, content: str, names: list[str], label: str | None, sentence: str
) -> None:
    (tmp_path / "rows").write_text(content, encoding="utf-8")
    with pytest.raises(InputDataError) as caught:
        read_news(tmp_path / "rows", text_columns=names, label_column=label)
    assert sentence in str(caught.value)


def test_a_column_is_not_label_and_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'a' cannot be label and text"):
        read_news(tmp_path / "any", text_columns=["A"], label_column="a")


BAD = {
    "lines.jsonl": '{"label": "A", "text": "x"}\n{"label": "A"\nnull\n{"text": "y"}\n{"label": "B", "text": ["z"]}\n'
    '{"label": "B", "text": "w"}\n',
    "array.json": '[{"label": "A", "text": "x"}, 3, null, {}, {"label": [], "text": "y"}, {"label": "B", "text": "w"}]',
    "width.csv": "label,text\nA,x\nA\nA,b,c\nB,2,\nB,1,1\nB,w\n",
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_cannot_be_read_are_an_error_or_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text(BAD[name], encoding="utf-8")
    with pytest.raises(InputDataError):
        read_news(tmp_path / name)
    news = read_news(tmp_path / name, skip_bad=True)
    assert (news.labels, news.texts) == (["A", "B"], ["x", "w"])
    said = capsys.readouterr().err
    assert "left out 4 rows that cannot be read; the first: " in said
    assert ("line 2" if name != "array.json" else "row 2") in said or "line 3" in said


def test_an_archive_may_not_unpack_to_more_than_other_packed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big.zip").write_bytes(zipped(b"label,text\n" + b"A,x\n" * 10**6))
    monkeypatch.setattr("gpt2x.data.tables.UNPACKED_BYTES", 1 << 20)
    with pytest.raises(InputDataError, match="unpacks to more than"):
        read_news(tmp_path / "big.zip")


def test_a_column_of_parquet_that_nobody_reads_may_hold_any_time(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    seen = pyarrow.array([1_600_000_000_000_000_001], pyarrow.timestamp("ns"))
    rows = {"label": ["rain"], "text": ["wet"], "seen": seen}
    parquet.write_table(pyarrow.table(rows), tmp_path / "rows.parquet")
    assert read_news(tmp_path / "rows.parquet").texts == ["wet"]


def test_text_of_parquet_that_is_no_utf8_is_one_sentence(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
    rows = {"label": ["rain"], "text": broken}
    parquet.write_table(pyarrow.table(rows), tmp_path / "rows.parquet")
    with pytest.raises(InputDataError, match=r"cannot read .*rows\.parquet"):
        read_news(tmp_path / "rows.parquet")


def test_damage_within_an_archive_is_one_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("rows.csv", table(",") * 99)
    data = bytearray((tmp_path / "rows.csv.zip").read_bytes())
    data[60:120] = bytes(60)
    (tmp_path / "rows.csv.zip").write_bytes(data)
    with pytest.raises(InputDataError, match="cannot unpack"):
        read_news(tmp_path / "rows.csv.zip")
