"""How `gpt2x classify predict` reads its words, what it says of wrong ones, and what it costs at the start."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt2x.cli import classify_predict
from gpt2x.cli.classify_predict import ABOUT, ARGUMENTS, EXAMPLES, OPTIONS
from tests.cli.conftest import Run

COMMAND = "classify"
ROOT = Path(__file__).parent.parent.parent


def read(*words: str) -> dict[str, Any]:
    """What is given to the command, and is not what it is without being said."""
    values = classify_predict.parser().parse(words)
    assert set(values) == {*OPTIONS, *(argument.name for argument in ARGUMENTS)}
    return {
        key: value
        for key, value in values.items()
        if key not in OPTIONS
        or value != OPTIONS[key].default
        or type(value) is not type(OPTIONS[key].default)
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["kept"], {}),
        (["kept", "rain and wind", "goal"], {"texts": ["rain and wind", "goal"]}),
        (["kept", "-"], {"texts": ["-"]}),
        (["kept", "-5 degrees", "-7", "- x", "--a b"], {"texts": ["-5 degrees", "-7", "- x", "--a b"]}),
        (["kept", "rain", "--", "--json", "--"], {"texts": ["rain", "--json", "--"]}),
        (["-q", "kept", "-k", "3", "rain", "--json"], {"texts": ["rain"], "quiet": True, "top_k": 3, "as_json": True}),
        (["kept", "-qk3", "--abstain=0.8"], {"quiet": True, "top_k": 3, "abstain": 0.8}),
        (["kept", "--abstain", "1", "--explain", "--fields"], {"abstain": 1.0, "explain": True, "fields": True}),
        (
            ["kept", "--data", "x.csv", "--text-column", "a", "--text-column", "-5 b", "-o", "y.csv", "--skip-bad"],
            {"data": Path("x.csv"), "text_columns": ["a", "-5 b"], "out": Path("y.csv"), "skip_bad": True},
        ),
        (["kept", "--input", "full"], {"form": "full"}),
    ],
)  # fmt: skip
def test_a_line_is_read(words: list[str], expected: dict[str, Any]) -> None:
    assert read(*words) == {"folder": "kept", "texts": [], **expected}


WRONG = [
    ([], "FOLDER is missing; `gpt2x classify predict --help` says what stands there"),
    (["kept", "--jsn"], "no such option '--jsn' in `gpt2x classify predict`; did you mean '--json'?"),
    (
        ["kept", "-rain"],
        "no such option '-r' in `gpt2x classify predict`; `gpt2x classify predict --help` lists",
    ),
    (["kept", "--abstain"], "--abstain stands without its value; give it one, or leave it out"),
    (["kept", "--abstain", "much"], "--abstain is 'much'; give a number"),
    (["kept", "--abstain", "1.5"], "--abstain is 1.5; give 0.0 to 1.0"),
    (["kept", "--abstain", "-0.1"], "--abstain is -0.1; give 0.0 to 1.0"),
    (["kept", "--abstain", "nan"], "--abstain = nan is not a finite number; give one that is"),
    (["kept", "--abstain", "1e-200"], "--abstain = 1e-200 is outside of float32"),
    (["kept", "-k", "0"], "--top-k is 0; give 1 or more"),
    (["kept", "-k", "1.5"], "--top-k is '1.5'; give a whole number"),
    (["kept", "--json=yes"], "--json takes no value; leave '=yes' out"),
    (["kept", "rain", "-"], "give texts or '-', not both"),
    (
        ["kept", "rain", "--skip-bad"],
        "--out, --text-column, --input and --skip-bad are for the rows of a file",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_line_is_one_sentence_and_code_2(run: Run, words: list[str], sentence: str) -> None:
    code, out, err = run("predict", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"gpt2x: {sentence}")
    assert err.count("\n") == 1


def test_help_says_all_there_is_as_the_other_commands_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, shown, _ = run("predict", "--help")
    assert code == 0
    assert shown.startswith("Usage: gpt2x classify predict [OPTIONS] FOLDER [TEXT]...\n\n  Name the label")
    unbroken = " ".join(shown.split())
    assert all(" ".join(paragraph.split()) in unbroken for paragraph in ABOUT.split("\n\n"))
    assert all(line in shown for line in EXAMPLES)
    for argument in ARGUMENTS:
        assert argument.metavar in shown
    for option in OPTIONS.values():
        assert ", ".join(reversed(option.names)) in shown
        assert " ".join(option.help.split()) in unbroken
    for fact in ("[required]", "[default: 1; x>=1]", "[default: 0.0; 0.0<=x<=1.0]"):
        assert fact in unbroken
    theirs = run("train", "--help").stdout
    for line in ("Options:", "  -q, --quiet ", "Show this message and exit.", "  Examples:"):
        assert line in shown
        assert line in theirs
    assert max(len(line) for line in shown.partition("  Examples:")[0].splitlines()) <= 78


def test_the_command_takes_what_the_tables_say() -> None:
    taken = list(inspect.signature(classify_predict.predict).parameters)
    names = [*(argument.name for argument in ARGUMENTS), *OPTIONS]
    assert taken == [name for name in names if name != "quiet"]


def test_a_line_is_completed() -> None:
    found = classify_predict.complete(["kept", "-5 degrees", "--json"], "--")
    assert [one.value for one in found] == [
        option.names[0] for option in OPTIONS.values() if option.names[0] != "--json"
    ] + ["--help"]
    assert classify_predict.complete(["kept", "--out"], "") == []


def test_it_is_listed_among_the_commands_of_its_group(run: Run) -> None:
    listed = run("--help").stdout.partition("Commands:\n")[2]
    assert "  predict  Label texts with a trained classifier.\n" in listed
    assert [line.split()[0] for line in listed.splitlines()] == ["compare", "train", "predict", "review"]


def process(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    program = ["-c", code] if code else ["-m", "gpt2x"]
    return subprocess.run(
        [sys.executable, *program, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_program_starts_without_what_the_answer_does_not_need(
    run: Run, news: Path, tmp_path: Path
) -> None:
    folder = str(tmp_path / "kept")
    assert run("train", "--model", "linear", "--data", news, "--out", folder)[0] == 0
    heavy = "typer click rich pydantic torch sklearn scipy safetensors csv difflib"
    code = (
        "import sys, atexit; from gpt2x.__main__ import main; "
        f"atexit.register(lambda: print({set(heavy.split())} & set(sys.modules), file=sys.stderr)); main()"
    )
    done = process("classify", "predict", folder, "-5 degrees of rain", "-q", code=code)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.startswith("WEATHER\t")


def test_an_option_before_the_command_comes_to_the_same() -> None:
    asked = ["classify", "predict", "nowhere", "-5 degrees"]
    assert process(*asked).stderr.startswith("gpt2x: there is no folder nowhere")
    assert "Traceback" in process("--traceback", *asked).stderr
