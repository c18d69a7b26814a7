"""Curves of runs as inline SVG, drawn by hand: no library, no script. Loads no torch.

Colours are classes that a style sheet fills in, so that one drawing serves light and dark. The palette is Okabe and
Ito's (2008, "Color Universal Design"); runs beyond its seven colours are told apart by dashes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpt2x.console import format_count
from gpt2x.markup import Markup, join, tag
from gpt2x.train.curves import Curve, Floats

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 22, 26, 36
"""A drawing's size, and the margins around the curves."""

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800")
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_SMALL_VALIDATION = 60
"""Up to so many points a validation curve shows each of them."""

STYLE = (
    "svg{display:block;width:100%;height:auto;max-width:720px;font:12px system-ui,sans-serif}"
    "svg text{fill:var(--ink)} svg .faint{fill:var(--faint)} svg .grid{stroke:var(--line)}"
    "svg polyline{fill:none;stroke-width:1.6;stroke-linejoin:round} svg .thin{stroke-width:1;stroke-opacity:.45}"
    + "".join(f" .c{i}{{stroke:{c}}} .f{i}{{fill:{c}}}" for i, c in enumerate(COLOURS))
)
LIGHT = ":root{--ink:#1f2933;--faint:#616e7c;--line:#d9dee4}"
DARK = "@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--faint:#9aa5b1;--line:#3e4c59}}"


@dataclass(frozen=True, slots=True)
class Line:
    """A curve to draw: whose it is (the place of its run), and whether it is the noisy one behind another."""

    curve: Curve
    run: int
    name: str
    thin: bool = False


def line_chart(title: str, lines: Sequence[Line], axis: str) -> Markup:
    """Losses against steps, tokens or seconds.

    Args:
        title: what is drawn; it stands above.
        lines: the curves.
        axis: one of `curves.AXES`.

    """
    drawn = [(line, *_finite(line.curve, axis)) for line in lines]
    drawn = [(line, x, y) for line, x, y in drawn if len(x)]
    heading = tag("text", title, x=0, y=14, class_="faint")
    if not drawn:
        nothing = tag("text", "nothing was logged", x=LEFT, y=TOP + 40, class_="faint")
        return _svg(title, heading, nothing)
    right = max(float(x.max()) for _, x, _ in drawn) or 1.0
    low, high = min(float(y.min()) for *_, y in drawn), max(float(y.max()) for *_, y in drawn)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    frame = _Frame(right, low, high)
    curves = [_curve(frame, line, x, y) for line, x, y in drawn]
    return _svg(title, heading, *frame.grid(axis), *curves)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values stand in the drawing; x begins at 0."""

    right: float
    low: float
    high: float

    def x(self, value: Floats) -> Floats:
        return LEFT + value / self.right * (WIDTH - LEFT - RIGHT)

    def y(self, value: Floats) -> Floats:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def grid(self, axis: str) -> list[Markup]:
        """Lines across at round losses, and round numbers below."""
        parts = []
        for value in ticks(self.low, self.high):
            y = float(self.y(np.array(value)))
            parts.append(tag("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, class_="grid"))
            parts.append(tag("text", f"{value:.4g}", x=LEFT - 6, y=y + 4, text_anchor="end", class_="faint"))
        for value in ticks(0.0, self.right):
            x, y = float(self.x(np.array(value))), HEIGHT - BOTTOM + 16
            words = "0" if value == 0 else format_count(value)
            parts.append(tag("text", words, x=x, y=y, text_anchor="middle", class_="faint"))
        parts.append(tag("text", axis, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end", class_="faint"))
        return parts


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [float(f"{n * step:.12g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _finite(curve: Curve, axis: str) -> tuple[Floats, Floats]:
    x: Floats = getattr(curve, axis)
    known = np.isfinite(x)
    return x[known], curve.values[known]


def _curve(frame: _Frame, line: Line, x: Floats, y: Floats) -> Markup:
    places = np.stack([frame.x(x), frame.y(y)], axis=1).round(1).tolist()
    colour = line.run % len(COLOURS)
    dash = _DASHES[line.run // len(COLOURS) % len(_DASHES)] or None
    title = tag("title", line.name)
    thin = " thin" if line.thin else ""
    points = " ".join(f"{px:g},{py:g}" for px, py in places)
    parts = [tag("polyline", title, points=points, class_=f"c{colour}{thin}", stroke_dasharray=dash)]
    if not line.thin and len(places) <= _SMALL_VALIDATION:
        parts += [
            tag("circle", tag("title", f"{line.name}: {value:.4f}"), cx=px, cy=py, r=2.2, class_=f"f{colour}")
            for (px, py), value in zip(places, y.tolist(), strict=True)
        ]
    return join(*parts)


def swatch(run: int) -> Markup:
    """A short piece of a run's line, for a legend."""
    colour, dash = run % len(COLOURS), _DASHES[run // len(COLOURS) % len(_DASHES)] or None
    line = tag("polyline", points="0,6 26,6", class_=f"c{colour}", stroke_dasharray=dash)
    return tag("svg", line, viewBox="0 0 26 12", class_="swatch", aria_hidden="true")


def _svg(title: str, *children: object) -> Markup:
    return tag(
        "svg", *children, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title,
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def standalone(chart: Markup) -> str:
    """A drawing as a file of its own, with its style sheet inside."""
    style = tag("style", Markup(LIGHT + DARK + STYLE))
    start, rest = chart.split(">", 1)
    return f"{start}>{style}{rest}\n"
