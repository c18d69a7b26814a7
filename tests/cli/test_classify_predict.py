"""`gpt2x classify predict` as a filter: lines as they come, files with their columns, texts that begin with "-"."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMAND = "classify"
pytestmark = pytest.mark.usefixtures("alone")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def kept(run: Run, news: Path, tmp_path: Path) -> Path:
    """A trained naive Bayes classifier."""
    assert run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")[0] == 0
    return tmp_path / "kept"


def test_a_line_in_gives_a_line_out_before_the_next_is_written(kept: Path) -> None:
    command = [sys.executable, "-m", "gpt2x", "classify", "predict", str(kept), "--json", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text, label in (("rain wind", "WEATHER"), ("goal match", "SPORT"), ("opera novel", "ARTS")):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())  # waits for ever if it were held back
            assert (answer["text"], answer["labels"][0]["label"]) == (text, label)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("model", ["nb", "linear", "hashed-nb", "tfidf"])
def test_naming_a_label_loads_neither_torch_nor_scikit_learn(
    run: Run, news: Path, tmp_path: Path, model: str
) -> None:
    run("train", "--model", model, "--data", news, "--out", tmp_path / "kept")
    program = (
        "import sys, atexit\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'joblib'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        "from gpt2x.cli.app import app\n"
        f"app(['classify', 'predict', {str(tmp_path / 'kept')!r}, 'storm and rain'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    label, _, loaded = done.stdout.partition("\t")
    assert label == "WEATHER"
    assert loaded.endswith("[]\n")


def test_texts_that_begin_with_a_hyphen_are_no_options(run: Run, kept: Path) -> None:
    texts = ["-5 degrees", "-3", "- rain", "--rain and wind", "rain"]
    code, stdout, _ = run("predict", kept, *texts, "--json", "-k", 2)
    found = [json.loads(line) for line in stdout.splitlines()]
    assert code == 0
    assert [answer["text"] for answer in found] == texts
    assert all(len(answer["labels"]) == 2 for answer in found)
    code, _, stderr = run("predict", kept, "rain", "--top-kk=2")
    assert code == 2
    assert "--top-k" in stderr


TABLE = 'id;headline;note\n1;Rain, wind;a;\n2;goal match;"x;y"\n3;;z\n'


def test_a_table_comes_back_with_its_columns_and_the_answer(run: Run, kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE.replace("a;\n", "a\n"), encoding="utf-8")
    code, stdout, _ = run("predict", kept, "--data", path)
    rows = list(csv.DictReader(stdout.splitlines()))
    assert code == 0
    assert list(rows[0]) == ["id", "headline", "note", "predicted_label", "probability"]
    assert [row["note"] for row in rows] == ["a", "x;y", "z"]
    assert [row["predicted_label"] for row in rows[:2]] == ["WEATHER", "SPORT"]
    code, _, stderr = run("predict", kept, "--data", path, "--text-column", "nothing")
    assert code == 3
    assert "name one with --text-column" in stderr
    (tmp_path / "again.csv").write_text(stdout, encoding="utf-8")
    code, _, stderr = run("predict", kept, "--data", tmp_path / "again.csv")
    assert code == 3
    assert "has a column 'predicted_label' already" in stderr


def test_json_rows_come_back_as_they_are_with_the_answer(run: Run, kept: Path, tmp_path: Path) -> None:
    lines = [
        '{"Body": "rain wind", "big": 12345678901234567890.50, "e": "\\u00e9"}',
        '{"Body": null, "x": {}}',
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    code, stdout, _ = run("predict", kept, "--data", path, "--text-column", "body", "--top-k", 2)
    found = stdout.splitlines()
    assert code == 0
    assert [line.startswith(own[:-1]) for line, own in zip(found, lines, strict=True)] == [True, True]
    answer = json.loads(found[0])
    assert answer["predicted_label"] == "WEATHER"
    assert answer["probability"] >= answer["probability_2"]
    (tmp_path / "array.json").write_text(f"[{','.join(lines)}]", encoding="utf-8")
    out = tmp_path / "out.jsonl"
    same = run(
        "predict", kept, "--data", tmp_path / "array.json", "--text-column", "body", "-k", 2, "--out", out
    )
    assert (same.exit_code, out.read_text(encoding="utf-8")) == (0, stdout)


def test_rows_that_cannot_be_read_end_it_or_are_left_out(run: Run, kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "rain"}\n{"text": \n3\n{"text": "goal"}\n', encoding="utf-8")
    out = tmp_path / "out.jsonl"
    code, _, stderr = run("predict", kept, "--data", path, "--out", out)
    assert (code, out.exists()) == (3, False)
    assert "line 2 is not JSON" in stderr
    code, _, stderr = run("predict", kept, "--data", path, "--out", out, "--skip-bad", "--abstain", 1)
    assert code == 0
    assert "left out 2 rows that cannot be read" in stderr
    assert [json.loads(line)["predicted_label"] for line in out.read_text().splitlines()] == [None, None]


def test_options_that_do_not_go_together_are_refused(run: Run, kept: Path, news: Path) -> None:
    wrong = (
        ("text", "--data", news),
        ("text", "--skip-bad"),
        ("text", "--input", "full"),
        ("--data", news, "--json"),
    )
    for arguments in wrong:
        assert run("predict", kept, *arguments).exit_code == 2


SHOUTED = [
    {"headline": f"{word} {word}", "short_description": more, "category": f"{word[0].upper()} {more}"}
    for word in ("Rain", "RAIN", "Goal")
    for more in ("today", "soon")
] * 10


@pytest.mark.parametrize("form", ["full", "playground"])
def test_rows_are_read_as_they_were_for_training(run: Run, tmp_path: Path, form: str) -> None:
    data, folder = tmp_path / "rows.jsonl", tmp_path / "kept"
    data.write_text("\n".join(map(json.dumps, SHOUTED)), encoding="utf-8")
    assert run("train", "--data", data, "--input", form, "--out", folder).exit_code == 0
    code, as_trained, stderr = run("predict", folder, "--data", data)
    assert code == 0
    assert "--input" not in stderr
    assert as_trained == run("predict", folder, "--data", data, "--input", form).stdout
    other = "playground" if form == "full" else "full"
    code, read_otherwise, stderr = run("predict", folder, "--data", data, "--input", other)
    assert code == 0
    assert read_otherwise != as_trained
    assert (
        f"{folder} was trained with --input {form}; with --input {other} it reads them another way\n"
        in stderr
    )
    header = json.loads((folder / "classifier.json").read_text())
    assert (header.pop("input"), header.pop("text_columns")) == (form, [])
    (folder / "classifier.json").write_text(json.dumps(header), encoding="utf-8")
    older = run("predict", folder, "--data", data).stdout
    assert older == (as_trained if form == "playground" else read_otherwise), "as before there was the key"


def test_columns_that_were_named_for_training_are_read_again(run: Run, tmp_path: Path) -> None:
    data, folder = tmp_path / "rows.csv", tmp_path / "kept"
    rows = [("rain rain", "goal goal", "wet"), ("goal goal", "rain rain", "sport")] * 20
    data.write_text("body,text,label\n" + "\n".join(map(",".join, rows)), encoding="utf-8")
    assert run("train", "--data", data, "--text-column", "Body", "--out", folder).exit_code == 0
    code, stdout, stderr = run("predict", folder, "--data", data)
    found = list(csv.DictReader(stdout.splitlines()))
    assert (code, [row["predicted_label"] for row in found]) == (0, [label for *_, label in rows])
    assert "was trained on the text of 'Body'; --text-column names other columns" in stderr
    _, stdout, stderr = run("predict", folder, "--data", data, "--text-column", "text")
    assert next(csv.DictReader(stdout.splitlines()))["predicted_label"] == "sport"
    assert "was trained on" not in stderr
