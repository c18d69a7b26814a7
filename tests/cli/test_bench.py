"""`gpt2x bench`: the ladder from the command line, for real but tiny, and what it refuses."""

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
from bench.fakes import Bench
from typer.testing import CliRunner

from gpt2x.bench.ladder.config import MODELS
from gpt2x.bench.machine import Machine
from gpt2x.cli.app import app
from gpt2x.errors import OutputError
from gpt2x.model.config import GPTConfig

TINY = ("--model", "tiny", "--batch", "1", "--seq", "8", "--steps", "2", "--rounds", "1")


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe has its own test; here it takes no time."""
    machine = Machine(
        cpu="a CPU", cores=2, instruction_sets=("avx512_bf16",), gloo=True, peak_flops={"float32": 1e11}
    )
    monkeypatch.setattr("gpt2x.bench.process.probe", lambda device, visible_gpu=None: machine)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = GPTConfig(vocab_size=300, block_size=16, n_layer=1, n_head=1, n_embd=16)
    monkeypatch.setitem(MODELS, "tiny", tiny)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Rungs that compute nothing, in the place of processes."""
    bench = Bench()
    monkeypatch.setattr(
        "gpt2x.bench.ladder.launch.Launcher.launch", lambda launcher, config: bench.launch(config)
    )
    return bench


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_a_ladder_is_climbed_for_real_and_its_files_are_written(tmp_path: Path) -> None:
    out = tmp_path / "result"
    done = bench(*TINY, "--rungs", "1,sharing", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "no CUDA GPU here" in done.stdout
    assert "where you started" in done.stdout.split("\n\n")[-1], "the sentence comes last"
    saved = json.loads((out / "results.json").read_text())
    assert [(rung["key"], rung["status"]) for rung in saved["rungs"]] == [
        ("start", "measured"),
        ("gpu", "skipped"),
        ("sharing", "measured"),
    ]
    assert saved["rungs"][2]["parameters"] < saved["rungs"][0]["parameters"]
    assert not list(out.glob(".*")), "nothing half-written is left"


def test_a_saved_result_is_shown_and_compared(fake: Bench, tmp_path: Path) -> None:
    out = tmp_path / "result"
    done = bench("--rungs", "1-3,flash", "--out", str(out))
    assert "flash attention" in done.stderr, "rows come on stderr as they are measured"
    assert {file.name for file in out.iterdir()} >= {"results.json"}
    assert bench("show", str(out)).stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    compared = json.loads(bench("compare", str(out), str(out), "--json").stdout)
    assert [rung["ratio"] for rung in compared["rungs"]] == [1.0, None, 1.0, 1.0, 1.0]
    assert "B ÷ A" in bench("compare", str(out), str(out)).stdout


def test_json_is_the_only_thing_on_stdout_and_quiet_is_quiet(fake: Bench, tmp_path: Path) -> None:
    done = bench("--rungs", "0", "--json", "--quiet", "--out", str(tmp_path / "result"))
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rungs"][0]["figures"]["tokens_per_second"] == 4 * 64 / 0.1
    assert done.stderr == ""


def test_a_result_lands_in_a_folder_with_the_time_by_default(
    fake: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("--rungs", "0").exit_code == 0
    assert len(list((tmp_path / "bench-results").glob("20*/results.json"))) == 1


def test_ctrl_c_writes_the_finished_rungs_and_exits_with_130(fake: Bench, tmp_path: Path) -> None:
    fake.interrupt = lambda config, rounds: config.attention == "flash"
    done = bench("--out", str(tmp_path / "result"))
    assert done.exit_code == 130
    assert "interrupted before the end" in done.stdout
    assert done.stderr.splitlines()[-1] == "gpt2x: interrupted"
    saved = json.loads((tmp_path / "result" / "results.json").read_text())
    assert not saved["complete"]
    assert saved["rungs"][-1]["number"] == 6, "the last row is that of the rung before"


def test_a_ladder_of_which_nothing_can_be_measured_is_an_error_that_says_why(
    fake: Bench, tmp_path: Path
) -> None:
    fake.broken = lambda config: "no such luck"
    done = bench("--rungs", "2", "--json", "--out", str(tmp_path / "result"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "gpt2x: no rung could be measured: naive start: no such luck"
    assert not (tmp_path / "result").exists()


def test_a_step_that_is_interrupted_shows_what_it_has_and_exits_with_130(fake: Bench) -> None:
    fake.interrupt = lambda config, rounds: config.fused_loss and rounds == 3
    done = bench("step", "--model", "tiny", "--seq", "8", "--peer", "nanogpt", "--json")
    assert done.exit_code == 130, done.output
    assert not json.loads(done.stdout)["complete"]


def test_ctrl_c_before_the_first_rung_is_done_writes_nothing(fake: Bench, tmp_path: Path) -> None:
    fake.interrupt = lambda config, rounds: True
    assert bench("--out", str(tmp_path / "result")).exit_code == 130
    assert not (tmp_path / "result").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(fake: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench("--rungs", "0", "--out", str(tmp_path / "file"))
    assert done.exit_code == 1
    assert "cannot write" in done.stderr


def test_the_top_without_each_rung_and_peers_are_measured_beside_the_ladder(
    fake: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "result"
    done = bench("--rungs", "2,flash", "--leave-one-out", "--peer", "hf", "--rounds", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    saved = json.loads((out / "results.json").read_text())
    assert [row["key"] for row in saved["left_out"]] == ["sharing", "flash"]
    assert [row["key"] for row in saved["peers"]] == ["hf"]
    assert "the top without flash attention: 100 ms" in done.stderr


def test_rungs_of_ones_own_are_climbed(fake: Bench, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(
        '[[rung]]\nkey = "mine"\ntitle = "my rung"\nchange = "it clips"\nwhy = "To see."\nafter = "sharing"\n'
        'alters = "smaller gradients"\nchanges = { grad_clip = 0.5 }\n',
        encoding="utf-8",
    )
    done = bench(
        "--rungs",
        "2,mine",
        "--rungs-file",
        str(file),
        "--rounds",
        "1",
        "--json",
        "--out",
        str(tmp_path / "r"),
    )
    assert done.exit_code == 0, done.output
    rungs = json.loads(done.stdout)["rungs"]
    assert [(rung["number"], rung["key"]) for rung in rungs] == [(0, "start"), (2, "sharing"), (3, "mine")]
    assert rungs[2]["config"]["grad_clip"] == 0.5


def test_keep_all_builds_on_what_is_slower(fake: Bench, tmp_path: Path) -> None:
    fake.step_ms = lambda config: 900.0 if config.attention == "flash" else 100.0
    common = ("--rungs", "flash,vocab", "--rounds", "1", "--json", "--out", str(tmp_path / "r"))
    passed_over, kept = (
        json.loads(bench(*common, *more).stdout)["rungs"][1:] for more in ((), ("--keep-all",))
    )
    assert (passed_over[0]["pays"], passed_over[1]["config"]["attention"]) == (False, "naive")
    assert (kept[0]["pays"], kept[1]["config"]["attention"]) == (True, "flash")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--rungs", "1-6,fusd"), 2, "did you mean 'fused-loss'"),
        (("--model", "gtp2"), 2, "did you mean 'gpt2'"),
        (("--device", "tpu"), 2, "give auto, cpu, cuda or cuda:N"),
        (("--device", "cuda"), 4, "needs an NVIDIA GPU"),
        (("--budget", "soon"), 2, "write 90s or 3m"),
        (("--model", "gpt2", "--seq", "4096"), 2, "1024 positions"),
        (("--data", "nowhere.txt"), 3, "nowhere.txt"),
        (("show", "nowhere.json"), 3, "nowhere.json"),
        (("compare", "a.json", "b.json"), 3, "a.json"),
        (("--batch", "0"), 2, "--batch"),
        (("--peer", "jax"), 2, "choose among nanogpt, hf, lightning"),
        (
            ("--like-playground", "--model", "micro"),
            2,
            "--like-playground and --model micro exclude one another",
        ),
        (("--rungs-file", "nowhere.toml"), 3, "nowhere.toml"),
        (("clmb",), 2, "clmb"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_in_one_sentence(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bench(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("bench-results*"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--rungs", "nonsense"), 2),
        (("--model", "nope"), 2),
        (("--seq", "9" * 18), 2),
        (("--model", "micro", "--seq", "257"), 2),
        (("--device", "cuda:99"), 4),
        (("--device", "cuda:" + "9" * 5000), 2),
        (("--device", "cpu", "--batch", "100000000"), 2),
        (("--device", "cpu", "--total-batch", "7"), 2),
        (("--data", "missing.txt"), 3),
        (("--data", "empty.txt"), 3),
        (("--budget", "9" * 400 + "h"), 2),
        (("--seed", "-1"), 2),
        (("--seed", str(2**64)), 2),
        (("--steps", str(2**64)), 2),
        (("--out", "empty.txt"), 1),
        (("--out", "empty.txt/below"), 1),
        (("--out", "foreign"), 1),
        (("step", "--dtype", "float8"), 2),
        (("step", "--model", "nope"), 2),
        (("step", "--seq", "9" * 9), 2),
        (("step", "--device", "cuda:99"), 4),
        (("step", "--data", "missing.txt"), 3),
        (("step", "--rounds", str(2**64)), 2),
        (("decode", "--model", "nope"), 2),
        (("decode", "--prompt", "9" * 9), 2),
        (("decode", "--device", "cuda:99"), 4),
        (("ops", "--op", "nope"), 2),
        (("ops", "--rows", "9" * 12), 2),
        (("ops", "--device", "cuda:99"), 4),
        (("bpe", "--peers", "nope"), 2),
        (("bpe", "--inputs", "nope"), 2),
        (("bpe", "missing.txt"), 3),
        (("bpe", "--out", "empty.txt"), 1),
        (("bpe", "--train", "--out", "foreign"), 1),
        (("bpe", "--train", "missing.txt"), 3),
        (("compare", "a", "b", "--fail-below", "nan"), 2),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_all_input_is_checked_before_anything_is_measured_or_started(
    arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        pytest.fail("something was measured, or a process started")

    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("foreign").mkdir()
    Path("foreign", "results.json").write_text("{}")
    for name in (
        "process.probe",
        "machine.measure_peak",
        "process.Process",
        "process.run_worker",
        "decode.compare.run_worker",
    ):
        monkeypatch.setattr(f"gpt2x.bench.{name}", forbidden)
    monkeypatch.setattr("gpt2x.bench.bpe.encode.start_up.subprocess.run", forbidden)
    done = bench(*arguments)
    assert done.exit_code == code, done.output
    assert done.stderr.splitlines()[-1].startswith(("gpt2x: ", "Error: "))
    assert len(done.stderr) < 1100
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("bench-results*"))


def test_a_disk_that_is_full_at_the_end_takes_no_figures_away(
    fake: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OutputError("cannot write results.json: No space left on device")

    monkeypatch.setattr("gpt2x.bench.records.save", refuse)
    done = bench("--rungs", "0", "--json", "--out", str(tmp_path / "result"))
    assert done.exit_code == 1
    assert json.loads(done.stdout)["rungs"][0]["figures"] is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_a_real_ctrl_c_keeps_the_finished_rungs_and_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "result"
    command = [sys.executable, "-m", "gpt2x.cli.app", "bench", "--model", "micro", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if line.lstrip().startswith("2  weight tying"):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        output, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert rest.splitlines()[-1] == "gpt2x: interrupted"
    assert "interrupted before the end" in " ".join(output.split())
    saved = json.loads((out / "results.json").read_text())
    assert not saved["complete"]
    assert [rung["key"] for rung in saved["rungs"]][:3] == ["start", "gpu", "sharing"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), (" 1h ", 3600.0)])
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    from gpt2x.cli.lengths import parse_seconds

    assert parse_seconds("--budget", text) == seconds


def test_equal_rungs_are_told_to_be_equal_and_stand_alone(fake: Bench, tmp_path: Path) -> None:
    done = bench("--aa", "3", "--out", str(tmp_path / "result"))
    assert done.exit_code == 0, done.output
    assert "A/A: 0 of 3 comparisons of equal rungs were called different" in " ".join(done.stdout.split())
    refused = bench("--aa", "3", "--rungs", "flash", "--out", str(tmp_path / "other"))
    assert refused.exit_code == 2
    assert "--aa measures equal rungs alone" in refused.stderr
