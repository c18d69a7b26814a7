"""Two ranks under torchrun, as a user starts them: the same losses, one voice, one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.errors import Gpt2xError, InputDataError, MissingComponentError, UsageError
from gpt2x.train import distributed
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import Ranks, all_ranks, choose_device
from tests.train.conftest import TINY, run

ONE = Ranks(rank=0, world_size=1, local_rank=0, local_world_size=1, device=torch.device("cpu"))


def torchrun(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`torchrun --nproc-per-node 2 -m gpt2x.train lyrics …` in a process of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "gpt2x.train", "lyrics", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )
    try:
        out, error = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the ranks too, not torchrun alone
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def flags(**settings: Any) -> list[str]:
    """Settings as the options of the command line; those that are None are left out."""
    arguments = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            arguments += [f"--{option}", str(value)]
    return arguments


def losses(folder: Path) -> list[float]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [row[name] for row in rows for name in ("loss", "validation_loss") if name in row]


def test_alone_there_is_nothing_to_agree_on() -> None:
    assert ONE.mean([1.0, 2.0]) == [1.0, 2.0]
    assert ONE.sum([3.0]) == [3.0]
    assert ONE.any(True)
    assert not ONE.any(False)
    assert ONE.first_then_all(lambda: "made") == "made"
    with pytest.raises(InputDataError, match="gone"):
        ONE.together(lambda: (_ for _ in ()).throw(InputDataError("gone")))


def test_a_device_that_is_not_here_is_one_sentence() -> None:
    assert choose_device("cpu", local_rank=3) == torch.device("cpu")
    with pytest.raises(UsageError, match="'tpu'"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(MissingComponentError, match="--device cpu"):
            choose_device("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("shared_memory", [None, False], ids=["shared memory", "DDP"])
def test_two_ranks_train_as_one_and_one_may_go_on_where_two_stopped(
    tiny: Callable[..., TrainConfig], songs: Path, tmp_path: Path, shared_memory: bool | None
) -> None:
    run(tiny("one", save_every=6, ema=0.8))
    changes = {"save_every": 6, "ema": 0.8, "shared_memory": shared_memory}
    everything = TrainConfig(**{**TINY, "data": str(songs), **changes}).to_dict()
    arguments = flags(**everything)  # spelled out, since a preset would change some
    result = torchrun(*arguments, "--out", str(tmp_path / "two"), cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'two'}\n", "one rank speaks for all"
    assert result.stderr.count("2 ranks × 1 × 2 sequences") == 1
    assert ("in shared memory" in result.stderr) == (shared_memory is None)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)

    shutil.rmtree(tmp_path / "two" / "trainer" / "step-00000012")
    run(tiny("two", save_every=6, ema=0.8))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shared_memory": False},
        {"fused_ops": True, "dtype": "bfloat16"},
        {"fused_ops": True, "dtype": "bfloat16", "shared_memory": False},
    ],
    ids=["shared memory", "DDP", "bf16 weights in shared memory", "bf16 weights"],
)
def test_two_ranks_train_with_muon_as_one(
    tiny: Callable[..., TrainConfig], songs: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run(tiny("one", optimizer="muon", batch_size=2, **(changes | {"shared_memory": None})))
    settings = {**TINY, "data": str(songs), "optimizer": "muon", "batch_size": 2, **changes}
    arguments = flags(**TrainConfig(**settings).to_dict())
    result = torchrun(*arguments, "--out", str(tmp_path / "two"), cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    tolerance = (
        2e-2 if "dtype" in changes else 1e-4
    )  # bfloat16 rounds a sum that is made in another order to another number
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=tolerance)


@pytest.mark.slow
def test_an_error_ends_all_ranks_with_one_sentence(tmp_path: Path) -> None:
    result = torchrun(
        "--data", str(tmp_path / "nowhere.csv"), "--out", str(tmp_path / "run"), cwd=Path(__file__).parents[2]
    )
    assert result.returncode != 0
    ours = [line for line in result.stderr.splitlines() if line.startswith("gpt2x: ")]
    assert ours == [f"gpt2x: there is no file {tmp_path / 'nowhere.csv'}"]
    assert "gpt2x/train" not in result.stderr, "no traceback of ours"
    assert not (tmp_path / "run").exists()
    assert os.listdir(tmp_path) in ([], ["gpt2x_cache"])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_neighbour_does_not_come_gives_up_soon(
    monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """Rank 0 serves and waits for rank 1; rank 1 finds the store of torchrun and waits for rank 0."""
    monkeypatch.setattr(distributed, "JOIN_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(distributed, "set_quiet", lambda _: None)  # would outlive this test
    serves = torch.distributed.TCPStore("127.0.0.1", 0, 2, True, wait_for_workers=False)
    environment = {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(serves.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    with (
        pytest.raises((Gpt2xError, SystemExit)) as raised,
        all_ranks("cpu"),
    ):
        pytest.fail("a rank went on alone")
    assert time.monotonic() - started < 10
    if rank == 0:
        assert "the 2 ranks did not meet at 127.0.0.1" in str(raised.value)
    assert not torch.distributed.is_initialized()


def join(monkeypatch: pytest.MonkeyPatch, rank: int, port: int, **environment: str) -> None:
    """Set what torchrun sets for one of two ranks on two machines; rank 0 serves."""
    settings = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    for name, value in (settings | {"MASTER_ADDR": "127.0.0.1"} | environment).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(distributed, "set_quiet", lambda _: None)  # would outlive this test


def test_a_machine_that_was_replaced_meets_those_that_count_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(distributed, "JOIN_TIMEOUT", timedelta(seconds=5))
    join(monkeypatch, 0, port, TORCHELASTIC_RESTART_COUNT="3")
    serving = threading.Event()
    original = torch.distributed.TCPStore

    def tcp_store(
        *arguments: Any, **options: Any
    ) -> Any:  # rank 0 has read its environment when it opens the store
        serving.set()
        return original(*arguments, **options)

    monkeypatch.setattr(torch.distributed, "TCPStore", tcp_store)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(distributed._meet, 0, 2)
        assert serving.wait(5)
        join(monkeypatch, 1, port, TORCHELASTIC_RESTART_COUNT="0")
        other = distributed._meet(1, 2)
        first.result().set("song", "rain")
        assert other.get("song") == b"rain"


def test_the_first_rank_of_each_machine_says_why_it_reaches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **options: Any) -> None:
        assert options["timeout"] == distributed.JOIN_TIMEOUT, (
            "a firewall would hold the ranks for half an hour"
        )
        raise RuntimeError(
            "[/gloo/pair.cc:152] timed out connecting: Connection refused, remote=[127.0.1.1]:4$0"
        )

    monkeypatch.setattr(torch.distributed, "init_process_group", fail)
    monkeypatch.setattr(distributed, "_meet", lambda *_: torch.distributed.HashStore())
    monkeypatch.setattr(distributed, "FIRST_SPEAKS_S", 0)
    join(monkeypatch, 1, 1)
    says = r"rank 1 on .* \(timed out connecting: Connection refused, .*\); .* GLOO_SOCKET_IFNAME on each"
    with pytest.raises(Gpt2xError, match=says), all_ranks("cpu"):
        pytest.fail("a rank went on alone")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(SystemExit), all_ranks("cpu"):
        pytest.fail("a rank went on alone")


def test_ranks_that_have_joined_may_wait_long_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    store = torch.distributed.HashStore()
    monkeypatch.setattr(distributed, "_meet", lambda *_: store)
    distributed._connect("gloo", 0, 1)
    try:
        group = torch.distributed.distributed_c10d._get_default_group()
        gloo = group._get_backend(torch.device("cpu"))
        assert gloo.options._timeout == distributed.COLLECTIVE_TIMEOUT
        assert store.timeout == distributed.COLLECTIVE_TIMEOUT
    finally:
        torch.distributed.destroy_process_group()
