"""`gpt2x eval`: a run on its own validation part, on a file, and on questions; and the recipes that make runs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gpt2x.cli.app import app
from gpt2x.model.packed import pack_folder
from gpt2x.model.runs import SETTINGS, TRAINER

invoke = CliRunner().invoke
PACK = Path(__file__).parents[2] / "benchmarks" / "lyric_writer" / "pack.py"

TINY = [
    *(
        "--n-layer",
        "1",
        "--n-head",
        "2",
        "--n-embd",
        "16",
        "--block-size",
        "16",
        "--total-batch-tokens",
        "64",
    ),
    *("--batch-size", "4", "--steps", "3", "--warmup", "1", "--device", "cpu", "--dtype", "float32"),
    *("--validation-share", "0.2", "--no-fused-ops", "--sample-every", "3"),
]


@pytest.fixture
def text_run(tmp_path: Path) -> Path:
    """A run of the recipe text."""
    data = tmp_path / "tales.txt"
    data.write_text("<|endoftext|>".join(f"Tale {n} of the rain and the {n} nights." for n in range(20)))
    done = invoke(
        app, ["train", "text", "--data", str(data), "--vocab", "290", "--out", str(tmp_path / "run"), *TINY]
    )
    assert done.exit_code == 0, done.output
    return tmp_path / "run"


def evaluated(*arguments: str) -> dict[str, float]:
    """The JSON of `gpt2x eval`."""
    done = invoke(app, ["eval", *arguments, "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_a_run_is_measured_on_its_own_validation_part(text_run: Path) -> None:
    result = evaluated(str(text_run))
    assert list(result) == [
        "run", "data", "documents", "tokens", "bytes", "loss", "perplexity", "bits_per_byte",
    ]  # fmt: skip
    assert result["documents"] == 4
    assert 4 < result["loss"] < 6
    assert evaluated(str(text_run)) == result
    assert "bits_per_byte" in invoke(app, ["eval", str(text_run), "--device", "cpu"]).stdout


def test_a_file_is_measured_as_a_whole_and_alike_as_tokens(text_run: Path, tmp_path: Path) -> None:
    from gpt2x.tokenizer import Tokenizer

    texts = ["Rain falls.", "The nights are long."]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "songs.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
    tokenizer = Tokenizer.load(text_run)
    ids = [token for text in texts for token in (tokenizer.eot_token, *tokenizer.encode_ordinary(text))]
    np.array(ids, "<u2").tofile(tmp_path / "other.bin")
    results = [
        evaluated(str(text_run), "--data", str(tmp_path / name))
        for name in ("other.jsonl", "songs.csv", "other.bin")
    ]
    for result in results:
        del result["data"]
        assert result["bytes"] == 31
        assert result == results[0]
    assert evaluated(str(text_run), "--data", str(tmp_path / "other.jsonl"), "--limit", "3")["tokens"] == 3


def test_questions_are_answered(text_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        json.dumps({"question": "Tale 3 of the", "choices": ["rain", "Xq#!7zz"], "answer": "rain"})
    )
    result = evaluated(str(text_run), "--choices", str(path))
    assert (result["questions"], result["accuracy"]) == (1, 1.0)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--data", "missing.txt"], 3, "there is no file missing.txt"),
        (
            ["--recipe", "poems"],
            2,
            "recipe 'poems' is unknown; choose one of lyrics, rhymed-lyrics, text, tokens",
        ),
        (["--choices", "q.jsonl", "--data", "x.txt"], 2, "give one of them"),
        (["--choices", "missing.jsonl"], 3, "missing.jsonl"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    text_run: Path, arguments: list[str], code: int, reason: str
) -> None:
    done = invoke(app, ["eval", str(text_run), "--device", "cpu", *arguments])
    assert done.exit_code == code
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_was_not_trained_here_needs_data(text_run: Path) -> None:
    (text_run / TRAINER / SETTINGS).unlink()
    done = invoke(app, ["eval", str(text_run), "--device", "cpu"])
    assert done.exit_code == 3
    assert "does not say what it was trained on" in done.stderr


def test_token_files_train_a_model_with_the_vocabulary_that_made_them(text_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "tokens"
    data.mkdir()
    rng = np.random.RandomState(0)
    rng.randint(0, 290, 500).astype("<u2").tofile(data / "train.bin")
    rng.randint(0, 290, 90).astype("<u2").tofile(data / "val.bin")
    command = ["train", "tokens", "--data", str(data), "--out", str(tmp_path / "of-tokens"), *TINY]
    done = invoke(app, [*command, "--tokenizer", str(text_run)])
    assert done.exit_code == 0, done.output
    assert evaluated(str(tmp_path / "of-tokens"))["tokens"] > 80
    done = invoke(app, [*command, "--overwrite", "--tokenizer", "train"])
    assert done.exit_code == 2
    assert "holds tokens, from which no vocabulary can be learned" in done.stderr
    done = invoke(app, ["train", "tokens", *TINY])
    assert done.exit_code == 2
    assert "give --data" in done.stderr


def test_a_run_is_not_resumed_with_another_recipe(tmp_path: Path) -> None:
    path = tmp_path / "songs.csv"
    path.write_text("text\n" + "".join(f"la la {n} and the rain of the night\n" for n in range(20)))
    command = ["--data", str(path), "--vocab", "280", "--out", str(tmp_path / "run"), *TINY]
    assert invoke(app, ["train", "lyrics", *command]).exit_code == 0
    done = invoke(app, ["train", "text", *command])
    assert done.exit_code == 2
    assert "another content of the data" in done.stderr


def test_tiny_shakespeare_by_name_is_one_sentence_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    done = invoke(app, ["train", "text", "--data", "tiny-shakespeare", "--out", str(tmp_path / "run"), *TINY])
    assert done.exit_code == 4
    assert "GPT2X_DATA_TINY_SHAKESPEARE" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_is_measured_on_the_songs_that_it_kept_wherever_they_are_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split of rhymed-lyrics is another than that of lyrics, and a relative name means the file of then."""
    monkeypatch.chdir(tmp_path)
    rows = [f"me,Song {n},,the rain of night {n}\n" for n in range(30)]
    Path("songs.csv").write_text("artist,song,link,text\n" + "".join(rows), encoding="utf-8")
    run = str(tmp_path / "run")
    command = ["train", "rhymed-lyrics", "--data", "songs.csv", "--vocab", "290", "--out", run, *TINY]
    done = invoke(app, command)
    assert done.exit_code == 0, done.output
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    kept, all_as_lyrics = evaluated(run), evaluated(run, "--recipe", "lyrics")
    assert kept["documents"] == all_as_lyrics["documents"] == 6
    assert kept["bytes"] > all_as_lyrics["bytes"], "the words that plan the lines belong to the documents"
    packed = str(tmp_path / "packed")
    pack = runpy.run_path(str(PACK))
    pack_folder(Path(run), Path(packed), {"held_out": pack["held_out"](Path(run))})
    monkeypatch.chdir(tmp_path)
    of_packed = evaluated(packed)
    assert {name: of_packed[name] for name in ("data", "documents", "bytes")} == {
        name: kept[name] for name in ("data", "documents", "bytes")
    }
    with (tmp_path / "songs.csv").open("a", encoding="utf-8") as file:
        file.write("me,Late,,a song that came later\n")
    assert "songs.csv has changed since" in invoke(app, ["eval", packed, "--device", "cpu"]).stderr
    changed = invoke(app, ["eval", run, "--device", "cpu"])
    assert changed.exit_code == 3
    assert "songs.csv has changed since" in changed.stderr


def test_songs_are_sung_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"me,Song {n},,the rain of night {n}\n" for n in range(30)]
    Path("songs.csv").write_text("artist,song,link,text\n" + "".join(rows), encoding="utf-8")
    done = invoke(
        app, ["train", "lyrics", "--data", "songs.csv", "--vocab", "290", "--out", "runs/mine", *TINY]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(
        invoke(app, ["eval", "runs/mine", "--songs", "--topics", "2", "--seeds", "2", "--json"]).stdout
    )
    assert list(result) == [
        *(
            "run",
            "topics",
            "seeds",
            "rhymed",
            "unknown",
            "repeated",
            "distinct_2",
            "has_topic",
            "ended",
            "lines",
        ),
        *("fluency", "copied", "copied_most", "bits_per_byte", "songs"),
    ]
    assert (result["topics"], result["seeds"]) == (["ex-girlfriend", "rain"], [1, 2])
    assert [(song["topic"], song["seed"]) for song in result["songs"]] == [
        *[("ex-girlfriend", 1), ("ex-girlfriend", 2), ("rain", 1), ("rain", 2)],
    ]
    assert result["copied_most"] == max(song["copied"] for song in result["songs"])
    assert result["ended"] == sum(song["ended"] for song in result["songs"]) / 4
    assert 1 < result["bits_per_byte"] < 20
    sung = invoke(app, ["sing", "rain", "--run", "runs/mine", "--seed", "2", "--score", "--json"])
    assert json.loads(sung.stdout)["score"]["words"] == result["songs"][3]["words"]
    Path("songs.csv").unlink()
    table = invoke(app, ["eval", "runs/mine", "--songs", "--topics", "1", "--seeds", "1"])
    assert "no held-out songs: there is no file" in table.stderr
    assert "goal" not in table.stdout
    assert table.stdout.splitlines()[-1].split()[-1] == "unknown"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--topics", "21"], "there are 20"), (["--choices", "q.jsonl"], "leave one out")],
)
def test_songs_that_cannot_be_sung_are_one_sentence(
    text_run: Path, arguments: list[str], reason: str
) -> None:
    done = invoke(app, ["eval", str(text_run), "--songs", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr
