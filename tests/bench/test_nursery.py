"""Workers that are split off a process which has imported what they need."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt2x.bench.config import Setting, StepConfig
from gpt2x.bench.nursery import Forked, Nursery
from gpt2x.bench.process import Workshop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are split off on Linux only")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """One that imports next to nothing."""
    made = Nursery(["colorsys"], dict(os.environ), tmp_path / "nursery.log")
    yield made
    made.close()


def fork(nursery: Nursery, log: Path) -> Forked:
    with log.open("wb") as errors:
        return nursery.fork(errors)


def close(worker: Forked) -> None:
    for pipe in (worker.stdin, worker.stdout):
        assert pipe is not None
        pipe.close()


def ask(worker: Forked, order: str) -> dict[str, object]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(order + "\n")
    worker.stdin.flush()
    answer: dict[str, object] = json.loads(worker.stdout.readline())
    return answer


def test_a_worker_answers_on_its_own_pipes_and_ends_with_its_orders(nursery: Nursery, tmp_path: Path) -> None:
    one, two = fork(nursery, tmp_path / "1.log"), fork(nursery, tmp_path / "2.log")
    assert ask(two, '{"do": "sing"}')["message"] == "KeyError: 'sing'"
    assert ask(one, '{"do": "dance"}')["message"] == "KeyError: 'dance'"
    for worker in (one, two):
        close(worker)
        assert worker.wait() == 0
        assert worker.wait() == 0, "known from the first time"


def test_what_a_worker_says_is_in_its_log(
    tmp_path: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_TRACEBACK", "1")
    talkative = Nursery([], dict(os.environ), tmp_path / "talkative.log")
    worker = fork(talkative, tmp_path / "worker.log")
    ask(worker, '{"do": "dance"}')
    worker.wait()
    close(worker)
    talkative.close()
    assert "KeyError: 'dance'" in (tmp_path / "worker.log").read_text(encoding="utf-8")


def test_a_worker_has_a_session_of_its_own_to_be_ended_with_what_it_started(
    nursery: Nursery, tmp_path: Path
) -> None:
    worker = fork(nursery, tmp_path / "worker.log")
    while os.getsid(worker.pid) != worker.pid:
        time.sleep(0.01)
    os.killpg(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    close(worker)


def test_a_killed_worker_says_so_in_its_exit_code(nursery: Nursery, tmp_path: Path) -> None:
    worker = fork(nursery, tmp_path / "worker.log")
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    worker.kill()  # it is gone: nobody else's process is hit
    close(worker)


def test_without_the_nursery_a_worker_cannot_start_and_one_that_runs_ends(
    nursery: Nursery, tmp_path: Path
) -> None:
    worker = fork(nursery, tmp_path / "1.log")
    nursery.process.kill()
    nursery.process.wait()
    with pytest.raises(OSError, match=r"gone|pipe|reset"):
        fork(nursery, tmp_path / "2.log")
    assert ask(worker, '{"do": "dance"}')["event"] == "failed", "it goes on by itself"
    assert worker.wait() == -signal.SIGKILL
    close(worker)


def test_only_those_that_compile_come_with_the_compiler(tmp_path: Path, tiny_setting: Setting) -> None:
    with Workshop(tiny_setting, tmp_path / "tokens.npy", timeout_s=60.0) as workshop:
        workshop.launch(StepConfig()).close()
        assert list(workshop.nurseries) == [False]
        workshop.launch(StepConfig(compile=True)).close()
        workshop.launch(StepConfig(compile=True, world_size=2)).close()
        assert list(workshop.nurseries) == [False, True]
        arguments = {k: n.process.args for k, n in workshop.nurseries.items()}
    assert "torch._inductor.compile_fx" in arguments[True]  # type: ignore[operator]
    assert "torch._inductor.compile_fx" not in arguments[False]  # type: ignore[operator]


def test_where_nothing_can_be_split_off_a_worker_imports_by_itself(
    tmp_path: Path, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.bench.process.IMPORTS", ("no_such_module",))
    with Workshop(tiny_setting, tmp_path / "tokens.npy", timeout_s=60.0) as workshop:
        runners = [workshop.launch(StepConfig()) for _ in range(2)]
        assert not any(isinstance(runner.processes[0].process, Forked) for runner in runners)
        assert len(workshop.nurseries) == 1, "tried once"
        for runner in runners:
            runner.close()
    assert "no_such_module" in (tmp_path / "nursery-0.log").read_text(encoding="utf-8")
