"""Restarts: what a killed process leaves, two trainers in one folder, and what others do to the files on top."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt2x.errors import OutputError, UsageError
from gpt2x.train.config import TrainConfig
from gpt2x.train.lock import RunLock
from gpt2x.train.step import StepResult, TrainingStep
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupt_at

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
    with monkeypatch.context() as patch:
        interrupt_at(5, patch)
        with pytest.raises(KeyboardInterrupt):
            run(tiny())
    with monkeypatch.context() as patch:
        patch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        run(tiny(), overwrite=True)
    assert "resumes    after step 5 of 12" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    run(tiny(), overwrite=True)
    assert "resumes" not in capsys.readouterr().err


def test_what_is_done_to_the_files_on_top_does_not_reach_the_checkpoints(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny("whole"))
    with monkeypatch.context() as patch:
        interrupt_at(5, patch)
        with pytest.raises(KeyboardInterrupt):
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
