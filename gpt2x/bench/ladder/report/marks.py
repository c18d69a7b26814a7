"""What a row is called in tables, charts and pages: how it is drawn, and what is odd about it. Loads no torch."""

from __future__ import annotations

import statistics

from gpt2x.bench.bootstrap import FASTER, SLOWER
from gpt2x.bench.ladder.loss_check import CHANGES
from gpt2x.bench.ladder.results import Results, Row, is_for_speed
from gpt2x.bench.records import FAILED
from gpt2x.bench.stats import tokens_per_second

IDLE, PASSED_OVER, BROKEN, ALTERS = "does not pay here", "passed over", "loss is off", "≠"


def joules_per_token(row: Row) -> float | None:
    """The energy that one token took to learn from, in joules; None where the driver does not say."""
    return statistics.median(row.energy_j) / row.tokens_per_step if row.energy_j else None


def loss_of(results: Results, row: Row) -> float | None:
    """The loss after as many steps as all rungs have made; None for a peer that has made fewer."""
    steps = results.common_steps
    return row.losses[steps - 1] if 0 < steps <= len(row.losses) else None


def rates(results: Results, row: Row) -> tuple[float, float, float]:
    """Tokens per second, between the ends of an error bar: the interval of × start, as rates.

    For the start, a row beside the ladder, and too few rounds: the middle half of all steps.
    """
    rate, ratio = row.tokens_per_second, results.start_ratio(row)
    if is_rung(results, row) and ratio.low is not None and ratio.high is not None:
        return rate * ratio.low / ratio.median, rate, rate * ratio.high / ratio.median
    return (
        tokens_per_second(row.tokens_per_step, row.step.q3),
        rate,
        tokens_per_second(row.tokens_per_step, row.step.q1),
    )


def without_figures(row: Row) -> str:
    """Why a rung has no figures, in its row."""
    return f"failed: {row.reason}" if row.status == FAILED else row.reason


def kind(results: Results, row: Row) -> str:
    """How a row is drawn: top, rung, idle (does not pay), broken (the loss is off) or peer."""
    if not is_rung(results, row):
        return "peer"
    if row is results.top:
        return "top"
    if not row.counts:
        return "broken"
    return "rung" if row.pays else "idle"


def remark(results: Results, row: Row) -> str:
    """What is odd about a measured rung, in a word; `text.notes` says the rest."""
    words = []
    if row.loss is not None and not row.loss.counts:
        words.append(BROKEN)
    elif does_not_pay(results, row):
        words.append(IDLE)
    elif not row.pays:
        words.append(PASSED_OVER)
    elif row.loss is not None and row.loss.verdict == CHANGES:
        words.append(ALTERS)
    if is_rung(results, row) and results.is_noisy(row):
        words.append("noisy")
    elif is_unclear(results, row):
        words.append("unclear")
    return ", ".join(words)


def is_rung(results: Results, row: Row) -> bool:
    """True for a row of the ladder itself, False for one that was measured beside it."""
    return any(row is rung for rung in results.rows)


def is_unclear(results: Results, row: Row) -> bool:
    """True where the interval of × before leaves out 1, and that is not enough to call the rung faster or slower."""
    if not is_rung(results, row) or not row.counts:
        return False
    ratio = results.before_ratio(row)
    leaves_out_1 = ratio.low is not None and ratio.high is not None and not ratio.low <= 1.0 <= ratio.high
    return leaves_out_1 and not ratio.is_clear


def does_not_pay(results: Results, row: Row) -> bool:
    """True for a rung for speed alone that is slower than the one before, beyond doubt, when all is measured."""
    is_candidate = is_rung(results, row) and row.counts and is_for_speed(row)
    return is_candidate and results.before(row) is not None and results.before_ratio(row).verdict == SLOWER


def is_wrongly_passed_over(results: Results, row: Row) -> bool:
    """True for a rung that was passed over after round 1, and is faster when all is measured."""
    return row.counts and not row.pays and results.before_ratio(row).verdict == FASTER


def remark_in_full(results: Results, row: Row) -> str:
    """The same without the table around it."""
    words = remark(results, row)
    if row.loss is None:
        return words
    in_full = {
        BROKEN: f"does not count: {row.loss.reason}",
        ALTERS: f"changes the result: {row.loss.reason}",
    }
    first, comma, rest = words.partition(", ")
    return in_full.get(first, first) + comma + rest
