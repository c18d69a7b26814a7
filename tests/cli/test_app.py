"""The front door: help, version, unknown commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpt2x import __version__
from gpt2x.cli.app import COMMANDS


def gpt2x(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpt2x.cli.app", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = gpt2x("--help")
    assert result.returncode == 0
    assert all(f"\n  {command.name} " in result.stdout for command in COMMANDS)
    assert "130 interrupted" in result.stdout


def test_version_is_the_packages() -> None:
    assert gpt2x("--version").stdout == f"gpt2x {__version__}\n"


def test_an_unknown_command_suggests_the_nearest() -> None:
    result = gpt2x("benhc")
    assert result.returncode == 2
    assert "did you mean 'bench'" in result.stderr


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str) -> None:
    result = gpt2x(name, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: gpt2x" in result.stdout
