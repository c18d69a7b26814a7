"""`gpt2x bench explain`: the page of a rung, for a terminal, with the figures that this machine last measured.

The pages are docs/ladder/*.md. A wheel carries them beside this module (setup.py puts them there); in a source checkout
they are read where they stand. A block of code that names a file on its first line (```` ```py gpt2x/… ````) is quoted
from that file word for word, and a test holds the two together. Loads no torch.
"""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2x.bench.ladder import rungs as ladder
from gpt2x.bench.ladder.report import formatting, marks
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results, Row, load
from gpt2x.errors import Gpt2xError, MissingComponentError, UsageError, quoted
from gpt2x.paths import read_text

WIDTH = 96
"""Columns that paragraphs are wrapped to."""

PAPER = "The paper"
"""The heading of the last section of every page."""

PACKAGED = Path(__file__).parent / "pages"
CHECKOUT = Path(__file__).parents[4]

_FENCE = "```"
_INDENT = "    "
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.) ")


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A block of code on a page, and the file of this project that it is quoted from."""

    file: str
    code: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """The explanation of one rung."""

    key: str
    text: str
    """Markdown."""

    @property
    def title(self) -> str:
        """The page's first heading."""
        return self.text.partition("\n")[0].removeprefix("# ").strip()

    @property
    def number(self) -> int:
        """The rung's place on the whole ladder."""
        return [rung.key for rung in ladder.RUNGS].index(self.key)

    @property
    def idea(self) -> str:
        """The first paragraph, on one line, still Markdown."""
        return " ".join(self.text.split("\n\n")[1].split())

    @property
    def sections(self) -> dict[str, str]:
        """What follows each second-level heading."""
        parts = re.split(r"^## (.+)$", self.text, flags=re.MULTILINE)
        return {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def quotes(self) -> list[Quote]:
        """The blocks that are quoted from this project."""
        found = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", self.text, flags=re.DOTALL | re.MULTILINE)
        return [Quote(file=file, code=code) for file, code in found]


# ----------------------------------------------------------------------------------------------------------------
# Finding pages


def folder() -> Path:
    """Where the pages are.

    Raises:
        MissingComponentError: this installation has none.

    """
    for place in (PACKAGED, CHECKOUT / "docs" / "ladder"):
        if place.is_dir():
            return place
    raise MissingComponentError(
        f"the pages about the rungs are missing ({PACKAGED} is not there); install gpt2x again"
    )


def known() -> list[str]:
    """The rungs that have a page, in the ladder's order."""
    return [rung.key for rung in ladder.RUNGS if (folder() / f"{rung.key}.md").is_file()]


def page(name: str) -> Page:
    """The page of a rung, by its key or its number on the ladder.

    Raises:
        UsageError: there is no such rung; the nearest is suggested.
        MissingComponentError: this installation has no pages.

    """
    with_page = known()
    key = _key_of(name.strip().lower())
    if key not in with_page:
        close = difflib.get_close_matches(key, with_page, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(with_page)}"
        raise UsageError(f"no page about {quoted(name)}; {hint}")
    return Page(key=key, text=read_text(folder() / f"{key}.md"))


def find(key: str) -> Page | None:
    """The page of a rung, or None where there is none (a rung of the user's own, or no pages at all)."""
    try:
        return page(key) if key in known() else None
    except Gpt2xError:
        return None


def _key_of(name: str) -> str:
    if not (name.isascii() and name.isdecimal()):
        return name
    number = int(name[:9])
    if number >= len(ladder.RUNGS):
        raise UsageError(f"there is no rung {quoted(name)}; the rungs are 0 to {len(ladder.RUNGS) - 1}")
    return ladder.RUNGS[number].key


# ----------------------------------------------------------------------------------------------------------------
# Finding figures


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where figures come from."""

    file: Path
    results: Results
    recorded: bool = False
    """True for figures of another machine, which are part of the documentation."""

    def describe(self) -> str:
        """One line about the machine and the file."""
        where = report.setting_line(self.results)
        label = "recorded with the documentation, not measured here:" if self.recorded else "from"
        near = os.path.relpath(self.file)
        file, day = self.file if near.startswith("..") else near, self.results.created[:10] or "undated"
        return f"{label} {file} ({day}), {where}"


def figures(key: str, given: Path | None = None, around: Path | None = None) -> Source | None:
    """The newest result that has figures of a rung: the file that is given, or else one below ``bench-results``.

    Where there is none, the newest recorded one in docs/benchmarks of a source checkout serves.

    Raises:
        InputDataError: the file that is given is no result.

    """
    if given is not None:
        return Source(file=given, results=load(given))
    here = (around or Path.cwd()) / "bench-results"
    for place, recorded in ((here, False), (CHECKOUT / "docs" / "benchmarks", True)):
        for file in _newest_first(place):
            results = _load_or_none(file)
            if results is not None and (row := row_of(results, key)) is not None and row.is_measured:
                return Source(file=file, results=results, recorded=recorded)
    return None


def row_of(results: Results, key: str) -> Row | None:
    """A rung's row in a result."""
    return next((row for row in results.rows if row.key == key), None)


def _newest_first(place: Path) -> list[Path]:
    return sorted(place.glob("*/results.json"), key=lambda file: (file.stat().st_mtime, file), reverse=True)


def _load_or_none(file: Path) -> Results | None:
    try:
        return load(file)
    except Gpt2xError:
        return None


def figure_lines(source: Source, key: str) -> list[str]:
    """What was measured of a rung, for people."""
    results, row = source.results, row_of(source.results, key)
    if row is None:
        return [f"this rung is not in it; {source.describe()}"]
    if not row.is_measured:
        return [f"not measured: {marks.without_figures(row)}", source.describe()]
    before = results.before(row)
    below = f" after {formatting.format_ms(before.step.median)} ms ({before.title})" if before else ""
    lines = [
        f"{formatting.format_ms(row.step.median)} ms a step{below}, {row.tokens_per_second:,.0f} tokens/s",
        f"{formatting.format_ratio(results.before_ratio(row), ' ×')} the rung before, "
        f"{formatting.format_times(results.speedup_start(row))} × the start"
        + (f"; {marks.remark_in_full(results, row)}" if marks.remark(results, row) else ""),
    ]
    for left_out in results.left_out:
        worth = results.worth(left_out)
        if left_out.key == key and worth is not None:
            lines.append(f"worth {formatting.format_times(worth)} × at the top of the ladder")
    return [*lines, source.describe()]


# ----------------------------------------------------------------------------------------------------------------
# Markdown in a terminal


def as_text(markdown: str) -> str:
    """Markdown as plain text: headings underlined, code and tables indented, paragraphs wrapped, links written out.

    >>> print(as_text("# Title\\n\\nSome *plain* `text`,\\nwrapped."))
    Title
    =====
    <BLANKLINE>
    Some plain text, wrapped.
    """
    return "\n\n".join(_block_as_text(block) for block in _blocks(markdown))


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Paragraphs, headings and whole fences, as lists of lines."""
    block: list[str] = []
    in_fence = False
    for line in [*markdown.splitlines(), ""]:
        in_fence ^= line.startswith(_FENCE)
        if line.strip() or in_fence:
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _block_as_text(lines: Sequence[str]) -> str:
    first = lines[0]
    if first.startswith(_FENCE):
        body = lines[1:-1] if lines[-1].startswith(_FENCE) else lines[1:]
        file = first.removeprefix(_FENCE).partition(" ")[2]
        code = textwrap.dedent("\n".join(body)).splitlines()
        return "\n".join([*([f"{file}:"] if file else []), *(f"{_INDENT}{line}".rstrip() for line in code)])
    if first.startswith("#"):
        title = _inline(first.lstrip("#").strip())
        underline = ("=" if first.startswith("# ") else "-") * len(title)
        return "\n".join([title, underline, *map(_inline, lines[1:])])
    if first.startswith("|"):
        return _table_as_text(lines)
    return "\n".join(_wrapped(paragraph) for paragraph in _items(lines))


def _items(lines: Sequence[str]) -> list[str]:
    """The items of a list, each on one line; a paragraph is one item."""
    items: list[str] = []
    for line in lines:
        if _ITEM.match(line) or not items:
            items.append(line.rstrip())
        else:
            items[-1] += f" {line.strip()}"
    return items


def _wrapped(item: str) -> str:
    found = _ITEM.match(item)
    hang = " " * len(found[0]) if found else ""
    return textwrap.fill(
        _inline(item), WIDTH, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    )


def _table_as_text(lines: Sequence[str]) -> str:
    rows = [[_inline(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"{_INDENT}{line}".rstrip() for line in padded)


def _inline(text: str) -> str:
    """Links as ``words (address)`` where the address leads out of the page; emphasis and code without their marks."""

    def link(match: re.Match[str]) -> str:
        words, address = match.groups()
        return f"{words} ({address})" if address.startswith("http") else words

    parts = re.split(r"(`[^`]+`)", _LINK.sub(link, text))
    return "".join(
        part[1:-1] if part.startswith("`") else re.sub(r"(\*\*?)(?=\S)(.+?)(?<=\S)\1", r"\2", part)
        for part in parts
    )


def for_terminal(found: Page, source: Source | None) -> str:
    """A whole page: its text, what was measured, and the paper at the end."""
    body, _, paper = found.text.partition(f"## {PAPER}")
    measured = "nothing yet: run `gpt2x bench` first, or name a result with --results"
    if source is not None:
        measured = "\n".join(_wrapped(f"- {line}") for line in figure_lines(source, found.key))
    parts = [as_text(body), f"Measured\n--------\n\n{measured}"]
    if paper:
        parts.append(as_text(f"## {PAPER}{paper}"))
    return "\n\n".join(parts)


def index() -> str:
    """All pages, one line each."""
    lines = [
        f"{ladder.number_of(rung):>3}  {rung.key:<{_key_width()}}  {rung.change}" for rung in _with_page()
    ]
    return "\n".join(
        line if len(line) <= WIDTH else f"{line[: WIDTH - 2].rpartition(' ')[0]} …" for line in lines
    )


def _with_page() -> list[ladder.Rung]:
    with_page = known()
    return [rung for rung in ladder.RUNGS if rung.key in with_page]


def _key_width() -> int:
    return max(len(key) for key in known())
