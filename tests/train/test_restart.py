"""Restarts: what a killed process leaves, two trainers in one folder, and what others do to the files on top."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpt2x.errors import Gpt2xError, OutputError, UsageError
from gpt2x.train import loop, relaunch
from gpt2x.train.checkpoint import RunFolder, digest, saved_settings
from gpt2x.train.command import Command
from gpt2x.train.config import TrainConfig
from gpt2x.train.launch import _explain
from gpt2x.train.lock import RunLock
from gpt2x.train.loop import train_stages
from gpt2x.train.recipe import LYRICS
from gpt2x.train.setup import Setup
from gpt2x.train.step import StepResult, TrainingStep
from tests.train.conftest import run
from tests.train.test_initial import SHAPE
from tests.train.test_loop import assert_equal_weights, interrupt_at, interrupted_at

Tiny = Callable[..., TrainConfig]


def test_two_trainers_do_not_share_a_folder(tiny: Tiny, tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run" / "trainer")
    (tmp_path / "run" / "trainer" / "config.json").write_text('{"format": "gpt2x-run"}', encoding="utf-8")
    with pytest.raises(UsageError, match=rf"another process trains in .*run \(pid {os.getpid()}\)"):
        run(tiny())
    lock.release()
    run(tiny())
    run(tiny(), overwrite=True)  # the lock of a run that ended is free


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from gpt2x.train.lock import RunLock\n"
        "lock = RunLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"pid {holder.pid}"):
            RunLock(tmp_path)
        holder.kill()
        holder.wait()
        RunLock(tmp_path).release()


def test_what_a_killed_process_left_half_written_is_swept(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny(steps=3))
    halves = [
        tmp_path / "run" / "trainer" / ".step-00000004.abc12345.partial",
        tmp_path / "run" / ".saving.xyz",
    ]
    mine = tmp_path / "run" / "trainer" / ".mine.partial"
    for folder in (*halves, mine):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    run(tiny(steps=3))
    assert not any(folder.exists() for folder in halves)
    assert mine.exists()


def test_overwrite_clears_only_at_the_first_start_under_torchrun(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with interrupted_at(5):
        run(tiny(), overwrite=True)
    with monkeypatch.context() as patch:
        patch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        run(tiny(), overwrite=True)
    assert "resumes    after step 5 of 12" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    run(tiny(), overwrite=True)
    assert "resumes" not in capsys.readouterr().err


def test_a_first_start_that_died_before_it_cleared_anything_is_made_up_for(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a launch before, the old run may even bear a mark."""
    run(tiny(), overwrite=True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setattr(relaunch, "_mark", lambda: "a later launch")
    run(tiny(lr=2e-3), overwrite=True)
    run(tiny(lr=2e-3), overwrite=True)
    assert capsys.readouterr().err.count("is finished") == 1, "the second was cleared by this launch"


def test_ranks_of_several_machines_count_their_restarts(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    folder = RunFolder(Path(str(tiny().out)))
    assert not relaunch.has_cleared(folder)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert relaunch.has_cleared(folder), "whoever cleared it may be on another machine"


def test_what_is_done_to_the_files_on_top_does_not_reach_the_checkpoints(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny("whole"))
    with interrupted_at(5):
        run(tiny("broken"))
    for file in (tmp_path / "broken").iterdir():
        if file.is_file() and file.suffix == ".safetensors":
            with file.open("r+b") as opened:  # in place, as save_pretrained writes
                opened.write(b"scribble")
        if file.name == "config.json":
            with file.open("r+", encoding="utf-8") as opened_text:
                text = opened_text.read().replace('"use_cache": true', '"use_cache": null')
                opened_text.seek(0)
                opened_text.write(text)
    run(tiny("broken"))
    assert "damaged" not in capsys.readouterr().err
    assert_equal_weights(str(tmp_path / "whole"), str(tmp_path / "broken"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_every_polite_signal_saves_between_two_micro_batches(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """A step of two micro-batches that is told to stop in the first is not finished, and done again later."""
    changes = {"total_batch_tokens": 128}
    run(tiny("whole", **changes))
    original, count = TrainingStep.forward, 0

    def forward(training: TrainingStep, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 9:  # the first of step 5
            os.kill(os.getpid(), number)
        return original(training, *arguments)

    number = getattr(signal, name)
    # A suite that nohup started, or a script in the background, ignores some of them, and then so does a run.
    ignored = signal.signal(number, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(TrainingStep, "forward", forward)
            with pytest.raises(KeyboardInterrupt):
                run(tiny("broken", **changes))
    finally:
        signal.signal(number, ignored)
    assert count == 9
    assert (tmp_path / "broken" / "trainer" / "step-00000004").is_dir()
    run(tiny("broken", **changes))
    assert_equal_weights(str(tmp_path / "whole"), str(tmp_path / "broken"))


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_the_first_step(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))  # type: ignore[attr-defined]

    def call(training: TrainingStep, *arguments: Any) -> StepResult:
        pytest.fail("a step was computed")

    monkeypatch.setattr(TrainingStep, "__call__", call)
    with pytest.raises(OutputError, match=r"has 0 MB free and a checkpoint needs .* give another --out"):
        run(tiny())
    assert not (tmp_path / "run").exists()


def test_the_advice_after_an_interruption_keeps_what_was_saved(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with interrupted_at(5):
        run(tiny(), overwrite=True)
    said = capsys.readouterr().err
    assert "after step 5 of 12; the same command without --overwrite goes on from there" in said
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        patch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # the command is still the one with --overwrite
        with pytest.raises(KeyboardInterrupt):
            run(tiny(), overwrite=True)
    said = capsys.readouterr().err
    assert "after step 8 of 12; the same command without --overwrite goes on from there" in said


def test_a_killed_rank_of_a_run_that_overwrites_is_told_so(tmp_path: Path) -> None:
    killed = {1: SimpleNamespace(exitcode=-signal.SIGKILL, local_rank=1, timestamp=1)}
    (tmp_path / "attempt" / "attempt_0").mkdir(parents=True)
    for command, words in ((Command(), "the same command"), (Command(overwrite=True), "without --overwrite")):
        with pytest.raises(Gpt2xError, match=f"{words} goes on from the last checkpoint"):
            _explain(killed, tmp_path, command)  # type: ignore[arg-type]


@pytest.fixture
def stages(tiny: Tiny) -> Callable[..., list[TrainConfig]]:
    """A run of two steps and one that starts from it."""

    def make(**changes: Any) -> list[TrainConfig]:
        base = tiny("base", steps=2, eval_every=0, **changes)
        return [base, dataclasses.replace(base, out=tiny("tuned").out, init_from=base.out, **SHAPE)]

    return make


def test_overwrite_clears_all_stages_at_the_first_start(
    stages: Callable[..., list[TrainConfig]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train_stages(stages(), LYRICS)
    (tmp_path / "tuned" / "README.md").write_text("mine", encoding="utf-8")
    with interrupted_at(1):
        train_stages(stages(seed=2), LYRICS, overwrite=True)
    assert not RunFolder(tmp_path / "tuned").checkpoints(), "a restart would take it for finished"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert [result.steps for result in train_stages(stages(seed=2), LYRICS, overwrite=True)] == [2, 2]


def test_a_stop_in_the_last_step_of_a_stage_keeps_the_next_from_starting(
    stages: Callable[..., list[TrainConfig]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told_to_stop(setup: Setup) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return measured(setup)

    measured = loop.validate
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "validate", told_to_stop)
        train_stages(stages(), LYRICS)
    assert "interrupted before stage 2 of 2" in capsys.readouterr().err
    assert RunFolder(tmp_path / "base").checkpoints()
    assert not RunFolder(tmp_path / "tuned").checkpoints()
    assert [result.steps for result in train_stages(stages(), LYRICS)] == [2, 2]


def test_a_stage_in_which_another_process_trains_is_not_cleared_nor_are_the_others(
    stages: Callable[..., list[TrainConfig]], tmp_path: Path
) -> None:
    train_stages(stages(), LYRICS)
    lock = RunLock(tmp_path / "tuned" / "trainer")
    with pytest.raises(UsageError, match="another process trains in .*tuned"):
        train_stages(stages(seed=2), LYRICS, overwrite=True)
    lock.release()
    for name in ("base", "tuned"):
        assert RunFolder(tmp_path / name).checkpoints()
        assert saved_settings(tmp_path / name)["seed"] != 2


def test_a_stage_that_started_from_other_weights_is_not_passed_over(
    stages: Callable[..., list[TrainConfig]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, tuned = stages()
    train_stages([base, tuned], LYRICS)
    train_stages([base, tuned], LYRICS)
    assert capsys.readouterr().err.count("is finished") == 2, "the same weights are fine"
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(
        UsageError,
        match=r"tuned holds a run that started from other weights than .*base has now; give another --out, or "
        r"--overwrite --stage 2 to start anew, or --resume --stage 2 to go on with it",
    ):
        train_stages([dataclasses.replace(base, seed=2), tuned], LYRICS)
    assert run(tuned, resume=True) is not None
    shutil.rmtree(tmp_path / "base")
    assert run(tuned) is not None, "a run that goes on does not need what it started from"


def test_a_run_of_before_that_does_not_know_its_first_weights_goes_on(
    stages: Callable[..., list[TrainConfig]], tmp_path: Path
) -> None:
    base, tuned = stages()
    train_stages([base, tuned], LYRICS)
    (file,) = (tmp_path / "tuned" / "trainer").glob("step-*/state.json")
    state = json.loads(file.read_text(encoding="utf-8"))
    assert state.pop("initial") == digest(tmp_path / "base" / "model.safetensors")
    file.write_text(json.dumps(state), encoding="utf-8")
    run(dataclasses.replace(base, seed=2), overwrite=True)
    assert run(tuned) is not None


def test_a_run_that_wrote_over_its_source_goes_on(tiny: Tiny) -> None:
    first = run(tiny(steps=2))
    assert first is not None
    again = tiny(init_from=str(first.run), save_every=2, **SHAPE)
    with interrupted_at(4):
        run(again, overwrite=True)
    assert run(again) is not None


def test_a_checkpoint_that_was_just_written_outlives_a_damaged_later_one(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(save_every=4, keep=2)
    run(config)
    (tmp_path / "run" / "trainer" / "step-00000012" / "optimizer.safetensors").write_bytes(b"damaged")
    changed = dataclasses.replace(config, save_every=2, keep=1)
    with interrupted_at(2):
        run(changed)
    assert [folder.name for folder in RunFolder(tmp_path / "run").checkpoints()] == ["step-00000010"]
    newest = RunFolder(tmp_path / "run").newest_whole()
    assert newest is not None
    assert newest.step == 10
