"""`gpt2x env` says what is here and why."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt2x import __version__
from gpt2x.cli import env, env_check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def test_the_report_covers_versions_hardware_operators_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    env.env(json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["gpt2x"] == __version__
    assert report["cpu"]["cores"] >= 1
    assert report["tokenizer"]["unicode version"] == "16.0.0"
    assert report["tokenizer"]["splitting"].startswith(
        "native (gpt2, cl100k, o200k, llama3, qwen2, deepseek); "
    )
    assert "Python (regex 20" in report["tokenizer"]["splitting"]
    assert report["operators"], "no operator is reported"
    assert all(": " in line for line in report["operators"].values()), "an operator without a reason"
    assert report["places"]["packaged songs"].endswith("songs.csv")


def test_the_plain_report_has_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    env.env(json=False)
    printed = capsys.readouterr().out
    assert all(f"\n{title}\n" in f"\n{printed}" for title in env.collect())


def test_a_gpu_that_is_too_old_for_the_kernels_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from gpt2x.cli import env
    from gpt2x.ops import backend

    monkeypatch.setattr(env, "_gpu", lambda: {"devices": ["an old one"]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(backend._native_dtypes, "cuda", (torch.float32,))
    monkeypatch.setattr(backend, "_capabilities", {None: (7, 5)})
    assert set(env._operators_on_gpu()["operators on cuda"].values()) == {
        "reference: this GPU has compute capability 7.5, and the CUDA kernels need 8.0"
    }


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def test_the_extras_are_those_of_the_package() -> None:
    wanted = {
        extra: {re.split(r"[^\w.-]", line)[0] for line in lines if "python_version" not in line}
        for extra, lines in project()["optional-dependencies"].items()
    }
    known = {extra: set(members) for extra, members in env.EXTRAS.items()}
    known["test"].add("unicodedata2")  # for one test, and not on every Python
    wanted["test"].add("unicodedata2")
    assert known == wanted


def test_an_extra_that_is_not_complete_comes_with_the_command_that_installs_it() -> None:
    assert env._extra_state("plots", ("numpy",)) == "installed"
    assert env._extra_state("plots", ("numpy", "no-such")) == 'pip install "gpt2x[plots]" adds no-such'


def test_the_newest_tested_torch_is_that_of_the_constraints_and_nothing_newer_is_refused() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==(\d+)\.(\d+)\.\d+$", constraints, re.MULTILINE)
    assert pinned, "constraints.txt names no torch"
    assert tuple(map(int, pinned.groups())) == env_check.NEWEST_TESTED_TORCH
    torch = next(line for line in project()["dependencies"] if line.startswith("torch"))
    assert torch == "torch>=2.10"


@pytest.mark.parametrize(
    ("version", "state"),
    [("2.9.1", "todo"), ("2.10.0", "ok"), ("2.13.0+cpu", "ok"), ("2.14.0a0+git1", "note"), ("3.0.0", "note")],
)
def test_a_torch_is_judged_by_its_version(version: str, state: str) -> None:
    assert env_check._torch(version).state == state


class Cuda:
    """Stands for `torch` on a machine with or without CUDA."""

    def __init__(self, built: str | None, available: bool) -> None:
        self.version = type("", (), {"cuda": built})
        self.cuda = type("", (), {"is_available": lambda: available, "get_device_name": lambda _: "a GPU"})


def test_a_gpu_that_torch_cannot_use_is_told_apart_from_none() -> None:
    assert [f.state for f in env_check._gpu(Cuda(None, False), devices=False)] == ["note"]
    [unused] = env_check._gpu(Cuda(None, False), devices=True)
    assert (unused.state, "CUDA build of torch" in unused.fix) == ("todo", True)
    [unseen] = env_check._gpu(Cuda("13.0", False), devices=True)
    assert (unseen.state, "driver" in unseen.fix) == ("todo", True)
    used = env_check._gpu(Cuda("13.0", True), devices=True)
    assert [f.subject for f in used] == ["GPU", "operators on the GPU"]


def test_the_check_exits_with_4_and_says_what_to_do_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = env_check.Finding("torch", "ok", "2.13.0")
    monkeypatch.setattr(env_check, "look", lambda: [ready])
    assert env_check.run(json=False) == 0
    assert "Nothing is missing" in capsys.readouterr().out
    lacking = env_check.Finding("C++ compiler", "todo", "none is found", "install g++")
    monkeypatch.setattr(env_check, "look", lambda: [ready, lacking])
    assert env_check.run(json=False) == 4
    assert "TO DO  C++ compiler: none is found\n       install g++\n" in capsys.readouterr().out
    assert env_check.run(json=True) == 4
    assert json.loads(capsys.readouterr().out)["complete"] is False


def test_no_compiler_and_idle_cores_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert env_check._compiler().state == "todo"
    monkeypatch.setattr(env_check.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "3 of 4 idle" in env_check._cores().says
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert env_check._cores().state == "ok"


def test_every_finding_that_asks_for_something_says_how() -> None:
    assert all(finding.fix for finding in env_check.look() if finding.state == "todo")
