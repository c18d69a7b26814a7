"""`gpt2x classify` and its data: columns by name, rows that cannot be read, data sets by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMAND = "classify"
pytestmark = pytest.mark.usefixtures("alone")


def test_columns_are_named_and_bad_rows_skipped_on_the_command_line(run: Run, tmp_path: Path) -> None:
    rows = "".join(f"{k}\t{word} {word}\tmood {k % 2}\n" for k, word in enumerate(["rain", "goal"] * 20))
    data = tmp_path / "rows.tsv"
    data.write_text(f"id\tbody\tmood\n{rows}broken\n", encoding="utf-8")
    named = ("--data", data, "--text-column", "body", "--label-column", "mood")
    code, _, stderr = run("compare", *named, "--models", "nb")
    assert code == 3
    assert "starts on line 42 has 1 fields" in stderr
    code, stdout, stderr = run("compare", *named, "--models", "nb", "--skip-bad", "--json")
    assert (code, json.loads(stdout)["classes"]) == (0, ["mood 0", "mood 1"])
    assert "left out 1 row that cannot be read" in stderr
    code, _, _ = run("train", *named, "--skip-bad", "--model", "nb", "--out", tmp_path / "kept")
    assert code == 0


def test_a_data_set_goes_by_its_name(run: Run, news: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_DATA_HUFFPOST", str(news))
    code, stdout, _ = run("compare", "--data", "huffpost", "--models", "nb", "--json")
    assert (code, json.loads(stdout)["source"]) == (0, "huffpost")
    code, _, stderr = run("compare", "--data", "hufpost", "--models", "nb")
    assert code == 3
    assert "did you mean 'huffpost'?" in stderr


def test_review_lists_a_label_that_is_wrong(run: Run, news: Path, tmp_path: Path) -> None:
    wrong = {"headline": "Rain storm wind frost", "short_description": None, "category": "SPORT"}
    path = tmp_path / "spoiled.jsonl"
    path.write_text(f"{news.read_text()}\n{json.dumps(wrong)}\n", encoding="utf-8")
    code, stdout, stderr = run("review", "--data", path, "--json", "--top", 3)
    found = [json.loads(line) for line in stdout.splitlines()]
    assert code == 0
    assert (found[0]["rows"], found[0]["label"], found[0]["suggestion"]) == ([121], "SPORT", "WEATHER")
    assert "of 121 labels are likely wrong" in stderr
    code, stdout, _ = run("review", "--data", path)
    assert code == 0
    assert "Rain storm wind frost" in stdout.splitlines()[2]


def test_a_report_is_one_html_file(run: Run, news: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    code, _, stderr = run("compare", "--data", news, "--models", "nb,linear", "--report", path)
    assert code == 0
    assert f"kept {path}" in stderr
    assert "Accuracy against cost" in path.read_text(encoding="utf-8")
    code, _, stderr = run("compare", "--data", news, "--models", "nb", "--report", tmp_path)
    assert code == 1
    assert "is a folder; name a file for the report" in stderr


def test_peers_are_rows_of_the_same_table(
    run: Run, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    path = tmp_path / "report.html"
    peers = ("--peer", "sklearn", "--peer", "fasttext")
    code, stdout, _ = run("compare", "--data", news, "--models", "nb", *peers, "--report", path)
    rows = [line.split("  ")[0] for line in stdout.splitlines()[2:6]]
    assert (code, rows) == (0, ["naive Bayes", "sklearn SVC", "sklearn logistic", "fastText"])
    assert "peer; did not run: fastText is not installed; install it: pip install fasttext-wheel" in stdout
    assert "sklearn SVC" in path.read_text(encoding="utf-8")
    code, _, stderr = run("compare", "--data", news, "--models", "nb", "--peer", "spacy")
    assert (code, stderr) == (
        2,
        "gpt2x: there is no peer 'spacy'; give one of sklearn, fasttext, minilm\n",
    )
    code, _, stderr = run("train", "--data", news, "--model", "minilm", "--out", tmp_path / "kept")
    assert code == 2
    assert "there is no classifier 'minilm'" in stderr
