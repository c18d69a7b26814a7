"""What README and docs say is true: their Python runs and their commands exist."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gpt2x
from gpt2x.errors import MissingComponentError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
MODULES = [
    info.name
    for info in pkgutil.walk_packages(gpt2x.__path__, "gpt2x.")
    if not info.name.endswith("__main__") and info.name.rsplit(".", 1)[-1] not in ("_bpe", "_ops", "_cuda")
]  # fmt: skip


def blocks(page: Path, *languages: str) -> list[str]:
    return [
        body for language, body in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages
    ]


def commands(page: Path) -> list[str]:
    """Lines of shell blocks that start with gpt2x, a prompt taken off; continued lines joined."""
    lines = "\n".join(blocks(page, "", "sh", "bash", "console")).replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("$ ").split(" #")[0].strip() for line in lines]
    return sorted({line for line in lines if line.startswith("gpt2x ")})


def test_the_first_two_commands_of_the_readme_are_the_gates() -> None:
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8")[:3000]
    found = re.findall(r"^(pip install .*)$", first_screen, re.MULTILINE)[:2]
    assert found == [
        "pip install -e . -c constraints.txt && gpt2x bench",
        'pip install -e ".[test]" -c constraints.txt && pytest -n auto',
    ]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert set(found) <= set(gate), "the README's commands stand verbatim in .ci/run"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line.split("|")[0].split(">")[0].split("&&")[0])[1:]
        path = [word for word in words[:2] if re.fullmatch(r"[a-z][a-z-]*", word)]
        help_text = help_of(path) or help_of(path[:1])
        assert help_text, f"{line!r}: no such command"
        for option in (word.split("=")[0] for word in words if word.startswith("--")):
            known = help_text + (help_of(path[:1]) or "") + help_of([])
            assert re.search(rf"{re.escape(option)}\b", known), f"{line!r}: no option {option}"


_help: dict[tuple[str, ...], str] = {}


def help_of(path: list[str]) -> str:
    """The help text of a command; empty when there is no such command."""
    key = tuple(path)
    if key not in _help:
        environment = {**os.environ, "COLUMNS": "200", "TERMINAL_WIDTH": "200"}
        command = [sys.executable, "-m", "gpt2x.cli.app", *path, "--help"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        _help[key] = done.stdout if done.returncode == 0 else ""
    return _help[key]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_python_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vocabulary = Path(os.environ.get("GPT2X_TEST_DATA") or ROOT.parent / "shared" / "data") / "vocab"
    if vocabulary.exists():
        monkeypatch.setenv("GPT2X_VOCAB", str(vocabulary))
    namespace: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page, "python"), start=1):
        try:
            exec(compile(block, f"{page.name}, python block {number}", "exec"), namespace)
        except MissingComponentError as missing:
            pytest.skip(f"block {number} needs what is not here: {missing}")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_hold(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


PROMISES = (ROOT / "docs" / "reference" / "promises.md").read_text(encoding="utf-8")
HELD_BY = sorted(set(re.findall(r"`([\w/]+\.py)(?:::([\w:]+))?`", PROMISES)))


@pytest.mark.parametrize(("file", "name"), HELD_BY, ids=str)
def test_each_promise_names_a_test_that_is_there(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    for part in filter(None, name.split("::")):
        assert re.search(rf"^\s*(def|class) {part}\b", text, flags=re.MULTILINE), f"{file} has no {part}"
