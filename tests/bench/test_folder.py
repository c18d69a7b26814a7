"""The folder for results is checked before anything is measured, and only our own files in it are replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2x.bench import folder
from gpt2x.bench.records import REPORT_DATA
from gpt2x.errors import OutputError

LADDER = (folder.RESULTS, *folder.PICTURES)
BPE = (folder.RESULTS, folder.PAGE)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_that_is_not_there_yet_is_not_made_by_the_check(tmp_path: Path) -> None:
    folder.check(tmp_path / "a" / "b", LADDER)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["ok.txt", "ok.txt/below", "ok.txt/below/that"])
def test_a_file_is_no_folder(place: str, tmp_path: Path) -> None:
    put(tmp_path / "ok.txt", "mine")
    with pytest.raises(OutputError, match=r"ok\.txt.*; name another folder with --out"):
        folder.check(tmp_path / place, LADDER)


def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError, match="Read-only file system; name another"):
        folder.check(tmp_path, LADDER)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"gpt2x-bench"', '{"format": 1}', '{"format": "others"}', '{"results": []}']
)
def test_a_foreign_results_file_is_not_replaced(text: str, tmp_path: Path) -> None:
    put(tmp_path / "results.json", text)
    for names in (LADDER, BPE):
        with pytest.raises(
            OutputError, match=r"results\.json is not from `gpt2x bench` and would be replaced"
        ):
            folder.check(tmp_path, names)


@pytest.mark.parametrize("name", folder.PICTURES)
def test_a_foreign_picture_or_page_is_not_replaced(name: str, tmp_path: Path) -> None:
    put(tmp_path / name, "<p>mine</p>")
    with pytest.raises(OutputError, match=f"{name} is not from"):
        folder.check(tmp_path, LADDER)
    folder.check(tmp_path, BPE)  # which writes no such file


def test_a_readme_beside_a_ladder_is_not_taken_for_a_page_of_ours(tmp_path: Path) -> None:
    put(tmp_path / "README.md", "# my project")
    with pytest.raises(OutputError, match=r"README\.md is not from"):
        folder.check(tmp_path, BPE)
    put(tmp_path / "results.json", json.dumps({"format": "gpt2x-bench"}))
    with pytest.raises(OutputError, match=r"README\.md is not from"):
        folder.check(tmp_path, BPE)


def test_a_folder_or_a_dead_link_of_that_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a" / "results.json").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.json").symlink_to("nowhere")
    for place in ("a", "b"):
        with pytest.raises(OutputError, match=r"results\.json is not from"):
            folder.check(tmp_path / place, LADDER)


def test_results_of_ours_are_replaced(tmp_path: Path) -> None:
    put(tmp_path / "ladder" / "results.json", json.dumps({"format": "gpt2x-bench"}))
    put(tmp_path / "ladder" / "report.html", f'<script id="{REPORT_DATA}">')
    put(tmp_path / "ladder" / "ladder.png", "")
    folder.check(tmp_path / "ladder", LADDER)
    put(tmp_path / "pictures" / "report.html", f'<script id="{REPORT_DATA}">')
    put(tmp_path / "pictures" / "ladder.svg", "")
    folder.check(tmp_path / "pictures", folder.PICTURES)
    for kind in ("bpe", "bpe-train"):
        put(tmp_path / kind / "results.json", json.dumps({"format": f"gpt2x-bench-{kind}"}))
        put(tmp_path / kind / "README.md", "")
        folder.check(tmp_path / kind, BPE)
