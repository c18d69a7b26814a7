"""What people see of a training benchmark: one table for each task, in a terminal or as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gpt2x.bench.bpe.encode.report import NOTHING, Table, busy_note, page_of, text_size
from gpt2x.bench.bpe.encode.results import ONE, TIMED_OUT
from gpt2x.bench.bpe.training.merges import KNOWN, Verdict
from gpt2x.bench.bpe.training.results import Cell, TaskState, TrainResults
from gpt2x.bench.records import FAILED, SKIPPED
from gpt2x.bench.stats import spread

EXPLANATION = (
    "Seconds are those of learning alone, the median of fresh processes; × is how many times as fast as Hugging\n"
    "Face's trainer that reads the file. MB (10⁶ bytes) is how far the process grew meanwhile; one that is given text\n"
    "has it in memory before. All learn as many merges, from the pieces that GPT-2's pattern cuts."
)


def as_text(results: TrainResults, width: int | None = None) -> str:
    """Everything, for a terminal."""
    return page_of(heading(results), tables(results), EXPLANATION, width)


def as_markdown(results: TrainResults) -> str:
    """Everything, as a page."""
    command = f"```sh\n{' '.join(results.command)}\n```"
    parts = ["# `gpt2x bench bpe --train`", heading(results), command, EXPLANATION]
    return "\n\n".join([*parts, *(table.as_markdown() for table in tables(results))]) + "\n"


def heading(results: TrainResults) -> str:
    """The machine, and what limits the trust in the figures."""
    machine = results.machine
    lines = [f"{machine.describe('cpu')}; Python {machine.versions.get('python', '')}"]
    if not results.complete:
        lines.append("Interrupted: what follows is what was finished.")
    return "\n".join([*lines, *busy_note(results.busy_share())])


def tables(results: TrainResults) -> list[Table]:
    """All tables, in the order in which they are read."""
    return [_trainers(results), *(_task(results, task) for task in results.tasks)]


def _trainers(results: TrainResults) -> Table:
    rows = [
        [state.name, state.version or "not installed", state.given, state.uses] for state in results.trainers
    ]
    return Table(
        title="The trainers: version, what they are given, what is called",
        heads=["", "version", "given", "calls"],
        rows=rows,
        right=[False] * 4,
    )


def _task(results: TrainResults, task: TaskState) -> Table:
    cores = 1 if task.threads == ONE else results.machine.cores
    title = f"{text_size(task.num_bytes)}, {task.vocab_size:,} tokens, {cores} core{'s' * (cores != 1)}; {task.what}"
    cells = [cell for cell in results.cells if cell.task == task.name and cell.status != SKIPPED]
    notes = (note for cell in cells for note in _notes(results, task, cell))
    return Table(
        title=title,
        heads=["", "seconds", "×", "MB", "merges are ours"],
        rows=[[cell.trainer, *_figures(results, cell)] for cell in cells],
        right=[False, True, True, True, False],
        notes=[*notes],
    )


def _figures(results: TrainResults, cell: Cell) -> list[str]:
    if cell.status == TIMED_OUT:
        return [f"> {results.timeout_s:g}", NOTHING, NOTHING, NOTHING]
    if not cell.is_measured:
        return ["failed" if cell.status == FAILED else NOTHING, NOTHING, NOTHING, NOTHING]
    ratio = results.ratio(cell)
    return [
        _three_digits(cell.seconds),
        NOTHING if ratio is None else f"{ratio:.2f}",
        f"{cell.memory_bytes / 1e6:,.0f}",
        NOTHING if cell.verdict is None else _short(cell.verdict),
    ]


def _three_digits(seconds: float) -> str:
    """As many decimals as make three digits, at least."""
    return f"{seconds:,.{max(0, 2 - math.floor(math.log10(seconds)))}f}"


def _short(verdict: Verdict) -> str:
    return "yes" if verdict.first_difference is None else f"differ at {verdict.first_difference:,}"


def _notes(results: TrainResults, task: TaskState, cell: Cell) -> Iterator[str]:
    """What failed, why merges differ, and who used more processor than it was given."""
    if cell.status == FAILED:
        yield f"{cell.trainer}: {cell.reason}"
    verdict = cell.verdict
    if verdict is not None and verdict.first_difference is not None:
        known = "; ours, learned that way, are the same" if verdict.kind == KNOWN else ""
        yield f"{cell.trainer}, merge {verdict.first_difference:,}: {verdict.reason}{known}"
    if cell.is_measured and task.threads == ONE:
        cores = spread(cell.cpu_s).median / cell.seconds
        if cores > 1.2:
            yield f"{cell.trainer}: used {cores:.1f} cores"
