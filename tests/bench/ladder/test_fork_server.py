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

from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.fork_server import Forked, ForkServer
from gpt2x.bench.ladder.launch import Launcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are split off on Linux only")


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[ForkServer]:
    """One that imports next to nothing."""
    made = ForkServer(["colorsys"], dict(os.environ), tmp_path / "fork-server.log")
    yield made
    made.close()


def fork(fork_server: ForkServer, log: Path) -> Forked:
    with log.open("wb") as errors:
        return fork_server.fork(errors)


def close(worker: Forked) -> None:
    for pipe in (worker.stdin, worker.stdout):
        assert pipe is not None
        pipe.close()


def ask(worker: Forked, request: str) -> dict[str, object]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(request + "\n")
    worker.stdin.flush()
    reply: dict[str, object] = json.loads(worker.stdout.readline())
    return reply


def test_a_worker_replys_on_its_own_pipes_and_ends_with_its_requests(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    one, two = fork(fork_server, tmp_path / "1.log"), fork(fork_server, tmp_path / "2.log")
    assert ask(two, '{"do": "sing"}')["message"] == "KeyError: 'sing'"
    assert ask(one, '{"do": "dance"}')["message"] == "KeyError: 'dance'"
    for worker in (one, two):
        close(worker)
        assert worker.wait() == 0
        assert worker.wait() == 0, "known from the first time"


def test_what_a_worker_says_is_in_its_log(
    tmp_path: Path, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_TRACEBACK", "1")
    talkative = ForkServer([], dict(os.environ), tmp_path / "talkative.log")
    worker = fork(talkative, tmp_path / "worker.log")
    ask(worker, '{"do": "dance"}')
    worker.wait()
    close(worker)
    talkative.close()
    assert "KeyError: 'dance'" in (tmp_path / "worker.log").read_text(encoding="utf-8")


def test_a_worker_has_a_session_of_its_own_to_be_ended_with_what_it_started(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    worker = fork(fork_server, tmp_path / "worker.log")
    while os.getsid(worker.pid) != worker.pid:
        time.sleep(0.01)
    os.killpg(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    close(worker)


def test_a_killed_worker_says_so_in_its_exit_code(fork_server: ForkServer, tmp_path: Path) -> None:
    worker = fork(fork_server, tmp_path / "worker.log")
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    worker.kill()  # it is gone: nobody else's process is hit
    close(worker)


def test_without_the_fork_server_a_worker_cannot_start_and_one_that_runs_ends(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    worker = fork(fork_server, tmp_path / "1.log")
    fork_server.process.kill()
    fork_server.process.wait()
    with pytest.raises(OSError, match=r"gone|pipe|reset"):
        fork(fork_server, tmp_path / "2.log")
    assert ask(worker, '{"do": "dance"}')["event"] == "failed", "it goes on by itself"
    assert worker.wait() == -signal.SIGKILL
    close(worker)


def test_only_those_that_compile_come_with_the_compiler(tmp_path: Path, tiny_setting: Setting) -> None:
    with Launcher(tiny_setting, tmp_path / "tokens.npy", timeout_s=60.0) as launcher:
        launcher.launch(StepConfig()).close()
        assert list(launcher.fork_servers) == [False]
        launcher.launch(StepConfig(compile=True)).close()
        launcher.launch(StepConfig(compile=True, world_size=2)).close()
        assert list(launcher.fork_servers) == [False, True]
        arguments = {k: n.process.args for k, n in launcher.fork_servers.items()}
    assert "torch._inductor.compile_fx" in arguments[True]  # type: ignore[operator]
    assert "torch._inductor.compile_fx" not in arguments[False]  # type: ignore[operator]


def test_where_nothing_can_be_split_off_a_worker_imports_by_itself(
    tmp_path: Path, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.bench.ladder.launch.IMPORTS", ("no_such_module",))
    with Launcher(tiny_setting, tmp_path / "tokens.npy", timeout_s=60.0) as launcher:
        runners = [launcher.launch(StepConfig()) for _ in range(2)]
        assert not any(isinstance(runner.processes[0].process, Forked) for runner in runners)
        assert len(launcher.fork_servers) == 1, "tried once"
        for runner in runners:
            runner.close()
    assert "no_such_module" in (tmp_path / "fork-server-0.log").read_text(encoding="utf-8")
