"""How two rungs are held against one another: round by round, and for the same work. Loads no torch."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Protocol

from gpt2x.bench.bootstrap import LEAST_ROUNDS, Ratio, of_two, paired, without_rounds
from gpt2x.bench.stats import Spread


class Row(Protocol):
    """What is needed of a row of the results (`results.Row`)."""

    tokens_per_step: int

    @property
    def tokens_per_second(self) -> float:
        """At the median step."""
        ...

    @property
    def step(self) -> Spread:
        """Milliseconds, over all rounds that count."""
        ...

    def round_ms(self, phase: str = "") -> dict[int, float]:
        """The median step, or a phase of it, of each round that counts."""
        ...


def ratio(row: Row, over: Row) -> Ratio:
    """How many times as many tokens a second, from the rounds in which both were measured."""
    ours, theirs = row.round_ms(), over.round_ms()
    common = sorted(ours.keys() & theirs.keys())
    scale = row.tokens_per_step / over.tokens_per_step
    if len(common) < LEAST_ROUNDS:
        median = row.tokens_per_second / over.tokens_per_second
        return without_rounds(median, row.step, _scaled(over.step, scale))
    return paired([scale * theirs[number] / ours[number] for number in common])


def for_the_same_work(row: Row, start: Row) -> Ratio:
    """How many times as fast as the start would be with as many tokens an update.

    Where a step accumulates, its optimizer's cost is shared by more tokens, which makes no step faster. So the start's
    step is counted with as many forward and backward passes, and one update, as this one's: from its own phases.
    """
    ours, theirs, updates = row.round_ms(), start.round_ms(), start.round_ms("optimizer")
    common = sorted(ours.keys() & theirs.keys())
    passes = row.tokens_per_step / start.tokens_per_step
    if len(common) < LEAST_ROUNDS:
        update_ms = statistics.median(updates.values()) if updates else 0.0
        work_ms = passes * (start.step.median - update_ms) + update_ms
        return without_rounds(work_ms / row.step.median, row.step, _scaled(start.step, passes))
    work = {n: passes * (theirs[n] - updates.get(n, 0.0)) + updates.get(n, 0.0) for n in common}
    return paired([work[number] / ours[number] for number in common])


def between_runs(after: Row, before: Row) -> Ratio:
    """The same of two rows of different runs, which have no round in common."""
    rates = [[row.tokens_per_step / ms for ms in row.round_ms().values()] for row in (after, before)]
    if min(map(len, rates)) < LEAST_ROUNDS:
        scale = after.tokens_per_step / before.tokens_per_step
        median = after.tokens_per_second / before.tokens_per_second
        return without_rounds(median, after.step, _scaled(before.step, scale))
    return of_two(*rates)


def _scaled(spread: Spread, factor: float) -> Spread:
    """Times for another number of tokens."""
    return dataclasses.replace(
        spread, median=factor * spread.median, q1=factor * spread.q1, q3=factor * spread.q3
    )
