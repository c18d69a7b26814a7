"""All benchmarks measure in this way: in turn, within limits, and one that fails leaves the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import Listener, Teller, interleave, start_all, whole_rounds
from gpt2x.bench.process import WorkerFailed


@dataclass
class Clock:
    """Stands still but for what contenders take."""

    now: float = 100.0
    log: list[str] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


class Fake(Contender):
    """Takes `takes_s`; fails or is interrupted in the turns that are told, counted from 1."""

    def __init__(
        self, clock: Clock, name: str, takes_s: float = 1.0, *, fails: int = 0, interrupts: int = 0
    ) -> None:
        super().__init__(name)
        self.clock, self.takes_s, self.fails, self.interrupts = clock, takes_s, fails, interrupts
        self.turns, self.closed = 0, 0
        self.kept: list[int] = []
        self.warm: list[int] = []

    def start(self) -> None:
        if self.fails < 0:
            raise WorkerFailed("cannot start")

    def measure(self) -> int:
        self.turns += 1
        self.clock.log.append(self.name)
        self.clock.now += self.takes_s
        if self.turns == self.fails:
            raise WorkerFailed(f"{self.name} broke")
        if self.turns == self.interrupts:
            raise KeyboardInterrupt
        return self.turns

    def keep(self, measured: int) -> float:
        self.kept.append(measured)
        return self.takes_s

    def warmed_up(self, measured: int) -> None:
        self.warm.append(measured)

    def close(self) -> None:
        self.closed += 1


def test_rounds_go_over_all_in_turn_and_warm_up_counts_for_nothing() -> None:
    clock = Clock()
    a, b = Fake(clock, "a"), Fake(clock, "b")
    interleave([a, b], Effort(rounds=2, warm_up=1), clock=clock)
    assert "".join(clock.log) == "ababab"
    assert (a.warm, a.kept, a.seconds) == ([1], [2, 3], [1.0, 1.0])


def test_the_first_of_a_round_changes_where_that_is_asked_for() -> None:
    clock = Clock()
    interleave([Fake(clock, name) for name in "abc"], Effort(rounds=3), clock=clock, rotate=True)
    assert "".join(clock.log) == "abcbcacab"


def test_no_round_is_begun_that_would_end_after_the_budget() -> None:
    clock = Clock()
    interleave([Fake(clock, "a", 2.0), Fake(clock, "b", 3.0)], Effort(rounds=9, budget_s=14.0), clock=clock)
    assert "".join(clock.log) == "abab", "a third would end after 15 seconds"


def test_the_budget_counts_from_the_start_that_is_told_and_least_rounds_are_made_anyway() -> None:
    clock = Clock()
    interleave(
        [Fake(clock, "a")], Effort(rounds=9, min_rounds=3, budget_s=5.0), clock=clock, start=90.0, first=2
    )
    assert clock.log == ["a", "a"], "rounds 2 and 3; ten of five seconds were gone before"


def test_a_slow_contender_is_measured_less_often_than_a_fast_one() -> None:
    clock = Clock()
    fast, slow = Fake(clock, "f", 1.0), Fake(clock, "s", 4.0)
    interleave([fast, slow], Effort(rounds=9, share_s=6.0, min_samples=1), clock=clock)
    assert (len(fast.seconds), len(slow.seconds)) == (6, 1)
    assert "".join(clock.log) == "fsfffff"


def test_one_that_fails_is_dropped_with_its_reason_and_keeps_its_rounds() -> None:
    clock = Clock()
    a, b = Fake(clock, "a", fails=2), Fake(clock, "b")
    interleave([a, b], Effort(rounds=3), clock=clock)
    assert "".join(clock.log) == "ababb"
    assert (a.reason, a.kept, a.closed) == ("a broke", [1], 1)
    assert (b.reason, b.kept) == ("", [1, 2, 3])


def test_one_that_cannot_start_takes_no_part() -> None:
    clock, said = Clock(), []
    a, b = Fake(clock, "a", fails=-1), Fake(clock, "b")
    start_all([a, b], Teller(said.append))
    interleave([a, b], Effort(rounds=2), clock=clock, listener=Teller(said.append))
    assert (a.reason, clock.log) == ("cannot start", ["b", "b"])
    assert said == ["preparing a", "preparing b", "round 1 of 2", "round 2 of 2"]


def test_it_ends_when_nobody_is_left() -> None:
    clock = Clock()
    interleave([Fake(clock, "a", fails=1)], Effort(rounds=1000), clock=clock)
    interleave([], Effort(rounds=1000), clock=clock)
    assert clock.log == ["a"]


def test_an_error_that_is_no_workers_ends_the_measurement() -> None:
    class Broken(Fake):
        def keep(self, measured: int) -> float:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave([Broken(Clock(), "a")], Effort())


def test_who_asks_can_end_it_after_a_round() -> None:
    clock, rounds = Clock(), []

    def after(number: int) -> bool:
        rounds.append(number)
        return number < 3

    interleave([Fake(clock, "a")], Effort(rounds=9), clock=clock, first=2, after_round=after)
    assert rounds == [2, 3]


def test_a_listener_hears_every_round_and_turn() -> None:
    clock, heard = Clock(), []

    class Ear(Listener):
        def round(self, number: int, of: int) -> None:
            heard.append(f"{number}/{of}")

        def turn(self, contender: Contender, number: int) -> None:
            heard.append(f"{contender.name}{number}")

    interleave([Fake(clock, "a"), Fake(clock, "b")], Effort(rounds=2), clock=clock, listener=Ear())
    assert heard == ["1/2", "a1", "b1", "2/2", "a2", "b2"]


@pytest.mark.parametrize(("turn", "is_kept"), [(1, False), (2, True)])
def test_an_interrupt_keeps_whole_rounds_and_all_are_closed(turn: int, is_kept: bool) -> None:
    clock, said = Clock(), []
    pair = [Fake(clock, "a"), Fake(clock, "b", interrupts=turn)]

    def run() -> None:
        with whole_rounds(pair, Teller(said.append)):
            interleave(pair, Effort(rounds=5), clock=clock)

    if is_kept:
        run()
        assert said == ["interrupted: the figures are those of the rounds before"]
        assert pair[1].kept == [1]
    else:
        with pytest.raises(KeyboardInterrupt):
            run()
    assert [fake.closed for fake in pair] == [1, 1]
