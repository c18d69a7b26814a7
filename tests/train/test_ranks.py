"""`--ranks N`: the ranks are started, spoken for, stopped and killed as one; and `--verify-resume`, which uses it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt2x.errors import UsageError
from gpt2x.train import verify
from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.config import TrainConfig
from gpt2x.train.launch import check_ranks
from tests.train.conftest import run
from tests.train.test_distributed import flags, losses
from tests.train.test_loop import assert_equal_weights

Tiny = Callable[..., TrainConfig]
HOME = Path(__file__).parents[2]
KILLS = int(os.environ.get("GPT2X_TEST_KILLS", "2"))
"""How many times a run is killed; 50 is the long form."""

SIGNALS = ["SIGINT", "SIGTERM"] if KILLS < 10 else ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"]
"""All take one way; the long form tries each."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="torch's launcher has no POSIX signals there"),
]


class Started:
    """`python -m gpt2x.train lyrics …` in a session of its own; its talk goes to a file that can be watched."""

    def __init__(self, config: TrainConfig, talk: Path, *words: str, **settings: Any) -> None:
        arguments = [*flags(**config.to_dict()), *words]
        self.talk = talk
        self.file = talk.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpt2x.train", "lyrics", *arguments],
            stdout=subprocess.PIPE, stderr=self.file, text=True, cwd=HOME, start_new_session=True, **settings,
        )  # fmt: skip

    def wait_for(self, words: str) -> None:
        """Until it has said so."""
        deadline = time.monotonic() + 240
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        return self.talk.read_text(encoding="utf-8")

    def end(self) -> tuple[int, str]:
        """Wait for it: exit code and stdout."""
        out, _ = self.process.communicate(timeout=240)
        self.file.close()
        return self.process.returncode, out

    def ranks(self) -> list[int]:
        """The process ids of the ranks, children of the launcher."""
        return [
            int(pid)
            for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def kill(self) -> None:
        """Nothing of it survives."""
        if self.process.poll() is None:
            for pid in (*self.ranks(), self.process.pid):
                os.kill(pid, signal.SIGKILL)
        self.end()


@pytest.fixture
def start(tiny: Tiny, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a tiny run in ``tmp_path/NAME``."""
    all_started = []

    def begin(name: str, *words: str, **changes: Any) -> Started:
        started = Started(tiny(name, **changes), tmp_path / f"{name}-{len(all_started)}.txt", *words)
        all_started.append(started)
        return started

    yield begin
    for started in all_started:
        if started.process.poll() is None:
            started.kill()


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc")


def test_two_ranks_train_as_one_and_rank_0_alone_is_heard(
    tiny: Tiny, start: Callable[..., Started], tmp_path: Path
) -> None:
    run(tiny("one"))
    code, out = (two := start("two", "--ranks", "2", "--json")).end()
    assert code == 0, two.said()
    result = json.loads(out)
    assert result["run"] == str(tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    said = two.said()
    assert said.count("2 ranks × 1 × 2 sequences") == 1
    assert "1 thread a rank" in said
    assert "***" not in said, "torchrun's banner"
    one = RunFolder(tmp_path / "one").newest_whole()
    assert one is not None
    assert result["token_hash"] == f"{one.state['data']['token_hash']:016x}", (
        "the same order of tokens on two ranks"
    )


def test_an_error_is_one_sentence_and_its_own_exit_code(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    missing = start("run", "--ranks", "2", data=str(tmp_path / "nowhere.csv"))
    odd = start("odd", "--ranks", "3")  # 4 sequences a step
    assert missing.end() == (3, "")
    assert missing.said() == f"gpt2x: there is no file {tmp_path / 'nowhere.csv'}\n"
    assert odd.end() == (2, "")
    assert odd.said().count("\n") == 1
    assert "does not divide by 3 ranks" in odd.said()


@pytest.mark.parametrize("name", SIGNALS)
def test_every_polite_signal_saves_and_the_same_command_goes_on(
    start: Callable[..., Started], tmp_path: Path, name: str
) -> None:
    settings = {"steps": 100_000, "log_every": 50, "eval_every": 0}
    first = start("run", "--ranks", "2", **settings)
    first.wait_for("step    100/")
    first.process.send_signal(getattr(signal, name))
    assert first.end() == (130, "")
    lines = first.said().splitlines()
    assert lines[-1] == "gpt2x: interrupted", first.said()
    assert sum(line.startswith("interrupted after step") for line in lines) == 1
    assert "Traceback" not in first.said()
    checkpoint = RunFolder(tmp_path / "run").newest_whole()
    assert checkpoint is not None
    if name != SIGNALS[0]:
        return
    again = start("run", "--ranks", "2", **settings)
    again.wait_for(f"resumes    after step {checkpoint.step} of")
    again.kill()


@needs_proc
def test_a_killed_rank_is_named_and_with_max_restarts_the_run_ends_as_if_nothing_had_happened(
    tiny: Tiny, start: Callable[..., Started], tmp_path: Path
) -> None:
    settings = {"steps": 300, "log_every": 50, "eval_every": 0, "save_every": 50}
    alone = start("alone", "--ranks", "2", **settings)
    alone.wait_for("step 100/")
    os.kill(alone.ranks()[1], signal.SIGKILL)
    assert alone.end() == (1, "")
    assert "gpt2x: rank 1 was ended by SIGKILL" in alone.said()
    assert "Traceback" not in alone.said()

    restarted = start("restarted", "--ranks", "2", "--max-restarts", "1", **settings)
    restarted.wait_for("step 100/")
    os.kill(restarted.ranks()[1], signal.SIGKILL)
    assert restarted.end() == (0, f"{tmp_path / 'restarted'}\n"), restarted.said()
    assert restarted.said().count("resumes    after step") == 1
    whole = start("whole", "--ranks", "2", **settings)
    assert whole.end()[0] == 0
    assert_equal_weights(str(tmp_path / "whole"), str(tmp_path / "restarted"))


@needs_proc
def test_a_run_that_is_killed_at_random_moments_ends_as_if_nothing_had_happened(
    tiny: Tiny, start: Callable[..., Started], tmp_path: Path
) -> None:
    """Kill -9 of all processes; the number of ranks changes each time. `GPT2X_TEST_KILLS=50` is the long form."""
    settings = {"steps": 100 * (KILLS + 1), "log_every": 10, "eval_every": 0, "save_every": 10, "lr": 1e-3}
    chance = random.Random(KILLS)
    for number in range(KILLS):
        started = start("killed", "--ranks", str(number % 2 + 1), **settings)
        started.wait_for(f"step {100 * number + 10 * chance.randrange(1, 9):{len(str(settings['steps']))}d}/")
        time.sleep(chance.uniform(0, 0.1))
        started.kill()
    last = start("killed", "--json", **settings)
    code, out = last.end()
    assert code == 0, last.said()
    whole = run(tiny("whole", **settings))
    assert whole is not None
    assert json.loads(out)["token_hash"] == whole.token_hash, "a token was left out, or fed twice"


def test_what_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for ranks, restarts, remedy in ((0, 0, "from 1 to"), (2, -1, "0 or more"), (1, 3, "--ranks 2 or more")):
        with pytest.raises(UsageError, match=remedy):
            check_ranks(ranks, restarts)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(UsageError, match="a launcher has done so"):
        check_ranks(2, 0)


def test_resume_is_verified_and_the_run_is_not_touched(start: Callable[..., Started], tmp_path: Path) -> None:
    started = start("run", "--verify-resume", "--json", total_batch_tokens=96)
    code, out = started.end()
    assert code == 0, started.said()
    verdict = json.loads(out)
    assert verdict["holds"]
    straight, interrupted, changing = verdict["trials"]
    assert [leg["ranks"] for leg in changing["legs"]] == [1, 2, 3, 1]
    assert straight["token_hash"] == interrupted["token_hash"] == changing["token_hash"]
    assert interrupted["same_weights"]
    assert interrupted["weights_apart"] == 0.0
    assert not (tmp_path / "run").exists()


def test_a_resume_that_loses_its_place_is_found(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between two legs somebody sets the data back by a block, or a weight to another value."""
    original = verify.launch

    def spoil(what: Callable[[Path], None]) -> verify.Verdict:
        def launch(module: str, words: list[str], ranks: int) -> None:
            original(module, words, ranks)
            for state in Path(words[0]).parent.glob("interrupted/trainer/step-00000002"):
                what(state)

        monkeypatch.setattr(verify, "launch", launch)
        monkeypatch.setattr(verify, "RANKS", (1,))
        return verify.verify_resume(tiny("run"), "lyrics", lambda _: None)

    def set_back(checkpoint: Path) -> None:
        values = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        values["data"]["position"] -= 1
        (checkpoint / "state.json").write_text(json.dumps(values), encoding="utf-8")

    verdict = spoil(set_back)
    assert not verdict.holds
    assert [trial.same_order for trial in verdict.trials] == [True, False]
    assert not (tmp_path / "run").exists()
