from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.generate import Stops
from gpt2x.generate.stops import BLANK_LINES, StopStrings

letters = st.text("ab\n", max_size=30)


@given(
    pieces=st.lists(letters, max_size=12),
    strings=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
)
def test_text_in_pieces_is_cut_where_the_whole_text_would_be(pieces: list[str], strings: list[str]) -> None:
    watch = StopStrings(strings)
    given_out = ""
    read = ""
    for piece in pieces:
        read += piece
        given_out += watch.feed(piece)
        if watch.found:
            break
        assert read.startswith(given_out)
        assert len(read) - len(given_out) < max(map(len, strings), default=1), (
            "held back more than a stop string"
        )
    # The text ends at the stop string that is whole first; of several in the same piece, at the leftmost.
    if watch.found:
        assert any(string in read for string in strings)
        assert not any(string in given_out for string in strings)
        assert any(read[len(given_out) :].startswith(string) for string in strings)
    else:
        assert given_out + watch.flush() == read
        assert not any(string in read for string in strings)


def test_without_stop_strings_nothing_is_held_back() -> None:
    watch = StopStrings(())
    assert watch.feed("a\n\n") == "a\n\n"


def test_two_empty_lines_can_end_a_text() -> None:
    watch = StopStrings([BLANK_LINES])
    assert [watch.feed(piece) for piece in ("one\n", "\n", "two\n\n", "\nthree")] == [
        "one",
        "",
        "\n\ntwo",
        "",
    ]
    assert watch.found


@pytest.mark.parametrize("strings", ["a string", ("", "x")])
def test_stop_strings_that_cannot_work_are_refused(strings: object) -> None:
    with pytest.raises(UsageError, match="stop strings"):
        Stops(strings=strings)  # type: ignore[arg-type]
