"""The ladder as tables and bars: rows as they come, all rows, what each is worth at the top, peers. Loads no torch.

A table fits the width that it is given: titles wrap, and columns that find no room stand below (`layout`). It says in a
word what is odd about a row; `text.notes` says the rest.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2x.bench.ladder import rungs as ladder
from gpt2x.bench.ladder.report import marks
from gpt2x.bench.ladder.report.formatting import (
    format_loss,
    format_memory,
    format_ms,
    format_ratio,
    format_share,
    format_times,
)
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.tables import GAP, Line, fitted

WIDTH = 80
"""Columns, where nobody says how many there are."""

BAR_CELLS, LEAST_CELLS = 40, 8
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its head and what stands in it."""

    head: str
    cell: Callable[[Results, Row], str]
    right: bool = True


def columns(results: Results) -> list[Column]:
    """The columns of the table; those that this ladder cannot fill are left out."""
    has_floor = results.machine.bandwidth > 0 and bool(results.machine.peak_flops)
    has_energy = any(row.energy_j for row in results.rows)
    same_work = Column(
        head="same work", cell=lambda results, row: format_times(results.same_work(row).median)
    )
    return [
        Column(head="ms/step", cell=lambda results, row: format_ms(row.step.median)),
        Column(head="×\u00a0before", cell=_times_before),
        Column(head="×\u00a0start", cell=lambda results, row: format_times(results.speedup_start(row))),
        *([same_work] if results.has_more_work else []),
        Column(head="", cell=marks.remark, right=False),
        Column(head="tokens/s", cell=lambda results, row: f"{row.tokens_per_second:,.0f}"),
        Column(head="peak", cell=lambda results, row: format_share(results.mfu(row))),
        *([Column(head="floor", cell=_floor)] if has_floor else []),
        Column(head="memory", cell=lambda results, row: format_memory(row.peak_memory_bytes)),
        *([Column(head="mJ/token", cell=_energy)] if has_energy else []),
        Column(head="loss", cell=lambda results, row: format_loss(marks.loss_of(results, row))),
    ]


def table(results: Results, width: int = WIDTH) -> str:
    """All rows under their heads; one that has no figures says why in their place."""
    chosen = columns(results)
    lines = [
        Line(cells=[str(row.number), row.title, *(column.cell(results, row) for column in chosen)])
        if row.is_measured
        else Line(cells=[str(row.number), row.title], reason=f"– {marks.without_figures(row)}")
        for row in results.rows
    ]
    right = [True, False, *(column.right for column in chosen)]
    heads = ["#", "rung", *(column.head for column in chosen)]
    return fitted(heads, lines, right=right, width=width, leading=2)


def _times_before(results: Results, row: Row) -> str:
    return format_ratio(results.before_ratio(row)) if results.before(row) else ""


def _floor(results: Results, row: Row) -> str:
    return format_share(results.share_of_floor(row))


def _energy(results: Results, row: Row) -> str:
    energy_j = marks.joules_per_token(row)
    return "" if energy_j is None else f"{energy_j * 1000:.3g}"


# ----------------------------------------------------------------------------------------------------------------
# Rows as they come


_FIRST: tuple[tuple[str, int, Callable[[Results, Row], str]], ...] = (
    ("ms/step", 7, lambda results, row: format_ms(row.step.median)),
    (
        "× before",
        8,
        lambda results, row: format_times(results.speedup_before(row)) if results.before(row) else "",
    ),
    ("tokens/s", 8, lambda results, row: f"{row.tokens_per_second:,.0f}"),
    ("memory", 7, lambda results, row: format_memory(row.peak_memory_bytes)),
    ("loss", 6, lambda results, row: format_loss(marks.loss_of(results, row))),
)
"""What is known of a rung after round 1, and how wide it is."""

_TITLE = max(len(rung.title) for rung in ladder.RUNGS)
_REMARK = max(map(len, (marks.IDLE, marks.PASSED_OVER, marks.BROKEN)))


def head_line(width: int = WIDTH) -> str:
    """The heads of the columns, for rows that are printed as they come."""
    return GAP.join(
        [" #", "rung".ljust(_TITLE), *(head.rjust(size) for head, size, _ in _first(width))]
    ).rstrip()


def row_line(results: Results, row: Row, width: int = WIDTH) -> str:
    """One row under `head_line`; a reason that is too long goes on below."""
    start = f"{row.number:>2}{GAP}{row.title.ljust(_TITLE)}{GAP}"
    if not row.is_measured:
        indent = " " * (len(start) + 2)
        return textwrap.fill(
            f"– {marks.without_figures(row)}", max(width, len(start) + 20), initial_indent=start,
            subsequent_indent=indent, break_on_hyphens=False,
        )  # fmt: skip
    cells = [cell(results, row).rjust(size) for _, size, cell in _first(width)]
    line = start + GAP.join([*cells, marks.remark(results, row)])
    return line.rstrip() if len(line) <= width else start + GAP.join(cells)


def _first(width: int) -> list[tuple[str, int, Callable[[Results, Row], str]]]:
    """As many of the columns as fit, with room for a remark; two at least."""
    room = width - 2 - len(GAP) - _TITLE - len(GAP) - _REMARK
    chosen: list[tuple[str, int, Callable[[Results, Row], str]]] = []
    for column in _FIRST:
        room -= column[1] + len(GAP)
        if room >= 0 or len(chosen) < 2:
            chosen.append(column)
    return chosen


# ----------------------------------------------------------------------------------------------------------------
# Leave one out, peers, bars


def left_out_table(results: Results, width: int = WIDTH) -> str:
    """What each rung is worth at the top, beside what it was worth on the way up; empty if that was not measured."""

    def cells(row: Row) -> list[str]:
        on_the_way = next((other for other in results.rows if other.key == row.key), None)
        return [
            format_ms(row.step.median),
            f"{row.tokens_per_second:,.0f}",
            format_ratio(results.ratio(results.top, row), " ×") if results.top else "",
            format_ratio(results.before_ratio(on_the_way), " ×")
            if on_the_way and on_the_way.is_measured
            else "",
            marks.remark(results, row).removeprefix(marks.ALTERS).removeprefix(", "),
        ]

    heads = ["the top without", "ms/step", "tokens/s", "worth at the top", "on the way up", ""]
    return _beside_the_ladder(heads, results.left_out, cells, width)


def peers_table(results: Results, width: int = WIDTH) -> str:
    """The top of the ladder beside what people would pick instead; empty if none was measured."""

    def cells(row: Row) -> list[str]:
        return [
            format_ms(row.step.median),
            f"{row.tokens_per_second:,.0f}",
            format_memory(row.peak_memory_bytes),
            format_loss(marks.loss_of(results, row)),
            f"the top is {format_ratio(results.ratio(results.top, row), ' ×')} as fast"
            if results.top
            else "",
        ]

    heads = ["instead of the ladder", "ms/step", "tokens/s", "memory", "loss", ""]
    return _beside_the_ladder(heads, results.peers, cells, width)


def _beside_the_ladder(
    heads: Sequence[str], rows: Sequence[Row], cells: Callable[[Row], list[str]], width: int
) -> str:
    """A table of steps that are no rungs; one that could not be measured shows the reason."""
    if not rows:
        return ""
    lines = [
        Line(cells=[row.title, *cells(row)])
        if row.is_measured
        else Line(cells=[row.title], reason=f"– {marks.without_figures(row)}")
        for row in rows
    ]
    return fitted(heads, lines, right=[False, *(True for _ in heads[2:]), False], width=width)


def bars(results: Results, width: int = WIDTH) -> str:
    """The climb as bars of tokens per second, for a terminal or a log; peers stand below, hollow."""
    rows = results.measured
    if not rows:
        return ""
    peers = [row for row in results.peers if row.is_measured]
    most = max(row.tokens_per_second for row in [*rows, *peers])
    labels = [_bar_label(results, row) for row in [*rows, *peers]]
    titles = [row.title for row in [*rows, *peers]]
    room = width - max(map(len, labels)) - 3
    widest = max(min(max(map(len, titles)), room - LEAST_CELLS), LEAST_CELLS)
    cells = max(LEAST_CELLS, min(BAR_CELLS, room - widest))

    def bar(row: Row) -> str:
        long = row.tokens_per_second / most * cells
        full = max(1, int(long))
        if row in peers:
            return "▒" * full
        return "█" * int(long) + _EIGHTHS[int(long % 1 * 8)].strip() if row.carries else "░" * full

    lines = []
    for row, title, label in zip([*rows, *peers], titles, labels, strict=True):
        line = f"{_shortened(title, widest).ljust(widest)}  {bar(row)} {label}"
        why = _why_hollow(results, row)
        lines.append(line + why if len(line + why) <= width else line)
    return "\n".join(lines)


def _bar_label(results: Results, row: Row) -> str:
    label = f"{row.tokens_per_second:,.0f} tokens/s"
    if not marks.is_rung(results, row):
        return label
    return f"{label}, {format_times(results.speedup_start(row))} ×"


def _why_hollow(results: Results, row: Row) -> str:
    if row.carries or not marks.is_rung(results, row):
        return ""
    return f" ({marks.remark(results, row).partition(',')[0] or 'not kept'})"


def _shortened(title: str, width: int) -> str:
    return title if len(title) <= width else textwrap.shorten(title, width, placeholder=" …") or title[:width]
