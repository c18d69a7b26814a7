"""The pages about the rungs: each rung has one, what they quote is our code, and `gpt2x bench explain` finds them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpt2x.bench import records
from gpt2x.bench.ladder.report import explain
from gpt2x.bench.ladder.rungs import RUNGS
from gpt2x.cli.app import app
from gpt2x.errors import InputDataError, MissingComponentError, UsageError

from . import made

ROOT = Path(__file__).parents[3]
KEYS = [rung.key for rung in RUNGS]
SECTIONS = [
    "The formula",
    "What moves in memory",
    "When it does not help",
    "What the playground reported",
    "The code",
    "The paper",
]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", "explain", *arguments])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("key", KEYS)
def test_every_rung_has_a_page_with_all_sections(key: str) -> None:
    page = explain.page(key)
    assert list(page.sections) == SECTIONS
    assert all(page.sections.values()), "no section is empty"
    assert len(page.idea) > 100
    assert page.quotes, "the lines of our code that make the difference"
    assert re.search(r"\b(19|20)\d\d\b|NVIDIA|PyTorch", page.sections["The paper"]), "a year or a publisher"


def stands_in(code: str, text: str) -> bool:
    """True when these lines follow one another in the text, wherever their left edge is."""
    wanted, lines = textwrap.dedent(code).rstrip().splitlines(), text.splitlines()
    places = range(len(lines) - len(wanted) + 1)
    return any(textwrap.dedent("\n".join(lines[i : i + len(wanted)])).splitlines() == wanted for i in places)


def test_a_quotation_may_begin_further_left_and_nothing_else() -> None:
    assert stands_in("a\n  b\n", "x\n    a\n      b\ny")
    assert not stands_in("a\nb\n", "x\n    a\n      b\ny")
    assert not stands_in("a\n  b\n", "x\n    a\n    #\n      b\ny")


@pytest.mark.parametrize("key", KEYS)
def test_what_a_page_quotes_stands_in_that_file_word_for_word(key: str) -> None:
    for quote in explain.page(key).quotes:
        text = (ROOT / quote.file).read_text(encoding="utf-8")
        assert stands_in(quote.code, text), (
            f"docs/ladder/{key}.md quotes what {quote.file} no longer has:\n{quote.code}"
        )


@pytest.mark.parametrize("key", KEYS)
def test_a_block_of_code_on_a_page_names_its_file(key: str) -> None:
    """A block without a file is a formula and has no language; so no code stands on a page unchecked."""
    fences = re.findall(r"^```(.*)$", explain.page(key).text, re.MULTILINE)
    for opening in fences[::2]:
        assert opening == "" or re.fullmatch(r"(py|cpp) [\w./-]+", opening), opening


def test_every_page_is_a_rung_and_stands_in_the_index() -> None:
    index = (explain.folder() / "README.md").read_text(encoding="utf-8")
    for file in explain.folder().glob("*.md"):
        if file.name != "README.md":
            assert file.stem in KEYS, f"{file.name} explains no rung"
            assert f"({file.name})" in index


@pytest.mark.parametrize(
    ("name", "key"), [("flash", "flash"), ("7", KEYS[7]), ("0", "start"), (" FLASH ", "flash")]
)
def test_a_page_is_found_by_name_and_number(name: str, key: str) -> None:
    assert explain.page(name).key == key


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flsh", "did you mean 'flash'"),
        ("qqqq", "known: start, gpu"),
        ("99", f"the rungs are 0 to {len(RUNGS) - 1}"),
        ("9" * 5000, "there is no rung"),
        ("²", "no page about"),
        ("../README", "no page about"),
        ("", "no page about"),
    ],
    ids=["near", "far", "number", "huge", "superscript", "path", "empty"],
)
def test_what_is_no_rung_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        explain.page(name)
    assert message in str(error.value)


def test_without_pages_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(explain, "PACKAGED", tmp_path / "nothing")
    monkeypatch.setattr(explain, "CHECKOUT", tmp_path)
    with pytest.raises(MissingComponentError, match="install gpt2x again"):
        explain.page("flash")
    assert explain.find("flash") is None, "the report does without"


def test_a_build_carries_the_pages_where_they_are_found(tmp_path: Path) -> None:
    """What a wheel is packed from: `build_py`, and then explain from there."""
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "build_py"]
    environment = {**os.environ, "GPT2X_CUDA": "0"}
    built = subprocess.run(
        [*command, "--build-lib", str(tmp_path / "lib")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    program = (
        "from gpt2x.bench.ladder.report import explain; print(explain.folder()); print(*explain.known())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(tmp_path / "lib")},
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    assert found == [
        str(tmp_path / "lib" / "gpt2x" / "bench" / "ladder" / "report" / "pages"),
        " ".join(KEYS),
    ]


# ----------------------------------------------------------------------------------------------------------------
# Figures


def test_the_newest_result_that_has_the_rung_is_taken(tmp_path: Path) -> None:
    for age, (name, ladder) in enumerate(
        {
            "newest": made.results(made.row("start", 1.0)),
            "newer": made.results(made.row("start", 4.0), made.row("bf16", 2.0)),
            "old": made.results(made.row("start", 9.0), made.row("bf16", 3.0)),
        }.items()
    ):
        file = tmp_path / "bench-results" / name / "results.json"
        records.save(ladder, file)
        os.utime(file, (1e9 - age, 1e9 - age))
    broken = tmp_path / "bench-results" / "broken" / "results.json"
    broken.parent.mkdir()
    broken.write_text("{")
    source = explain.figures("bf16")
    assert source is not None
    assert (source.file.parent.name, source.recorded) == ("newer", False)
    lines = explain.figure_lines(source, "bf16")
    assert lines[0].startswith("2 ms a step after 4 ms (naive start)")
    assert lines[1] == "2.00 × the rung before, 2.00 × the start"


def test_what_a_rung_is_worth_at_the_top_is_said() -> None:
    source = explain.Source(file=Path("results.json"), results=made.whole())
    assert "worth 1.50 × at the top of the ladder" in explain.figure_lines(source, "bf16")
    assert explain.figure_lines(source, "gpu")[0] == "not measured: no CUDA GPU here"
    assert "not in it" in explain.figure_lines(source, "ddp")[0]
    assert explain.figure_lines(source, "flash")[1].endswith("; does not pay here")
    assert explain.figure_lines(source, "sharing")[1].endswith("; changes the result: another model")
    assert "; does not count: off by 5 nats" in explain.figure_lines(source, "vocab")[1]


def test_without_a_result_of_ones_own_the_recorded_one_serves_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "CHECKOUT", tmp_path)
    assert explain.figures("bf16") is None
    recorded = tmp_path / "docs" / "benchmarks" / "a-machine" / "results.json"
    records.save(made.whole(), recorded)
    source = explain.figures("bf16")
    assert source is not None
    assert source.recorded
    assert "recorded with the documentation, not measured here" in source.describe()


def test_a_result_that_is_given_and_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputDataError):
        explain.figures("bf16", tmp_path)


# ----------------------------------------------------------------------------------------------------------------
# In a terminal


@pytest.mark.parametrize("key", KEYS)
def test_a_page_reads_well_in_a_terminal(key: str) -> None:
    text = explain.for_terminal(explain.page(key), None)
    assert "```" not in text
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    assert not re.search(r"\]\(|<\w+>|^#|\*\*", prose, re.MULTILINE), "no Markdown, no HTML"
    assert max(map(len, text.splitlines())) <= 120
    assert text.index("Measured\n--------") < text.index("The paper\n---------"), "the paper comes last"


def test_markdown_becomes_plain_text() -> None:
    page = "## Head *x*\n\nA [link](https://a.b) and [page](c.md), `a * b * c`, 2 * 3.\n\n1. one\n   two\n2. three"
    assert explain.as_text(page).splitlines() == [
        "Head x", "------", "", "A link (https://a.b) and page, a * b * c, 2 * 3.", "", "1. one two", "2. three",
    ]  # fmt: skip
    assert explain.as_text("| a | `b` |\n|---|--:|\n| 1 | 22 |") == "    a  b\n    1  22"
    assert explain.as_text("```py a/b.py\n    x = 1\n\n      y\n```") == "a/b.py:\n    x = 1\n\n      y"


@pytest.mark.parametrize("text", ["", "```", "```\nnever closed", "|", "| a |\n| b | c |", "#", "- "])
def test_odd_markdown_is_no_error(text: str) -> None:
    assert isinstance(explain.as_text(text), str)


def test_the_command_prints_a_page_and_the_figures(tmp_path: Path) -> None:
    records.save(made.whole(), tmp_path / "results.json")
    shown = run("bf16", "--results", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("bf16 autocast\n====")
    assert "50 ms a step after 100 ms (weight tying)" in shown.stdout
    about = json.loads(run("bf16", "--results", str(tmp_path), "--json").stdout)
    assert set(about) == {"key", "number", "title", "idea", "sections", "quotes", "measured"}
    assert about["measured"]["recorded"] is False


def test_the_command_lists_all_pages() -> None:
    assert [line.split()[1] for line in run().stdout.splitlines()] == KEYS
    assert [about["key"] for about in json.loads(run("--json").stdout)] == KEYS


def test_the_command_suggests_the_nearest() -> None:
    refused = run("flsh")
    assert refused.exit_code == 2
    assert "did you mean 'flash'" in refused.stderr
