"""`gpt2x bench race` from the command line: for real but tiny, what it refuses, and what Ctrl-C keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.race.made import Made, falling
from typer.testing import CliRunner

from gpt2x.bench.machine import Machine
from gpt2x.bench.race import setting as sizes
from gpt2x.bench.race.entrants import ENTRANTS
from gpt2x.bench.race.setting import Setting
from gpt2x.cli.app import app
from gpt2x.model.config import GPTConfig

TINY = GPTConfig(vocab_size=300, block_size=16, n_layer=1, n_head=2, n_embd=16)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model, and no look at the machine, which has a test of its own."""
    machine = Machine(cpu="a CPU", cores=2, peak_flops={"float32": 1e11})
    monkeypatch.setattr("gpt2x.bench.process.probe", lambda device, visible_gpu=None: machine)
    monkeypatch.setattr("gpt2x.bench.machine.without_torch", lambda: machine)
    monkeypatch.setattr("gpt2x.bench.charts.is_available", lambda: False)
    monkeypatch.setattr(sizes, "Setting", partial(Setting, shape=TINY, batch=2, eval_windows=2))


@pytest.fixture
def words(tmp_path: Path) -> str:
    file = tmp_path / "words.txt"
    file.write_text("low lower lowest new newer newest wide wider widest " * 60, encoding="utf-8")
    return str(file)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Runs that compute nothing."""
    made = Made(falling({"rotary": 2.0, "muon": 1.5}))
    monkeypatch.setattr(
        "gpt2x.bench.race.run.Run",
        lambda entrant, setting, data, **options: made(entrant, **options),
    )
    return made


@pytest.fixture
def race(words: str) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        with_data = () if "--resume" in arguments or "--data" in arguments else ("--data", words)
        return CliRunner().invoke(app, ["bench", "race", *arguments, *with_data])

    return run


def test_a_race_is_run_for_real_and_its_files_are_written(race: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = race("--entrants", "short-first,modern", "--steps", "20", "--seeds", "1", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "Target:" in done.stdout
    assert "the chart needs matplotlib" in done.stderr
    assert "sweep: Muon + all three, rate 0.002: loss" in done.stderr
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (saved["format"], saved["complete"]) == ("gpt2x-bench-race", True)
    assert [entrant["key"] for entrant in saved["entrants"]] == ["baseline", "short-first", "modern"]
    run = saved["entrants"][0]["runs"][0]
    assert run["steps"] == [5, 10, 15, 20]
    assert run["seconds"] == sorted(run["seconds"])
    assert not list(out.glob(".*")), "nothing half-written is left"


def test_ctrl_c_keeps_the_rounds_that_are_done_and_resume_goes_on(
    fake: Made, race: Callable[..., Any], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    fake.interrupt = lambda key, seed, to: seed == 4
    stopped = race("--entrants", "rotary", "--out", out)
    assert stopped.exit_code == 130
    assert f"go on with: gpt2x bench race --resume {out}" in stopped.stderr
    assert "2 of 5 rounds are done" in " ".join(stopped.stdout.split())
    fake.interrupt = lambda key, seed, to: False
    fake.order.clear()
    done = race("--resume", out, "--seeds", "4")
    assert done.exit_code == 0, done.output
    assert {seed for _, seed, _ in fake.order} == {4, 5}
    assert "rotary positions comes to the tuned baseline's loss in 100 steps" in " ".join(done.stdout.split())


def test_ctrl_c_before_anything_is_done_writes_nothing(
    fake: Made, race: Callable[..., Any], tmp_path: Path
) -> None:
    fake.interrupt = lambda key, seed, to: True
    assert race("--out", str(tmp_path / "out")).exit_code == 130
    assert not (tmp_path / "out").exists()


def test_json_is_the_only_thing_on_stdout_and_quiet_is_quiet(
    fake: Made, race: Callable[..., Any], tmp_path: Path
) -> None:
    done = race("--quick", "--json", "--quiet", "--out", str(tmp_path / "out"))
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [entrant["key"] for entrant in found["entrants"]] == ["baseline", "rotary", "muon", "modern"]
    assert found["num_seeds"] == 3
    assert found["entrants"][1]["figures"]["counts"]


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--entrants", "rotari"], "did you mean 'rotary'?", 2),
        (["--steps", "3"], "--steps 3 is too short a race; give at least 20", 2),
        (["--seeds", "0"], "greater than or equal to 1", 2),
        (["--device", "tpu"], "--device 'tpu' is unknown", 2),
        (["--device", "cuda"], "--device cuda needs an NVIDIA GPU", 4),
        (["--data", "nowhere.txt"], "cannot read nowhere.txt", 3),
        (["--resume", "nowhere"], "cannot read nowhere", 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], sentence: str, code: int, race: Callable[..., Any], fake: Made
) -> None:
    done = race(*arguments)
    assert done.exit_code == code, done.output
    assert sentence in " ".join(done.stderr.split())
    assert not fake.order


def test_a_text_that_is_too_short_is_one_sentence(
    race: Callable[..., Any], tmp_path: Path, fake: Made
) -> None:
    (tmp_path / "short.txt").write_text("low lower lowest", encoding="utf-8")
    done = race("--data", str(tmp_path / "short.txt"), "--out", str(tmp_path / "out"))
    assert (done.exit_code, fake.order) == (3, [])
    assert "too few for steps of 32 and a held-out tenth; give a longer one" in done.stderr


def test_a_race_is_gone_on_with_as_it_was_begun(
    race: Callable[..., Any], tmp_path: Path, fake: Made, words: str
) -> None:
    out = str(tmp_path / "out")
    assert race("--entrants", "rotary", "--seeds", "2", "--out", out).exit_code == 0
    refused = race("--resume", out, "--steps", "50")
    assert refused.exit_code == 2
    assert "--resume goes on with the race as it was begun; leave out --steps" in refused.stderr
    assert "fewer than the 2 rounds that are done" in race("--resume", out, "--seeds", "1").stderr
    Path(words).write_text("other words " * 500, encoding="utf-8")
    changed = race("--resume", out)
    assert changed.exit_code == 3
    assert "has changed since; begin a new race" in changed.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cpu": "Another CPU", "cpu_family": 99, "cpu_model": 1}, "Another CPU (family 99, model 1)"),
        ({"versions": {"torch": "1.0"}}, "torch 1.0 then"),
    ],
)
def test_a_race_of_another_machine_is_not_gone_on_with(
    change: dict[str, Any], sentence: str, race: Callable[..., Any], tmp_path: Path, fake: Made
) -> None:
    out = tmp_path / "out"
    assert race("--entrants", "rotary", "--seeds", "2", "--out", str(out)).exit_code == 0
    file = out / "results.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values["machine"].update(change)
    file.write_text(json.dumps(values), encoding="utf-8")
    before = file.read_bytes()
    refused = race("--resume", str(out), "--seeds", "3")
    assert refused.exit_code == 2
    assert "begun under other conditions" in refused.stderr
    assert sentence in " ".join(refused.stderr.split())
    assert file.read_bytes() == before


def test_the_help_names_every_entrant(race: Callable[..., Any]) -> None:
    told = "".join(race("--help").stdout.split())  # it wraps between any two words
    assert ", ".join(entrant.key for entrant in ENTRANTS[1:]).replace(" ", "") in told


def test_a_race_is_shown_again(race: Callable[..., Any], tmp_path: Path, fake: Made) -> None:
    out = str(tmp_path / "out")
    first = race("--quick", "--out", out)
    again = CliRunner().invoke(app, ["bench", "show", out])
    assert (again.exit_code, again.stdout) == (0, first.stdout)


def test_a_result_of_somebody_else_is_not_replaced(
    race: Callable[..., Any], tmp_path: Path, fake: Made
) -> None:
    (tmp_path / "race.png").write_bytes(b"mine")
    done = race("--out", str(tmp_path))
    assert done.exit_code == 1
    assert "is not from `gpt2x bench` and would be replaced" in done.stderr
    assert not fake.order
