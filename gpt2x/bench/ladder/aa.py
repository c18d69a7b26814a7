"""A/A: a ladder of equal rungs, by which the benchmark itself is measured (``gpt2x bench --aa N``). Loads no torch.

Each rung is the naive start again, in a process of its own, and goes through all that a rung goes through. Whatever is
called faster or slower there is called so wrongly.
"""

from __future__ import annotations

from gpt2x.bench.ladder.results import Results
from gpt2x.bench.ladder.rungs import START, Rung

KEY = "equal-"

ALLOWED = 0.05
"""The share of comparisons that may be called different."""


def equal_rungs(count: int) -> list[Rung]:
    """The naive start and as many rungs that change nothing."""
    return [
        START,
        *(
            Rung(
                key=f"{KEY}{n}",
                title=f"equal {n}",
                change="nothing",
                why="To see what chance alone makes of it.",
            )
            for n in range(1, count + 1)
        ),
    ]


def is_aa(results: Results) -> bool:
    """True for the results of such a ladder."""
    return any(row.key.startswith(KEY) for row in results.rows)


def sentence(results: Results) -> str:
    """How many of the equal rungs were called different, and how far their ratios lie from 1."""
    ratios = [(row, results.before_ratio(row)) for row in results.measured if results.before(row) is not None]
    if not ratios:
        return "A/A: fewer than two equal rungs were measured, so there is nothing to compare"
    different = [row.title for row, ratio in ratios if ratio.is_clear]
    farthest = max(max(ratio.median, 1.0 / ratio.median) for _, ratio in ratios)
    share = len(different) / len(ratios)
    named = f" ({', '.join(different)})" if different else ""
    return (
        f"A/A: {len(different)} of {len(ratios)} comparisons of equal rungs were called different{named}, "
        f"{'at most' if share <= ALLOWED else 'more than'} the {ALLOWED:.0%} that may be; the farthest ratio is "
        f"{farthest:.3f} ×"
    )
