"""Tables and talk."""

from __future__ import annotations

import pytest

from gpt2x import console


def test_numbers_stand_flush_right() -> None:
    table = console.format_table(["rung", "ms"], [["naive", 12.5], ["fused", 3.0]])
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
