"""Tables, as wide as they come, or fitted to a terminal. Loads no torch.

Of what is fitted nothing is cut: first the cells of text columns wrap at words, then the columns that do not fit beside
the first ones are stacked as a second table with the same leading columns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpt2x.console import columns, display_width, emit, is_terminal, on_one_line, padded

GAP = "  "
NO_BREAK = "\u00a0"
"""A blank at which a head does not wrap."""
LEAST_TEXT = 22
"""A text column that leads a table keeps this width, if it has that much to say; others keep their longest word's."""


def table_width() -> int | None:
    """How wide a table on stdout may be: as `columns` says where that is a terminal; None elsewhere, for any width."""
    return columns() if is_terminal(sys.stdout) else None


def format_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[bool] | None = None,
    width: int | None = None,
) -> str:
    """Lay out rows under column heads with plain spaces: readable in a terminal, a log and a mail.

    Args:
        heads: of the columns.
        rows: the cells, one sequence a row, as long as `heads`.
        right: which columns are set flush right; by default those whose cells are all numbers.
        width: columns of a terminal that the table is to fit (see `fitted`), such as `table_width()`; None: any.

    >>> print(format_table(["rung", "ms"], [["naive", 12.5], ["fused", 3.0]]))
    rung     ms
    -----  ----
    naive  12.5
    fused   3.0
    """
    cells = [[on_one_line(str(cell)) for cell in row] for row in rows]
    if right is None:
        right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(heads))]
    widths = [max(display_width(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    if width is not None and _total(widths) > width:
        return fitted(heads, [Line(cells=row) for row in cells], right=right, width=width)

    def lay_out(line: Sequence[str]) -> str:
        parts = (padded(c, w, r) for c, w, r in zip(line, widths, right, strict=True))
        return GAP.join(parts).rstrip()

    return "\n".join([lay_out(heads), GAP.join("-" * w for w in widths), *map(lay_out, cells)])


def emit_table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[bool] | None = None
) -> None:
    """Print a table on stdout (see `format_table`); on a terminal it fits the width."""
    emit(format_table(heads, rows, right=right, width=table_width()))


class Line(NamedTuple):
    """One row: all cells, or the leading ones and a reason why there are no others."""

    cells: Sequence[str]
    reason: str = ""


def fitted(
    heads: Sequence[str], lines: Sequence[Line], *, right: Sequence[bool], width: int, leading: int = 1
) -> str:
    """Lay out a table in `width` columns.

    Args:
        heads: of all columns.
        lines: the rows.
        right: which columns are set flush right; the others are text, which wraps.
        width: of the terminal.
        leading: how many columns say what a row is; they are repeated where the table is stacked.

    """
    table = _Table(heads=heads, lines=lines, right=right, width=width, leading=leading)
    wide, least = table.widths()
    if _total(wide) <= width:
        return table.block(range(len(heads)), wide, lines)
    with_cells = [line for line in lines if not line.reason]
    return "\n\n".join(
        table.block(block, _grown(block, least, wide, right, width), with_cells if number else lines)
        for number, block in enumerate(_blocks(least, width, leading))
    )


class _Table(NamedTuple):
    """What `fitted` was given."""

    heads: Sequence[str]
    lines: Sequence[Line]
    right: Sequence[bool]
    width: int
    leading: int

    def widths(self) -> tuple[list[int], list[int]]:
        """What each column takes if nothing wraps, and what it needs."""
        wide, least = [], []
        for place, head in enumerate(self.heads):
            is_leading = place < self.leading
            cells = [line.cells[place] for line in self.lines if is_leading or not line.reason]
            longest, word = max(map(display_width, cells), default=0), _longest_word([head, *cells])
            wide.append(max(longest, display_width(head)))
            if self.right[place]:
                least.append(max(longest, _longest_word([head])))
            else:
                least.append(min(max(word, LEAST_TEXT), wide[-1]) if is_leading else word)
                # A word without room beside the leading columns is broken.
                room = self.width - sum(size + len(GAP) for size in least[:-1][: self.leading])
                least[-1] = min(least[-1], max(1, room))
        return wide, least

    def block(self, columns: Sequence[int], widths: Sequence[int], lines: Sequence[Line]) -> str:
        """Some of the columns, with their heads and a rule."""
        right = [self.right[place] for place in columns]
        heads = [self.heads[place] for place in columns]
        rule = GAP.join("-" * size if head else "" for head, size in zip(heads, widths, strict=True))
        out = [*_wrapped(heads, widths, right), rule.rstrip()]
        before = list(widths[: self.leading])
        room = max(LEAST_TEXT, self.width - _total(before) - len(GAP))
        for line in lines:
            if line.reason:
                cells = [*line.cells[: self.leading], line.reason]
                out += _wrapped(cells, [*before, room], [*right[: self.leading], False])
            else:
                out += _wrapped([line.cells[place] for place in columns], widths, right)
        return "\n".join(out)


def _longest_word(texts: Sequence[str]) -> int:
    return max((display_width(word) for text in texts for word in text.split(" ")), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _blocks(least: Sequence[int], width: int, leading: int) -> list[list[int]]:
    """Which columns stand in which table, each after the leading ones; one column at least in each."""
    first = list(range(leading))
    blocks: list[list[int]] = []
    block = list(first)
    for place in range(leading, len(least)):
        if len(block) > leading and _total([least[p] for p in [*block, place]]) > width:
            blocks.append(block)
            block = list(first)
        block.append(place)
    return [*blocks, block]


def _grown(
    block: Sequence[int], least: Sequence[int], wide: Sequence[int], right: Sequence[bool], width: int
) -> list[int]:
    """The widths of a block's columns: what they need, and from what is left over what they take, text first."""
    widths = [least[place] for place in block]
    spare = width - _total(widths)
    for index, place in sorted(enumerate(block), key=lambda both: right[both[1]]):
        more = max(0, min(wide[place] - widths[index], spare))
        widths[index] += more
        spare -= more
    return widths


def _wrapped(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """One row as lines, as many as its highest cell has."""
    columns = [list(_cell_lines(cell, max(1, size))) for cell, size in zip(cells, widths, strict=True)]
    height = max(map(len, columns))
    rows = zip(*([*column, *[""] * (height - len(column))] for column in columns), strict=True)
    return [
        GAP.join(
            padded(text, size, is_right) for text, size, is_right in zip(row, widths, right, strict=True)
        )
        .rstrip()
        .replace(NO_BREAK, " ")
        for row in rows
    ]


def _cell_lines(cell: str, width: int) -> Iterator[str]:
    """A cell as lines of at most that many columns: broken at blanks, and within a word that is longer."""
    line = ""
    for word in cell.split(" "):
        if line and display_width(line) + 1 + display_width(word) > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
        while display_width(line) > width:
            taken = 1
            while display_width(line[: taken + 1]) <= width:
                taken += 1
            yield line[:taken]
            line = line[taken:]
    yield line
