"""Tables and talk."""

from __future__ import annotations

import io
import json

import pytest

from gpt2x import console, tables


def test_numbers_stand_flush_right() -> None:
    table = tables.format_table(["rung", "ms"], [["naive", 12.5], ["fused", 3.0]])
    assert table.splitlines() == ["rung     ms", "-----  ----", "naive  12.5", "fused   3.0"]


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (50257, "50.3k"), (1_234_567, "1.2M"), (2.5e9, "2.5G")]
)
def test_large_counts_are_short(number: float, text: str) -> None:
    assert console.format_count(number) == text


def test_quiet_silences_talk_but_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_quiet(True)
    try:
        console.say("talk")
        console.emit("result")
    finally:
        console.set_quiet(False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("result\n", "")


def test_progress_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("counting", total=2) as advance:
        advance()
        advance(1, note="x")
    assert capsys.readouterr() == ("", "")


def test_what_others_wrote_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.clean("título\tone\ntwo\x1b[2J\x07\u202e\r") == "título\tone\ntwo�[2J���"
    console.say("file \x1b]0;owned\x07.csv")
    assert capsys.readouterr().err == "file �]0;owned�.csv\n"


class Terminal(io.TextIOWrapper):
    """A stream that a person looks at."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined,no-any-return]


def test_long_talk_goes_on_at_a_word_on_a_terminal_and_stays_one_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "data       songs.csv: 940.5k tokens of 2853 songs to train on, 49.3k of 150 to validate"
    console.say(line)
    assert capsys.readouterr().err == line + "\n"
    monkeypatch.setattr(console, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "40")
    console.say(line)
    said = capsys.readouterr().err.splitlines()
    assert max(map(len, said)) <= 40
    assert all(one.startswith(" " * 11) for one in said[1:])
    assert " ".join(" ".join(said).split()) == " ".join(line.split())


@pytest.mark.parametrize("line", ["a" * 100, "  | " + "word " * 30, "one sentence that is " + "long " * 20])
def test_wrapping_loses_no_word(line: str) -> None:
    assert console.wrapped(line, 30).split() == line.split()


def test_a_result_is_cleaned_for_a_terminal_and_json_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = "label \x1b[2J \x9b é \u202e \udcff 愛"
    monkeypatch.setattr("sys.stdout", Terminal())
    console.emit(foreign)
    console.emit_piece("\x07")
    assert console.sys.stdout.shown == "label �[2J � é � � 愛\n�"
    for encoding in ("utf-8", "ascii", "latin-1"):
        monkeypatch.setattr("sys.stdout", terminal := Terminal(encoding))
        console.emit_json({"label": foreign})
        assert all(char.isprintable() or char == "\n" for char in terminal.shown)
        assert json.loads(terminal.shown) == {"label": foreign}


def test_names_in_a_progress_bar_are_no_markup_and_no_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with console.progress("[bold]a[/nothing].txt", total=2, unit="rungs") as advance:
        advance(1, note="title [red] \x1b]0;owned\x07")
    assert "[bold]a[/nothing].txt" in terminal.shown
    assert "title [red] �]0;owned�" in terminal.shown


def test_a_table_keeps_its_columns_whatever_is_in_its_cells() -> None:
    table = tables.format_table(["name", "n"], [["愛", 1], ["e\u0301", 2], ["two\nlines", 3]])
    assert table.splitlines()[2:] == ["愛         1", "e\u0301          2", "two lines  3"]


WIDE = [
    ["lyrics", "public-domain songs and 3,003 songs of our own", 3003, "Apache-2.0"],
    ["新聞", "日本語の見出しと説明、四十二の分類に分けられたもの", 209527, "CC-BY-4.0"],
]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_table_fits_a_terminal_and_loses_no_word(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = ["name", "what", "rows", "licence"]
    plain = tables.format_table(heads, WIDE)
    table = tables.format_table(heads, WIDE, width=width)
    assert max(map(console.display_width, table.splitlines())) <= width
    assert "".join(sorted("".join(table.replace("-", "").split()))).count("0") >= 2
    for row in WIDE:
        for word in str(row[1]).split():
            assert all(char in table for char in word)
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", str(width))
    tables.emit_table(heads, WIDE)
    assert terminal.shown == table + "\n"
    monkeypatch.setattr(tables, "is_terminal", lambda stream: False)
    monkeypatch.setattr("sys.stdout", piped := Terminal())
    tables.emit_table(heads, WIDE)
    assert piped.shown == plain + "\n", "a pipe has room for everything"
