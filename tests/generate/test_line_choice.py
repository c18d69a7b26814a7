from __future__ import annotations

import math

import pytest

from gpt2x.generate.line_choice import LineTaste, best, cost_of, loops, old_share, pairs_of

SUNG = ["all day I go", "and all night"]
PAIRS = {pair for line in SUNG for pair in pairs_of(line)}
FREE = {"old_pairs": 0.0, "loops": 0.0, "known_line": 0.0, "open_quote": 0.0}


def test_a_pair_is_old_that_the_song_has_or_the_line_had() -> None:
    assert old_share("All day we go", PAIRS) == pytest.approx(1 / 3)
    assert old_share("a b a b", set()) == pytest.approx(1 / 3)
    assert old_share("word", PAIRS) == old_share("", PAIRS) == 0.0


@pytest.mark.parametrize(
    ("line", "count"), [("", 0), ("a b c", 0), ("a b a b", 1), ("a a a", 1), ("a b, a b; a b", 3)]
)
def test_a_loop_is_a_pair_that_comes_again(line: str, count: int) -> None:
    assert loops(line) == count


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("all day I sing", "old_pairs"),
        ("we sing we sing", "loops"),
        ("and all night", "known_line"),
        ('she said, "come', "open_quote"),
    ],
)
def test_each_fault_costs_what_it_should(line: str, fault: str) -> None:
    free, taste = LineTaste(**FREE), LineTaste(**{**FREE, fault: 2.0})
    assert cost_of(line, SUNG, PAIRS, free) == 0.0
    assert cost_of(line, SUNG, PAIRS, taste) > 0.0
    assert cost_of('she said, "come"', SUNG, PAIRS, taste) == 0.0


def test_the_best_is_the_first_of_the_highest() -> None:
    assert best([-1.0, 2.0, 2.0]) == 1
    assert best([math.nan, -9.0]) == 1
