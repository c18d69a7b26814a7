"""`gpt2x sing --originality`, `--max-copied` and `--score`: which songs are compared with, and what is told."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpt2x.cli.app import app
from gpt2x.cli.sing_song import DRAWS
from gpt2x.data.lyrics import read_songs
from gpt2x.generate.overlap_index import SongIndex
from gpt2x.model import load_folder, save_folder
from gpt2x.model.runs import DATA, SETTINGS, SONG_INDEX, TRAINER
from gpt2x.paths import runs_dir
from tests.cli.conftest import WORDS, parrot

invoke = CliRunner().invoke
SONGS = "artist,song,link,text\n" + "".join(
    f"me,{title},,{text}\n"
    for title, text in [
        ("Gone", WORDS),
        ("Sun", "the sun is up on my way"),
        ("Sea", "waves come in and go out"),
    ]
)
TINY = shlex.split(
    "--n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --total-batch-tokens 64 --batch-size 4 --steps 2 --warmup 1 "
    "--device cpu --dtype float32 --validation-share 0.4 --no-fused-ops --vocab 290"
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with songs, in which one works."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("songs.csv").write_text(SONGS, encoding="utf-8")
    return tmp_path / "work"


def train(recipe: str = "lyrics", *more: str) -> Path:
    """A run on the songs, named by a relative path, in whose place a model stands that sings the first of them."""
    out = runs_dir() / "mine"
    done = invoke(app, ["train", recipe, "--data", "songs.csv", "--out", str(out), *TINY, *more])
    assert done.exit_code == 0, done.output
    save_parrot(out)
    return out


def save_parrot(folder: Path) -> None:
    """A model that knows one song by heart."""
    save_folder(*parrot(), folder)


def sing(*arguments: str) -> Any:
    return invoke(app, ["sing", "rain", "--seed", "1", "--lines", "1", *arguments])


def test_the_run_knows_its_songs_wherever_it_and_they_are_moved_to(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train()
    about = json.loads((run / TRAINER / DATA).read_text())
    assert about["name"] == "songs.csv"
    assert about["file"] == str(work / "songs.csv")
    assert SongIndex.open(run / TRAINER / SONG_INDEX).digest == about["digest"]
    shutil.move(run, tmp_path / "elsewhere")
    shutil.rmtree(work)
    os.chdir(tmp_path)
    copied = json.loads(sing("--run", "elsewhere", "--originality", "--json").stdout)["copied"]
    assert (copied["words"], copied["share"], copied["title"], copied["text"]) == (10, 1.0, "Gone", WORDS)
    assert f'10 words, "{WORDS}", of "Gone"' in sing("--run", "elsewhere", "--originality").stderr


def test_a_run_without_an_index_is_compared_with_its_data_if_they_are_what_they_were(work: Path) -> None:
    run = train()
    (run / TRAINER / SONG_INDEX).unlink()
    assert json.loads(sing("--originality", "--json").stdout)["copied"]["title"] == "Gone"
    (
        run / TRAINER / DATA
    ).unlink()  # a run of an earlier version: its settings name the data, its state their digest
    assert json.loads(sing("--originality", "--json").stdout)["copied"]["title"] == "Gone"
    with Path("songs.csv").open("a", encoding="utf-8") as file:
        file.write("me,Late,,one more song that came later\n")
    changed = sing("--originality")
    assert (changed.exit_code, changed.stdout) == (3, "")
    assert "songs.csv has changed since" in changed.stderr


def test_songs_that_are_not_there_are_one_sentence_and_never_others(work: Path) -> None:
    run = train()
    (run / TRAINER / SONG_INDEX).unlink()
    Path("songs.csv").rename("moved.csv")
    for option in (["--originality"], ["--max-copied", "5"]):
        result = sing(*option)
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith("gpt2x: the songs that ")
        assert result.stderr.endswith("are not there; give the songs with --data FILE\n")
    scored = sing("--score")
    assert scored.exit_code == 0
    assert "not compared: the songs that" in scored.stderr
    assert json.loads(sing("--score", "--json").stdout)["copied"] is None
    assert '"Gone"' in sing("--originality", "--data", "moved.csv").stderr


def test_a_folder_that_tells_nothing_and_a_run_of_other_data_are_refused(work: Path) -> None:
    save_parrot(runs_dir() / "bare")
    assert "does not say which songs" in sing("--run", "bare", "--originality").stderr
    out = str(runs_dir() / "text")
    Path("tale.txt").write_text("<|endoftext|>".join(f"Tale {n} of the rain." for n in range(20)))
    done = invoke(app, ["train", "text", "--data", "tale.txt", "--out", out, *TINY])
    assert done.exit_code == 0, done.output
    result = sing("--run", "text", "--originality")
    assert (result.exit_code, "was not trained on songs (recipe text)" in result.stderr) == (3, True)


def test_a_damaged_index_is_one_sentence(work: Path) -> None:
    index = train() / TRAINER / SONG_INDEX
    index.write_bytes(index.read_bytes()[:-7])
    result = sing("--originality")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"gpt2x: {index} is damaged; remove it, and it is made again\n"


def test_resume_keeps_the_index_and_overwrite_makes_that_of_the_new_songs(work: Path) -> None:
    index = train() / TRAINER / SONG_INDEX
    before = index.stat().st_mtime_ns
    assert load_folder(index.parent.parent)[1] is not None
    resumed = invoke(app, ["train", "lyrics", "--resume", "--steps", "3", "--out", str(index.parent.parent)])
    assert resumed.exit_code == 0, resumed.output
    assert index.stat().st_mtime_ns == before
    Path("songs.csv").write_text(SONGS.replace("alone", "again"), encoding="utf-8")
    train("rhymed-lyrics", "--overwrite")
    copied = json.loads(sing("--originality", "--json").stdout)["copied"]
    assert (copied["words"], copied["title"]) == (7, "Gone")
    assert json.loads((index.parent / DATA).read_text())["recipe"] == "rhymed-lyrics"


def test_a_run_is_removed_with_its_index_and_nothing_else(work: Path) -> None:
    from gpt2x.train.checkpoint import RunFolder

    run = train()
    assert (run / TRAINER / SETTINGS).is_file()
    (run / "notes.txt").write_text("mine")
    RunFolder(run).clear()
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert left == {"notes.txt", f"{TRAINER}/lock"}


def test_a_song_that_copies_too_much_is_drawn_anew_and_refused_in_the_end(work: Path) -> None:
    train()
    refused = sing("--max-copied", "9")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.count("drawn anew") == DRAWS
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"gpt2x: {DRAWS} songs copied more than 9 words in a row, seeds 1 to {DRAWS};")
    assert sing("--max-copied", "10").stdout == f"Rain\n\n{WORDS}\n"


def test_the_next_seed_is_taken_until_a_song_copies_little_and_no_song_comes_twice(work: Path) -> None:
    """At a high temperature the model makes slips, and some seeds copy less than others."""
    train()
    wild = ["--temperature", "1.6", "--top-p", "1", "--min-p", "0"]
    free = json.loads(sing(*wild, "--originality", "--json", "--count", "12").stdout)
    kept = [song for song in free if song["copied"]["words"] <= 5]
    assert 2 <= len(kept) < 12, "the test needs songs of both kinds"
    bounded = json.loads(sing(*wild, "--max-copied", "5", "--json", "--count", "2").stdout)
    assert [song["seed"] for song in bounded] == [song["seed"] for song in kept[:2]]
    assert [song["text"] for song in bounded] == [song["text"] for song in kept[:2]]


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--max-copied", "1"], "--max-copied"), (["--max-copied", "5", "--web"], "do not go together")],
)
def test_what_cannot_be_is_refused(work: Path, options: list[str], part: str) -> None:
    save_parrot(runs_dir() / "mine")
    result = sing(*options)
    assert (result.exit_code, part in result.stderr) == (2, True)


def test_the_score_tells_scheme_copies_settings_and_a_line_that_sings_the_song_again(work: Path) -> None:
    run = train()
    options = ["--run", str(run), "--score", "--temperature", "0.7", "--top-k", "5", "--no-chorus"]
    result = sing(*options, "--json")
    song = json.loads(result.stdout)
    assert song["score"]["scheme"] == ["A"]
    assert song["copied"]["title"] == "Gone"
    assert song["settings"]["temperature"] == 0.7
    assert song["settings"]["max_lines"] == 1
    assert "temperature 0.7" in result.stderr
    assert "--top-k 5, --no-chorus" in result.stderr
    assert result.stderr.splitlines()[-1].split(maxsplit=1) == ["again", song["command"]]
    words = shlex.split(song["command"])
    assert words[:2] == ["gpt2x", "sing"]
    again = invoke(app, [*words[1:], "--json"])
    assert json.loads(again.stdout)["text"] == song["text"]


def test_the_model_that_ships_is_compared_with_the_songs_that_ship() -> None:
    song = json.loads(sing("--originality", "--json", "--max-tokens", "40").stdout)
    assert set(song["copied"]) == {"words", "share", "text", "title", "spans"}
    told = sing("--originality", "--max-tokens", "40").stderr
    assert f"of {len(read_songs()):,} songs" in told or not song["copied"]["words"]
