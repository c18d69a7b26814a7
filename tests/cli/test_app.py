"""The front door: help, version, unknown commands."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from gpt2x import __version__
from gpt2x.cli import welcome
from gpt2x.cli.app import COMMANDS, app
from gpt2x.cli.bpe_table import COMMANDS as BPE
from gpt2x.cli.bpe_table import OPTIONS


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


def test_alone_it_shows_the_four_parts_and_what_to_type_next_on_one_screen_without_typer() -> None:
    program = "import sys; sys.argv[:] = ['gpt2x']; import gpt2x.__main__ as m; m.main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    *screen, modules = done.stdout.splitlines()
    assert len(screen) <= 20
    assert max(map(len, screen)) <= 80
    assert all(f"gpt2x {part} " in done.stdout for part in ("bench", "bpe", "classify", "train"))
    assert '\n  gpt2x sing "ex-girlfriend"\n' in done.stdout
    assert not {"torch", "numpy", "typer", "gpt2x._bpe"} & set(modules.split())


def test_the_commands_that_it_shows_exist() -> None:
    shown = re.findall(r"gpt2x ([a-z]+)", welcome.TEXT)
    assert {"bench", "bpe", "classify", "train", "sing", "env"} <= set(shown)
    assert set(shown) <= {command.name for command in COMMANDS}


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


def kind_of(option: Any) -> str:
    """The type of an option, in words; where it stands depends on the version of typer."""
    described = getattr(option, "type_descriptor", None)
    return str(described.annotation if described is not None else option.type.name)


def numbers_of(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str, str]]:
    """(command, option, kind) of each option that takes a number, in all commands below."""
    own = [
        (path, max(option.opts, key=len), kind)
        for option in command.params
        for kind in re.findall(r"\b(int|float)", kind_of(option))[:1]
    ]
    for name, below in getattr(command, "commands", {}).items():
        own += numbers_of(below, (*path, name))
    return own


def numbers_of_bpe() -> list[tuple[tuple[str, ...], str, str]]:
    """The same of `gpt2x bpe`, which has a parser of its own."""
    options = [(command.name, OPTIONS[key]) for command in BPE for key in command.options]
    return [(("bpe", name), option.names[0], "int") for name, option in options if option.type is int]


def all_numbers() -> list[tuple[tuple[str, ...], str, str]]:
    front = typer.main.get_command(app)
    return numbers_of_bpe() + [
        number
        for command in COMMANDS
        for number in numbers_of(front.get_command(None, command.name), (command.name,))  # type: ignore[attr-defined]
    ]


def test_no_option_takes_a_number_that_nothing_can_be_computed_with() -> None:
    numbers = all_numbers()
    assert {
        "--seed",
        "--lr",
        "--temperature",
        "--limit",
        "--rounds",
        "--steps",
        "--threads",
        "--min-frequency",
    } <= {n[1] for n in numbers}
    for path, option, kind in numbers:
        for value in [str(2**64)] if kind == "int" else ["nan", "inf", "-inf", "1e400", "1e308", "1e-320"]:
            done = CliRunner().invoke(app, [*path, f"{option}={value}"])
            assert done.exit_code == 2, (path, option, value, done.output)
            assert f"{option} = " in done.stderr or f"'{option}'" in done.stderr, done.output
            assert len(done.stderr) < 1100


def test_seeds_are_as_long_as_torch_takes_them_and_not_negative() -> None:
    seeds = [path for path, option, _ in all_numbers() if option == "--seed"]
    assert len(seeds) > 5
    for path in seeds:
        done = CliRunner().invoke(app, [*path, f"--seed={2**63}"])
        assert (done.exit_code, "--seed = 9223372036854775808 is too large" in done.stderr) == (2, True), path
