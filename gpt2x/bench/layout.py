"""Tables that fit the terminal: words wrap in their cells, and columns that find no room come below. Loads no torch.

Nothing is cut: first the cells of text columns wrap at words, then the columns that do not fit beside the
first ones are stacked as a second table with the same leading columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "
NO_BREAK = "\u00a0"
"""A blank at which a head does not wrap."""
LEAST_TEXT = 22
"""A text column that leads a table keeps this width, if it has that much to say; others keep their longest word's."""


@dataclass(frozen=True, kw_only=True)
class Line:
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


@dataclass(frozen=True, kw_only=True)
class _Table:
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
            longest, word = max(map(len, cells), default=0), _longest_word([head, *cells])
            wide.append(max(longest, len(head)))
            if self.right[place]:
                least.append(max(longest, _longest_word([head])))
            else:
                least.append(min(max(word, LEAST_TEXT), wide[-1]) if is_leading else word)
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
    return max((len(word) for text in texts for word in text.split(" ")), default=0)


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
    columns = [
        textwrap.wrap(cell, max(1, size), break_on_hyphens=False) or [""]
        for cell, size in zip(cells, widths, strict=True)
    ]
    height = max(map(len, columns))
    rows = zip(*([*column, *[""] * (height - len(column))] for column in columns), strict=True)
    return [
        GAP.join(
            text.rjust(size) if is_right else text.ljust(size)
            for text, size, is_right in zip(row, widths, right, strict=True)
        )
        .rstrip()
        .replace(NO_BREAK, " ")
        for row in rows
    ]
