"""What people read below the tables of a ladder: one sentence, what the marks mean, what limits the trust in it.

Everything is wrapped at words to the width that it is given. Loads no torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from gpt2x.bench.bootstrap import FASTER
from gpt2x.bench.ladder import aa
from gpt2x.bench.ladder import rungs as ladder
from gpt2x.bench.ladder.loss_check import CHANGES
from gpt2x.bench.ladder.report import marks
from gpt2x.bench.ladder.report import table as tables
from gpt2x.bench.ladder.report.formatting import (
    format_flops,
    format_ms,
    format_ratio,
    format_share,
    format_times,
)
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.bench.stats import BUSY_SHARE
from gpt2x.console import clean

NAMED_AT_MOST = 4
"""More rungs than these are counted, not listed, in the closing sentence."""

FEW_ROUNDS = 5
"""Below this many rounds an interval holds the truth less often than it says."""

# ----------------------------------------------------------------------------------------------------------------
# Sentences


def setting_line(results: Results) -> str:
    """What is measured, in one line."""
    setting, shape = results.setting, results.setting.shape
    return (
        f"{setting.model} ({shape.n_layer} layers, {shape.n_embd} wide, {shape.vocab_size:,} tokens), "
        f"batch {setting.batch} × {setting.seq} on {results.machine.describe(setting.device)}"
    )


def peak_line(results: Results) -> str:
    """The measured roof: 'float32 95 GFLOP/s, bfloat16 806 GFLOP/s, memory 38 GB/s'."""
    words = [f"{name} {format_flops(flops)}" for name, flops in results.machine.peak_flops.items()]
    if results.machine.bandwidth > 0:
        words.append(f"memory {results.machine.bandwidth / 1e9:.0f} GB/s")
    return ", ".join(words)


def sentence(results: Results) -> str:
    """The closing sentence: how far it went, what helped most, how the peers do, and what is left to be had."""
    if aa.is_aa(results):
        return "; ".join([aa.sentence(results), *_doubts(results)]) + "."
    if len(results.climbed) < 2:
        return "Nothing to compare yet: fewer than two rungs were measured."
    parts = [headline(results)]
    largest = results.largest_step
    if largest is not None:
        parts.append(f"the largest step was {_with_ratio(results, largest)}")
    parts += _beside_peers(results)
    parts += _still_on_the_table(results, results.best[0])
    parts += _doubts(results)
    return "; ".join(parts) + "."


def headline(results: Results) -> str:
    """How far it went: '5.0 × faster than where you started (160 → 800 tokens/s), at 38% of its measured peak …'.

    It speaks of the fastest rung; where others may be as fast, it says which.
    """
    climbed = results.climbed
    if aa.is_aa(results):
        return aa.sentence(results)
    if len(climbed) < 2:
        return "Nothing to compare yet: fewer than two rungs were measured"
    start, (best, *ties) = climbed[0], results.best
    if best is start:
        top = climbed[-1]
        rate = f"{start.tokens_per_second:,.0f} tokens/s"
        return (
            f"Nothing was faster than where you started ({rate}); the top, {top.title}, has "
            f"{format_times(results.speedup_start(top))} × its speed"
        )
    ratio = results.start_ratio(best)
    times = (
        f"{ratio.median:,.1f} × faster than"
        if ratio.verdict == FASTER
        else f"{ratio.median:.2f} × the speed of"
    )
    rates = f"{start.tokens_per_second:,.0f} → {best.tokens_per_second:,.0f} tokens/s"
    text = f"{times} where you started ({rates}{_for_the_same_work(results, best)})"
    mfu = results.mfu(best)
    if mfu is not None:
        text += f", at {format_share(mfu)} of this machine's measured peak in {results.peak_dtype}"
    if ties:
        return f"{text}; at the top {_all_of([best, *ties])} cannot be told apart"
    return text if best is results.top else f"{text}; the fastest is {best.title}, below the top"


def _for_the_same_work(results: Results, row: Row) -> str:
    if row.tokens_per_step == results.climbed[0].tokens_per_step:
        return ""
    return f"; {results.same_work(row).median:.1f} × for the same work"


def _all_of(rows: Sequence[Row]) -> str:
    titles = [row.title for row in sorted(rows, key=lambda row: row.number)]
    if len(titles) > NAMED_AT_MOST:
        return f"{titles[0]} and {len(titles) - 1} others"
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


def _beside_peers(results: Results) -> list[str]:
    words = [
        f"{format_ratio(results.ratio(results.top, row), ' ×')} as fast as {row.title}"
        for row in results.peers
        if row.is_measured and results.top is not None
    ]
    return [f"the top is {', '.join(words)}"] if words else []


def _still_on_the_table(results: Results, best: Row) -> list[str]:
    """Rungs that this machine cannot have, those that were not tried, and what the floor leaves."""
    known = {row.key for row in results.rows}
    groups = (
        ("not to be had here", [row.title for row in results.rows if row.status == SKIPPED]),
        ("failed", [row.title for row in results.rows if row.status == FAILED]),
        ("not run", [rung.title for rung in ladder.RUNGS if rung.key not in known]),
    )
    words = [f"{_list(titles)} ({why})" for why, titles in groups if titles]
    share, floor_ms = results.share_of_floor(best), results.floor_ms(best)
    if share is not None and floor_ms is not None and share < 1:
        words.append(f"{format_share(1 - share)} of the step (its floor here is {format_ms(floor_ms)} ms)")
    return [f"still on the table: {', '.join(words)}"] if words else []


def _list(titles: Sequence[str]) -> str:
    return ", ".join(titles) if len(titles) <= NAMED_AT_MOST else f"{len(titles)} rungs"


def _doubts(results: Results) -> list[str]:
    """Why one might not quote the sentence as it stands."""
    words = []
    broken = [row.title for row in results.measured if not row.counts]
    if broken:
        words.append(f"not counted, because the loss is off: {', '.join(broken)}")
    if not results.complete:
        words.append("interrupted before the end")
    busy = busy_share(results)
    if busy > BUSY_SHARE:
        words.append(f"measured while other programs kept {busy:.0%} of the cores busy, so do not quote it")
    return words


# ----------------------------------------------------------------------------------------------------------------
# Notes


def notes(results: Results) -> list[str]:
    """What the words in the table mean for the rungs that they stand at, one sentence for each kind."""
    measured = results.measured
    changed = [
        f"{row.title} ({row.loss.reason})"
        for row in measured
        if row.carries and row.loss is not None and row.loss.verdict == CHANGES
    ]
    lines = [f"≠ changes the result, as it is meant to: {', '.join(changed)}"] if changed else []
    lines += _about_speed(results)
    lines += [
        f"{row.title} does not count: {row.loss.reason}"
        for row in measured
        if row.loss is not None and not row.loss.counts
    ]
    lines += [
        f"{row.title}: {row.note}" for row in [*results.rows, *results.left_out, *results.peers] if row.note
    ]
    return lines


def _about_speed(results: Results) -> list[str]:
    """What the rounds in turn say of rungs that are there for speed, beside what round 1 decided."""
    measured = [row for row in results.measured if row.counts]
    slower = [row for row in measured if marks.does_not_pay(results, row)]
    better = [row for row in measured if marks.is_wrongly_passed_over(results, row)]
    unclear = [row for row in measured if not row.pays and row not in slower and row not in better]
    groups = (
        ("does not pay here, so the next rungs do without it", [row for row in slower if not row.pays]),
        ("does not pay here, though round 1 did not show it, so the next rungs stand on it",
         [row for row in slower if row.pays]),
        ("passed over after round 1, where it was slower; all rounds cannot tell", unclear),
        ("passed over after round 1, yet faster over all rounds: --keep-all builds on it", better),
    )  # fmt: skip
    return [f"{why}: {', '.join(_with_ratio(results, row) for row in rows)}" for why, rows in groups if rows]


def _with_ratio(results: Results, row: Row) -> str:
    return f"{row.title}, {format_ratio(results.before_ratio(row), ' ×')}"


def warnings(results: Results) -> list[str]:
    """What limits the trust in these figures."""
    shares = [share for row in results.measured for share in row.others]
    lines = []
    if max(shares, default=0.0) > BUSY_SHARE:
        lines.append(
            f"other programs kept {busy_share(results):.0%} of the cores busy meanwhile (at most {max(shares):.0%}): "
            "measure again on an idle machine before you quote a figure"
        )
    noisy = [row.title for row in results.measured if results.is_noisy(row)]
    if noisy:
        lines.append(f"noisy, because the interval of × before is wider than 10%: {', '.join(noisy)}")
    rounds = [ratio.rounds for ratio in map(results.before_ratio, results.measured) if ratio.has_interval]
    if rounds and min(rounds) < FEW_ROUNDS:
        lines.append(
            f"there were only {min(rounds)} rounds in turn, too few for an interval that holds the truth 9 times "
            "of 10; measure with a larger --budget"
        )
    if results.measured and not results.interleaved:
        lines.append(
            "the rungs were measured one after the other, not in turn, so a slow phase may weigh on one alone"
        )
    return lines


def busy_share(results: Results) -> float:
    """The share of the cores that other programs kept busy, averaged over all rounds of all rungs."""
    shares = [share for row in results.measured for share in row.others]
    return sum(shares) / len(shares) if shares else 0.0


# ----------------------------------------------------------------------------------------------------------------
# All of it


def text(results: Results, width: int = tables.WIDTH) -> str:
    """Everything that is printed when a ladder is done, or shown again, in so many columns."""
    said = [*_legend(results), *notes(results), *warnings(results)]
    parts = [
        wrap(setting_line(results), width),
        tables.table(results, width),
        "\n".join(wrap(f"Note: {line}.", width) for line in said),
        tables.left_out_table(results, width),
        tables.peers_table(results, width),
        tables.bars(results, width),
        wrap(sentence(results), width),
    ]
    return clean("\n\n".join(part for part in parts if part))


def _legend(results: Results) -> list[str]:
    """What the figures of the table mean, where they are more than a ratio."""
    lines = []
    if any(results.before_ratio(row).has_interval for row in results.measured):
        lines.append(
            "× before is the median over the rounds that both were measured in, with its 90% interval; "
            "≈ 1 where the interval holds 1"
        )
    if results.has_more_work:
        lines.append(
            "× start counts tokens; same work counts the start with as many tokens an update, since fewer updates make "
            "no step faster"
        )
    if any(marks.is_unclear(results, row) for row in results.measured):
        lines.append(
            "unclear: the interval leaves out 1, yet so narrowly that equal rungs would do so now and then"
        )
    return lines


def wrap(line: str, width: int = tables.WIDTH) -> str:
    """A sentence in lines that a terminal can show, those after the first set in."""
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
