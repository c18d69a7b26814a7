"""The parser of `gpt2x bpe`: how a line is read, what is said of a wrong one, and what it costs at the start."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpt2x.cli import bpe
from gpt2x.cli.bpe_table import COMMANDS, OPTIONS, Command
from gpt2x.errors import UsageError
from gpt2x.tokenizer import patterns
from tests.cli.conftest import Run

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "songs.tiktoken"
COMMAND = "bpe"

EACH = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def read(*words: str) -> dict[str, Any]:
    """What is given to the function behind a command, and is not what it is without being said."""
    command = bpe.find(words[0])
    values = bpe.parser(command).parse(words[1:])
    defaults = {key: command.default(key) for key in command.options}
    assert set(values) == {command.argument.name, *defaults}
    return {key: value for key, value in values.items() if value != defaults.get(key, [])}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("encode", {}),
        ("encode a.txt b.txt", {"files": ["a.txt", "b.txt"]}),
        ("encode - --json", {"files": ["-"], "json": True}),
        ("encode a.txt --json b.txt -q c.txt", {"files": ["a.txt", "b.txt", "c.txt"], "json": True, "quiet": True}),
        (
            "encode --text hello -t path --specials allow --out x.bin --dtype uint16 --threads 2",
            {
                "text": "hello", "tokenizer": "path", "specials": "allow", "out": Path("x.bin"), "dtype": "uint16",
                "threads": 2,
            },
        ),
        ("encode --tokenizer=path --out=x.bin --bytes", {"tokenizer": "path", "out": Path("x.bin"), "any_bytes": True}),
        ("encode -tpath -o x=y", {"tokenizer": "path", "out": Path("x=y")}),
        ("encode -qo x.bin -qtpath", {"quiet": True, "out": Path("x.bin"), "tokenizer": "path"}),
        ("encode --out -", {"out": Path("-")}),
        ("encode --out a --out b", {"out": Path("b")}),
        ("count --specials refuse --text=", {"specials": "refuse", "text": ""}),
        ("explain", {"text": None}),
        ("explain word", {"text": "word"}),
        ("train --special a --special -b --vocab 300", {"special": ["a", "-b"], "vocab": "300"}),
        ("train --out dir -v --byte-order raw", {"folder": Path("dir"), "verbose": True, "byte_order": "raw"}),
        ("diff a b --limit 3", {"words": ["a", "b"], "limit": 3}),
    ],
)  # fmt: skip
def test_a_line_is_read(line: str, expected: dict[str, Any]) -> None:
    assert read(*line.split()) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["encode", "--text", "-hello"], {"text": "-hello"}),
        (["encode", "--text", "--json"], {"text": "--json"}),
        (["encode", "--text", "--"], {"text": "--"}),
        (["encode", "--text", "- hello"], {"text": "- hello"}),
        (["encode", "--text=-7", "a b"], {"text": "-7", "files": ["a b"]}),
        (["encode", "-t", "-x", "-o", "=x"], {"tokenizer": "-x", "out": Path("=x")}),
        (["encode", "-qt", "-x"], {"quiet": True, "tokenizer": "-x"}),
        (["encode", "--threads", "-3"], {"threads": -3}),
        (["train", "--vocab", "-5"], {"vocab": "-5"}),
        (["explain", "--", "-hello"], {"text": "-hello"}),
        (["explain", "--", "--"], {"text": "--"}),
        (["decode", "1", "--json", "--", "-7", "--", "--json"], {"ids": ["1", "-7", "--", "--json"], "json": True}),
    ],
)  # fmt: skip
def test_a_value_may_begin_with_a_dash_and_after_two_any_word_may(
    words: list[str], expected: dict[str, Any]
) -> None:
    assert read(*words) == expected


WRONG = [
    ("nothing", "no such command 'nothing' in `gpt2x bpe`; known: train, encode, decode, count, "),
    ("encod", "no such command 'encod' in `gpt2x bpe`; did you mean 'encode'?"),
    ("-", "no such command '-' in `gpt2x bpe`; known: train"),
    ("--", "no such command '--' in `gpt2x bpe`; known: train"),
    ("--jsn count", "no such option '--jsn' in `gpt2x bpe`; `gpt2x bpe --help` lists its options"),
    ("encode --jsn", "no such option '--jsn' in `gpt2x bpe encode`; did you mean '--json'?"),
    ("encode --tokeniser=x", "no such option '--tokeniser' in `gpt2x bpe encode`; did you mean '--tokenizer'?"),
    ("encode --token x", "no such option '--token' in `gpt2x bpe encode`; did you mean '--tokenizer'?"),
    ("encode -qx", "no such option '-x' in `gpt2x bpe encode`; `gpt2x bpe encode --help` lists its options, and"),
    ("decode 1 -7", "no such option '-7' in `gpt2x bpe decode`; `gpt2x bpe decode --help` lists its options, and --"),
    ("encode --text", "--text stands without its value; give it one, or leave it out"),
    ("encode a -qt", "-qt stands without its value; give it one, or leave it out"),
    ("encode --json=yes", "--json takes no value; leave '=yes' out"),
    ("encode --dtype uint8", "--dtype is 'uint8'; give uint16 or uint32"),
    ("encode --threads two", "--threads is 'two'; give a whole number"),
    (f"encode --threads {'9' * 5000}", "--threads is '9999"),
    (f"encode --threads {2**31}", "--threads = 2147483648 is too large; give at most 2147483647"),
    ("count-pieces --pattern latin", "--pattern is 'latin'; give gpt2, cl100k, o200k, llama3, qwen2 or deepseek"),
    ("train --min-frequency 0", "--min-frequency is 0; give 1 or more"),
    ("train --threads 0", "--threads is 0; give 1 or more"),
    ("explain one two", "`gpt2x bpe explain` takes one text, and 'two' is a second; put several words in quotes"),
    ("explain -- one -two", "`gpt2x bpe explain` takes one text, and '-two' is a second"),
    (f"encode --{'x' * 10**6}", "no such option '--xxx"),
    ("y" * 10**6, "no such command 'yyy"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), WRONG, ids=[line[:40] for line, _ in WRONG])
def test_a_wrong_line_is_one_sentence_and_code_2(run: Run, line: str, sentence: str) -> None:
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"gpt2x: {sentence}")
    assert err.count("\n") == 1
    assert len(err) < 400


def test_a_wrong_word_cannot_steer_the_terminal(run: Run) -> None:
    assert "\x1b" not in run("count", "--\x1b[2J").stderr


@pytest.mark.parametrize(
    "line", ["--help", "-h", "count --help", "count a.txt -h", "count -qh", "count --threads two -h"]
)
def test_help_is_shown_wherever_it_is_asked_for(run: Run, line: str) -> None:
    code, out, err = run(*line.split())
    assert (code, err) == (0, "")
    assert out.startswith("Usage: gpt2x bpe")
    assert "-h, --help" in out


def test_without_a_command_the_help_is_talk_and_a_mistake_as_in_other_groups(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err == run("--help").stdout


def test_the_list_of_commands_is_laid_out_as_in_other_groups(run: Run) -> None:
    """The same lines but for names: title, options, commands in two columns."""
    ours = run("--help").stdout.splitlines()
    theirs = (
        CliRunner()
        .invoke(import_module("gpt2x.cli.app").app, ["data", "--help"], prog_name="gpt2x")
        .stdout.splitlines()
    )
    assert ours[0] == theirs[0].replace("data", "bpe")
    for line in ("Options:", "  -h, --help  Show this message and exit.", "Commands:", ""):
        assert line in ours
        assert line in theirs
    assert ours[-len(COMMANDS) :] == [f"  {each.name:<12}  {each.summary}" for each in COMMANDS]


@EACH
def test_help_names_all_there_is_and_fits_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in ("10", "60", "80", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        shown = bpe.parser(command).format_help()
        unbroken = " ".join(shown.split())
        assert all(line in shown for line in command.examples)
        assert command.argument.metavar in shown
        for option in (OPTIONS[key] for key in command.options):
            assert ", ".join(reversed(option.names)) in shown
            assert " ".join(option.help.split()) in unbroken
        text = shown.partition("  Examples:")[0].splitlines()[1:]
        assert max(len(line) for line in text if not line.startswith("  -")) <= max(
            50, min(int(columns), 80) - 2
        )


@EACH
def test_every_command_has_a_function_that_takes_what_the_table_says(command: Command) -> None:
    taken = inspect.signature(
        getattr(import_module(f"gpt2x.cli.{command.module}"), command.function)
    ).parameters
    assert list(taken) == [command.argument.name, *command.options]
    assert len({name for key in command.options for name in OPTIONS[key].names}) == sum(
        len(OPTIONS[key].names) for key in command.options
    ), "two options of one name"
    for key in command.options:
        assert OPTIONS[key].names[0].startswith("--")
        if choices := OPTIONS[key].choices:
            assert command.default(key) in {None, *choices}


def test_the_patterns_that_are_offered_are_those_of_the_core() -> None:
    assert OPTIONS["pattern"].choices == tuple(patterns.BY_NAME)


# ----------------------------------------------------------------------------------------------------------------
# Completion; what shells see of it is tested in test_help.py


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", " ".join(command.name for command in COMMANDS)),
        ("cou", "count count-pieces"),
        ("-", "--help -h"),
        ("nothing ", ""),
        ("encode ", ""),
        ("encode --t", "--text --tokenizer --threads"),
        ("encode a.txt --json --b", "--bytes"),
        ("encode --json --j", ""),
        ("encode -q --q", ""),
        ("encode -qo --q", ""),
        ("train --special x --spe", "--special"),
        ("encode --specials ", "refuse allow text"),
        ("encode --specials a", "allow"),
        ("encode --specials=a", "allow"),
        ("encode --out ", ""),
        ("encode --text --specials ", ""),
        ("encode --text --", ""),
        ("encode --no-such --b", "--bytes"),
        ("encode --no-such=", ""),
        ("encode -- --b", ""),
        ("train --pattern ", "gpt2 cl100k o200k llama3 qwen2 deepseek"),
    ],
)
def test_a_line_is_completed(line: str, offered: str) -> None:
    *words, incomplete = line.split(" ")
    assert [found.value for found in bpe.complete(words, incomplete)] == offered.split()


# ----------------------------------------------------------------------------------------------------------------
# In a process of its own


def process(*words: str, input: bytes = b"", code: str = "") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GPT2X_OFFLINE": "1"}
    program = ["-c", code] if code else ["-m", "gpt2x"]
    return subprocess.run(
        [sys.executable, *program, *words], env=environment, input=input, capture_output=True, check=False
    )


def test_the_program_reads_writes_and_fails_as_in_this_process() -> None:
    vocabulary = ["--tokenizer", str(GOLDEN), "--pattern", "gpt2"]
    ids = process("bpe", "encode", *vocabulary, "--text", "love").stdout
    assert process("bpe", "decode", *vocabulary, input=ids).stdout == b"love"
    assert process("bpe", "count", *vocabulary, input=b"love\n").stdout == b"3\n"
    assert b"Examples:" in process("bpe", "count", "--help").stdout
    missing = process("bpe", "count", *vocabulary, "missing.txt")
    assert (missing.returncode, missing.stdout) == (3, b"")
    assert missing.stderr.startswith(b"gpt2x: cannot read missing.txt")
    assert process("bpe", "count", "--json=yes").returncode == 2
    traced = process("--traceback", "bpe", "count", *vocabulary, "missing.txt")
    assert b"Traceback" in traced.stderr


@pytest.mark.parametrize(
    "words", [["count", "-t", str(GOLDEN), "--pattern", "gpt2", "--text", "love"], ["train", "-h"]]
)
def test_it_loads_neither_typer_nor_numpy(words: list[str]) -> None:
    code = (
        "import sys, atexit; from gpt2x.__main__ import main; "
        "heavy = {'typer', 'click', 'rich', 'numpy', 'torch', 'dataclasses', 'difflib', 'http', 'ssl'}; "
        "atexit.register(lambda: print(heavy & set(sys.modules), file=sys.stderr)); main()"
    )
    done = process("bpe", *words, code=code)
    assert (done.returncode, done.stderr) == (0, b"set()\n")


def test_help_that_cannot_be_delivered_is_an_error() -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpt2x", "bpe", "count", "--help"],
            stdout=full, stderr=subprocess.PIPE, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(b"gpt2x: cannot write the result to standard output")


def test_the_parser_can_be_used_again() -> None:
    made = bpe.parser(bpe.find("train"))
    assert made.parse(["--special", "a"])["special"] == ["a"]
    assert made.parse([])["special"] is None
    with pytest.raises(UsageError):
        made.parse(["--vocab"])
