"""The pictures of the HTML report, drawn by hand as inline SVG: no library, no file beside the page. Loads no torch.

Colours are classes that the page's style sheet fills in, so that one drawing serves light and dark. The palette is
Okabe and Ito's, which people with any of the common colour deficiencies can tell apart (2008, "Color Universal
Design").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpt2x.bench.ladder.report import formatting, marks
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.markup import Markup, join, tag

WIDTH, LABELS, RIGHT, ROW = 440, 150, 72, 25
"""A drawing's width, the space for names at its left and for values at its right, and the height of a row."""

INTERVALS = 118
"""The space at the right for a ratio with its interval."""

PHASES = ("forward", "backward", "optimizer")
CHARACTERS = 46
"""As much of a reason as fits into a row."""

STYLE = """
svg{display:block;width:100%;height:auto;max-width:600px;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)} svg .faint{fill:var(--faint)} svg .reason{fill:var(--faint);font-style:italic}
svg .grid{stroke:var(--line)} svg .whisker{stroke:var(--ink)} svg .middle{fill:var(--line)}
.rung{fill:#56b4e9} .top{fill:#0072b2} .idle{fill:var(--idle)} .peer{fill:#cc79a7}
.broken{fill:none;stroke:#d55e00;stroke-dasharray:4 3}
.forward{fill:#0072b2} .backward{fill:#56b4e9} .optimizer{fill:#e69f00} .sample{fill:#0072b2;fill-opacity:.55}
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to places: 0 stands at the end of the names, `most` where the space for values begins."""

    most: float

    def __call__(self, value: float) -> float:
        """Where a value stands, from the left edge of the drawing."""
        return LABELS + value / self.most * (WIDTH - LABELS - RIGHT)


def speed_chart(results: Results) -> Markup:
    """Tokens per second of every rung, with the interval of × start as a whisker, and of the peers."""
    scale = Scale(most=max((marks.rates(results, row)[2] for row in _with_figures(results)), default=1.0))

    def draw(row: Row, y: float) -> Markup:
        low, rate, high = marks.rates(results, row)
        times = f"{formatting.format_times(results.speedup_start(row))} ×"
        return join(
            _bar(scale(0), scale(rate), y, marks.kind(results, row), _hover(results, row)),
            _line(scale(low), y + 9, scale(high), y + 9, "whisker"),
            _words(
                scale(high) + 6,
                y,
                times if marks.kind(results, row) != "peer" else f"{rate:,.0f}/s",
                "value",
            ),
        )

    return _chart("tokens per second, as multiples of the start", results, draw)


def ratio_chart(results: Results) -> Markup:
    """× before of every rung: a dot, its 90 % interval as a bar with ends; 1 is a line. Filled where it is clear."""
    rows = [row for row in results.measured if results.before(row) is not None]
    ratios = [results.before_ratio(row) for row in rows]
    ends = [(ratio.low or ratio.median, ratio.high or ratio.median) for ratio in ratios]
    least, most = min([0.9, *(low for low, _ in ends)]), max([1.1, *(high for _, high in ends)])

    def x(value: float) -> float:
        return LABELS + (value - least) / (most - least) * (WIDTH - LABELS - INTERVALS)

    parts = [_words(0, 2, "× the rung before, with its 90% interval", "faint")]
    height = 24.0 + ROW * len(rows)
    parts.append(_line(x(1.0), 20, x(1.0), height, "grid"))
    for place, (row, ratio, (low, high)) in enumerate(zip(rows, ratios, ends, strict=True)):
        y = 24.0 + ROW * place
        parts += [
            _words(LABELS - 8, y, row.title, "label" if row.carries else "faint", anchor="end"),
            _line(x(low), y + 9, x(high), y + 9, "whisker"),
            *(_line(x(end), y + 5, x(end), y + 13, "whisker") for end in (low, high)),
            tag("circle", tag("title", f"{row.title}: {ratio.verdict}"), cx=x(ratio.median), cy=y + 9, r=4,
                class_="top" if ratio.is_clear else "idle"),
            _words(x(high) + 6, y, formatting.format_ratio(ratio), "value"),
        ]  # fmt: skip
    return _svg(height, "times as fast as the rung before", *parts)


def time_chart(results: Results) -> Markup:
    """Where the time of a token goes: forward, backward and optimizer, in milliseconds for 1,000 tokens."""
    most = max((_ms_per_kilotoken(row) for row in _with_figures(results)), default=0.0)
    scale = Scale(most=most or 1.0)

    def draw(row: Row, y: float) -> Markup:
        parts, x = [], scale(0)
        for phase in PHASES:
            ms = row.phase_ms(phase) * 1000 / row.tokens_per_step
            end = x + scale(ms) - scale(0)
            parts.append(
                _bar(x, end, y, phase, f"{row.title}: {phase} {formatting.format_ms(ms)} ms for 1,000 tokens")
            )
            x = end
        return join(*parts, _words(x + 6, y, f"{formatting.format_ms(_ms_per_kilotoken(row))} ms", "value"))

    legend = join(
        *(
            join(
                tag("rect", x=LABELS + 90.0 * place, y=26, width=10, height=10, class_=phase),
                _words(LABELS + 90.0 * place + 14, 18, phase, "faint"),
            )
            for place, phase in enumerate(PHASES)
        )
    )
    return _chart("milliseconds for 1,000 tokens", results, draw, legend=legend)


def memory_chart(results: Results) -> Markup:
    """Peak memory of every rung, and of the peers."""
    most = max((row.peak_memory_bytes for row in _with_figures(results)), default=0)
    scale = Scale(most=max(most, 1))

    def draw(row: Row, y: float) -> Markup:
        size = formatting.format_memory(row.peak_memory_bytes)
        end = scale(row.peak_memory_bytes)
        return join(
            _bar(scale(0), end, y, marks.kind(results, row), f"{row.title}: {size}"),
            _words(end + 6, y, size, "value"),
        )

    where = "on the GPU" if results.setting.device == "cuda" else "of the process"
    return _chart(f"peak memory {where}", results, draw)


def worth_chart(results: Results) -> Markup:
    """What each rung is worth at the top: the bar ends at tokens per second with it ÷ without it; 1 is a line."""
    rows = [row for row in results.left_out if row.is_measured]
    worths = [results.worth(row) or 0.0 for row in rows]
    scale = Scale(most=max([*worths, 1.0]))
    parts = [_words(0, 2, "top ÷ the top without this rung", "faint")]
    for place, (row, worth) in enumerate(zip(rows, worths, strict=True)):
        y = 24.0 + ROW * place
        low, high = sorted((scale(1.0), scale(worth)))
        name = "top" if worth >= 1 else "idle"
        parts += [
            _words(LABELS - 8, y, row.title, "label", anchor="end"),
            _bar(
                low,
                max(high, low + 1),
                y,
                name,
                f"without {row.title}: {row.tokens_per_second:,.0f} tokens/s",
            ),
            _words(max(high, scale(1.0)) + 6, y, f"{formatting.format_times(worth)} ×", "value"),
        ]
    height = 24.0 + ROW * len(rows)
    parts.append(_line(scale(1.0), 20, scale(1.0), height, "whisker"))
    return _svg(height, "what each rung is worth at the top", *parts)


def samples_strip(row: Row) -> Markup:
    """Every step as a dot, round by round; band and line are the middle half and the median of those that count."""
    samples = [(number, ms) for number, samples_ms in enumerate(row.samples_ms, start=1) for ms in samples_ms]
    low, high = min(ms for _, ms in samples), max(ms for _, ms in samples)
    span = (high - low) or 1.0

    def place(ms: float) -> float:
        return 40 + (ms - low) / span * (WIDTH - 80)

    step = row.step
    dots = (
        tag(
            "circle",
            tag("title", f"round {number}: {formatting.format_ms(ms)} ms"),
            cx=place(ms), cy=8.0 + 20.0 * (number - 1) / max(1, len(row.samples_ms) - 1), r=3,
            class_="sample" if number > 1 or row.first_round_counts else "idle",
        )
        for number, ms in samples
    )  # fmt: skip
    left, right = (min(max(place(ms), 40.0), WIDTH - 40.0) for ms in (step.q1, step.q3))
    return _svg(
        52,
        f"all steps of {row.title}",
        tag("rect", x=left, y=2, width=max(1.0, right - left), height=32, class_="middle"),
        _line(place(step.median), 2, place(step.median), 34, "whisker"),
        *dots,
        _words(40, 32, f"{formatting.format_ms(low)} ms", "faint"),
        _words(WIDTH - 40, 32, f"{formatting.format_ms(high)} ms", "faint", anchor="end"),
    )


# ----------------------------------------------------------------------------------------------------------------


def _chart(
    title: str,
    results: Results,
    draw: Callable[[Row, float], Markup],
    *,
    legend: Markup | None = None,
) -> Markup:
    """One line for each rung, and for each peer below a rule."""
    top = 44.0 if legend is not None else 24.0
    parts: list[Markup | None] = [_words(0, 2, title, "faint"), legend]
    y = top
    for row in results.rows:
        parts += [_words(LABELS - 8, y, row.title, "label" if row.carries else "faint", anchor="end")]
        parts.append(draw(row, y) if row.is_measured else _reason(row, y))
        y += ROW
    if results.peers:
        parts.append(_line(0, y + 1, WIDTH, y + 1, "grid"))
        y += 6
    for row in results.peers:
        parts += [_words(LABELS - 8, y, row.title, "label", anchor="end")]
        parts.append(draw(row, y) if row.is_measured else _reason(row, y))
        y += ROW
    return _svg(y, title, *parts)


def _svg(height: float, title: str, *children: object) -> Markup:
    return tag(
        "svg", *children, viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=title,
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def _bar(start: float, end: float, y: float, class_: str, hover: str) -> Markup:
    return tag(
        "rect", tag("title", hover), x=start, y=y, width=max(0.5, end - start), height=18, class_=class_
    )


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _words(x: float, y: float, text: str, class_: str, *, anchor: str | None = None) -> Markup:
    """Text in the row that begins at `y`; a name that is too long for its space is cut, and whole when hovered over."""
    shown = text if anchor is None or len(text) <= 26 else text[:25] + "…"
    return tag("text", shown, tag("title", text) if shown != text else None,
               x=x, y=y + 13, class_=class_, text_anchor=anchor)  # fmt: skip


def _reason(row: Row, y: float) -> Markup:
    reason = marks.without_figures(row)
    shown = reason if len(reason) <= CHARACTERS else reason[: CHARACTERS - 1] + "…"
    return tag("text", shown, tag("title", reason), x=LABELS + 4, y=y + 13, class_="reason")


def _hover(results: Results, row: Row) -> str:
    step = row.step
    low, high = formatting.format_ms(step.q1), formatting.format_ms(step.q3)
    middle = f"{low} to {high} ms in the middle half of {step.count} steps"
    odd = marks.remark_in_full(results, row)
    return (
        f"{row.title}: {row.tokens_per_second:,.0f} tokens/s, {formatting.format_ms(step.median)} ms a step, {middle}"
        + (f"; {odd}" if odd else "")
    )


def _with_figures(results: Results) -> list[Row]:
    return [row for row in [*results.rows, *results.peers] if row.is_measured]


def _ms_per_kilotoken(row: Row) -> float:
    return sum(row.phase_ms(phase) for phase in PHASES) * 1000 / row.tokens_per_step
