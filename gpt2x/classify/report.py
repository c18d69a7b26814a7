"""What a comparison found, as data: rows for a table, an object for JSON, lines for a terminal. Loads nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.console import format_count, one_line, wrapped
from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import VOCABULARY_BYTES, read_text
from gpt2x.tables import GAP

FORMAT = "gpt2x-comparison"
"""What a kept report.json says under "format"."""

_CHART_BYTES = 4096  # a picture says in its first bytes which program drew it
_SIGNED = b"tEXtSoftware\0gpt2x"

# (head, width, flush right)
COLUMNS = (
    ("model", 16, False),
    ("top-1", 7, True),
    ("95 % interval", 13, True),
    ("macro-F1", 8, True),
    ("ECE", 5, True),
    ("parameters", 10, True),
    ("training", 9, True),
    ("texts/s", 8, True),
    ("note", 0, False),
)
LEFT_OUT_FIRST = ("parameters", "texts/s", "training", "macro-F1", "ECE")
"""Columns that a narrow terminal does without, in this order; reports have them all."""


def check_report_folder(folder: Path) -> None:
    """Refuse a folder in which a report or a chart would replace what gpt2x did not write; other files may be there.

    Raises:
        OutputError: such a file is in it, or it is no folder.

    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the report")
    charts = sorted(folder.glob("accuracy.png")) + sorted(folder.glob("confusion-*.png"))
    foreign = [file for file in charts if not _is_our_chart(file)]
    if (folder / "report.json").exists() and not _is_our_report(folder / "report.json"):
        foreign.insert(0, folder / "report.json")
    if foreign:
        raise OutputError(
            f"{folder} holds {foreign[0].name}, which gpt2x did not write; choose another place"
        )


def _is_our_report(file: Path) -> bool:
    try:
        values = json.loads(read_text(file, limit=VOCABULARY_BYTES, regular=True))
    except (InputDataError, ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    old = {"majority_accuracy", "test_texts_in_training", "environment", "models"}  # of reports before FORMAT
    return values.get("format") == FORMAT or values.keys() >= old


def _is_our_chart(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return _SIGNED in opened.read(_CHART_BYTES)


@dataclass(kw_only=True)
class ModelResult:
    """One classifier on the one split; without an accuracy, `reason` says why it did not run."""

    name: str
    title: str
    reason: str | None = None
    note: str = ""
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    macro_f1: float | None = None
    parameters: int | None = None
    """Numbers that were learned."""
    frozen_parameters: int = 0
    """Numbers that were used and not learned (GPT-2's)."""
    train_seconds: float | None = None
    predict_texts_per_second: float | None = None
    p_versus_best: float | None = None
    """McNemar's p-value against the most accurate; None for that one."""
    settings: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    confusion: list[list[int]] | None = None
    """Row the true class, column the predicted one, as `ComparisonReport.classes`."""
    calibration_error: float | None = None
    """How far probabilities are from accuracy (expected calibration error, 15 bins)."""
    sure_share: float | None = None
    """The share of test texts whose label has at least the probability `ComparisonReport.abstain`."""
    sure_accuracy: float | None = None
    """The accuracy on these."""
    cpu_seconds: float | None = None
    """Processor time of learning, of all threads together."""
    peak_memory_bytes: int | None = None
    """The most memory that the process held while it learned and answered (Linux; elsewhere since the start)."""
    p_versus_next: float | None = None
    """McNemar's p-value against the next less accurate one; None for the last."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """For the commonest mistakes a test text each: label, predicted, text."""
    peer: bool = False
    """Somebody else's classifier, to compare with."""
    predict_seconds: float | None = None
    """What all test texts took."""
    error: Exception | None = field(default=None, repr=False, compare=False)
    """What kept it from running; not part of the JSON, which has the `reason`."""

    @property
    def ok(self) -> bool:
        """True when it ran."""
        return self.accuracy is not None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all fields but `error`, in order."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "error"}


@dataclass(kw_only=True)
class ComparisonReport:
    """Classifiers side by side on one split."""

    classes: list[Any]
    train_rows: int
    test_rows: int
    seed: int
    majority_accuracy: float
    """What always naming the largest class of the training part gives."""
    test_texts_in_training: int
    """Texts of the test part that stand word for word in the training part too."""
    split: str = "stratified"
    """How test texts were chosen: stratified, playground, or file (they came by themselves)."""
    abstain: float | None = None
    """The least probability with which a label is named, if texts may be left without one."""
    source: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    models: list[ModelResult] = field(default_factory=list)

    @property
    def best(self) -> ModelResult | None:
        """The most accurate classifier; None when none ran."""
        ran = [result for result in self.models if result.accuracy is not None]
        return max(ran, key=lambda result: result.accuracy or 0.0) if ran else None

    def to_dict(self) -> dict[str, Any]:
        """The object behind ``--json``, documented in docs/reference/classify.md; it only grows."""
        best = self.best
        return {
            "source": self.source,
            "rows": self.train_rows + self.test_rows,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "seed": self.seed,
            "classes": self.classes,
            "majority_accuracy": self.majority_accuracy,
            "test_texts_in_training": self.test_texts_in_training,
            "best": best.name if best else None,
            "environment": self.environment,
            "split": self.split,
            "abstain": self.abstain,
            "models": [result.to_dict() for result in self.models],
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ComparisonReport:
        """The way back from `to_dict`, to draw a chart again from a saved file."""
        derived = ("format", "rows", "best", "models")
        plain = {name: value for name, value in values.items() if name not in derived}
        return ComparisonReport(**plain, models=[ModelResult(**model) for model in values["models"]])

    def confusions(self, result: ModelResult, limit: int = 5) -> list[tuple[Any, Any, int, int]]:
        """The most frequent mistakes: (true label, predicted label, how often, how many of the true label)."""
        if result.confusion is None:
            return []
        found = [
            (row[j], i, j, sum(row))
            for i, row in enumerate(result.confusion)
            for j in range(len(row))
            if i != j and row[j]
        ]
        found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
        return [(self.classes[i], self.classes[j], count, there) for count, i, j, there in found[:limit]]


# -- for a terminal -------------------------------------------------------------------------------------------------


def table_head(width: int | None = None) -> str:
    """The two lines above the rows, in so many columns of a terminal; None: in as many as they take."""
    heads = {head: head for head, _, _ in COLUMNS}
    rule = {head: "-" * max(own, 4) for head, own, _ in COLUMNS}
    chosen = _fitting(width)
    return f"{_lay_out(heads, chosen)}\n{_lay_out(rule, chosen)}"


def table_row(result: ModelResult, width: int | None = None) -> str:
    """One row of the table, of fixed widths: rows are printed as they come. A note without room stands below."""
    if result.accuracy is None:
        reason = (
            f"{result.title.ljust(COLUMNS[0][1])}{GAP}{'peer; ' * result.peer}did not run: {result.reason}"
        )
        return reason if width is None else wrapped(reason, width)
    cells = {
        "model": result.title,
        "top-1": f"{result.accuracy:.2%}",
        "95 % interval": f"{result.accuracy_low:.1%}-{result.accuracy_high:.1%}",
        "macro-F1": f"{result.macro_f1:.3f}",
        "ECE": "" if result.calibration_error is None else f"{result.calibration_error:.3f}",
        "parameters": format_count(result.parameters or 0),
        "training": f"{result.train_seconds:.1f} s",
        "texts/s": format_count(round(result.predict_texts_per_second or 0)),
        "note": f"peer; {result.note}" if result.peer else result.note,
    }
    row, note = _lay_out(cells, _fitting(width)), cells["note"]
    return row if width is None or not note else f"{row}\n{wrapped(f'  ({note})', width)}"


def _fitting(width: int | None) -> list[str]:
    """The heads of the columns that find room: all, or those that matter most, and then notes stand below."""
    if width is None:
        return [head for head, _, _ in COLUMNS]
    sizes = {head: own for head, own, _ in COLUMNS if head != "note"}
    for head in LEFT_OUT_FIRST:
        if sum(sizes.values()) + len(GAP) * (len(sizes) - 1) <= width:
            break
        del sizes[head]
    return list(sizes)


def summary(report: ComparisonReport, *, chart: bool = True, width: int | None = None) -> str:
    """The lines below the table: who is best and how sure that is, a chart of bars, the commonest mistakes."""
    lines = _summary_lines(report, chart=chart, width=width)
    return "\n".join(lines if width is None else [wrapped(line, width) for line in lines])


def _summary_lines(report: ComparisonReport, *, chart: bool, width: int | None) -> list[str]:
    best = report.best
    if best is None:
        return ["No classifier ran."]
    lines = [_verdict(report, best)]
    if chart:
        lines += ["", *bars(report, 50 if width is None else max(10, min(50, width - 26)))]
    if report.abstain is not None:
        lines += ["", f"Where a label has a probability of {report.abstain:g} or more:"]
        lines += [
            f"  {result.title}: {result.sure_share:.1%} of the texts, {result.sure_accuracy:.1%} of these right"
            for result in report.models
            if result.sure_share is not None
        ]
    mistakes = report.confusions(best)
    if mistakes:
        lines += ["", f"What {best.title} confuses most:"]
        lines += [
            f"  {one_line(true)} taken for {one_line(taken)}: {count} of {there}"
            for true, taken, count, there in mistakes
        ]
    return lines


def bars(report: ComparisonReport, width: int = 50) -> list[str]:
    """Accuracies as bars, one line each, the share of the largest class for comparison."""
    shares = [("largest class", report.majority_accuracy)]
    shares += [(result.title, result.accuracy) for result in report.models if result.accuracy is not None]
    top = max(share for _, share in shares) or 1.0
    return [
        f"{name.ljust(COLUMNS[0][1])}  {'#' * round(width * share / top)} {share:.1%}"
        for name, share in shares
    ]


def _verdict(report: ComparisonReport, best: ModelResult) -> str:
    close = [
        result.title
        for result in report.models
        if result.p_versus_best is not None and result.p_versus_best >= 0.05
    ]
    if close:
        return (
            f"A tie: {best.title}, {best.accuracy:.2%} of {report.test_rows:,} test texts, and {', '.join(close)} "
            "cannot be told apart (McNemar p >= 0.05)."
        )
    line = f"Best: {best.title}, {best.accuracy:.2%} of {report.test_rows:,} test texts"
    others = [result for result in report.models if result.p_versus_best is not None]
    if not others:
        return f"{line}."
    return f"{line}; better than each other one beyond chance (McNemar p < 0.05)."


def _lay_out(cells: Mapping[str, str], chosen: list[str]) -> str:
    parts = [
        cells[head].rjust(own) if right else cells[head].ljust(own)
        for head, own, right in COLUMNS
        if head in chosen
    ]
    return GAP.join(parts).rstrip()
