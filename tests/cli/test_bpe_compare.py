"""`gpt2x bpe diff` and `gpt2x bpe stats`: what they print, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2x.tokenizer import Tokenizer, train
from tests.cli.conftest import Run

COMMAND = "bpe"
TEXT = "She sells sea shells on the sea shore; the shells she sells are sea shells. 한국 1234 IT'S\n\n" * 3


@pytest.fixture(autouse=True)
def _files(alone: Path) -> None:
    """Two vocabularies and a text in the current folder."""
    train([TEXT], 270, name="small").save("small")
    train([TEXT], 285, name="large", special_tokens=("<s>",)).save("large")
    train([TEXT], 285, name="other", pattern="o200k").save("other")
    Path("sea.txt").write_text(TEXT, encoding="utf-8")


class TestDiff:
    def test_says_what_differs_and_what_it_costs(self, run: Run) -> None:
        code, out, err = run("diff", "small", "large", "sea.txt", "--limit", 1)
        assert (code, err) == (0, "")
        tokens = [Tokenizer.load(name).count(TEXT) for name in ("small", "large")]
        assert out.splitlines()[0] == "a  small, 270 ids, pattern gpt2, Unicode 16.0.0"
        assert "only in b      15: " in out
        assert "special in a   <|endoftext|>" in out
        assert "merges         the first 13 are the same" in out
        assert "then           a has no more, b merges " in out
        assert [line.split()[:2] for line in out.splitlines() if line[:2] in ("a ", "b ")][2:] == [
            ["a", str(tokens[0])],
            ["b", str(tokens[1])],
        ]
        assert out.count("  at ") == 1

    def test_as_json(self, run: Run) -> None:
        report = json.loads(run("diff", "small", "other", "sea.txt", "--json")[1])
        assert set(report) == {"a", "b", "vocabulary", "text"}
        assert report["b"] == {"name": "other", "vocab_size": 285, "pattern": "o200k", "unicode": "16.0.0"}
        assert report["text"]["name"] == "sea.txt"
        assert report["text"]["a"] == Tokenizer.load("small").count(TEXT)
        assert report["text"]["pieces"]["b"] == len(Tokenizer.load("other").split(TEXT))
        assert set(report["text"]["first"][0]) == {"offset", "before", "text", "after", "a", "b"}
        assert json.loads(run("diff", "small", "other", "--json")[1])["text"] is None

    def test_compares_patterns_on_standard_input(self, run: Run) -> None:
        code, out, _ = run("diff", "pattern:gpt2", "pattern:cl100k", "-", input="IT'S 12345")
        assert code == 0
        assert "pieces" in out
        assert "\nstandard input: 10 bytes\n" in out
        assert """ at 2: …IT['S] 12345…\n    a  "'" | 'S'\n    b  "'S"\n""" in out

    def test_compares_unicode_versions(self, run: Run) -> None:
        code, out, _ = run("diff", "small", "small@regex", "sea.txt")
        assert code == 0
        assert "Unicode that of regex" in out
        assert "the same tokens everywhere\n\nthe same pieces everywhere" in out


class TestStats:
    def test_of_a_vocabulary(self, run: Run) -> None:
        code, out, err = run("stats", "small", "--limit", 2)
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == "vocabulary  small: 270 ids, pattern gpt2"
        assert "longest     ' she" in out
        assert "Latin" in out
        assert "unused" not in out

    def test_on_a_text(self, run: Run) -> None:
        code, out, err = run("stats", "large", "sea.txt")
        assert (code, err) == (0, "reading sea.txt\n")
        num_tokens = Tokenizer.load("large").count(TEXT)
        assert f"tokens     {num_tokens:,}, {len(TEXT.encode()) / num_tokens:.2f} bytes each" in out
        assert "Hangul" in out

    @pytest.mark.filterwarnings("ignore:the core does not know the pattern:RuntimeWarning")
    def test_it_says_which_way_a_pattern_takes(self, run: Run) -> None:
        """And cleans what somebody else's file has in it."""
        ranks = Tokenizer.load("large").mergeable_ranks
        Tokenizer("odd", pat_str="\x1b[a]|.", mergeable_ranks=ranks, special_tokens={}).save("odd")
        _, out, err = run("stats", "odd")
        assert "pattern \ufffd[a]|." in out
        assert "splitting   Python (regex 20" in out
        assert "\x1b" not in out + err

    def test_as_json(self, run: Run) -> None:
        report = json.loads(run("stats", "large", "sea.txt", "--json")[1])
        assert set(report) == {
            *("tokenizer", "pattern", "splitting", "vocab_size", "special_tokens", "added_tokens"),
            *("vocabulary", "text"),
        }
        assert report["splitting"] == "native (gpt2)"
        assert report["text"]["sources"] == ["sea.txt"]
        assert report["text"]["tokens"] == Tokenizer.load("large").count(TEXT)
        assert {row["script"] for row in report["text"]["scripts"]} == {
            "Latin",
            "Hangul",
            "numbers, marks, spaces",
        }
        assert json.loads(run("stats", "large", "--json")[1])["text"] is None


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("diff small", 2, "diff compares two vocabularies, on one text if you like; 1 names were given"),
        ("diff", 2, "0 names were given"),
        ("diff small large sea.txt sea.txt", 2, "4 names were given"),
        ("diff small missing", 3, "there is no tokenizer at missing"),
        ("diff small pattern:gpt2 sea.txt", 2, "a vocabulary and a pattern; compare two of a kind"),
        ("diff pattern:gpt2 pattern:o200k", 2, "two patterns differ only on a text; give one"),
        ("diff pattern:gpt2 pattern:latin sea.txt", 2, "unknown pattern 'latin'"),
        ("diff small large missing.txt", 3, "cannot read missing.txt"),
        (
            "diff small large latin.txt",
            3,
            "latin.txt is not UTF-8 text: byte 0xe9 at offset 3; convert the file",
        ),
        ("diff small large --limit -1", 2, "--limit is -1; give 0 or more"),
        ("stats", 2, "there is nothing to describe; name a vocabulary"),
        ("stats missing", 3, "there is no tokenizer at missing"),
        ("stats small latin.txt", 3, "latin.txt is not UTF-8 text: byte 0xe9 at offset 3"),
        ("stats small sea.txt --threads 0", 2, "--threads is 0; give 1 or more"),
    ],
)
def test_what_cannot_work_is_one_sentence(run: Run, line: str, code: int, sentence: str) -> None:
    Path("latin.txt").write_bytes("café".encode("latin-1"))
    outcome = run(*line.split())
    assert (outcome.exit_code, outcome.stdout) == (code, ""), outcome
    errors = [said for said in outcome.stderr.splitlines() if not said.startswith("reading ")]
    assert len(errors) == 1
    assert sentence in errors[0]


@pytest.mark.parametrize("command", ["count-pieces", "diff", "stats"])
def test_help_ends_with_examples(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"gpt2x bpe {command}" in out.split("Examples:")[1]
