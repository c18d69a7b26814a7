"""Rows of tab-separated lines, whether their fields are quoted or a quote is a character like any other.

Both are common, and often in one file: spreadsheets and csv writers quote a field that has a tab, a line end or a
quote in it and double the quotes inside (RFC 4180); other programs never quote (IANA's text/tab-separated-values).
Which it is, is decided field by field:

- A field that does not begin with a quote is what stands there.
- One that begins with a quote is quoted if its first quote that is not doubled is followed by a tab or by the end of a
  line, at most `MOST_LINES` further down. If not, the quote is a character.
- A quoted field over several lines that would each be a whole row is none: two rows have a stray quote.
- A row that has another number of fields than the first is read once more without quoted fields that run over several
  lines, and then without any; the first way that gives the right number holds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

MOST_LINES = 200
"""Lines that a quoted field may run over."""

_INSIDE = re.compile(r'[^"]*(?:""[^"]*)*')
_LINE_ENDS = ("", "\n", "\r\n", "\r")


class TabReader:
    """Iterates over rows (lists of cells); `line_num` counts the lines read, as `csv.reader` does."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Take lines with their line ends."""
        self.line_num = 0
        self._lines = iter(lines)
        self._ahead: deque[str] = deque()
        self._width: int | None = None

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        line = self._look(0)
        if line is None:
            raise StopIteration
        cells, num_lines = self._cells(line)
        for _ in range(num_lines):
            self._ahead.popleft()
        self.line_num += num_lines
        if self._width is None and any(cell.strip() for cell in cells):
            self._width = len(cells)
        return cells

    def _cells(self, line: str) -> tuple[list[str], int]:
        """The cells of the row that begins with this line, and how many lines it takes."""
        plain = _without_end(line).split("\t")
        if not any(cell.startswith('"') for cell in plain):
            return plain, 1
        found = [self._quoted_cells(MOST_LINES), self._quoted_cells(1), (plain, 1)]
        if found[0][1] > 1 and self._are_rows(found[0][1]):
            del found[0]
        return next((way for way in found if self._width in (None, len(way[0]))), found[-2])

    def _are_rows(self, num_lines: int) -> bool:
        """Whether each of the next lines has as many fields as a row."""
        lines = (self._look(place) or "" for place in range(num_lines))
        return all(line.count("\t") + 1 == self._width for line in lines)

    def _quoted_cells(self, most_lines: int) -> tuple[list[str], int]:
        cells: list[str] = []
        line, at, num_lines = str(self._look(0)), 0, 1
        while True:
            quoted = self._quoted(line, at, num_lines, most_lines) if line.startswith('"', at) else None
            if quoted is None:
                rest = _without_end(line[at:])
                cell = rest.partition("\t")[0]
                at += len(cell)
            else:
                cell, line, at, num_lines = quoted
            cells.append(cell)
            if line[at:] in _LINE_ENDS:
                return cells, num_lines
            at += 1  # the tab

    def _quoted(
        self, line: str, at: int, num_lines: int, most_lines: int
    ) -> tuple[str, str, int, int] | None:
        """A quoted field: its value, the line that it ends on, the place behind it, and the lines so far."""
        parts: list[str] = []
        at += 1
        while True:
            inside = _INSIDE.match(line, at)
            assert inside is not None  # it matches nothing, too
            parts.append(inside.group().replace('""', '"'))
            at = inside.end()
            if at < len(line):
                is_closed = line[at + 1 :] in _LINE_ENDS or line.startswith("\t", at + 1)
                return ("".join(parts), line, at + 1, num_lines) if is_closed else None
            following = self._look(num_lines) if num_lines < most_lines else None
            if following is None:
                return None
            line, at, num_lines = following, 0, num_lines + 1

    def _look(self, place: int) -> str | None:
        """A line that is not read yet, the next being 0; None behind the last."""
        while len(self._ahead) <= place:
            line = next(self._lines, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[place]


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
