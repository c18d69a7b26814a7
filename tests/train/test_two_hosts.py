"""Two machines: two network namespaces joined by a cable of two virtual Ethernet devices, with torchrun in each.

They have names and addresses of their own and share the file system, as the machines of a cluster do. Needs root and
iproute2; nothing outside the namespaces is changed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.config import TrainConfig
from tests.train.test_distributed import flags
from tests.train.test_loop import assert_equal_weights

Tiny = Callable[..., TrainConfig]
HOME = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"steps": 300, "log_every": 50, "eval_every": 0, "save_every": 50}
PATIENCE_S = 240
ADDRESSES = ("10.213.77.1", "10.213.77.2")
DEVICES = ("gpt2xv0", "gpt2xv1")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may make network namespaces"
    ),
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("ip", "unshare", "mount")),
        reason="needs ip (iproute2), unshare and mount (util-linux)",
    ),
]

BECOME = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
"""Shell, in namespaces of its own: take a name, know the other's, and become a program."""


class Agent:
    """torchrun on one of the two machines, with one rank; what it says goes to a file."""

    def __init__(self, command: list[str], talk: Path, environment: dict[str, str]) -> None:
        self.talk = talk
        with talk.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, cwd=HOME, env=os.environ | environment,
                start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.talk.read_text(encoding="utf-8")

    def end(self) -> int:
        """Wait for it: its exit code."""
        return self.process.wait(PATIENCE_S)


def said_by(*agents: Agent) -> str:
    """All that they and their ranks have said."""
    return "\n".join(agent.said() for agent in agents)


def wait_for(words: str, *agents: Agent) -> None:
    """Until rank 0 has said so, wherever it is; torchrun gives the ranks to the machines as they come."""
    deadline = time.monotonic() + PATIENCE_S
    while words not in said_by(*agents):
        assert all(agent.process.poll() is None for agent in agents), said_by(*agents)
        assert time.monotonic() < deadline, said_by(*agents)
        time.sleep(0.05)


@dataclass(frozen=True)
class Host:
    """A machine: a network namespace with its name, its device and its ``/etc/hosts``."""

    name: str
    device: str
    hosts: Path

    def run(self, endpoint: str, config: TrainConfig, talk: Path, *words: str, **environment: str) -> Agent:
        """Start torchrun, with the words of docs/how-to/clusters.md."""
        command = ["ip", "netns", "exec", self.name, "unshare", "--uts", "--mount", "sh", "-c", BECOME, "sh"]
        command += [self.name, str(self.hosts), sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        command += ["--rdzv-endpoint", f"{endpoint}:29500", "--rdzv-id", "test", "--max-restarts", "3"]
        command += ["-m", "gpt2x.train", "lyrics", *flags(**config.to_dict()), *words]
        return Agent(command, talk, {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **environment})

    def lose_power(self) -> None:
        """Kill all that runs there, at once."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True, timeout=20
        )
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)


def ip(*words: str) -> None:
    """Run iproute2; where namespaces are not allowed, skip the test with what it says."""
    made = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=20)
    if made.returncode:
        pytest.skip(f"`ip {' '.join(words)}` is not possible here: {made.stderr.strip()}")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two machines that know each other by name; what runs on them is killed at the end."""
    names = [f"gpt2x-{os.getpid()}-{i}" for i in (0, 1)]
    made = [
        Host(name, device, tmp_path / f"{name}.hosts") for name, device in zip(names, DEVICES, strict=True)
    ]
    try:
        for host in made:
            ip("netns", "add", host.name)
        ends = [["name", host.device, "netns", host.name] for host in made]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for host, address in zip(made, ADDRESSES, strict=True):
            ip("-n", host.name, "address", "add", f"{address}/30", "dev", host.device)
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "link", "set", host.device, "up")
            lines = [
                f"{a} {n}" for a, n in zip(("127.0.0.1", *ADDRESSES), ("localhost", *names), strict=True)
            ]
            host.hosts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield made[0], made[1]
    finally:
        for host in made:
            if Path("/run/netns", host.name).exists():
                host.lose_power()
                subprocess.run(["ip", "netns", "delete", host.name], check=False, timeout=20)


def token_hash(run: str) -> int:
    """Of all that a finished run was fed."""
    checkpoint = RunFolder(Path(run)).newest_whole()
    assert checkpoint is not None
    return int(checkpoint.state["data"]["token_hash"])


def test_machines_that_are_lost_and_started_again_change_nothing(
    hosts: tuple[Host, Host], tiny: Tiny, tmp_path: Path
) -> None:
    """First the one where nobody meets, for which the other waits; then the one where all meet, and both end."""

    def start(name: str, time: str, *which: Host, words: tuple[str, ...] = ()) -> list[Agent]:
        config = tiny(name, **SETTINGS)
        talk = [tmp_path / f"{name}-{host.name}-{time}.txt" for host in which]
        return [host.run(hosts[0].name, config, file, *words) for host, file in zip(which, talk, strict=True)]

    whole = start("whole", "first", *hosts)
    assert [agent.end() for agent in whole] == [0, 0], said_by(*whole)

    overwrite = ("--overwrite",)  # of the first start, not of one that a failure made
    meeting, other = start("run", "first", *hosts, words=overwrite)
    wait_for("step 100/", meeting, other)
    hosts[1].lose_power()
    other.end()
    (again,) = start("run", "second", hosts[1], words=overwrite)
    wait_for("step 200/", meeting, again)
    hosts[0].lose_power()
    assert meeting.end() != 0
    assert again.end() != 0, "went on without the place where all meet"
    third = start("run", "third", *hosts)
    assert [agent.end() for agent in third] == [0, 0], said_by(*third)

    assert "lost the connection to another rank" in said_by(meeting, other, again)
    assert "resumes    after step" in said_by(meeting, again)
    assert "resumes    after step" in said_by(*third)
    whole_run, run = str(tmp_path / "whole"), str(tmp_path / "run")
    assert token_hash(run) == token_hash(whole_run), "a token was left out, or fed twice"
    assert_equal_weights(whole_run, run)


def test_a_name_that_stands_for_loopback_is_explained_and_the_remedy_helps(
    hosts: tuple[Host, Host], tiny: Tiny, tmp_path: Path
) -> None:
    """Debian gives a machine's own name the address 127.0.1.1; gloo takes it, and nobody else can reach that."""
    for host in hosts:
        lines = host.hosts.read_text(encoding="utf-8").splitlines()
        mine = [f"127.0.1.1 {host.name}" if line.endswith(host.name) else line for line in lines]
        host.hosts.write_text("\n".join(mine) + "\n", encoding="utf-8")
    config = tiny("run", steps=20)

    def start(what: str, **environment: str) -> list[Agent]:
        return [
            host.run(
                hosts[0].name, config, tmp_path / f"{host.name}-{what}.txt",
                **{name: host.device for name in environment},
            )
            for host in hosts
        ]  # fmt: skip

    plain = start("plain")
    wait_for("cannot reach the others (timed out connecting", *plain)
    said = said_by(*plain)
    assert "here 127.0.1.1; set GLOO_SOCKET_IFNAME on each" in said
    assert "gpt2x/train" not in said, "a traceback of ours"
    for host, agent in zip(hosts, plain, strict=True):
        host.lose_power()
        agent.end()

    helped = start("helped", GLOO_SOCKET_IFNAME="the device of each")
    assert [agent.end() for agent in helped] == [0, 0], said_by(*helped)
    assert RunFolder(Path(str(config.out))).newest_whole() is not None
