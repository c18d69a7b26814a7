"""Rungs in processes of their own, for real: what they answer, and how they fail."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt2x.bench import worker
from gpt2x.bench.ladder import worker as rung_worker
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.launch import Launcher, Ranks
from gpt2x.bench.ladder.step import build_model
from gpt2x.bench.machine import Machine, cpu_seconds, memory_bytes
from gpt2x.bench.process import (
    FAILURES,
    Missing,
    OutOfMemory,
    WorkerFailed,
    probe,
    run_worker,
    worker_environment,
)
from gpt2x.errors import MissingComponentError
from gpt2x.process_memory import peak_memory, reset_peak_memory


@pytest.fixture
def launcher(tmp_path: Path, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    np.save(tmp_path / "tokens.npy", np.arange(500, dtype=np.uint32) % 61)
    with Launcher(tiny_setting, tmp_path / "tokens.npy", timeout_s=60.0) as made:
        yield made


def measured(runner: Ranks, steps: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return runner.prepare(), runner.measure(steps, warm_steps=1)
    finally:
        runner.close()


def test_a_rung_is_built_warmed_up_and_measured_in_its_own_process(launcher: Launcher) -> None:
    ready, round_one = measured(launcher.launch(StepConfig(tie_weights=True)))
    assert ready["parameters"] == 61 * 16 + 16 * 16 + 2 * (12 * 16 * 16 + 13 * 16) + 2 * 16
    assert ready["first_step_s"] > 0
    assert len(round_one["samples_ms"]) == 3
    assert all(ms > 0 for ms in round_one["samples_ms"])
    assert len(round_one["losses"]) == 1 + rung_worker.WARM_STEPS + 1 + 3
    assert round_one["peak_memory_bytes"] > 50_000_000
    assert set(round_one["phases_ms"]) == {"forward_ms", "backward_ms", "optimizer_ms"}
    steps = zip(round_one["samples_ms"], *round_one["phases_ms"].values(), strict=True)
    rest = [
        ms - sum(phases) for ms, *phases in steps
    ]  # of a step that another program interrupted it may be much
    assert min(rest) == pytest.approx(0, abs=max(0.5, 0.2 * min(round_one["samples_ms"])))


def test_two_ranks_learn_what_one_process_learns(launcher: Launcher) -> None:
    alone = measured(launcher.launch(StepConfig(micro_batches=4)))[1]
    ranks = measured(launcher.launch(StepConfig(micro_batches=2, world_size=2)))[1]
    assert ranks["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    assert ranks["peak_memory_bytes"] > 1.5 * alone["peak_memory_bytes"], "the memory of both ranks"


def test_two_ranks_with_bf16_weights_learn_what_one_process_learns(launcher: Launcher) -> None:
    own = {
        "tie_weights": True,
        "fused_layers": True,
        "optimizer": "gpt2x",
        "grad_clip": 1.0,
        "bf16_weights": True,
    }
    alone = measured(launcher.launch(StepConfig(micro_batches=4, **own)))[1]
    ranks = measured(launcher.launch(StepConfig(micro_batches=2, world_size=2, **own)))[1]
    assert ranks["losses"] == pytest.approx(alone["losses"], abs=1e-3)


def test_a_failing_rung_tells_why_in_one_line(launcher: Launcher) -> None:
    with pytest.raises(WorkerFailed, match=r"^UsageError: .*|^init = 'x' is unknown"):
        measured(launcher.launch(StepConfig(init="x")))


def test_a_crash_is_a_failed_rung(launcher: Launcher) -> None:
    runner = launcher.launch(StepConfig())
    runner.processes[0].process.kill()
    with pytest.raises(WorkerFailed, match="killed by the system"):
        measured(runner)


def test_a_rung_that_hangs_is_stopped(launcher: Launcher) -> None:
    launcher.timeout_s = 0.05
    runner = launcher.launch(StepConfig())
    with pytest.raises(WorkerFailed, match="took too long"):
        measured(runner)
    assert runner.processes[0].process.wait() == -signal.SIGKILL


def test_no_memory_is_said_in_plain_words() -> None:
    assert worker.failure(MemoryError())["message"] == "out of memory"
    cpu = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    assert worker.failure(cpu)["kind"] == "memory"


def test_what_is_not_installed_and_what_does_not_fit_are_told_apart(launcher: Launcher) -> None:
    missing = worker.failure(MissingComponentError("the peer lightning needs Lightning"))
    assert (missing["kind"], missing["message"]) == ("missing", "the peer lightning needs Lightning")
    assert FAILURES[missing["kind"]] is Missing
    assert FAILURES[worker.failure(MemoryError())["kind"]] is OutOfMemory
    runner = launcher.launch(StepConfig())
    runner.processes[0].process.kill()  # as the system does because memory is short
    with pytest.raises(OutOfMemory):
        measured(runner)


def test_memory_is_kept_before_anything_is_built(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, tiny_setting: Setting
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("gpt2x.ops.memory.keep_freed_memory", lambda: calls.append("kept"))
    monkeypatch.setattr(
        "gpt2x.bench.ladder.step.build_model", lambda *args: calls.append("built") or build_model(*args)
    )
    for keep_memory, expected in ((False, ["built"]), (True, ["kept", "built"])):
        calls.clear()
        rung_worker.RungWorker().prepare(
            config=dataclasses.asdict(StepConfig(keep_memory=keep_memory)),
            setting=tiny_setting.as_dict(),
            tokens=str(launcher.tokens),
            rank=0,
            rendezvous="",
        )
        assert calls == expected


@pytest.mark.parametrize(("limit_s", "steps"), [(0.0, 1), (60.0, 1 + rung_worker.WARM_STEPS)])
def test_a_step_of_a_minute_is_not_made_twice_to_be_warm(
    limit_s: float, steps: int, launcher: Launcher, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rung_worker, "LONG_STEP_S", limit_s)
    own = rung_worker.RungWorker()
    ready = own.prepare(
        config=dataclasses.asdict(StepConfig()),
        setting=tiny_setting.as_dict(),
        tokens=str(launcher.tokens),
        rank=0,
        rendezvous="",
    )
    assert len(own.losses) == steps
    assert (ready["step_ms"] == 1000 * ready["first_step_s"]) is (steps == 1)


def test_the_steps_of_a_round_fit_into_its_time(launcher: Launcher) -> None:
    _, round_one = measured(launcher.launch(StepConfig()), steps=20)
    assert sum(round_one["samples_ms"]) <= 1000 * round_one["wall_s"]


def test_only_the_first_line_of_an_error_is_told() -> None:
    assert worker.failure(RuntimeError("first\nsecond"))["message"] == "RuntimeError: first"
    assert worker.failure(KeyError())["message"] == "KeyError: KeyError"


def test_a_worker_stops_at_the_first_failure() -> None:
    replies = io.StringIO()
    worker.serve(io.StringIO('{"do": "dance"}\n{"do": "dance"}\n'), replies, worker.Worker())
    assert [json.loads(line)["event"] for line in replies.getvalue().splitlines()] == ["failed"]


def test_compile_caches_start_empty_and_are_shared_within_a_ladder(launcher: Launcher) -> None:
    folder = Path(launcher.environment["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent == launcher.tokens.parent
    assert not folder.exists()


def test_the_probe_finds_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = probe("cpu")
    assert found.cores == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert found.peak_flops["float32"] > 1e8
    assert 1e8 < found.bandwidth < 1e13
    assert found.versions["torch"]
    assert not found.gpus


def test_a_machine_survives_the_way_through_json(workstation: Machine) -> None:
    assert Machine.from_dict(json.loads(json.dumps(workstation.as_dict()))) == workstation


def test_a_setting_survives_the_way_through_json(tiny_setting: Setting) -> None:
    assert Setting.from_dict(json.loads(json.dumps(tiny_setting.as_dict()))) == tiny_setting


def test_a_process_that_has_died_says_so_every_time_it_is_asked(tmp_path: Path) -> None:
    environment = worker_environment(tmp_path, None)
    worker = run_worker("gpt2x.bench.no_such_worker", environment, tmp_path / "log")
    for _ in range(2):
        with pytest.raises(WorkerFailed, match="no_such_worker"):
            worker.receive(time.monotonic() + 60)
    worker.kill()


def test_only_the_cores_that_a_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = "cpu  900 0 0 0 0 0 0 0 0 0\ncpu0 100 0 0 0 0 0 0 0 0 0\ncpu1 800 0 0 0 0 0 0 0 0 0\nintr 5\n"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: stat)
    whole, _ = cpu_seconds()
    assert whole == 100 / os.sysconf("SC_CLK_TCK")


def test_memory_and_cpu_time_have_sensible_units() -> None:
    reset_peak_memory()
    assert 10_000_000 < peak_memory() < 100_000_000_000
    assert memory_bytes("NoSuchLine") == 0
    whole, own = cpu_seconds()
    assert own > 0
    assert whole == 0 or whole > own


@pytest.mark.slow
def test_a_compiled_rung_matches_and_its_compile_time_is_apart(
    launcher: Launcher, climb: Callable[..., Any], tiny_setting: Setting
) -> None:
    launcher.timeout_s = 300.0
    ready, compiled = measured(launcher.launch(StepConfig(compile=True)))
    plain = measured(launcher.launch(StepConfig()))[1]
    assert compiled["losses"] == pytest.approx(plain["losses"], abs=1e-4)
    assert ready["first_step_s"] > 2 * max(compiled["samples_ms"]) / 1000


def test_the_padding_of_the_vocabulary_does_not_reach_the_worker_as_another_vocabulary(
    tiny_setting: Setting,
) -> None:
    config = dataclasses.replace(StepConfig(), padded_vocab_size=128).model_config(tiny_setting)
    assert (config.vocab_size, config.num_rows) == (61, 128)
