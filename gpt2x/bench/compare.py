"""Two results side by side: the same ladder on two machines, or before and after a change. Loads no torch."""

from __future__ import annotations

from typing import Any

from gpt2x.bench.results import Results
from gpt2x.console import format_table


def compare(a: Results, b: Results) -> list[dict[str, Any]]:
    """For each rung that both have on their ladder: tokens per second in each, and b ÷ a where both were measured."""
    others = {row.key: row for row in b.rows}
    compared = []
    for row in a.rows:
        other = others.get(row.key)
        if other is None:
            continue
        rates = [r.tokens_per_second if r.is_measured else None for r in (row, other)]
        ratio = rates[1] / rates[0] if rates[0] is not None and rates[1] is not None else None
        compared.append({"key": row.key, "title": row.title, "a": rates[0], "b": rates[1], "ratio": ratio})
    return compared


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
    return lines


def _setting(results: Results) -> str:
    setting = results.setting
    return f"{setting.model} {setting.batch} × {setting.seq} on {setting.device}"


def table(compared: list[dict[str, Any]]) -> str:
    """The comparison for people."""

    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:,.0f}"

    rows = [
        [
            entry["title"],
            rate(entry["a"]),
            rate(entry["b"]),
            "–" if entry["ratio"] is None else f"{entry['ratio']:.2f}",
        ]
        for entry in compared
    ]
    return format_table(["rung", "A tokens/s", "B tokens/s", "B ÷ A"], rows, right=[False, True, True, True])
