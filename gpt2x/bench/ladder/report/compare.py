"""Two results side by side: the same ladder on two machines, or before and after a change. Loads no torch.

Two runs have no round in common, so each median is resampled from the rounds of its own run (`bootstrap.of_two`), and a
rung whose ratio is not clear of 1 is marked: it may be faster or slower, and this measurement cannot tell. Where a file
has too few rounds, the middle halves of the steps have to lie apart instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpt2x.bench.bootstrap import Ratio
from gpt2x.bench.ladder.ratios import between_runs
from gpt2x.bench.ladder.report import formatting, marks
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.errors import Gpt2xError, UsageError
from gpt2x.tables import Line, fitted

WITHIN_NOISE = "within noise"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One rung in both results; None stands for what was not measured."""

    key: str
    title: str
    a: float | None
    """Tokens per second in A."""
    b: float | None
    ratio: float | None
    """b ÷ a."""
    low: float | None
    """The ends of its 90 % interval; None where one of the two has too few rounds."""
    high: float | None
    rounds: int
    """Rounds in the run with fewer; 0 where there is no interval."""
    verdict: str | None
    """What B is: faster, slower, or cannot tell."""
    within_noise: bool | None
    """True when the verdict is that it cannot tell."""
    a_memory_bytes: int | None
    b_memory_bytes: int | None
    a_loss: float | None
    """After as many steps as all rungs of both have made; None where the two did not learn the same."""
    b_loss: float | None
    reason: str = ""
    """Why there is no ratio, or none that counts."""


def compare(a: Results, b: Results) -> list[Compared]:
    """Each rung that both have on their ladder, in the order of A."""
    others = {row.key: row for row in b.rows}
    learned_alike = a.setting == b.setting and a.text == b.text
    steps = min(a.common_steps, b.common_steps) if learned_alike else 0
    return [_compared(row, others[row.key], steps) for row in a.rows if row.key in others]


def _compared(a: Row, b: Row, steps: int) -> Compared:
    """`steps` is where the losses can be compared; 0 where they cannot."""
    rates = [row.tokens_per_second if row.is_measured else None for row in (a, b)]
    memory = [row.peak_memory_bytes if row.is_measured else None for row in (a, b)]
    losses = [_finite(row.losses[steps - 1]) if row.is_measured and steps else None for row in (a, b)]
    ratio = between_runs(b, a) if a.is_measured and b.is_measured else None
    reasons = {name: reason for name, row in (("A", a), ("B", b)) if (reason := _reason(row))}
    return Compared(
        key=a.key, title=a.title, a=rates[0], b=rates[1],
        ratio=ratio.median if ratio else None, low=ratio.low if ratio else None, high=ratio.high if ratio else None,
        rounds=ratio.rounds if ratio else 0, verdict=ratio.verdict if ratio else None,
        within_noise=not ratio.is_clear if ratio else None,
        a_memory_bytes=memory[0], b_memory_bytes=memory[1], a_loss=losses[0], b_loss=losses[1],
        reason=_one_reason(reasons),
    )  # fmt: skip


def _reason(row: Row) -> str:
    """Why a rung has no figures, or none that count; empty where they do."""
    if not row.is_measured:
        return marks.without_figures(row)
    return marks.BROKEN if row.loss is not None and not row.loss.counts else ""


def _one_reason(reasons: dict[str, str]) -> str:
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


# ----------------------------------------------------------------------------------------------------------------
# The gate


def check_threshold(ratio: float) -> float:
    """What ``--fail-below`` may be.

    Raises:
        UsageError: it is no finite number above 0.

    """
    if not 0 < ratio < math.inf:
        raise UsageError(f"--fail-below {ratio} is no finite number above 0; write 0.95")
    return ratio


def fail_below(a: Results, b: Results, ratio: float) -> None:
    """Refuse a B that is slower than `ratio` × A on any rung, or could not run one that A could, or got its loss wrong.

    Raises:
        Gpt2xError: naming the rungs; exit code 1.

    """
    compared = compare(a, b)
    slower = [
        f"{entry.title} {entry.ratio:.2f} ×" + (f" ({WITHIN_NOISE})" if entry.within_noise else "")
        for entry in compared
        if entry.ratio is not None and entry.ratio < ratio
    ]
    slower += [
        f"{entry.title} not measured in B" for entry in compared if entry.a is not None and entry.b is None
    ]
    ours, theirs = {row.key: row for row in a.measured}, {row.key: row for row in b.rows}
    if not b.complete:
        slower += [f"{row.title} not reached in B" for key, row in ours.items() if key not in theirs]
    slower += [
        f"{row.title}: {marks.BROKEN} in B"
        for key, row in ours.items()
        if row.counts and key in theirs and theirs[key].is_measured and not theirs[key].counts
    ]
    if slower:
        raise Gpt2xError(f"below {ratio:g} × A: {', '.join(slower)}")
    if all(entry.ratio is None for entry in compared):
        raise Gpt2xError("no rung was measured in both results, so --fail-below has nothing to judge")


# ----------------------------------------------------------------------------------------------------------------
# The two machines


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of the two results side by side."""

    name: str
    a: str
    b: str


def _setting(results: Results) -> str:
    setting = results.setting
    return f"{setting.model} {setting.batch} × {setting.seq} on {setting.device}"


_FACTS: tuple[tuple[str, Callable[[Results], str]], ...] = (
    ("machine", lambda results: results.machine.describe(results.setting.device)),
    ("system", lambda results: results.machine.system),
    ("setting", _setting),
    ("learned from", lambda results: results.text),
    (
        "measured",
        lambda results: f"{results.created[:16]}, {'in turn' if results.interleaved else 'not in turn'}",
    ),
    ("others' share", lambda results: f"{report.busy_share(results):.0%} of the cores"),
)

_FACTS_OF_THE_TOP: tuple[tuple[str, Callable[[Results, Row], str]], ...] = (
    ("the top", lambda results, top: top.title),
    ("its tokens/s", lambda results, top: f"{top.tokens_per_second:,.0f}"),
    ("of the peak", lambda results, top: formatting.format_share(results.mfu(top))),
    ("of the floor", lambda results, top: formatting.format_share(results.share_of_floor(top))),
    ("its memory", lambda results, top: formatting.format_memory(top.peak_memory_bytes)),
    ("its loss", lambda results, top: formatting.format_loss(marks.loss_of(results, top))),
)


def facts(a: Results, b: Results) -> list[Fact]:
    """Machines, settings, tops, peaks and versions, line by line; what both leave empty is left out."""
    lines = [Fact(name=name, a=of(a), b=of(b)) for name, of in _FACTS]
    for name, of_top in _FACTS_OF_THE_TOP:
        texts = ("" if results.top is None else of_top(results, results.top) for results in (a, b))
        lines.append(Fact(name=name, a=next(texts), b=next(texts)))
    for of in (_peaks, lambda results: results.machine.versions):
        of_a, of_b = of(a), of(b)
        lines += [
            Fact(name=name, a=of_a.get(name, ""), b=of_b.get(name, ""))
            for name in dict.fromkeys([*of_a, *of_b])
        ]
    return [line for line in lines if line.a or line.b]


def _peaks(results: Results) -> dict[str, str]:
    """The measured roof, rate by rate."""
    rates = {name: formatting.format_flops(flops) for name, flops in results.machine.peak_flops.items()}
    bandwidth = results.machine.bandwidth
    return {**rates, "memory": f"{bandwidth / 1e9:.0f} GB/s"} if bandwidth > 0 else rates


def differences(a: Results, b: Results) -> list[str]:
    """What else differs between the two, so that nobody takes a ratio for more than it says."""
    lines = []
    if a.setting != b.setting:
        lines.append(f"the settings differ: A {_setting(a)}, B {_setting(b)}")
    if not a.machine.is_like(b.machine):
        lines.append(
            f"the machines differ: A {a.machine.describe(a.setting.device)}, "
            f"B {b.machine.describe(b.setting.device)}"
        )
    versions = (a.machine.versions, b.machine.versions)
    changed = [name for name in versions[0] if versions[0][name] != versions[1].get(name)]
    if changed:
        pairs = (f"{name} {versions[0][name]} and {versions[1].get(name)}" for name in changed)
        lines.append(f"the versions differ: {', '.join(pairs)}")
    if a.text != b.text:
        lines.append("they learned from different texts, so their losses cannot be compared")
    for name, results in (("A", a), ("B", b)):
        busy = report.busy_share(results)
        if busy > report.BUSY_SHARE:
            lines.append(f"in {name} other programs kept {busy:.0%} of the cores busy")
    lines += [f"{name} was interrupted" for name, results in (("A", a), ("B", b)) if not results.complete]
    lines += _other_steps(a, b)
    missing = [
        f"{name} has no {', '.join(sorted(titles))}"
        for name, titles in (("A", _titles(b) - _titles(a)), ("B", _titles(a) - _titles(b)))
        if titles
    ]
    return [*lines, *missing]


def _other_steps(a: Results, b: Results) -> list[str]:
    """Rungs that stand on another step in A than in B, since one of the two passed something over."""
    others = {row.key: row for row in b.measured}
    found: dict[str, list[str]] = {}
    for row in a.measured:
        if row.key in others and (changed := _changed(row, others[row.key])):
            found.setdefault(", ".join(changed), []).append(row.title)
    return [f"not the same step in A and B ({what}): {', '.join(titles)}" for what, titles in found.items()]


def _changed(a: Row, b: Row) -> list[str]:
    """The fields of a step that differ, but for the device, which the settings tell."""
    both = a.config.keys() & b.config.keys() - {"device"}
    return sorted(name for name in both if a.config[name] != b.config[name])


def _titles(results: Results) -> set[str]:
    return {row.title for row in results.rows}


# ----------------------------------------------------------------------------------------------------------------
# For people and for programs


def notes(compared: Sequence[Compared]) -> list[str]:
    """What the ratios and the marks in the table mean, and where they rest on less than rounds."""
    lines = []
    measured = [entry for entry in compared if entry.ratio is not None]
    if any(entry.rounds for entry in measured):
        lines.append(
            "B ÷ A has a 90% interval, resampled from the rounds of each run; what changed on the machine between "
            "the two runs is not in it"
        )
    without = [entry.title for entry in measured if not entry.rounds]
    if without:
        rungs = "all rungs" if len(without) == len(measured) else ", ".join(without)
        lines.append(
            f"too few rounds for an interval: {rungs}; there the middle halves of the steps have to lie apart"
        )
    count = sum(bool(entry.within_noise) for entry in compared)
    if count:
        lines.append(
            f"{WITHIN_NOISE} ({count} of {len(compared)} rungs): the ratio may be chance; "
            "measure more rounds to tell them apart"
        )
    return lines


def table(compared: Sequence[Compared], width: int = report.tables.WIDTH) -> str:
    """The comparison, rung by rung, for people."""
    lines = [
        Line(
            cells=[
                entry.title,
                _ratio(entry),
                entry.reason or (WITHIN_NOISE if entry.within_noise else ""),
                _rate(entry.a),
                _rate(entry.b),
                _memory(entry.a_memory_bytes),
                _memory(entry.b_memory_bytes),
                formatting.format_loss(entry.a_loss),
                formatting.format_loss(entry.b_loss),
            ]
        )
        for entry in compared
    ]
    heads = [
        "rung",
        "B\u00a0÷\u00a0A",
        "",
        "A tokens/s",
        "B tokens/s",
        "A memory",
        "B memory",
        "A loss",
        "B loss",
    ]
    return fitted(heads, lines, right=[False, True, False, *[True] * 6], width=width)


def _ratio(entry: Compared) -> str:
    if entry.ratio is None:
        return "–"
    return formatting.format_ratio(Ratio(median=entry.ratio, low=entry.low, high=entry.high))


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _memory(value: int | None) -> str:
    return "" if value is None else formatting.format_memory(value)


def facts_table(a: Results, b: Results, width: int = report.tables.WIDTH) -> str:
    """The two machines side by side, for people; ≠ marks lines that differ."""
    lines = [Line(cells=[fact.name, "≠" if fact.a != fact.b else "", fact.a, fact.b]) for fact in facts(a, b)]
    return fitted(["", "", "A", "B"], lines, right=[False] * 4, width=width)


def as_dict(a: Results, b: Results) -> dict[str, Any]:
    """The documented JSON shape, without the names of the two files."""
    return {
        "differences": differences(a, b),
        "facts": [asdict(fact) for fact in facts(a, b)],
        "rungs": [asdict(entry) for entry in compare(a, b)],
    }
