"""What people see: for each text one table, in a terminal or as Markdown; every figure is MB/s and × tiktoken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpt2x.bench.bpe.encode.inputs import BATCH_BYTES, BATCH_DOCUMENT_BYTES, NATURAL
from gpt2x.bench.bpe.encode.results import TIMED_OUT, BpeResults, Cell, InputState, PeerState
from gpt2x.bench.records import FAILED, MEASURED, SKIPPED
from gpt2x.bench.stats import BUSY_SHARE, spread
from gpt2x.console import wrapped
from gpt2x.tables import format_table

NOTHING = "–"
WHOLE_TEXT = {
    "list": "warm list",
    "array": "warm array",
    "cold list": "cold list",
    "cold array": "cold array",
}
DECODING = {"decode list": "from a list", "decode array": "from an array"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with what stands above and below it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool]
    notes: Sequence[str] = ()

    def as_text(self, width: int | None = None) -> str:
        """For a terminal of so many columns; None: of any."""
        lines = [self.title, "", format_table(self.heads, self.rows, right=self.right, width=width)]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines if width is None else [wrapped(line, width) for line in lines])

    def as_markdown(self) -> str:
        """For a page."""
        marks = ["---:" if right else "---" for right in self.right]
        rows = [self.heads, marks, *self.rows]
        lines = [f"**{self.title}**", "", *("| " + " | ".join(row) + " |" for row in rows)]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"- {note}" for note in self.notes)])


def as_text(results: BpeResults, width: int | None = None) -> str:
    """Everything, for a terminal."""
    return page_of(heading(results), tables(results), EXPLANATION, width)


def page_of(heading: str, tables: Sequence[Table], explanation: str, width: int | None) -> str:
    """All of a page for a terminal of so many columns; None: of any."""
    if width is not None:
        heading, explanation = wrapped(heading, width), wrapped(explanation.replace("\n", " "), width)
    return "\n\n".join([heading, *(table.as_text(width) for table in tables), explanation])


def as_markdown(results: BpeResults) -> str:
    """Everything, as a page."""
    command = f"```sh\n{' '.join(results.command)}\n```"
    parts = ["# `gpt2x bench bpe`", heading(results), command, EXPLANATION]
    return "\n\n".join([*parts, *(table.as_markdown() for table in tables(results))]) + "\n"


EXPLANATION = (
    "Figures are MB of UTF-8 text a second (10⁶ bytes) at the median sample, and how many times that is of tiktoken's\n"
    "call that gives Python lists. warm: a process that has seen the text; cold: the first call of a fresh process,\n"
    "which has built the tokenizer. list: Python integers; array: a NumPy array or buffer. exact: the tokens are\n"
    "tiktoken's, one by one."
)


def heading(results: BpeResults) -> str:
    """The machine, and what was given to all."""
    machine = results.machine
    python = machine.versions.get("python", "")
    lines = [f"{machine.describe('cpu')}; Python {python}; {results.vocabulary} for all, no special tokens"]
    if not results.complete:
        lines.append("Interrupted: what follows is what was finished.")
    return "\n".join([*lines, *busy_note(results.busy_share())])


def busy_note(share: float) -> list[str]:
    """A line that says that other programs took a share of the core that was measured on, where it matters."""
    if share <= BUSY_SHARE:
        return []
    return [
        f"Note: other programs took {share:.0%} of the core that was measured on; figures are too low by about as "
        "much, and ratios are rough."
    ]


def tables(results: BpeResults) -> list[Table]:
    """All tables, in the order in which they are read."""
    found = [_peers(results), *_beside_best(results), *_floor(results)]
    for text in results.inputs:
        if any(cell.input == text.name for cell in results.cells):
            found.append(_whole_text(results, text))
            if text.kind == NATURAL:
                found += [_batches(results, text), _decoding(results, text)]
    if any(program.samples_s or program.reason for program in results.start_up):
        found.append(_start_up(results))
    return found


def _peers(results: BpeResults) -> Table:
    rows = [
        [peer.name, peer.version or NOTHING, _load_ms(peer), peer.uses or NOTHING] for peer in results.peers
    ]
    return Table(
        title="The tokenizers: version, milliseconds to import and load the vocabulary, calls that are measured",
        heads=["", "version", "load ms", "whole text, batch, decoding"],
        rows=rows,
        right=[False, False, True, False],
        notes=[
            f"{peer.name}: {_excuse(peer.status, peer.reason)}"
            for peer in results.peers
            if peer.status != MEASURED and peer.version
        ],
    )


PLACES = {
    "warm": ("list", "array"),
    "cold": ("cold list", "cold array"),
    "a batch, 1 core": ("batch list", "batch array"),
    "a batch, all cores": ("batch list, all cores", "batch array, all cores"),
    "back to bytes": ("decode list", "decode array"),
}
"""What stands in a row beside the best of the others: lists and arrays."""


def _beside_best(results: BpeResults) -> list[Table]:
    """Ours over the fastest of the others, for each text and call."""
    rows = []
    for text in results.inputs:
        for place, measures in PLACES.items():
            found = [results.beside_best(text.name, measure) for measure in measures]
            if any(found):
                rows.append(
                    [text.name, place, *(f"{one[0]:.2f} {one[1]}" if one else NOTHING for one in found)]
                )
    if not rows:
        return []
    return [
        Table(
            title="gpt2x beside the fastest of the others that are exact: how many times as fast",
            heads=["", "", "list", "array"],
            rows=rows,
            right=[False] * 4,
        )
    ]


def _floor(results: BpeResults) -> list[Table]:
    """Documents one at a time: the slowest of each peer."""
    floor = results.floor
    if floor is None or not floor.rows:
        return []
    rows = []
    for row in floor.rows:
        if len(row.seconds) < len(floor.documents):
            continue
        rates = floor.rates(row)
        (slowest, name), of_100, median = rates[0], rates[len(rates) // 100], rates[len(rates) // 2]
        figures = [_rate(slowest), name, _rate(of_100[0]), _rate(median[0])]
        rows.append([row.name, *figures, f"{row.num_tokens:,}", str(row.rounds)])
    return [
        Table(
            title=f"{len(floor.documents):,} documents of {floor.what} one at a time, each in the first call of a new "
            "tokenizer: MB/s",
            heads=["", "slowest", "which", "1 in 100", "median", "tokens", "best of"],
            rows=rows,
            right=[False, True, False, True, True, True, True],
            notes=[f"{row.name}: {row.reason}" for row in floor.rows if row.reason],
        )
    ]


def _excuse(status: str, reason: str) -> str:
    return "gave no answer in time" if status == TIMED_OUT else reason


def _load_ms(peer: PeerState) -> str:
    if not peer.build_s:
        return "not installed" if peer.version is None else peer.status
    return f"{spread(peer.build_s).median * 1000:.0f}"


def _taking_part(results: BpeResults) -> list[PeerState]:
    return [peer for peer in results.peers if peer.status == MEASURED]


def _title(text: InputState) -> str:
    tokens = f", {text.num_tokens:,} tokens" if text.num_tokens else ""
    return f"{text.name}: {text_size(text.num_bytes)}{tokens}; {text.what}"


def text_size(num_bytes: int) -> str:
    """How long a text is, for people."""
    if num_bytes < 1000:
        return f"{num_bytes} bytes"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 999_500 else f"{num_bytes / 1e3:.0f} kB"


def _whole_text(results: BpeResults, text: InputState) -> Table:
    return _figures(results, text, title=_title(text), columns=WHOLE_TEXT, exact=True)


def _batches(results: BpeResults, text: InputState) -> Table:
    several = f"{results.machine.cores} core{'s' * (results.machine.cores != 1)}"
    columns = {
        "batch list": "list, 1 core",
        "batch array": "array, 1 core",
        "batch list, all cores": f"list, {several}",
        "batch array, all cores": f"array, {several}",
    }
    batch = text_size(min(text.num_bytes, BATCH_BYTES))
    title = f"{text.name}, {batch} in documents of {BATCH_DOCUMENT_BYTES // 1024} KiB, one batch"
    return _figures(results, text, title=title, columns=columns)


def _decoding(results: BpeResults, text: InputState) -> Table:
    return _figures(results, text, title=f"{text.name}, back to bytes", columns=DECODING)


def _figures(
    results: BpeResults, text: InputState, *, title: str, columns: Mapping[str, str], exact: bool = False
) -> Table:
    """One row for each peer, one column for each measure; without those that have nothing to show.

    Args:
        results: where the figures are.
        text: on which text.
        title: of the table.
        columns: the head of each measure's column.
        exact: whether to add a column that says if the tokens are right.

    """
    made = {cell.measure for cell in results.cells if cell.input == text.name}
    measures = [measure for measure in columns if measure in made]
    rows, notes = [], []
    for peer in _taking_part(results):
        cells = [results.cell(text.name, measure, peer.name) for measure in measures]
        if any(cell is not None and cell.status != SKIPPED for cell in cells):
            figures = [_figure(results, cell) for cell in cells]
            rows.append([peer.name, *figures, *([_exact(results, text, peer.name)] if exact else [])])
            notes += _notes(results, cells)
    return Table(
        title=title,
        heads=["", *(columns[measure] for measure in measures), *(["exact"] if exact else [])],
        rows=rows,
        right=[False, *[True] * len(measures), *([False] if exact else [])],
        notes=notes,
    )


def _figure(results: BpeResults, cell: Cell | None) -> str:
    if cell is None or cell.status == SKIPPED:
        return NOTHING
    if cell.status == TIMED_OUT:
        return f"> {results.timeout_s:g} s"
    rate, ratio = results.mb_per_second(cell), results.ratio(cell)
    if rate is None:
        return "failed" if cell.status == FAILED else NOTHING
    times = f"{ratio:.2f}×" if ratio is not None else ""
    return f"{_rate(rate)} {times:>8}".rstrip()


def _rate(mb_per_second: float) -> str:
    """Three digits that mean something."""
    return f"{mb_per_second:,.0f}" if mb_per_second >= 100 else f"{mb_per_second:.3g}"


def _exact(results: BpeResults, text: InputState, peer: str) -> str:
    """Yes, or where the first wrong result differs: in any call of this peer on this text."""
    faults = list(results.faults(text.name, peer))
    wrong = [f"{cell.measure}: {cell.fault}" for cell in faults if cell.fault]
    if wrong:
        return f"NO, {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
    measured = any(c.is_measured for c in results.cells if (c.input, c.peer) == (text.name, peer))
    return "not known" if faults else "yes" if measured else NOTHING


def _notes(results: BpeResults, row: Sequence[Cell | None]) -> list[str]:
    """What failed, and why; and who used more processor than it was given."""
    cells = [cell for cell in row if cell is not None]
    notes = [f"{cell.peer}, {cell.measure}: {cell.reason}" for cell in cells if cell.status == FAILED]
    for cell in cells:
        if cell.is_measured and "all cores" not in cell.measure:
            cores = spread(cell.cpu_s).median / cell.seconds
            if cores > 1.2:
                notes.append(f"{cell.peer}, {cell.measure}: used {cores:.1f} cores")
    return notes


def _start_up(results: BpeResults) -> Table:
    base = results.start_up[0]
    rows = []
    for program in results.start_up:
        if program.reason or not program.samples_s:
            rows.append([program.what, NOTHING, NOTHING, program.output or NOTHING])
            continue
        median = spread(program.samples_s).median
        times = (
            f"{spread(base.samples_s).median / median:.2f}×"
            if base.samples_s and not base.reason
            else NOTHING
        )
        rows.append([program.what, f"{median * 1000:.0f}", times, program.output])
    return Table(
        title=f"A whole process that counts the tokens of a file of {text_size(results.start_up_bytes)}",
        heads=["", "ms", "× tiktoken", "tokens"],
        rows=rows,
        right=[False, True, True, True],
        notes=[f"{program.what}: {program.reason}" for program in results.start_up if program.reason],
    )
