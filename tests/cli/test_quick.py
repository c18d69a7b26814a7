"""The quick way in reads a plain command line as typer does, and leaves every other one to typer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from gpt2x.cli import bpe, bpe_table, quick
from gpt2x.cli.app import app

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "songs.tiktoken"

PLAIN = [
    "encode",
    "encode a.txt b.txt",
    "encode - --json",
    "encode --text hello -t path --specials allow --out x.bin --dtype uint16 --threads 2 -q",
    "encode --tokenizer=path --out=x.bin a.txt --bytes",
    "encode -o x.bin a.txt --quiet",
    "decode 31373 995",
    "decode --dtype uint32 ids.bin --out text",
    "count a.txt",
    "count --specials refuse --text=x",
    "explain word",
    "explain",
    "explain -t path --json word",
    "count-pieces a.txt b.txt --out x.counts --pattern o200k --split-lines --errors replace --limit-bytes 5M",
    "count-pieces --counts a.counts -o b.counts --threads 2",
    "diff a b",
    "diff a b text.txt --limit 3 --json",
    "stats gpt2 a.txt -q",
]
FOR_TYPER = [
    "",
    "train --vocab 300",
    "encode --help",
    "encode -h",
    "encode --no-such-option",
    "encode --text",
    "encode --text --json",
    "encode --json=yes",
    "encode --dtype uint8 --out x",
    "encode --threads two",
    "encode -tpath",
    "encode --out -",
    "decode -- -7",
    "count-pieces --pattern latin a.txt",
    "diff --limit many a b",
    "decode --text hello",
    "explain one two",
    "nothing",
]


def called_by_typer(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Any, dict[str, Any]] | None:
    """What typer would call: (command, argument, options)."""
    calls: list[tuple[str, Any, dict[str, Any]]] = []
    for command in bpe_table.COMMANDS:
        monkeypatch.setattr(
            f"gpt2x.cli.{command.module}.{command.function}",
            lambda argument, name=command.name, **options: calls.append((name, argument, options)),
        )
    monkeypatch.setattr(bpe, "app", rebuilt())
    CliRunner().invoke(app, ["bpe", *words])
    return calls[0] if calls else None


def rebuilt() -> typer.Typer:
    """`gpt2x bpe` once more, now that other functions stand behind its commands."""
    group = typer.Typer()
    group.callback()(lambda: None)
    for command in bpe_table.COMMANDS:
        group.command(name=command.name)(bpe._typed(command))
    return group


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_line_is_read_as_typer_reads_it(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = quick.parse(["bpe", *line.split()])
    assert found is not None
    assert found == called_by_typer(line.split(), monkeypatch)


@pytest.mark.parametrize("line", FOR_TYPER)
def test_anything_else_is_left_to_typer(line: str) -> None:
    assert quick.parse(["bpe", *line.split()]) is None


def test_other_commands_are_left_to_typer() -> None:
    for words in ([], ["--help"], ["--traceback", "bpe", "count"], ["bench"]):
        assert quick.find(words) is None


def test_every_option_in_the_table_is_typers() -> None:
    group = typer.main.get_command(bpe.app)
    for command in bpe_table.COMMANDS:
        shown = {
            name: set(option.opts) for option in group.commands[command.name].params if (name := option.name)
        }  # type: ignore[attr-defined]
        assert set(shown) == {command.argument.name, *command.options}
        for key in command.options:
            assert shown[key] == set(bpe_table.OPTIONS[key].names)


def run(*words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GPT2X_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "gpt2x", *words],
        env=environment,
        input=input,
        capture_output=True,
        check=False,
    )


def test_the_program_gives_the_same_either_way() -> None:
    vocabulary = ["--tokenizer", str(GOLDEN), "--pattern", "gpt2"]
    ids = run("bpe", "encode", *vocabulary, "--text", "love").stdout
    assert run("bpe", "decode", *vocabulary, input=ids).stdout == b"love"
    assert run("bpe", "count", *vocabulary, input=b"love\n").stdout == b"3\n"
    assert b"Examples:" in run("bpe", "count", "--help").stdout
    missing = run("bpe", "count", *vocabulary, "missing.txt")
    assert (missing.returncode, missing.stdout) == (3, b"")
    assert missing.stderr.startswith(b"gpt2x: cannot read missing.txt")
    assert run("bpe", "count", "--json=yes").returncode == 2


def test_it_loads_neither_typer_nor_numpy() -> None:
    program = (
        "import sys; from gpt2x import boundary; from gpt2x.cli import quick; boundary.run(quick.find(sys.argv[1:])); "
        "heavy = {'typer', 'click', 'rich', 'numpy', 'torch', 'dataclasses', 'gpt2x.tokenizer.training'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    words = ["bpe", "count", "--tokenizer", str(GOLDEN), "--pattern", "gpt2", "--text", "love"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"2\n"), done.stderr.decode()
