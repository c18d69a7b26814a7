"""What people see in a terminal: rows as they come, the table, what each rung is worth, peers, one sentence.

All text is made to be read in 120 columns: the table says in a word what is odd about a row, and `notes` says the rest
below it. Loads no torch.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2x.bench.ladder import rungs as ladder
from gpt2x.bench.ladder.loss_check import CHANGES
from gpt2x.bench.ladder.report.formatting import (
    format_flops,
    format_loss,
    format_memory,
    format_ms,
    format_share,
    format_times,
)
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.bench.stats import BUSY_SHARE
from gpt2x.console import clean, format_table

WIDTH = 116
"""Columns that notes and sentences are wrapped to."""

BAR_CELLS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"

NAMED_AT_MOST = 4
"""More rungs than these are counted, not listed, in the closing sentence."""

# ----------------------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its head, what stands in it, and how wide it is before the rows are known."""

    head: str
    cell: Callable[[Results, Row], str]
    width: int
    right: bool = True


def columns(results: Results) -> list[Column]:
    """The columns of the table; those that this machine cannot fill are left out."""
    has_floor = results.machine.bandwidth > 0 and bool(results.machine.peak_flops)
    has_energy = any(row.energy_j for row in results.rows)
    return [
        Column(head="ms/step", cell=lambda results, row: format_ms(row.step.median), width=7),
        Column(head="±", cell=lambda results, row: f"{row.step.relative:.0%}", width=4),
        Column(head="tokens/s", cell=lambda results, row: f"{row.tokens_per_second:,.0f}", width=8),
        Column(head="× before", cell=_times_before, width=8),
        Column(head="× start", cell=lambda results, row: format_times(results.speedup_start(row)), width=7),
        Column(head="peak", cell=lambda results, row: format_share(results.mfu(row)), width=5),
        *([Column(head="floor", cell=_floor, width=5)] if has_floor else []),
        Column(head="memory", cell=lambda results, row: format_memory(row.peak_memory_bytes), width=7),
        *([Column(head="mJ/token", cell=_energy, width=8)] if has_energy else []),
        Column(head="loss", cell=lambda results, row: format_loss(loss_of(results, row)), width=6),
        Column(head="", cell=lambda results, row: remark(row), width=0, right=False),
    ]


def head_line(results: Results) -> str:
    """The heads of the columns, for rows that are printed as they come."""
    table = columns(results)
    return _lay_out(["#", "rung", *(column.head for column in table)], _first_widths(table), table)


def row_line(results: Results, row: Row) -> str:
    """One row, under `head_line`, as wide as all others will be."""
    table = columns(results)
    return _line(results, row, _first_widths(table), table)


def table(results: Results) -> str:
    """All rows under their heads; one that has no figures says why in their place."""
    chosen = columns(results)
    heads = ["#", "rung", *(column.head for column in chosen)]
    cells = [_cells(results, row, chosen) for row in results.measured]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    widths[:2] = [
        max((len(text) for text in texts), default=0)
        for texts in ([str(row.number) for row in results.rows], [row.title for row in results.rows])
    ]
    rules = ["-" * width if head else "" for head, width in zip(heads, widths, strict=True)]
    lines = [_lay_out(heads, widths, chosen), "  ".join(rules).rstrip()]
    return "\n".join([*lines, *(_line(results, row, widths, chosen) for row in results.rows)])


def _first_widths(chosen: Sequence[Column]) -> list[int]:
    return [2, max(len(rung.title) for rung in ladder.RUNGS), *(column.width for column in chosen)]


def _cells(results: Results, row: Row, chosen: Sequence[Column]) -> list[str]:
    return [str(row.number), row.title, *(column.cell(results, row) for column in chosen)]


def _line(results: Results, row: Row, widths: Sequence[int], chosen: Sequence[Column]) -> str:
    if row.is_measured:
        return _lay_out(_cells(results, row, chosen), widths, chosen)
    number, title = str(row.number).rjust(widths[0]), row.title.ljust(widths[1])
    return f"{number}  {title}  – {without_figures(row)}"


def _lay_out(cells: Sequence[str], widths: Sequence[int], chosen: Sequence[Column]) -> str:
    right = [True, False, *(column.right for column in chosen)]
    placed = zip(cells, widths, right, strict=True)
    return "  ".join(
        cell.rjust(width) if is_right else cell.ljust(width) for cell, width, is_right in placed
    ).rstrip()


def _times_before(results: Results, row: Row) -> str:
    return format_times(results.speedup_before(row)) if results.before(row) else ""


def _floor(results: Results, row: Row) -> str:
    return format_share(results.share_of_floor(row))


def _energy(results: Results, row: Row) -> str:
    energy_j = joules_per_token(row)
    return "" if energy_j is None else f"{energy_j * 1000:.3g}"


def joules_per_token(row: Row) -> float | None:
    """The energy that one token took to learn from, in joules; None where the driver does not say."""
    return statistics.median(row.energy_j) / row.tokens_per_step if row.energy_j else None


def loss_of(results: Results, row: Row) -> float | None:
    """The loss after as many steps as all rungs have made; None for a peer that has made fewer."""
    steps = results.common_steps
    return row.losses[steps - 1] if 0 < steps <= len(row.losses) else None


def without_figures(row: Row) -> str:
    """Why a rung has no figures, in its row."""
    return f"failed: {row.reason}" if row.status == FAILED else row.reason


def kind(results: Results, row: Row) -> str:
    """How a row is drawn: top, rung, idle (does not pay), broken (the loss is off) or peer."""
    if not any(row is rung for rung in results.rows):
        return "peer"
    if row is results.top:
        return "top"
    if not row.counts:
        return "broken"
    return "rung" if row.pays else "idle"


def remark(row: Row) -> str:
    """What is odd about a measured rung, in a word; `notes` says the rest."""
    words = []
    if row.loss is not None and not row.loss.counts:
        words.append("loss is off")
    elif not row.pays:
        words.append("does not pay here")
    elif row.loss is not None and row.loss.verdict == CHANGES:
        words.append("≠")
    if row.is_noisy:
        words.append("noisy")
    return ", ".join(words)


def remark_in_full(row: Row) -> str:
    """The same without the table around it."""
    words = remark(row)
    if row.loss is None:
        return words
    in_full = {
        "loss is off": f"does not count: {row.loss.reason}",
        "≠": f"changes the result: {row.loss.reason}",
    }
    first, comma, rest = words.partition(", ")
    return in_full.get(first, first) + comma + rest


# ----------------------------------------------------------------------------------------------------------------
# Leave one out, peers, bars


def left_out_table(results: Results) -> str:
    """What each rung is worth at the top, beside what it was worth on the way up; empty if that was not measured."""

    def cells(row: Row) -> list[str]:
        on_the_way = next((other for other in results.rows if other.key == row.key), None)
        return [
            format_ms(row.step.median),
            f"{row.tokens_per_second:,.0f}",
            f"{format_times(results.worth(row) or 0.0)} ×",
            f"{format_times(results.speedup_before(on_the_way))} ×" if on_the_way else "",
            remark(row).removeprefix("≠").removeprefix(", "),
        ]

    heads = ["the top without", "ms/step", "tokens/s", "worth at the top", "on the way up", ""]
    return _beside_the_ladder(heads, results.left_out, cells)


def peers_table(results: Results) -> str:
    """The top of the ladder beside what people would pick instead; empty if none was measured."""

    def cells(row: Row) -> list[str]:
        ratio = results.worth(row)
        return [
            format_ms(row.step.median),
            f"{row.tokens_per_second:,.0f}",
            format_memory(row.peak_memory_bytes),
            format_loss(loss_of(results, row)),
            "" if ratio is None else f"the top is {format_times(ratio)} × as fast",
        ]

    heads = ["instead of the ladder", "ms/step", "tokens/s", "memory", "loss", ""]
    return _beside_the_ladder(heads, results.peers, cells)


def _beside_the_ladder(heads: Sequence[str], rows: Sequence[Row], cells: Callable[[Row], list[str]]) -> str:
    """A table of steps that are no rungs; one that could not be measured shows the reason."""
    if not rows:
        return ""
    empty = [""] * (len(heads) - 2)
    lines = [
        [row.title, *(cells(row) if row.is_measured else [*empty, f"– {without_figures(row)}"])]
        for row in rows
    ]
    return format_table(heads, lines, right=[False, *(True for _ in empty), False])


def bars(results: Results) -> str:
    """The climb as bars of tokens per second, for a terminal or a log; peers stand below, hollow."""
    rows = results.measured
    if not rows:
        return ""
    peers = [row for row in results.peers if row.is_measured]
    most = max(row.tokens_per_second for row in [*rows, *peers])
    width = max(len(row.title) for row in [*rows, *peers])

    def line(row: Row, bar: str, label: str) -> str:
        return f"{row.title.ljust(width)}  {bar} {row.tokens_per_second:,.0f} tokens/s{label}"

    lines = []
    for row in rows:
        cells = row.tokens_per_second / most * BAR_CELLS
        full, rest = int(cells), _EIGHTHS[int(cells % 1 * 8)].strip()
        bar = "█" * full + rest if row.carries else "░" * max(1, full)
        lines.append(line(row, bar, f", {format_times(results.speedup_start(row))} ×{_why_hollow(row)}"))
    for row in peers:
        lines.append(line(row, "▒" * max(1, int(row.tokens_per_second / most * BAR_CELLS)), ""))
    return "\n".join(lines)


def _why_hollow(row: Row) -> str:
    return "" if row.carries else f" ({remark(row).partition(',')[0] or 'not kept'})"


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
    climbed, top = results.climbed, results.top
    if top is None or len(climbed) < 2:
        return "Nothing to compare yet: fewer than two rungs were measured."
    parts = [headline(results)]
    largest = max(climbed[1:], key=results.speedup_before)
    if results.speedup_before(largest) >= 1.05:
        parts.append(
            f"the largest step was {largest.title} ({format_times(results.speedup_before(largest))} ×)"
        )
    speedup = results.speedup_start(top)
    fastest = max(climbed, key=results.speedup_start)
    if results.speedup_start(fastest) > 1.05 * speedup:
        parts.append(f"the fastest was {fastest.title} ({format_times(results.speedup_start(fastest))} ×)")
    parts += _beside_peers(results)
    parts += _still_on_the_table(results, top)
    parts += _doubts(results)
    return "; ".join(parts) + "."


def headline(results: Results) -> str:
    """How far it went: '5.0 × faster than where you started (160 → 800 tokens/s), at 38% of its measured peak …'."""
    climbed, top = results.climbed, results.top
    if top is None or len(climbed) < 2:
        return "Nothing to compare yet: fewer than two rungs were measured"
    speedup = results.speedup_start(top)
    how = f"{speedup:,.1f} × faster than" if speedup >= 1.05 else f"{speedup:.2f} × the speed of"
    text = f"{how} where you started ({climbed[0].tokens_per_second:,.0f} → {top.tokens_per_second:,.0f} tokens/s)"
    mfu = results.mfu(top)
    return (
        text
        if mfu is None
        else f"{text}, at {format_share(mfu)} of this machine's measured peak in {results.peak_dtype}"
    )


def _beside_peers(results: Results) -> list[str]:
    ratios = [(row.title, results.worth(row)) for row in results.peers if row.is_measured]
    words = [f"{format_times(ratio)} × as fast as {title}" for title, ratio in ratios if ratio is not None]
    return [f"the top is {', '.join(words)}"] if words else []


def _still_on_the_table(results: Results, top: Row) -> list[str]:
    """Rungs that this machine cannot have, those that were not tried, and what the floor leaves."""
    known = {row.key for row in results.rows}
    groups = (
        ("not to be had here", [row.title for row in results.rows if row.status == SKIPPED]),
        ("failed", [row.title for row in results.rows if row.status == FAILED]),
        ("not run", [rung.title for rung in ladder.RUNGS if rung.key not in known]),
    )
    words = [f"{_list(titles)} ({why})" for why, titles in groups if titles]
    share, floor_ms = results.share_of_floor(top), results.floor_ms(top)
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
    idle = [
        f"{row.title} ({format_times(results.speedup_before(row))} ×)"
        for row in measured
        if row.counts and not row.pays
    ]
    if idle:
        lines.append(f"does not pay here, so the next rungs do without it: {', '.join(idle)}")
    lines += [
        f"{row.title} does not count: {row.loss.reason}"
        for row in measured
        if row.loss is not None and not row.loss.counts
    ]
    lines += [
        f"{row.title}: {row.note}" for row in [*results.rows, *results.left_out, *results.peers] if row.note
    ]
    return lines


def warnings(results: Results) -> list[str]:
    """What limits the trust in these figures."""
    shares = [share for row in results.measured for share in row.others]
    lines = []
    if max(shares, default=0.0) > BUSY_SHARE:
        lines.append(
            f"other programs kept {busy_share(results):.0%} of the cores busy meanwhile (at most {max(shares):.0%}): "
            "measure again on an idle machine before you quote a figure"
        )
    noisy = [row.title for row in results.measured if row.is_noisy]
    if noisy:
        lines.append(f"the middle half of the steps lies more than 15% apart for: {', '.join(noisy)}")
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


def text(results: Results) -> str:
    """Everything that is printed when a ladder is done, or shown again."""
    notes_below = [wrap(f"Note: {line}.") for line in [*notes(results), *warnings(results)]]
    parts = [
        setting_line(results),
        table(results),
        "\n".join(notes_below),
        left_out_table(results),
        peers_table(results),
        bars(results),
        wrap(sentence(results)),
    ]
    return clean("\n\n".join(part for part in parts if part))


def wrap(line: str) -> str:
    """A sentence in lines that a terminal can show, those after the first set in."""
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
