"""Two results side by side: the same ladder on two machines, or before and after a change. Loads no torch.

A ratio of two medians means something only if it is larger than what the steps of one run differ by. So a rung whose
middle halves overlap is marked: it may be faster or slower, and this measurement cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpt2x.bench.ladder.report import formatting
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.stats import MS_PER_SECOND
from gpt2x.console import format_table
from gpt2x.errors import Gpt2xError, UsageError

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
    within_noise: bool | None
    """True when the middle halves of the two rates overlap."""
    a_memory_bytes: int | None
    b_memory_bytes: int | None
    a_loss: float | None
    """After as many steps as all rungs of both have made; None where the two did not learn the same."""
    b_loss: float | None
    reason: str = ""
    """Why there is no ratio."""


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
    ratio, within_noise = None, None
    if rates[0] is not None and rates[1] is not None:
        ratio, within_noise = rates[1] / rates[0], _overlap(_middle(a), _middle(b))
    reasons = {name: report.without_figures(row) for name, row in (("A", a), ("B", b)) if not row.is_measured}
    return Compared(
        key=a.key, title=a.title, a=rates[0], b=rates[1], ratio=ratio, within_noise=within_noise,
        a_memory_bytes=memory[0], b_memory_bytes=memory[1], a_loss=losses[0], b_loss=losses[1],
        reason=_one_reason(reasons),
    )  # fmt: skip


def _one_reason(reasons: dict[str, str]) -> str:
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _middle(row: Row) -> tuple[float, float]:
    """The middle half of the rates, in tokens per second."""
    step = row.step
    return row.tokens_per_step * MS_PER_SECOND / step.q3, row.tokens_per_step * MS_PER_SECOND / step.q1


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


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


def fail_below(compared: Sequence[Compared], ratio: float) -> None:
    """Refuse a B that is slower than `ratio` × A on any rung, or could not run one that A could.

    Raises:
        Gpt2xError: naming the rungs; exit code 1.

    """
    slower = [
        f"{entry.title} {entry.ratio:.2f} ×" + (f" ({WITHIN_NOISE})" if entry.within_noise else "")
        for entry in compared
        if entry.ratio is not None and entry.ratio < ratio
    ]
    slower += [
        f"{entry.title} not measured in B" for entry in compared if entry.a is not None and entry.b is None
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
    ("its loss", lambda results, top: formatting.format_loss(report.loss_of(results, top))),
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
    for name in ("cpu", "cores", "gpus"):
        if getattr(a.machine, name) != getattr(b.machine, name):
            lines.append(
                f"the machines differ: A {a.machine.describe(a.setting.device)}, "
                f"B {b.machine.describe(b.setting.device)}"
            )
            break
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
    missing = [
        f"{name} has no {', '.join(sorted(titles))}"
        for name, titles in (("A", _titles(b) - _titles(a)), ("B", _titles(a) - _titles(b)))
        if titles
    ]
    return [*lines, *missing]


def _titles(results: Results) -> set[str]:
    return {row.title for row in results.rows}


# ----------------------------------------------------------------------------------------------------------------
# For people and for programs


def noise_line(compared: Sequence[Compared]) -> str:
    """What the marks in the table mean; empty when there is none."""
    count = sum(bool(entry.within_noise) for entry in compared)
    if not count:
        return ""
    return (
        f"{WITHIN_NOISE} ({count} of {len(compared)} rungs): the steps of one run differ by more than the two medians "
        "do, so that the ratio may be chance; measure more rounds to tell them apart"
    )


def table(compared: Sequence[Compared]) -> str:
    """The comparison, rung by rung, for people."""
    rows = [
        [
            entry.title,
            _rate(entry.a),
            _rate(entry.b),
            "–" if entry.ratio is None else formatting.format_times(entry.ratio),
            _memory(entry.a_memory_bytes),
            _memory(entry.b_memory_bytes),
            formatting.format_loss(entry.a_loss),
            formatting.format_loss(entry.b_loss),
            WITHIN_NOISE if entry.within_noise else _short(entry.reason),
        ]
        for entry in compared
    ]
    heads = ["rung", "A tokens/s", "B tokens/s", "B ÷ A", "A memory", "B memory", "A loss", "B loss", ""]
    return format_table(heads, rows, right=[False, *[True] * 7, False])


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _memory(value: int | None) -> str:
    return "" if value is None else formatting.format_memory(value)


def facts_table(a: Results, b: Results) -> str:
    """The two machines side by side, for people; ≠ marks lines that differ."""
    rows = [
        [fact.name, _short(fact.a), _short(fact.b), "≠" if fact.a != fact.b else ""] for fact in facts(a, b)
    ]
    return format_table(["", "A", "B", ""], rows, right=[False] * 4)


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:43]}…"


def as_dict(a: Results, b: Results) -> dict[str, Any]:
    """The documented JSON shape, without the names of the two files."""
    return {
        "differences": differences(a, b),
        "facts": [asdict(fact) for fact in facts(a, b)],
        "rungs": [asdict(entry) for entry in compare(a, b)],
    }
