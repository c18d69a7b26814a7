"""The one way in which benchmarks measure: all contenders in turn, round by round (A B C A B C …, or A B C C B A …).

So what else happens on a machine, and a clock rate that drifts, touch all alike; figures of the same round can be
compared. One that fails is dropped with its reason, and the others go on. Knows no benchmark and loads no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.process import WorkerFailed


class Listener:
    """Hears how it goes; this one lets it pass."""

    def stage(self, text: str) -> None:
        """Something begins that takes a while."""

    def round(self, number: int, of: int) -> None:
        """A round over all contenders begins."""

    def turn(self, contender: Contender, number: int) -> None:
        """A contender is measured for this round."""


class Teller(Listener):
    """Says what it hears, a line each.

    Args:
        tell: gets the lines.

    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell

    def stage(self, text: str) -> None:
        """Say it."""
        self.tell(text)

    def round(self, number: int, of: int) -> None:
        """Say which round it is."""
        self.tell(f"round {number} of {of}")


def interleave(
    contenders: Sequence[Contender],
    effort: Effort,
    *,
    listener: Listener | None = None,
    clock: Callable[[], float] = time.monotonic,
    start: float | None = None,
    first: int = 1,
    rotate: bool = False,
    mirror: bool = False,
    after_round: Callable[[int], bool] = lambda number: True,
) -> None:
    """Measure all contenders in turn, until there are enough rounds, no time is left or nobody is due.

    Args:
        contenders: in the order of a round; one with a `reason` takes no part.
        effort: when to stop.
        listener: hears of each round and turn.
        clock: seconds.
        start: the time on that clock from which the budget counts; now by default.
        first: the number of the first round, where some were made before.
        rotate: begin each round with the next contender, so that nobody always follows the same other.
        mirror: go backwards in every second round, so that what drifts steadily favours nobody.
        after_round: called with the number of each round that is complete; False ends it.

    """
    listener = listener or Listener()
    start = clock() if start is None else start
    for number in range(first - effort.warm_up, effort.rounds + 1):
        due = [contender for contender in contenders if not contender.reason and contender.is_due(effort)]
        expected_s = sum(contender.expected_s() for contender in due)
        if not due or (number > effort.min_rounds and clock() - start + expected_s > effort.budget_s):
            return
        is_warm_up = number < first
        if not is_warm_up:
            listener.round(number, effort.rounds)
        shift = (number - first + effort.warm_up) % len(due) if rotate else 0
        order = (*due[shift:], *due[:shift])
        if mirror and (number - first + effort.warm_up) % 2:
            order = order[::-1]
        for contender in order:
            listener.turn(contender, number)
            _measure(contender, is_warm_up)
        if not is_warm_up and not after_round(number):
            return


def _measure(contender: Contender, is_warm_up: bool) -> None:
    try:
        measured = contender.measure()
    except WorkerFailed as failed:
        contender.drop(failed)
        return
    if is_warm_up:
        contender.warmed_up(measured)
    else:
        contender.seconds.append(contender.keep(measured))


def start_all(contenders: Sequence[Contender], listener: Listener) -> None:
    """Get all ready, one after the other; one that cannot be is dropped with the reason."""
    for contender in contenders:
        listener.stage(f"preparing {contender.title}")
        try:
            contender.start()
        except WorkerFailed as failed:
            contender.drop(failed)


@dataclass
class Kept:
    """What became of a block of `whole_rounds`."""

    is_complete: bool = True
    """False when it was interrupted."""


@contextmanager
def whole_rounds(contenders: Sequence[Contender], listener: Listener) -> Iterator[Kept]:
    """Close all at the end; Ctrl-C after the first whole round ends the block early and keeps what is measured.

    Whoever shows that raises the interrupt again afterwards, so that the command ends as one that was interrupted.

    Raises:
        KeyboardInterrupt: before that.

    """
    kept = Kept()
    try:
        yield kept
    except KeyboardInterrupt:
        if not contenders or any(not (contender.reason or contender.seconds) for contender in contenders):
            raise
        kept.is_complete = False
        listener.stage("interrupted: the figures are those of the rounds before")
    finally:
        for contender in contenders:
            contender.close()
