"""What the tests of every command share: a place of their own, and one way to run the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from gpt2x.cli.app import app


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without network and without anyone's vocabulary."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    monkeypatch.delenv("GPT2X_VOCAB", raising=False)
    monkeypatch.delenv("GPT2X_TRACEBACK", raising=False)
    return work


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Run the command that the test's module names as ``COMMAND``, in this process: ``run("--json", path)``.

    An error that is no exit of the command's own is a mistake in gpt2x and fails the test.
    """

    def call(*arguments: object, input: bytes | str | None = None) -> Outcome:
        result = CliRunner().invoke(app, [request.module.COMMAND, *map(str, arguments)], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call
