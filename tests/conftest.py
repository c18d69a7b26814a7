"""Fixtures that several rooms share. Tests build their own tiny data; real data is used when it is there."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt2x import download
from gpt2x.console import set_quiet

REPOSITORY = Path(__file__).parent.parent


MAX_WORKERS = 8
"""Each imports torch, which takes half a gigabyte."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: one worker for each core that may be used; a virtual machine's threads are no fewer cores."""
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Workers take over each other's tests; neighbours, which share fixtures, stay together as long as they can."""
    if getattr(config.option, "dist", "no") == "no" and getattr(config.option, "numprocesses", None):
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long forms of tests to those who ask for them."""
    if not os.environ.get("GPT2X_TEST_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; set GPT2X_TEST_LONG=1 to run it"))


@pytest.fixture(scope="session", autouse=True)
def _threads_of_a_worker() -> None:
    """One thread for each of several workers, also in what tests start: together they fill the cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Let SIGINT do what it does at a keyboard, here and in what tests start.

    A parent that ignores it (``nohup``, a CI's job in the background, ``pytest &`` in a script) hands that down.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Give the path of a file of real data, or skip the test and say which file it wants.

    The folder is ``GPT2X_TEST_DATA``, else ``shared/data`` beside the repository.
    """
    root = Path(os.environ.get("GPT2X_TEST_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"real data {name} is not here (set GPT2X_TEST_DATA to the folder that holds it)")
        return path

    return find


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's runs, cache and models, and from the network."""
    for variable in ("GPT2X_RUNS", "GPT2X_CACHE", "GPT2X_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    monkeypatch.setenv(
        "TIKTOKEN_CACHE_DIR", ""
    )  # tiktoken keeps rank files by path, also those of other tests


@pytest.fixture(autouse=True)
def _not_quiet() -> Iterator[None]:
    """A test that runs a command with ``--quiet`` in this process silences no other."""
    yield
    set_quiet(False)


Serve = Callable[..., list[str]]


class Response(io.BytesIO):
    """What a server answers."""

    def __init__(self, content: bytes, declared: str | None, address: str) -> None:
        super().__init__(content)
        self.headers = {} if declared is None else {"Content-Length": declared}
        self.geturl = lambda: address


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Put a server in the place of the network that gives one file, or an error; lists what it is asked for."""

    def start(
        content: bytes | Exception, *, declared: str | None = None, moved_to: str = "", read1: Any = None
    ) -> list[str]:
        asked: list[str] = []

        def answer(address: str, headers: dict[str, str]) -> Response:
            asked.append(address)
            if isinstance(content, Exception):
                raise content
            response = Response(content, declared, moved_to or address)
            if read1 is not None:
                response.read1 = read1  # type: ignore[method-assign]
            return response

        monkeypatch.setenv("GPT2X_OFFLINE", "0")
        monkeypatch.setattr(download, "_open", answer)
        return asked

    return start
