"""`gpt2x classify …`: a table on stdout as rows come, and one sentence for everything that can go wrong."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMAND = "classify"
pytestmark = pytest.mark.usefixtures("alone")

ROOT = Path(__file__).parent.parent.parent


def test_compare_prints_a_row_for_each_classifier_and_keeps_a_report(
    run: Run, news: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    code, stdout, stderr = run("compare", "--data", news, "--epochs", 1, "--tokenizer", "learn", "--out", out)
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert lines[0].startswith("model ")
    assert "95 % interval" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:8]] == [
        "naive Bayes",
        "hashed Bayes",
        "hashed linear",
        "TF-IDF linear",
        "RNN",
        "LSTM over GPT-2",
    ]
    assert "embeddings from lyric-writer" in lines[7], "the model that ships serves where there is no run"
    assert "--gpt2 pretrain" in lines[7], "and the row says what there is instead"
    assert any(line.startswith(("Best: ", "A tie: ")) for line in lines)
    assert "texts to learn from" in stderr
    report = json.loads((out / "report.json").read_text())
    assert report["best"] in ("nb", "hashed-nb", "linear", "tfidf")
    assert report["train_rows"] + report["test_rows"] == 120
    drawn = (out / "accuracy.png").exists()
    assert drawn == (importlib.util.find_spec("matplotlib") is not None)


def test_compare_prints_nothing_but_json_when_asked(run: Run, news: Path) -> None:
    code, stdout, _ = run("compare", "--data", news, "--models", "tfidf,nb", "--json", "--quiet")
    assert code == 0
    report = json.loads(stdout)
    assert [model["name"] for model in report["models"]] == ["tfidf", "nb"]
    assert all(model["accuracy"] > 0.8 for model in report["models"])
    assert report["classes"] == ["ARTS", "SPORT", "WEATHER"]


def test_the_same_seed_gives_the_same_report(run: Run, news: Path) -> None:
    def accuracies(seed: int) -> list[list[list[int]]]:
        _, stdout, _ = run("compare", "--data", news, "--models", "nb,tfidf", "--json", "--seed", seed)
        return [model["confusion"] for model in json.loads(stdout)["models"]]

    assert accuracies(3) == accuracies(3)


def test_limit_takes_fewer_rows(run: Run, news: Path) -> None:
    _, stdout, _ = run("compare", "--data", news, "--models", "nb", "--limit", 60, "--json")
    assert json.loads(stdout)["rows"] == 60


def test_quiet_silences_the_talk(run: Run, news: Path) -> None:
    _, stdout, stderr = run("compare", "--data", news, "--models", "nb", "--quiet")
    assert stderr == ""
    assert "naive Bayes" in stdout


@pytest.mark.parametrize("model", ["nb", "hashed-nb", "linear", "tfidf", "rnn"])
def test_a_trained_classifier_predicts(run: Run, news: Path, tmp_path: Path, model: str) -> None:
    folder = tmp_path / "kept"
    options = ("--tokenizer", "learn", "--epochs", "30") if model == "rnn" else ()
    code, stdout, stderr = run("train", "--model", model, "--data", news, "--out", folder, *options)
    assert code == 0, stderr
    assert "3 classes, 120 texts" in stdout
    code, stdout, _ = run("predict", folder, "storm and rain, wind", "match of the team: goal goal")
    assert code == 0
    rows = [line.split("\t") for line in stdout.splitlines()]
    assert [label for label, _ in rows] == ["WEATHER", "SPORT"]
    assert all(0 < float(share) <= 1 for _, share in rows)


def test_predict_reads_lines_from_standard_input(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    for dash in (["-"], []):
        code, stdout, _ = run(
            "predict", tmp_path / "kept", *dash, "--top-k", 2, input="rain\n\nopera novel\n"
        )
        assert code == 0
        rows = [line.split("\t") for line in stdout.splitlines()]
        assert [len(row) for row in rows] == [4, 4, 4], "an empty line is a text"
        assert rows[0][0] == "WEATHER"
        assert rows[2][0] == "ARTS"
        assert all(float(row[1]) >= float(row[3]) for row in rows)


def test_predict_prints_json_of_the_documented_shape(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    _, stdout, _ = run("predict", tmp_path / "kept", "rain", "--json", "--top-k", 9)
    prediction = json.loads(stdout)
    assert list(prediction) == ["text", "labels", "has_known_word"]
    assert prediction["text"] == "rain"
    assert prediction["labels"][0]["label"] == "WEATHER"
    assert sum(entry["probability"] for entry in prediction["labels"]) == pytest.approx(1)


def test_train_prints_json_of_the_documented_shape(run: Run, news: Path, tmp_path: Path) -> None:
    _, stdout, _ = run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept", "--json")
    answer = json.loads(stdout)
    assert list(answer) == ["model", "folder", "rows", "classes", "parameters", "train_seconds"]


def wrong_files(folder: Path) -> dict[str, Path]:
    """Files that hold no comparison."""
    line = '{"headline": "a b", "short_description": "", "category": "%s"}\n'
    contents = {
        "empty": b"",
        "one-class": (line % "X").encode() * 9,
        "lone": ((line % "X") * 9 + (line % "Y") * 9 + line % "LONE").encode(),
        "bytes": b'{"headline": "\xff", "category": "X"}\n',
        "prose": b"Once upon a time\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "there is no file"),
        ("empty", "is empty"),
        ("one-class", "at least two classes"),
        ("lone", "--min-rows 2"),
        ("bytes", "not UTF-8"),
        ("prose", "neither JSON lines nor"),
    ],
)
def test_data_that_cannot_be_compared_is_one_sentence_and_exit_code_3(
    run: Run, tmp_path: Path, name: str, sentence: str
) -> None:
    path = wrong_files(tmp_path).get(name, tmp_path / "missing.jsonl")
    code, stdout, stderr = run("compare", "--data", path, "--models", "nb")
    assert code == 3
    assert stdout == ""
    assert stderr.startswith("gpt2x: ")
    assert stderr.count("\n") == 1
    assert sentence in stderr


def test_train_refuses_one_class_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    path = wrong_files(tmp_path)["one-class"]
    code, _, stderr = run("train", "--model", "nb", "--data", path, "--out", tmp_path / "new" / "kept")
    assert code == 3
    assert "at least two classes" in stderr
    assert not (tmp_path / "new").exists()


def test_usage_errors_name_the_value_and_the_remedy(run: Run, news: Path, tmp_path: Path) -> None:
    code, _, stderr = run("compare", "--data", news, "--models", "nb,tf-idf")
    assert (code, stderr) == (
        2,
        "gpt2x: there is no classifier 'tf-idf'; did you mean 'tfidf'? "
        "(known: nb, hashed-nb, linear, tfidf, rnn, gpt2-lstm, sklearn-svc, sklearn-logistic, fasttext, minilm)\n",
    )
    code, _, stderr = run("train", "--model", "svm", "--data", news, "--out", tmp_path / "x")
    assert code == 2
    assert "no classifier 'svm'" in stderr
    code, _, stderr = run("compare")
    assert code == 2
    assert "--data" in stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("thesis")
    code, _, stderr = run("train", "--model", "nb", "--data", news, "--out", tmp_path / "full")
    assert code == 1
    assert "choose another place" in stderr
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_what_is_asked_for_and_not_there_is_refused_before_any_training(
    run: Run, news: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for option, value, wanted in (
        ("--gpt2", "nowhere", 3),
        ("--tokenizer", "nowhere", 3),
        ("--device", "tpu", 2),
        ("--out", tmp_path / "file" / "below", 1),
    ):
        code, stdout, stderr = run("compare", "--data", news, option, value)
        assert code == wanted, stderr
        assert stdout == "", "no row was printed"
        assert stderr.startswith("gpt2x: ")
        assert stderr.count("\n") == 1


def test_a_comparison_in_which_nothing_runs_fails_with_the_reason(run: Run, tmp_path: Path) -> None:
    signs = tmp_path / "signs.jsonl"
    rows = [
        {"category": "AB"[i % 2], "headline": "!? " * (i + 1), "short_description": ""} for i in range(40)
    ]
    signs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, stdout, stderr = run("compare", "--data", signs, "--models", "tfidf")
    assert code == 3
    assert "did not run" in stdout
    assert "no classifier ran" in stderr


def test_predict_says_what_is_wrong_with_a_folder(run: Run, news: Path, tmp_path: Path) -> None:
    code, _, stderr = run("predict", tmp_path / "nowhere", "text")
    assert code == 3
    assert "there is no folder" in stderr
    code, _, stderr = run("predict", tmp_path, "text")
    assert code == 3
    assert "holds no classifier" in stderr
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    (tmp_path / "kept" / "classifier.json").write_text("{")
    code, _, stderr = run("predict", tmp_path / "kept", "text")
    assert code == 3
    assert "damaged" in stderr


def test_predict_refuses_input_that_is_no_text(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    code, _, stderr = run("predict", tmp_path / "kept", "-", input=b"caf\xe9")
    assert code == 3
    assert "byte 0xe9 at offset 3" in stderr
    code, _, stderr = run("predict", tmp_path / "kept", "-", input=b"")
    assert code == 3
    assert "standard input is empty" in stderr
    code, _, stderr = run("predict", tmp_path / "kept", "-", "text")
    assert code == 2
    assert "not both" in stderr


def test_each_line_of_standard_input_gives_one_line_of_output(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    lines = ["rain", "a\u2028b", "c\x0cd", "e\rf", "g\x85h", "i\x1cj", "", "opera"]
    for end in ("\n", "\r\n"):
        for last in (end, ""):
            for mark in ("", "\ufeff"):
                given = (mark + end.join(lines) + last).encode()
                code, stdout, _ = run("predict", tmp_path / "kept", "-", input=given)
                assert code == 0
                assert stdout.count("\n") == len(lines)
                _, stdout, _ = run("predict", tmp_path / "kept", "--json", input=given)
                assert [json.loads(line)["text"] for line in stdout.splitlines()] == lines
    _, stdout, _ = run("predict", tmp_path / "kept", input="\n")
    assert stdout.count("\n") == 1, "an empty line is a text"


def test_utf_16_on_standard_input_is_named(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    code, _, stderr = run("predict", tmp_path / "kept", input="rain\n".encode("utf-16"))
    assert code == 3
    assert "standard input is UTF-16" in stderr
    code, _, stderr = run("predict", tmp_path / "kept", input="\ufeff".encode())
    assert code == 3
    assert "standard input is empty" in stderr


def test_a_label_with_line_ends_and_escapes_stays_in_its_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(
        "label,text\n" + '"a\tb\nc\u2028\x1b[2J",rain wind\nplain,goal match\n' * 3, encoding="utf-8"
    )
    run("train", "--model", "nb", "--data", path, "--out", tmp_path / "kept")
    _, stdout, _ = run("predict", tmp_path / "kept", "rain")
    label, share = stdout.removesuffix("\n").split("\t")
    assert label == "a b c \x1b[2J", "a pipe gets what is there"
    _, stdout, _ = run("predict", tmp_path / "kept", "rain", "--json")
    assert json.loads(stdout)["labels"][0]["label"] == "a\tb\nc\u2028\x1b[2J"
    monkeypatch.setattr("gpt2x.console.is_terminal", lambda stream: True)
    _, stdout, _ = run("predict", tmp_path / "kept", "rain")
    assert stdout == f"a b c \ufffd[2J\t{share}\n", "a terminal is not steered"
    _, stdout, _ = run("compare", "--data", path, "--models", "nb")
    assert "\x1b" not in stdout


def test_star_ratings_are_never_called_world_and_sports(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "stars.csv"
    path.write_text("label,text\n" + "1,cold soup\n2,warm soup\n" * 9, encoding="utf-8")
    _, stdout, _ = run("train", "--model", "nb", "--data", path, "--out", tmp_path / "kept", "--json")
    assert json.loads(stdout)["classes"] == ["1", "2"]


@pytest.mark.parametrize("model", ["nb", "tfidf"])
def test_texts_without_a_word_have_the_same_exit_code_in_compare_and_train(
    run: Run, tmp_path: Path, model: str
) -> None:
    path = tmp_path / "marks.csv"
    path.write_text("label,text\n" + "a,!\nb,?\n" * 5, encoding="utf-8")
    code, _, stderr = run("train", "--model", model, "--data", path, "--out", tmp_path / "kept")
    assert code == 3
    assert "no word is in" in stderr
    code, _, stderr = run("compare", "--data", path, "--models", model)
    assert code == 3
    assert "no classifier ran; the first says: no word is in" in stderr


def test_rows_that_are_left_out_are_counted_on_stderr(run: Run, news: Path, tmp_path: Path) -> None:
    blank = '{"headline": " ", "short_description": "", "category": "ARTS"}\n'
    news.write_text(blank * 5 + news.read_text())
    _, _, stderr = run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    assert "left out 5 of 125 rows: 5 have no text" in stderr


@pytest.mark.parametrize("seed", ["-1", str(2**40)])
def test_a_seed_that_cannot_work_is_a_usage_error(run: Run, news: Path, tmp_path: Path, seed: str) -> None:
    for arguments in (
        ("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept", "--seed", seed),
        ("compare", "--data", news, "--models", "nb", "--seed", seed),
    ):
        code, _, stderr = run(*arguments)
        assert code == 2
        sentence = "Invalid value for '--seed'" if seed == "-1" else f"random_state = {seed} cannot work"
        assert sentence in stderr


def test_an_interrupted_comparison_leaves_with_130(
    run: Run, news: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt2x.classify.naive_bayes.NaiveBayes._fit", interrupt)
    code, _, stderr = run("compare", "--data", news, "--models", "nb,tfidf")
    assert code == 130
    assert stderr.endswith("gpt2x: interrupted\n")


@pytest.mark.parametrize("command", ["compare", "train", "predict", "review"])
def test_help_shows_examples(run: Run, command: str) -> None:
    code, stdout, _ = run(command, "--help")
    assert code == 0
    assert f"gpt2x classify {command}" in stdout


def test_help_starts_without_torch_or_scikit_learn() -> None:
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(sorted({'torch', 'sklearn', 'numpy'} & set(sys.modules))))\n"
        "from gpt2x.cli.app import app; app(['classify', 'compare', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", ["report.json", "accuracy.png", "confusion-nb.png"])
def test_a_report_replaces_its_own_files_and_no_others(
    run: Run, news: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "report"
    command = ("compare", "--data", news, "--models", "nb", "--out", out)
    assert run(*command).exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert run(*command).exit_code == 0
    (out / name).write_text('{"models": "mine"}')
    code, stdout, stderr = run(*command)
    assert (code, stdout) == (1, "")
    assert stderr == f"gpt2x: {out} holds {name}, which gpt2x did not write; choose another place\n"
    assert (out / name).read_text() == '{"models": "mine"}'
    assert (out / "notes.txt").read_text() == "mine"


def test_a_report_of_an_earlier_version_is_replaced(run: Run, news: Path, tmp_path: Path) -> None:
    command = ("compare", "--data", news, "--models", "nb", "--out", tmp_path / "report")
    assert run(*command).exit_code == 0
    file = tmp_path / "report" / "report.json"
    values = json.loads(file.read_text())
    assert values.pop("format") == "gpt2x-comparison"
    file.write_text(json.dumps(values))
    assert run(*command).exit_code == 0
    assert "format" in json.loads(file.read_text())


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_learned(run: Run, news: Path) -> None:
    for out in (news, news / "below"):
        code, _, stderr = run("compare", "--data", news, "--models", "nb", "--out", out)
        assert code == 1
        assert str(news) in stderr
        assert stderr.count("\n") == 1
        assert run("train", "--model", "nb", "--data", news, "--out", out).exit_code == 1


def test_endless_data_are_one_sentence(run: Run) -> None:
    if not Path("/dev/zero").is_char_device():
        pytest.skip("no /dev/zero here")
    code, _, stderr = run("compare", "--data", "/dev/zero", "--models", "nb")
    assert (code, stderr) == (
        3,
        "gpt2x: /dev/zero has more than 1 MiB, the most that is read of it; give another file\n",
    )


def test_predict_names_the_words_that_decided_and_what_is_unknown(
    run: Run, news: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    run("train", "--model", "linear", "--data", news, "--out", kept, "--input", "full")
    code, stdout, stderr = run("predict", kept, "--explain", "storm of rain", "zzxqy")
    assert code == 0, stderr
    assert "the text 'zzxqy' has no word that the classifier knows" in stderr
    first = stdout.splitlines()[0].split("\t")
    assert first[0] == "WEATHER"
    assert {word.split("+")[0] for word in first[2].split(" ")[:2]} == {"storm", "rain"}
    _, stdout, _ = run("predict", kept, "--explain", "--json", "--fields", "storm\train")
    prediction = json.loads(stdout)
    assert prediction["has_known_word"] is True
    assert {entry["word"] for entry in prediction["words"]} == {"storm", "rain"}


def test_predict_names_no_label_that_is_too_unsure(run: Run, news: Path, tmp_path: Path) -> None:
    run("train", "--model", "nb", "--data", news, "--out", tmp_path / "kept")
    _, stdout, _ = run(
        "predict", tmp_path / "kept", "--abstain", 0.9, "rain storm wind rain", "rain goal opera"
    )
    assert [line.split("\t")[0] for line in stdout.splitlines()] == ["WEATHER", "?"]


def test_compare_takes_a_split_test_data_and_a_blend(run: Run, news: Path) -> None:
    options = ("--models", "nb,linear", "--blend", "--abstain", 0.8, "--json", "--quiet")
    code, stdout, stderr = run(
        "compare", "--data", news, *options, "--split", "playground", "--split-seed", 4, "--input", "full"
    )
    assert code == 0, stderr
    report = json.loads(stdout)
    assert (report["split"], report["test_rows"], report["abstain"]) == ("playground", 24, 0.8)
    assert [model["name"] for model in report["models"]] == ["nb", "linear", "blend"]
    _, stdout, _ = run("compare", "--data", news, "--test-data", news, *options, "--objective", "macro")
    report = json.loads(stdout)
    assert (report["train_rows"], report["test_rows"]) == (120, 120)
    assert report["models"][1]["settings"]["objective"] == "macro"
    for wrong in (("--input", "odd"), ("--split", "odd"), ("--objective", "odd")):
        code, _, stderr = run("compare", "--data", news, *options, *wrong)
        assert code == 2
        assert "odd" in stderr


def test_dials_come_from_a_file_the_environment_and_flags(
    run: Run, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "dials.toml"
    config.write_text("[classify]\nalpha = 0.5\nmin_count = 2\nepochs = 3\n")
    monkeypatch.setenv("GPT2X_CLASSIFY_MIN_COUNT", "3")

    def params(*options: object) -> dict[str, object]:
        code, _, stderr = run(
            "train", "--data", news, "--out", tmp_path / "kept", "--config", config, *options
        )
        assert code == 0, stderr
        return json.loads((tmp_path / "kept" / "classifier.json").read_text())["params"]

    found = params("--model", "nb")
    assert (found["alpha"], found["min_count"]) == (0.5, 3)
    found = params("--model", "tfidf", "--epochs", 2, "--ngrams", 1, "--min-count", 1)
    assert (found["epochs"], found["ngrams"], found["min_count"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "linear", "--alpha", 1), "--alpha is for nb; linear does not have it"),
        (("--model", "nb", "--tokenizer", "learn"), "--tokenizer is for rnn; nb does not have it"),
        (("--model", "nb", "--alpha", -1), "--alpha = -1.0 cannot work"),
    ],
)
def test_a_dial_that_cannot_work_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, options: tuple[object, ...], sentence: str
) -> None:
    code, _, stderr = run("train", "--data", tmp_path / "none", "--out", tmp_path / "kept", *options)
    assert code == 2
    assert sentence in stderr


def test_every_setting_that_will_hold_is_shown_with_where_it_came_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "dials.toml"
    config.write_text("min_count = 4\nalpha = 0.3\n", encoding="utf-8")
    monkeypatch.setenv("GPT2X_CLASSIFY_EPOCHS", "7")
    asked = ("--config", config, "--bits", 20, "--show-config")
    code, stdout, stderr = run("train", "--model", "linear", *asked)
    assert (code, stderr) == (0, "")
    rows = [line.split(maxsplit=3) for line in stdout.splitlines()]
    assert rows[0] == ["model", "setting", "value", "source"]
    assert {row[0] for row in rows[2:]} == {"linear"}
    shown = {name: (value, source) for _, name, value, source in rows[2:]}
    assert shown["bits"] == ("20", "flag")
    assert shown["min_count"] == ("4", f"file {config}")
    assert shown["epochs"] == ("7", "environment GPT2X_CLASSIFY_EPOCHS")
    assert shown["objective"] == ("accuracy", "default")
    code, stdout, _ = run("compare", "--models", "nb,linear", *asked, "--json")
    found = json.loads(stdout)
    assert code == 0
    assert set(found["linear"]) == set(shown)
    assert found["nb"] == {
        "alpha": {"value": 0.3, "source": f"file {config}"},
        "min_count": {"value": 4, "source": f"file {config}"},
        "class_weight": {"value": None, "source": "default"},
        "objective": {"value": "accuracy", "source": "default"},
    }


def test_settings_that_cannot_work_are_refused_and_not_shown(run: Run, news: Path) -> None:
    code, stdout, stderr = run("train", "--bits", 99, "--show-config")
    assert (code, stdout) == (2, "")
    assert "--bits = 99 cannot work" in stderr
    code, stdout, stderr = run("train", "--data", news)
    assert (code, stdout) == (2, "")
    assert stderr == "gpt2x: --out is missing; name the folder to keep the classifier in\n"
