"""The trainer's command line: its help, its settings, and what a user sees when something is wrong."""

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
from typer.testing import CliRunner

from gpt2x.cli.app import app

REPOSITORY = Path(__file__).parents[2]
invoke = CliRunner().invoke

TINY = [
    *("--vocab", "290", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16"),
    *("--total-batch-tokens", "64", "--batch-size", "4", "--steps", "5", "--warmup", "1"),
    *("--device", "cpu", "--dtype", "float32", "--validation-share", "0.2"),
]


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    path = tmp_path / "songs.csv"
    rows = (f'"Song {i}","la la number {i}\nsings of rain and of the {i} nights"\n' for i in range(12))
    path.write_text("song,text\n" + "".join(rows), encoding="utf-8")
    return path


def test_help_shows_every_setting_and_examples() -> None:
    text = invoke(app, ["train", "lyrics", "--help"]).stdout
    for option in (
        "--preset",
        "--data",
        "--total-batch-tokens",
        "--compile / --no-compile",
        "--resume",
        "--json",
    ):
        assert option in text
    assert "torchrun --nproc-per-node 2 -m gpt2x.train lyrics" in text


@pytest.mark.parametrize(
    "arguments", [["lyrics", "--help"], ["lyrics", "--show-config"], ["presets"]], ids=" ".join
)
def test_nothing_but_training_loads_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from gpt2x.cli.train import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert result.returncode == 0, result.stderr


def test_show_config_names_the_source_of_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nlr = 0.002\nwarmup = 7\n", encoding="utf-8")
    monkeypatch.setenv("GPT2X_TRAIN_WARMUP", "8")
    arguments = ["train", "lyrics", "--config", str(file), "--steps", "77", "--show-config", "--json"]
    shown = json.loads(invoke(app, arguments).stdout)
    assert shown["lr"] == {"value": 0.002, "source": f"file {file}"}
    assert shown["warmup"] == {"value": 8, "source": "environment GPT2X_TRAIN_WARMUP"}
    assert shown["steps"] == {"value": 77, "source": "flag"}
    assert shown["vocab"]["source"] == "preset lyrics"
    assert shown["seed"] == {"value": 1, "source": "default"}
    table = invoke(app, ["train", "lyrics", "--show-config"]).stdout
    assert "preset lyrics" in table


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--lr", "5e-5"], (5e-5, 2.5e-6, "follows lr")),
        ([], (2e-3, 1e-4, "preset lyrics")),
        (["--lr", "1e-3", "--min-lr", "1e-3"], (1e-3, 1e-3, "flag")),
        (["--preset", "gpt2", "--lr", "0.1"], (0.1, 0.01, "follows lr")),
    ],
    ids=str,
)
def test_the_last_learning_rate_follows_the_highest(
    flags: list[str], expected: tuple[float, float, str]
) -> None:
    shown = json.loads(invoke(app, ["train", "lyrics", *flags, "--show-config", "--json"]).stdout)
    assert shown["lr"]["value"] == expected[0]
    assert shown["min_lr"] == {"value": pytest.approx(expected[1]), "source": expected[2]}


def test_the_weights_that_a_run_starts_from_decide_its_shape_and_tokenizer() -> None:
    arguments = ["train", "lyrics", "--init-from", "runs/x", "--show-config", "--json"]
    shown = json.loads(invoke(app, arguments).stdout)
    for name in ("n_layer", "n_head", "n_embd", "block_size"):
        assert shown[name] == {"value": None, "source": "default"}
    assert shown["tokenizer"]["value"] == "auto"
    assert shown["steps"]["source"] == "preset lyrics"


def two_stages(songs: Path, tmp_path: Path) -> Path:
    """A file with two stages: a tiny run, and one that starts from it."""
    file = tmp_path / "stages.toml"
    file.write_text(
        f'''
[train]
data = "{songs}"
validation_share = 0.2
batch_size = 4
total_batch_tokens = 64
warmup = 1
device = "cpu"
dtype = "float32"

[[stage]]
out = "{tmp_path / "one"}"
vocab = 290
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
steps = 5

[[stage]]
out = "{tmp_path / "two"}"
lr = 1e-3
steps = 4
''',
        encoding="utf-8",
    )
    return file


def test_stages_of_one_file_follow_one_another_and_go_on_in_the_one_that_was_stopped(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt2x.model import load_folder
    from tests.train.test_loop import interrupt_at

    file = two_stages(songs, tmp_path)
    command = ["train", "lyrics", "--config", str(file)]
    with monkeypatch.context() as patch:
        interrupt_at(5 + 2, patch)
        stopped = invoke(app, command)
    assert stopped.exit_code == 130, stopped.stderr
    assert f"starts     from the weights of {tmp_path / 'one'}" in stopped.stderr
    again = invoke(app, [*command, "--json"])
    assert again.exit_code == 0, again.stderr
    assert f"the run in {tmp_path / 'one'} is finished" in again.stderr
    assert "resumes    after step 2 of 4" in again.stderr
    shape = json.loads(again.stdout)
    assert shape["run"] == str(tmp_path / "two")
    assert [(stage["run"], stage["steps"]) for stage in shape["stages"]] == [
        (str(tmp_path / "one"), 5),
        (str(tmp_path / "two"), 4),
    ]
    assert load_folder(tmp_path / "two")[0].config.n_embd == 16
    assert invoke(app, [*command, "--stage", "2", "--quiet"]).stdout == f"{tmp_path / 'two'}\n"


def test_a_stage_takes_its_start_and_its_settings_from_the_file(songs: Path, tmp_path: Path) -> None:
    command = ["train", "lyrics", "--config", str(two_stages(songs, tmp_path)), "--show-config"]
    one, two = json.loads(invoke(app, [*command, "--json", "--init-from", "runs/base"]).stdout)["stages"]
    assert one["init_from"] == {"value": "runs/base", "source": "flag"}
    assert two["init_from"]["value"] == str(tmp_path / "one")
    assert two["lr"]["source"].startswith("stage 2 of file")
    assert two["batch_size"]["value"] == 4
    assert invoke(app, command).stdout.count("stage 2 of file") > 3
    alone = json.loads(invoke(app, [*command, "--json", "--stage", "2"]).stdout)
    assert alone == two


BAD_STAGES = {
    "one folder": (["--out", "x"], "stages 1 and 2 both have out = x"),
    "resume": (["--resume"], "leave out --resume"),
    "number": (["--stage", "3"], "--stage is 3 and there are 2 stages"),
    "plan": (["--plan"], "--plan looks at one stage; choose it with --stage N, 1 to 2"),
}


@pytest.mark.parametrize(("arguments", "reason"), BAD_STAGES.values(), ids=BAD_STAGES.keys())
def test_stages_that_cannot_work_are_one_sentence(
    songs: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    result = invoke(app, ["train", "lyrics", "--config", str(two_stages(songs, tmp_path)), *arguments])
    assert result.exit_code == 2
    assert reason in result.stderr


def test_a_stage_that_is_no_table_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text("stage = 3\n", encoding="utf-8")
    result = invoke(app, ["train", "lyrics", "--config", str(tmp_path / "odd.toml"), "--show-config"])
    assert result.exit_code == 2
    assert "write [[stage]] before the settings of each" in result.stderr


@pytest.mark.parametrize(("preset", "steps"), [([], 1500), (["--preset", "first-song"], 2400)], ids=str)
def test_help_shows_the_values_of_the_preset(preset: list[str], steps: int) -> None:
    result = invoke(app, ["train", "lyrics", *preset, "--help"])
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert f"optimizer steps [{steps}]" in words
    assert "AdamW: memory of the mean gradient [0.9]" in words
    assert "[none]" not in words.lower()


def test_plan_tells_what_a_run_needs_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke(app, ["train", "lyrics", "--plan", "--json", "--out", str(out), *TINY])
    assert result.exit_code == 0, result.stderr
    needs = json.loads(result.stdout)
    parameters = 320 * 16 + 16 * 16 + 12 * 16**2 + 9 * 16 + 3 * 2 * 16  # matrices, biases, norms
    assert needs["parameters"] == parameters
    assert needs["steps"] == 5
    assert needs["flops_a_step"] == 64 * (6 * (12 * 16**2 + 16 * 320) + 12 * 16 * 16)
    assert needs["disk_bytes"] == parameters * (12 * 3 + 4)
    assert needs["run_s"] == pytest.approx(5 * needs["step_s"])
    assert needs["memory_bytes"] > 10**7
    assert not out.exists()
    table = invoke(app, ["train", "lyrics", "--plan", "--epochs", "2", *TINY]).stdout
    assert "known once the data are read" in table


def test_overfit_batch_says_whether_one_batch_was_learned(songs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        "train",
        "lyrics",
        "--overfit-batch",
        "--data",
        str(songs),
        "--out",
        str(out),
        *TINY,
        "--lr",
        "1e-2",
    ]
    result = invoke(app, [*command, "--steps", "400", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["reached"]
    assert found["first_loss"] > 5
    assert found["loss"] < found["threshold"] == 0.1
    assert found["steps"] < 400
    few = invoke(app, [*command, "--steps", "3"])
    assert few.exit_code == 1
    assert "NOT below 0.1 after 3 steps" in few.stdout
    assert not out.exists()


def test_find_lr_suggests_a_rate_below_the_one_at_which_the_loss_rises(songs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "lyrics", "--data", str(songs), "--out", str(out), *TINY, "--find-lr"]
    result = invoke(app, [*command, "60", "--json"])
    assert result.exit_code == 0, result.stderr
    sweep = json.loads(result.stdout)
    assert sweep["rates"][0] == 1e-7
    assert sweep["rates"] == sorted(sweep["rates"])
    assert 1e-4 < sweep["suggestion"] < sweep["lowest"] < 1.0
    assert min(sweep["smoothed"]) < sweep["smoothed"][0] - 0.5
    table = invoke(app, [*command, "20"]).stdout
    assert "suggested --lr" in table
    assert "lr" in table.splitlines()[0]
    few = invoke(app, [*command, "5"])
    assert few.exit_code == 2
    assert "--find-lr 5 is too few steps" in few.stderr
    assert invoke(app, [*command, "60", "--ranks", "2"]).exit_code == 2
    assert not out.exists()


def test_help_of_an_unknown_preset_suggests_the_nearest() -> None:
    result = invoke(app, ["train", "lyrics", "--preset", "first-sng", "--help"])
    assert result.exit_code == 2
    assert "did you mean 'first-song'" in result.stderr


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_TRAIN_STEP", "5")
    result = invoke(app, ["train", "lyrics", "--show-config"])
    assert result.exit_code == 2
    assert "GPT2X_TRAIN_STEP, which is no setting; did you mean GPT2X_TRAIN_STEPS?" in result.stderr


def test_steps_of_a_file_or_the_environment_beat_epochs_of_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text("steps = 500\n", encoding="utf-8")
    (tmp_path / "both.toml").write_text("steps = 500\nepochs = 2\n", encoding="utf-8")

    def epochs(*more: str) -> Any:
        words = ["train", "lyrics", "--preset", "gpt2", *more, "--show-config", "--json"]
        return json.loads(invoke(app, words).stdout)["epochs"]["value"]

    assert epochs() == 50
    assert epochs("--config", str(tmp_path / "mine.toml")) is None
    assert epochs("--config", str(tmp_path / "both.toml")) == 2
    words = [
        "train",
        "lyrics",
        "--preset",
        "gpt2",
        "--config",
        str(tmp_path / "flag.toml"),
        "--show-config",
        "--json",
    ]
    (tmp_path / "flag.toml").write_text("steps = 500\n", encoding="utf-8")
    assert json.loads(invoke(app, words).stdout)["epochs"]["source"] == f"file {tmp_path / 'flag.toml'}"
    monkeypatch.setenv("GPT2X_TRAIN_STEPS", "500")
    assert epochs() is None
    assert epochs("--epochs", "3") == 3


def test_steps_given_by_hand_beat_epochs_of_a_preset() -> None:
    shown = json.loads(
        invoke(app, ["train", "lyrics", "--preset", "gpt2", "--steps", "5", "--show-config", "--json"]).stdout
    )
    assert shown["steps"]["value"] == 5
    assert shown["epochs"]["value"] is None


def test_presets_say_what_to_expect() -> None:
    assert "first-song" in invoke(app, ["train", "presets"]).stdout
    rows = json.loads(invoke(app, ["train", "presets", "--json"]).stdout)
    assert {"name", "what", "expect", "settings"} == set(rows[0])


def test_training_prints_the_run_and_how_to_sing_from_it(songs: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    result = invoke(app, ["train", "lyrics", "--data", str(songs), "--out", run, *TINY])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{run}\n"
    assert f'gpt2x sing "ex-girlfriend" --run {run}' in result.stderr
    again = invoke(app, ["train", "lyrics", "--resume", "--out", run, "--json", "--quiet"])
    assert again.exit_code == 0, again.stderr
    assert again.stderr == ""
    shape = json.loads(again.stdout)
    assert set(shape) == {
        *(
            "run",
            "steps",
            "loss",
            "validation_loss",
            "best_step",
            "best_validation_loss",
            "parameters",
            "tokens",
        ),
        *("seconds", "tokens_per_second", "skipped", "token_hash"),
    }
    assert (shape["run"], shape["steps"], shape["tokens"]) == (run, 5, 320)


BAD = {
    "missing file": (["--data", "nowhere.csv"], 3, "there is no file nowhere.csv"),
    "folder": (["--data", "."], 3, "is a folder"),
    "unknown preset": (
        ["--preset", "frist-song"],
        2,
        "unknown preset 'frist-song'; did you mean 'first-song'?",
    ),
    "unknown model": (["--model", "gpt3"], 2, "unknown model 'gpt3'"),
    "unknown device": (["--device", "abacus"], 2, "'abacus'"),
    "heads": (["--n-embd", "30", "--n-head", "4"], 2, "30"),
    "vocabulary": (["--vocab", "200"], 2, "200"),
    "tokenizer": (["--tokenizer", "nowhere.tiktoken"], 3, "nowhere.tiktoken"),
    "learning rate": (["--lr", "-1"], 2, "lr = -1.0 cannot work"),
    "number": (["--steps", "many"], 2, "--steps"),
    "output below a file": (["--out", "songs.csv/run"], 1, "cannot write"),
    "resume nothing": (["--resume"], 2, "there is no run to resume"),
    "config file": (["--config", "nowhere.toml"], 3, "nowhere.toml"),
}


@pytest.mark.parametrize(("arguments", "code", "reason"), BAD.values(), ids=BAD.keys())
def test_what_cannot_work_is_one_sentence_and_a_named_exit_code(
    songs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, reason: str
) -> None:
    monkeypatch.chdir(songs.parent)
    result = invoke(app, ["train", "lyrics", "--data", "songs.csv", "--out", "run", *TINY, *arguments])
    assert result.exit_code == code, result.stderr
    assert reason in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code != 2 or "Usage" not in result.stderr:
        assert len([line for line in result.stderr.splitlines() if line.startswith("gpt2x: ")]) == 1
    assert not Path("run").exists()


BAD_DATA = {
    "empty": (b"", "is empty"),
    "no text column": (b"song,words\na,b\n", "no column called text"),
    "not UTF-8": (b"song,text\na,\xff\n", "is not UTF-8"),
    "one song": (b"song,text\na,la la\n", "give at least two"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_songs_are_input_data(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    run = tmp_path / "run"
    result = invoke(app, ["train", "lyrics", "--data", str(tmp_path / "bad.csv"), "--out", str(run), *TINY])
    assert result.exit_code == 3
    assert reason in result.stderr
    assert not list(run.rglob("*.safetensors"))


def test_a_corrupt_checkpoint_is_one_sentence(songs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", "lyrics", "--data", str(songs), "--out", str(run), *TINY]
    assert invoke(app, command).exit_code == 0
    for file in run.glob("trainer/step-*/model.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    result = invoke(app, command)
    assert result.exit_code == 3
    assert "is damaged: model.safetensors is not what was saved" in result.stderr


@pytest.mark.slow
def test_ctrl_c_saves_exits_130_and_the_same_command_goes_on(songs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "gpt2x.train", "lyrics", "--data", str(songs), "--out", str(run), *TINY]
    command[command.index("--steps") + 1] = "100000"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=env, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        metrics = run / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "gpt2x: interrupted"
    assert "Traceback" not in error
    assert len(list(run.glob("trainer/step-*/state.json"))) == 1
    assert not list(run.rglob("*.partial"))
