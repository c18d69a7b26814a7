"""`gpt2x data`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2x.data.lyrics import packaged_songs
from tests.cli.conftest import Run

COMMAND = "data"


def test_the_list_shows_each_data_set_and_its_licence(run: Run) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "songs" in result.stdout
    assert "tiny-shakespeare" in result.stdout
    assert "licence" in result.stdout


def test_the_list_as_json_has_its_documented_shape(run: Run) -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert {"name", "kind", "what", "licence", "source", "variable", "path"} == set(rows[0])
    assert rows[0]["name"] == "songs"
    assert Path(rows[0]["path"]).is_file()


def test_get_copies_the_songs_and_prints_where(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "songs.csv"
    result = run("get", "songs", "--out", str(target))
    assert result.exit_code == 0
    assert result.stdout.strip() == str(target)
    assert target.read_text(encoding="utf-8").startswith("artist,song,link,text")
    shape = json.loads(run("get", "songs", "--out", str(target), "--json").stdout)
    assert shape == {"name": "songs", "path": str(target), "bytes": target.stat().st_size}


def test_an_unknown_name_is_a_usage_error_with_a_suggestion(run: Run) -> None:
    result = run("get", "huffpots")
    assert result.exit_code == 2
    assert result.stderr == "gpt2x: unknown data set 'huffpots'; did you mean 'huffpost'?\n"


def test_get_to_standard_output_prints_the_file_and_nothing_after_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gpt2x", "data", "get", "songs", "--out", "/dev/stdout"]
    if not Path("/dev/stdout").exists():
        pytest.skip("no /dev/stdout here")
    environment = os.environ | {"GPT2X_CACHE": str(tmp_path)}
    with (tmp_path / "out").open(
        "wb"
    ) as out:  # a file, as after `> out`: it is not cut off from the descriptor
        for stdout in (subprocess.PIPE, out):
            done = subprocess.run(
                command, stdout=stdout, env=environment, cwd=tmp_path, check=True, timeout=60
            )
            content = done.stdout if done.stdout is not None else (tmp_path / "out").read_bytes()
            assert content == packaged_songs().read_bytes()


def test_get_is_one_sentence_where_downloads_are_forbidden(run: Run) -> None:
    result = run("get", "ag-news")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        "gpt2x: ag-news is not on this machine, and downloads are forbidden by GPT2X_OFFLINE; unset it, or name a "
        "local copy in GPT2X_DATA_AG_NEWS\n"
    )


def test_offline_takes_what_is_here_and_asks_for_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GPT2X_OFFLINE", raising=False)
    code, _, stderr = run("get", "huffpost", "--offline")
    assert code == 4
    assert "--offline forbids to download it" in stderr
    (tmp_path / "mine.jsonl").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("GPT2X_DATA_HUFFPOST", str(tmp_path / "mine.jsonl"))
    code, stdout, _ = run("get", "huffpost", "--offline")
    assert (code, stdout.strip()) == (0, str(tmp_path / "mine.jsonl"))
