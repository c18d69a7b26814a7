"""The rounds over a ladder that is built: all rungs in turn, then the pairs that are least certain. Loads no torch.

Every second round goes backwards (A B C C B A …), so that a machine that slows down steadily favours nobody. After
`Effort.whole_rounds` the time that is left goes to the two neighbours whose ratio has the widest interval, again and
again, until every interval is narrow enough or the budget is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gpt2x.bench import effort as shared
from gpt2x.bench.contender import Contender
from gpt2x.bench.interleave import Listener, interleave
from gpt2x.bench.ladder.contender import StepContender
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.results import Results, Row

ROUNDS_OF_A_PAIR = 2
"""What a pair gets at once: A B B A."""


class Rounds:
    """The rounds after the first.

    Args:
        results: what is known so far.
        contenders: all that has figures, in the order of a round; those that are added later take part.
        effort: when to stop.
        listener: hears of whole rounds, and whose turn it is.
        clock: seconds.

    """

    def __init__(
        self,
        results: Results,
        contenders: Sequence[StepContender],
        effort: Effort,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.results, self.contenders, self.effort = results, contenders, effort
        self.listener, self.clock = listener, clock
        self.have_begun = False
        self.pair: tuple[StepContender, ...] = ()
        """The two that are measured again and again; none while rounds go over all."""
        self.turns = 0
        """How many turns there were, by which each contender remembers its last."""
        self.turns_before = 0
        """How many there were when this round began."""
        self.number = 1
        """Of the newest round."""

    def run(self, start: float) -> None:
        """Make them, within the budget, which counts from `start`."""
        self.have_begun = True
        last = 1 + self.effort.whole_rounds if self.effort.sharpens else self.effort.rounds
        interleave(
            self.contenders,
            shared.Effort(rounds=last, min_rounds=self.effort.min_rounds, budget_s=self.effort.budget_s),
            listener=_Turns(self, self.listener),
            clock=self.clock,
            start=start,
            first=2,
            mirror=True,
            after_round=self._goes_on,
        )
        if self.effort.sharpens and self.results.interleaved:
            self._sharpen(start)

    def next_turn_is_far(self, contender: StepContender) -> tuple[bool, bool, int]:
        """Sorts contenders by how far away their next turn is, the farthest first.

        A round goes back the way that the one before came: those that had their turn in this round come last, of them
        the first last of all; those that wait for theirs come in the order in which they had their last.
        """
        waits = contender.last_turn <= self.turns_before
        return contender in self.pair, waits, contender.last_turn

    # --------------------------------------------------------------------------------------------------------------

    def _goes_on(self, number: int) -> bool:
        """After a whole round: its figures count, and where they are certain enough there need be no other."""
        self._count_rounds_in_turn()
        is_early = number - 1 < self.effort.least_rounds
        return is_early or not all(self._is_certain(one.row, other.row) for one, other in self._pairs())

    def _count_rounds_in_turn(self) -> None:
        """From the first whole round in turn on, the figures are those of such rounds; round 1 was time apart.

        One that failed before it had such a round keeps the figures of its first.
        """
        if all(contender.reason for contender in self.contenders):
            return
        self.results.interleaved = True
        for contender in self.contenders:
            row = contender.row
            row.first_round_counts = all(number == 1 for number in row.rounds)

    def _pairs(self) -> list[tuple[StepContender, StepContender]]:
        """What the tables hold against one another: a rung and the one before, the top and what is beside it.

        Without those that failed by now: no more is learned of them.
        """
        results = self.results
        pairs = [(row, results.before(row)) for row in results.measured]
        pairs += [(row, results.top) for row in [*results.left_out, *results.peers] if row.is_measured]
        of_row = {id(contender.row): contender for contender in self.contenders if not contender.reason}
        both = ((of_row.get(id(row)), of_row.get(id(other))) for row, other in pairs)
        return [(one, other) for one, other in both if one is not None and other is not None]

    def _is_certain(self, row: Row, other: Row) -> bool:
        return self.results.ratio(row, other).width <= self.effort.width

    def _sharpen(self, start: float) -> None:
        """Measure the least certain pair that fits into what is left of the budget, until there is none."""
        while pair := self._least_certain(self.effort.budget_s - (self.clock() - start)):
            self.pair = pair
            interleave(
                pair,
                shared.Effort(rounds=self.number + ROUNDS_OF_A_PAIR),
                listener=_Turns(self, self.listener, whole=False),
                clock=self.clock,
                first=self.number + 1,
                mirror=True,
            )
        self.pair = ()

    def _least_certain(self, left_s: float) -> tuple[StepContender, StepContender] | None:
        widest, found = self.effort.width, None
        for one, other in self._pairs():
            ratio = self.results.ratio(one.row, other.row)
            takes_s = ROUNDS_OF_A_PAIR * (one.expected_s() + other.expected_s())
            may = ratio.rounds < self.effort.rounds and takes_s <= left_s and math.isfinite(ratio.width)
            if may and ratio.width > widest:
                widest, found = ratio.width, (other, one)
        return found


class _Turns(Listener):
    """Numbers the rounds, and passes on what they say and which step it is that is measured."""

    def __init__(self, rounds: Rounds, listener: Listener, *, whole: bool = True) -> None:
        self.rounds, self.listener, self.whole = rounds, listener, whole

    def round(self, number: int, of: int) -> None:
        self.rounds.number, self.rounds.turns_before = number, self.rounds.turns
        if self.whole:
            self.listener.round(number, of)

    def turn(self, contender: Contender, number: int) -> None:
        assert isinstance(contender, StepContender)
        self.rounds.turns += 1
        contender.last_turn, contender.round = self.rounds.turns, number
        why = "" if self.whole else ", to be more certain"
        self.listener.stage(f"{contender.title}: {contender.steps} steps{why}")
