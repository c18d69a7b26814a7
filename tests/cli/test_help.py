"""What every command has in common: a summary that is never cut, and completion in the shells that people use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from gpt2x.cli.app import app
from gpt2x.cli.bpe_table import COMMANDS as BPE

LONGEST = 45
"""Characters of a summary: with the longest name beside it, a line of 80 holds it."""


def commands() -> Iterator[tuple[str, str]]:
    """Every command and group below `gpt2x`: its whole name and its summary."""
    root: Any = typer.main.get_command(app)

    def walk(group: Any, words: str, context: Any) -> Iterator[tuple[str, str]]:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            yield f"{words} {name}", command.get_short_help_str(limit=1000)
            if hasattr(command, "list_commands"):
                yield from walk(command, f"{words} {name}", context)

    yield from ((f"gpt2x bpe {command.name}", command.summary) for command in BPE)
    yield from walk(root, "gpt2x", root.make_context("gpt2x", ["--help"], resilient_parsing=True))


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_the_summary_of_a_command_fits_into_the_list_of_commands(name: str) -> None:
    summary = ALL[name]
    assert 0 < len(summary) <= LONGEST, summary
    assert summary.endswith(".")


@pytest.mark.parametrize("group", ["", "bench", "bpe", "train", "classify", "data", "export"])
def test_no_help_page_cuts_a_summary(group: str) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    words = [sys.executable, "-m", "gpt2x", *group.split(), "--help"]
    shown = subprocess.run(
        words, capture_output=True, text=True, check=True, env=environment, timeout=120
    ).stdout
    listed = shown.partition("Commands:\n")[2].partition("\n\n")[0]
    assert listed
    assert "..." not in listed


def complete(shell: str, words: str) -> list[str]:
    """What a shell is told when Tab is pressed after these words."""
    line = words.split(" ")
    environment = {
        **os.environ,
        "_GPT2X_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(line) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code = "import sys; sys.argv[0] = 'gpt2x'; import gpt2x.__main__ as m; m.main()"
    watch = f"try:\n    {code}\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{watch}"],
        capture_output=True, text=True, check=False, env=environment, timeout=120,
    )  # fmt: skip
    assert done.stderr.strip() == "False", f"torch was imported, or more was said: {done.stderr}"
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("gpt2x be", "bench"),
        ("gpt2x bpe enc", "encode"),
        ("gpt2x bpe ", "train"),
        ("gpt2x --traceback bpe tr", "train"),
        ("gpt2x bpe encode --token", "--tokenizer"),
        ("gpt2x bpe train -v --special x --special y --allow", "--allow-fewer"),
        ("gpt2x bpe count --specials ", "refuse"),
        ("gpt2x bpe count --specials=re", "refuse"),
        ("gpt2x train ly", "lyrics"),
        ("gpt2x train lyrics --optim", "--optimizer"),
        ("gpt2x bench exp", "explain"),
        ("gpt2x sing --temp", "--temperature"),
        ("gpt2x classify pre", "predict"),
        ("gpt2x classify predict kept --abs", "--abstain"),
    ],
)
def test_a_shell_completes_commands_and_options_without_torch(shell: str, words: str, offered: str) -> None:
    assert any(offered in piece for piece in complete(shell, words))


def test_bash_completes_a_line_by_the_script_that_it_is_given(tmp_path: Any) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    script = tmp_path / "gpt2x"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gpt2x "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    line = 'COMP_WORDS=(gpt2x bpe cou); COMP_CWORD=2; _gpt2x_completion gpt2x; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        [bash, "-c", f'eval "$(_GPT2X_COMPLETE=source_bash gpt2x)"; {line}'],
        capture_output=True, text=True, check=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["count", "count-pieces"]
