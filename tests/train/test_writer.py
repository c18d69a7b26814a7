"""Checkpoints beside the training: the loop goes on, a failure stops it, and a kill loses no checkpoint."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import Gpt2xError, OutputError
from gpt2x.model import GPT, GPTConfig
from gpt2x.train.average import WeightAverage, saved_average
from gpt2x.train.checkpoint import RunFolder, read_checkpoint
from gpt2x.train.config import TrainConfig
from gpt2x.train.make_adamw import make_adamw
from gpt2x.train.step import StepResult, TrainingStep
from gpt2x.train.step_options import StepOptions
from gpt2x.train.writer import Writer, snapshot
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupted_at, metrics, trained

Tiny = Callable[..., TrainConfig]
KILLS = 10 if os.environ.get("GPT2X_TEST_LONG") else 3
PATIENCE_S = 60.0


def hold_writes_until(event: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every checkpoint be written only when `event` is set."""
    original = RunFolder.save

    def save(folder: RunFolder, *arguments: Any, **others: Any) -> Path:
        assert event.wait(PATIENCE_S)
        return original(folder, *arguments, **others)

    monkeypatch.setattr(RunFolder, "save", save)


def on_step(number: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Do something before that step is computed; the list that is returned has one entry a step."""
    original, steps = TrainingStep.__call__, []

    def call(training: TrainingStep, *arguments: Any, **named: Any) -> StepResult:
        steps.append(len(steps) + 1)
        if len(steps) == number:
            action()
        return original(training, *arguments, **named)

    monkeypatch.setattr(TrainingStep, "__call__", call)
    return steps


def test_steps_are_computed_while_a_checkpoint_is_written_and_do_not_reach_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The checkpoint of step 4 is written only when step 8 begins, and is what a run of 4 steps ends with."""
    changes = {"eval_every": 0, "keep": 5}
    with interrupted_at(4):
        run(tiny("short", **changes))
    run(tiny("long", **changes))
    written = threading.Event()
    with monkeypatch.context() as patch:
        hold_writes_until(written, patch)
        on_step(8, written.set, patch)
        run(tiny("beside", save_every=4, **changes))
    early = tmp_path / "beside" / "trainer" / "step-00000004"
    expected = tmp_path / "short" / "trainer" / "step-00000004"
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (early / name).read_bytes() == (expected / name).read_bytes()
    assert_equal_weights(str(tmp_path / "long"), str(tmp_path / "beside"))


def test_a_failure_while_writing_stops_the_run_at_the_next_step(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def save(*_: Any, **__: Any) -> Path:
        failed.set()
        raise OutputError("cannot write a checkpoint: the disk is full; free some space and resume")

    monkeypatch.setattr(RunFolder, "save", save)
    steps = on_step(3, lambda: time.sleep(0.2) if failed.wait(PATIENCE_S) else None, monkeypatch)
    with pytest.raises(OutputError, match="the disk is full; free some space and resume"):
        run(tiny(save_every=2, steps=50))
    assert len(steps) == 3


def test_an_end_by_ctrl_c_or_by_a_bad_loss_waits_for_the_checkpoint(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = RunFolder.save

    def slow(folder: RunFolder, *arguments: Any, **others: Any) -> Path:
        time.sleep(0.5)
        return original(folder, *arguments, **others)

    monkeypatch.setattr(RunFolder, "save", slow)
    with interrupted_at(3):
        run(tiny("stopped"))
    assert read_checkpoint(tmp_path / "stopped" / "trainer" / "step-00000003").step == 3

    forward = TrainingStep.forward

    def bad(training: TrainingStep, *arguments: Any) -> torch.Tensor:
        loss = forward(training, *arguments)
        return loss * float("nan") if training.optimizer.num_steps == 4 else loss

    monkeypatch.setattr(TrainingStep, "forward", bad)
    with pytest.raises(Gpt2xError, match=r"at step 5 .*step-00000004 has the state from before it"):
        run(tiny("broken", save_every=4))
    assert read_checkpoint(tmp_path / "broken" / "trainer" / "step-00000004").step == 4


def test_at_most_one_write_is_under_way_and_errors_are_raised_once() -> None:
    writer, running, most = Writer(), 0, 0

    def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1

    def failing() -> None:
        raise OutputError("no")

    for _ in range(5):
        writer.start(job)
    writer.start(failing)
    with pytest.raises(OutputError, match="no"):
        writer.wait()
    writer.wait()
    assert most == 1
    assert not writer.failed


def test_a_snapshot_shares_no_memory_with_the_run() -> None:
    model = GPT(GPTConfig(vocab_size=20, block_size=4, n_layer=1, n_head=1, n_embd=4))
    optimizer = make_adamw(model, StepOptions(optimizer="adamw"))
    taken = snapshot(model, optimizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for tensor in (*model.parameters(), *(m for pair in optimizer.moments() for m in pair)):
            tensor.add_(1)
    assert taken.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in taken.model.state_dict().items())
    assert not any(tensor.any() for tensor in taken.moments.values())


def test_a_tied_embedding_is_copied_once(tmp_path: Path) -> None:
    shape = GPTConfig(vocab_size=20, block_size=4, n_layer=1, n_head=1, n_embd=4, padded_vocab_size=32)
    model = GPT(shape)
    taken = snapshot(model, None, WeightAverage(model, 0.9))
    assert taken.average is not None
    for copy in (taken.model, taken.average):
        assert copy.wte.weight is copy.lm_head.weight
        assert torch.equal(copy.wte.weight, model.wte.weight)
    assert "lm_head.weight" not in saved_average(taken.average), "nor is it written twice"
    untied = snapshot(GPT(dataclasses.replace(shape, tie_weights=False)), None).model
    assert not torch.equal(untied.wte.weight, untied.lm_head.weight)


def test_the_last_state_of_a_run_is_not_copied() -> None:
    model = GPT(GPTConfig(vocab_size=20, block_size=4, n_layer=1, n_head=1, n_embd=4))
    optimizer = make_adamw(model, StepOptions(optimizer="adamw"))
    taken = snapshot(model, optimizer, copy=False)
    own, held = model.state_dict() | optimizer.state_dict(), taken.model.state_dict() | taken.moments
    assert own.keys() == held.keys()
    assert all(tensor.data_ptr() == held[name].data_ptr() for name, tensor in own.items())


KILLED = """
import json, sys
from gpt2x.train.config import TrainConfig
from gpt2x.train.loop import prepare_and_train
from gpt2x.train.recipe import LYRICS
import torch
torch.set_num_threads(1)
prepare_and_train(TrainConfig(**json.loads(sys.argv[1])), LYRICS)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    """Kills of a run that does little but write checkpoints; it ends as one that was left alone."""
    config, whole = tiny(steps=400, save_every=1, eval_every=3), tiny("whole", steps=400, eval_every=3)
    trained(whole)
    moments, newest, kills = random.Random(4), 0, 0
    trainer = tmp_path / "run" / "trainer"
    for _ in range(KILLS):
        command = [sys.executable, "-c", KILLED, json.dumps(config.to_dict())]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + PATIENCE_S
            while not (trainer / f"step-{newest + 1:08d}").exists() and process.poll() is None:
                assert time.monotonic() < deadline, "no checkpoint was written"
                time.sleep(0.002)
            time.sleep(moments.random() * 0.1)
            os.kill(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        checkpoint = RunFolder(tmp_path / "run").newest_whole()
        assert checkpoint is not None
        assert checkpoint.folder == RunFolder(tmp_path / "run").checkpoints()[-1], "the newest is whole"
        assert checkpoint.step > newest
        newest = checkpoint.step
    assert kills == KILLS
    trained(config)
    assert_equal_weights(str(tmp_path / "whole"), str(tmp_path / "run"))
    assert metrics(whole.out) == metrics(config.out)
