"""A race as text: the table, what its figures rest on, and the sentence. Loads no torch."""

from __future__ import annotations

import textwrap

from gpt2x.bench.bootstrap import LEAST_ROUNDS, Ratio
from gpt2x.bench.race.results import Entry, Figures, Results
from gpt2x.bench.stats import BUSY_SHARE
from gpt2x.tables import Line, fitted

WIDTH = 80
"""Columns, where nobody says how many there are."""

HEADS = ("entrant", "steps", "of\u00a0baseline's", "seconds", "of\u00a0baseline's", "verdict")
MORE_HEADS = ("entrant", "rate", "horizon", "ms/step", "end loss", "parameters", "sweep steps")


def share(ratio: Ratio) -> str:
    """The part of the baseline's steps or time that an entrant needs: '0.49 (0.47–0.52)'; without one, the part alone.

    >>> share(Ratio(median=2.0, low=1.6, high=2.5))
    '0.50 (0.40–0.62)'
    """
    if ratio.low is None or ratio.high is None:
        return f"{1 / ratio.median:.2f}"
    return f"{1 / ratio.median:.2f} ({1 / ratio.high:.2f}–{1 / ratio.low:.2f})"


def text(results: Results, width: int = WIDTH) -> str:
    """Everything about a race, for a terminal or a log; or why there is no more yet."""
    if not results.rounds:
        return wrap(f"No round is done yet: {progress_line(results)}.", width)
    parts = [
        table(results, width),
        more_table(results, width),
        *(wrap(note, width) for note in notes(results)),
    ]
    return "\n\n".join([*parts, wrap(sentence(results), width)])


def table(results: Results, width: int = WIDTH) -> str:
    """Steps and seconds to the target, the fastest first; an entrant that does not come to it says how near it came."""
    lines = []
    for entry in results.ranking:
        figures = results.figures(entry)
        title = entry.entrant.title
        if not figures.reaches:
            lines.append(Line(cells=[title], reason=f"– {_missed(results, entry, figures)}"))
            continue
        is_baseline = entry is results.baseline
        lines.append(
            Line(
                cells=[
                    title,
                    f"{figures.steps:.0f}",
                    "1" if is_baseline else share(figures.steps_ratio),
                    f"{figures.seconds:.1f}",
                    "1" if is_baseline else share(figures.seconds_ratio),
                    "" if is_baseline else figures.seconds_ratio.verdict,
                ]
            )
        )
    right = [False, True, True, True, True, False]
    return fitted(HEADS, lines, right=right, width=width)


def _missed(results: Results, entry: Entry, figures: Figures) -> str:
    return (
        f"{figures.num_reached} of {figures.num_seeds} seeds come to the target; "
        f"loss {results.final_loss(entry):.3f} at the end"
    )


def more_table(results: Results, width: int = WIDTH) -> str:
    """What the sweep chose, and what a step costs."""
    lines = [
        Line(
            cells=[
                entry.entrant.title,
                f"{results.best(entry).lr:g}{'*' if _is_at_edge(results, entry) else ''}",
                str(results.horizon(entry)),
                f"{results.step_ms(entry):.3g}",
                f"{results.final_loss(entry):.3f}",
                f"{entry.parameters:,}",
                f"{sum(trial.curve.steps for trial in entry.trials):,}",
            ]
        )
        for entry in results.ranking
    ]
    return fitted(MORE_HEADS, lines, right=[False, *[True] * 6], width=width)


def _is_at_edge(results: Results, entry: Entry) -> bool:
    """Whether the best learning rate is the lowest or the highest that was tried."""
    rates = results.setting.rates
    return len(rates) > 1 and results.best(entry).lr in (min(rates), max(rates))


def notes(results: Results) -> list[str]:
    """What the figures rest on, one sentence or two each."""
    setting, target = results.setting, results.target
    num = len(results.rounds)
    found = [
        f"Target: {target:.4f} nats on {setting.eval_windows} held-out windows, the final loss of the tuned baseline "
        f"after {setting.steps} steps with the worst of its {num} seed{'s' * (num != 1)}.",
        _interval_note(results),
        _tuning_note(results),
        f"Measuring losses took {sum(entry.eval_s for entry in results.entries):.0f} s, in no figure above.",
    ]
    if any(_is_at_edge(results, entry) for entry in results.entries):
        found.append(
            "*: the lowest or the highest rate that was tried; a wider sweep might find a better one."
        )
    busiest = max(results.others, default=0.0)
    if busiest > BUSY_SHARE:
        found.append(
            f"Other programs used up to {busiest:.0%} of the cores during a round; the entrants of a round shared "
            "that, but close the programs for figures that stand."
        )
    if not results.complete:
        found.append(f"Not complete: {progress_line(results)}.")
    return found


def _interval_note(results: Results) -> str:
    if len(results.rounds) < LEAST_ROUNDS:
        return f"No intervals: they take {LEAST_ROUNDS} seeds."
    return (
        "In brackets: 90% bootstrap interval over the seeds, each held against the baseline's run with the same seed. "
        "An entrant counts when all seeds come to the target and the interval of the seconds, stretched to twice its "
        'width, leaves out 1: "faster".'
    )


def _tuning_note(results: Results) -> str:
    steps = sum(trial.curve.steps for entry in results.entries for trial in entry.trials)
    seconds = sum(
        trial.curve.points[-1].seconds
        for entry in results.entries
        for trial in entry.trials
        if trial.curve.points
    )
    rates = ", ".join(f"{rate:g}" for rate in results.setting.rates)
    return (
        f"Tuning: learning rates {rates} for each, one run of {results.setting.steps} steps at most, ended "
        f"where it was decided; {steps:,} steps and {seconds:.0f} s in all, in no figure above."
    )


def progress_line(results: Results) -> str:
    """How far it has come."""
    done = sum(len(entry.trials) for entry in results.entries)
    trials = len(results.entries) * len(results.setting.rates)
    return f"{done} of {trials} runs of the sweep and {len(results.rounds)} of {results.num_seeds} rounds are done"


def sentence(results: Results) -> str:
    """Who came first, or that nobody is faster."""
    counting = [entry for entry in results.ranking if results.figures(entry).counts]
    if not counting:
        return "None of the entrants comes to the baseline's loss faster than the baseline, beyond doubt."
    entry = counting[0]
    figures = results.figures(entry)
    others = len(counting) - 1
    also = f" {others} other{'s are' if others > 1 else ' is'} faster, too." if others else ""
    return (
        f"{entry.entrant.title} comes to the tuned baseline's loss in {figures.steps:.0f} steps instead of "
        f"{results.figures(results.baseline).steps:.0f}, in {share(figures.seconds_ratio)} of its time.{also}"
    )


def setting_line(results: Results) -> str:
    """Model, data and machine."""
    setting, shape = results.setting, results.setting.shape
    threads = f" on {results.threads} thread{'s' * (results.threads != 1)}" if setting.device == "cpu" else ""
    return (
        f"{shape.n_layer} layers, {shape.n_head} heads, width {shape.n_embd}; {setting.steps} steps of "
        f"{setting.batch} × {shape.block_size} tokens; {results.step or 'float32'}{threads}; "
        f"{results.machine.describe(setting.device.partition(':')[0])}"
    )


def wrap(paragraph: str, width: int) -> str:
    """A paragraph in `width` columns."""
    return textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False)
