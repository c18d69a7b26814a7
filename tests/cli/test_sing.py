"""`gpt2x sing`, with a tiny random model in place of a trained one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from gpt2x import tokenizer as tokenizer_room
from gpt2x.cli.app import app
from gpt2x.errors import InputDataError
from gpt2x.model import GPT, GPTConfig, save_folder
from gpt2x.ops import backend
from gpt2x.paths import runs_dir
from tests.cli.conftest import WORDS, parrot

TEXT = "I walk alone in the rain, la la love, the rain is falling on the town; où es-tu, mon amour? 愛\n\n"
invoke = CliRunner().invoke


def save_singer(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = tokenizer_room.train([TEXT * 3], 300)
    model = GPT(GPTConfig(vocab_size=300, block_size=64, n_layer=1, n_head=2, n_embd=16))
    save_folder(model, tokenizer, folder)
    return folder


@pytest.fixture
def run() -> Path:
    return save_singer(runs_dir() / "mine")


def sing(*arguments: str, fails: bool = False) -> Any:
    result = invoke(app, ["sing", *arguments])
    assert not fails or result.exit_code != 0
    return result


def test_a_song_begins_with_its_title_and_only_the_song_is_on_stdout(run: Path) -> None:
    result = sing("ex-girlfriend", "--max-tokens", "20", "--seed", "1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("Ex-Girlfriend\n\n")
    assert result.stdout.endswith("\n")
    assert "seed 1" in result.stderr
    assert str(run) in result.stderr


def test_a_seed_sings_the_same_song_and_quiet_says_nothing_else(run: Path) -> None:
    first, again, other = (sing("rain", "--max-tokens", "20", "--seed", seed, "-q") for seed in "778")
    assert first.stdout == again.stdout != other.stdout
    assert first.stderr == ""


def test_json_has_its_documented_shape(run: Path) -> None:
    song = json.loads(sing("rain", "--json", "--seed", "3", "--max-tokens", "12").stdout)
    assert set(song) == {"topic", "title", "text", "seed", "tokens", "run", "tokens_per_second"}
    assert (song["topic"], song["title"], song["seed"], song["run"]) == ("rain", "Rain", 3, str(run))
    assert 0 < song["tokens"] <= 12
    assert song["tokens_per_second"] > 0
    songs = json.loads(sing("rain", "--json", "--seed", "3", "--max-tokens", "12", "--count", "2").stdout)
    assert [song["seed"] for song in songs] == [3, 4]
    assert songs[0]["text"] == song["text"]


def test_a_model_that_learned_one_song_sings_it_and_the_copy_is_told(tmp_path: Path) -> None:
    save_folder(*parrot(), runs_dir() / "parrot")
    (tmp_path / "songs.csv").write_text(f"artist,song,link,text\nme,Gone,,{WORDS}\n", encoding="utf-8")
    result = sing("rain", "--lines", "1", "--data", str(tmp_path / "songs.csv"))
    assert result.stdout == f"Rain\n\n{WORDS}\n", "the song must end by itself"
    assert f'10 words, "{WORDS}", of "Gone"' in result.stderr


def test_the_newest_run_sings_and_another_can_be_named(run: Path) -> None:
    other = save_singer(runs_dir() / "other")
    os.utime(run / "model.safetensors", (1e9, 1e9))
    assert json.loads(sing("rain", "--json", "--max-tokens", "2").stdout)["run"] == str(other)
    for name in ("mine", str(run)):
        assert json.loads(sing("rain", "--json", "--max-tokens", "2", "--run", name).stdout)["run"] == str(
            run
        )


@pytest.mark.skipif(
    backend.report()[0].implementation != "native", reason="the native operators are not built"
)
def test_the_weights_can_be_shorter_and_float32_is_the_default(run: Path) -> None:
    songs = [
        sing("rain", "--max-tokens", "20", "--seed", "1", *chosen).stdout
        for chosen in ([], ["--weights", "float32"], ["--weights", "bfloat16"], ["--weights", "int8"])
    ]
    assert songs[0] == songs[1]
    assert all(song.startswith("Rain\n\n") for song in songs)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["  "], 2, "topic is empty"),
        (["rain", "--temperature", "-1"], 2, "temperature = -1"),
        (["rain", "--top-p", "0"], 2, "top_p"),
        (["rain", "--top-k", "0"], 2, "top_k"),
        (["rain", "--max-tokens", "0"], 2, "--max-tokens"),
        (["rain", "--device", "gpu"], 2, "'gpu'"),
        (["rain", "--run", "nowhere"], 3, "no run 'nowhere'"),
        (["rain", "--originality", "--data", "nowhere.csv"], 3, "nowhere.csv"),
    ],
)
def test_bad_options_are_one_sentence_with_a_named_exit_code(
    run: Path, arguments: list[str], code: int, part: str
) -> None:
    result = sing(*arguments)
    assert result.exit_code == code
    assert part in result.stderr
    assert result.stdout == ""


def test_a_damaged_checkpoint_is_one_sentence_and_exit_code_3(run: Path) -> None:
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    result = sing("rain")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "model.safetensors is damaged" in result.stderr


def test_a_model_without_tokenizer_is_one_sentence_and_exit_code_3(run: Path) -> None:
    for name in ("tokenizer.json", "vocab.tiktoken", "tokenizer_config.json"):
        (run / name).unlink()
    result = sing("rain")
    assert result.exit_code == 3
    assert "without a tokenizer" in result.stderr


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gpt2x.cli.app", "sing", "rain", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_song_is_printed_as_it_is_written_and_ctrl_c_ends_it_with_130(run: Path) -> None:
    process = start("--max-tokens", "1000000", "--seed", "1")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10).startswith(b"Rain\n\n"), "pieces must come before the song is finished"
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        process.stdout.read(1)
    assert process.returncode == 130
    errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert errors.endswith("gpt2x: interrupted\n")
    process.stdout.close()
    process.stderr.close()


def test_a_reader_that_goes_away_is_no_error(run: Path) -> None:
    process = start("--max-tokens", "1000000", "--quiet")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(3)
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_terminal_that_knows_ascii_only_still_gets_a_song(run: Path) -> None:
    result = CliRunner(charset="ascii").invoke(app, ["sing", "où es-tu", "--max-tokens", "60"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("O? Es-Tu")
    exact = CliRunner(charset="ascii").invoke(app, ["sing", "où es-tu 愛", "--max-tokens", "60", "--json"])
    assert exact.stdout.isascii()
    assert json.loads(exact.stdout)["topic"] == "où es-tu 愛", "nothing is lost"


def test_neither_the_topic_nor_the_model_steers_a_terminal(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.console.is_terminal", lambda stream: True)
    result = sing("rain\x1b[2J", "--max-tokens", "400", "--seed", "1", "--temperature", "3", "--top-p", "1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("Rain\ufffd[2J\n\n") or result.stdout.startswith("Rain\ufffd[2j\n\n")
    assert all(char.isprintable() or char in "\n\t" for char in result.stdout)


def test_a_song_is_written_to_a_file_as_well(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rain.txt"
    result = sing("rain", "--seed", "3", "--max-tokens", "12", "--out", str(out))
    assert out.read_text(encoding="utf-8").strip() == result.stdout.strip()
    again = sing("rain", "--seed", "4", "--max-tokens", "12", "--out", str(out))
    assert again.exit_code == 0, again.stderr
    assert out.read_text(encoding="utf-8").strip() == again.stdout.strip(), "an earlier song is replaced"


def test_a_song_that_cannot_be_written_has_been_sung(run: Path, tmp_path: Path) -> None:
    result = sing("rain", "--seed", "3", "--max-tokens", "12", "--out", str(tmp_path), fails=True)
    assert result.stdout.startswith("Rain\n\n")
    assert result.stderr.splitlines()[-1].startswith("gpt2x: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seed", str(2**64)], "--seed = 18446744073709551616 is too large"),
        (["--seed", str(2**63 - 1), "--count", "2"], "below 2^63"),
        (["--mood", "sad\nform: free\x1b"], "--mood"),
        (["--min-p", "1"], "min_p"),
        (["--typical-p", "0"], "typical_p"),
        (["--no-repeat-ngram", "-1"], "no_repeat_ngram"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(run: Path, options: list[str], says: str) -> None:
    result = sing("rain", *options, fails=True)
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_topic_and_without_a_terminal_there_is_a_sentence(run: Path) -> None:
    assert "no topic" in sing(fails=True).stderr


def test_a_song_can_be_counted(run: Path) -> None:
    result = sing("rain", "--score", "--json", "--seed", "3", "--max-tokens", "60")
    score = json.loads(result.stdout)["score"]
    assert set(score) == {
        *("lines", "words", "rhymed", "scheme", "unknown", "repeated", "distinct_2", "has_topic"),
    }
    assert "of the lines rhyme" in result.stderr


def test_unknown_weights_are_refused(run: Path) -> None:
    result = sing("rain", "--weights", "int4")
    assert result.exit_code == 2
    assert "choose float32, bfloat16 or int8" in result.stderr


def test_with_no_run_the_model_that_ships_sings_and_nothing_is_written(tmp_path: Path) -> None:
    result = sing("ex-girlfriend", "--seed", "1", "--lines", "8", "--out", str(tmp_path / "song.txt"))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("the lyric writer that ships with gpt2x, seed 1\n")
    assert result.stdout.startswith("Ex-Girlfriend\n\n")
    assert result.stdout.count("Ex-Girlfriend\n") == 1, (
        "the title is printed ahead of the song, and not again"
    )
    assert result.stdout.count("\n") >= 8
    assert (tmp_path / "song.txt").read_text(encoding="utf-8").strip() == result.stdout.strip()
    assert not runs_dir().exists()


@pytest.mark.parametrize(
    ("options", "title"), [([], "Rain\n\n"), (["--json"], ""), (["--device", "gpu"], "")]
)
def test_the_title_of_the_model_that_ships_stands_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], title: str
) -> None:
    def damaged(*_: Any) -> None:
        raise InputDataError("damaged")

    monkeypatch.setattr("gpt2x.cli.sing.load_engine", damaged)
    assert sing("rain", *options, fails=True).stdout == title


def test_a_song_can_be_asked_for_with_other_drafts_and_any_words(run: Path) -> None:
    result = sing(
        "rain", "--best-of", "2", "--any-words", "--max-tokens", "12", "--score", "--seed", "1", "--json"
    )
    song = json.loads(result.stdout)
    assert song["command"] == "gpt2x sing rain --best-of 2 --max-tokens 12 --any-words --seed 1"
    assert (song["settings"]["best_of"], song["settings"]["only_words"]) == (2, False)


@pytest.mark.parametrize("variable", ["GPT2X_RUNS"])
def test_a_folder_of_runs_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setenv(variable, "file")
    result = invoke(app, ["sing", "rain"])
    assert result.exit_code in (1, 2)
    assert result.stderr == "gpt2x: GPT2X_RUNS is file, which is no folder; set it to a folder\n"
