"""Terminal recordings for the README: real runs as SVG files that play by themselves, without a script.

    python docs/recordings/record.py NAME ...    names: those of `RECORDINGS`; all without one

Each command runs in a terminal of `COLUMNS` columns. When a line is complete it is kept with its time, and the picture
shows it at that time; pauses are shortened to `LONGEST_PAUSE`. The last picture stays. Needs rich,
which reads the colours; `classify` needs HuffPost's data as news.jsonl.xz in the current folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.color import Color
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
COLUMNS, ROWS = 92, 40
LONGEST_PAUSE = 1.2
"""Seconds; what takes longer in the run is cut to this."""
TYPING = 0.9
"""Seconds before the first line of output."""

WIDTH, HEIGHT, MARGIN, BAR = 8.0, 18, 14, 30
"""Pixels: a character, a line, the border, the bar on top."""
BACKGROUND, FOREGROUND = "#17191f", "#d8dae0"

CONSOLE = Console()
PROGRESS = "━".encode()
"""Is in the lines that are there only while something is computed."""

RECORDINGS = {
    "bench": "gpt2x bench show docs/benchmarks/cpu-2-cores | tail -22",
    "bpe": "gpt2x bpe train --vocab 512 --out v && gpt2x bpe explain --tokenizer v ' ex-girlfriend'",
    "classify": "gpt2x classify compare --data news.jsonl.xz --limit 20000 --models nb,hashed-nb,linear",
    "sing": 'gpt2x sing "ex-girlfriend" --seed 1',
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a terminal and when it was complete, in seconds from the start."""

    time: float
    text: str


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*RECORDINGS, []])
    for name in parser.parse_args().names or RECORDINGS:
        lines = shortened(run(RECORDINGS[name]))
        (HERE / f"{name}.svg").write_text(picture(RECORDINGS[name], lines), encoding="utf-8")
        print(f"{name}.svg: {len(lines)} lines, {lines[-1].time:.1f} s", file=sys.stderr)


def run(command: str) -> list[Line]:
    """The lines that a command writes to a terminal; a line that is written anew counts as it was last."""
    parent, child = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
    started = time.monotonic()
    process = subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
        env={**os.environ, **size},
    )
    os.close(child)
    lines, rest = [], b""
    while piece := read(parent, process):
        *complete, rest = (rest + piece).split(b"\n")
        now = time.monotonic() - started
        lines += [Line(now, text_of(line)) for line in complete if PROGRESS not in line]
    if process.wait():
        raise SystemExit(f"{command} failed: {lines[-3:]}")
    return lines


def read(terminal: int, process: subprocess.Popen[bytes]) -> bytes:
    """The next bytes; none at the end."""
    while True:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                return os.read(terminal, 4096)
            except OSError:  # Linux says so when the other end is closed
                return b""
        if process.poll() is not None:
            return b""


def text_of(line: bytes) -> str:
    """What of a line can be seen in the end: after the last return of the carriage."""
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]


def shortened(lines: Sequence[Line]) -> list[Line]:
    """The same lines without long pauses."""
    shown: list[Line] = []
    now, before = TYPING, 0.0
    for line in lines:
        now += min(LONGEST_PAUSE, line.time - before)
        before = line.time
        shown.append(Line(now, line.text))
    return shown


def picture(command: str, lines: Sequence[Line]) -> str:
    """An SVG: the command, then each line at its time."""
    rows = [row(0, Text("$ ", style="bold green") + Text(command, style="bold"), None)]
    rows += [row(number, Text.from_ansi(line.text), line.time) for number, line in enumerate(lines, 1)]
    width = round(2 * MARGIN + COLUMNS * WIDTH)
    height = BAR + 2 * MARGIN + HEIGHT * (len(lines) + 1)
    dots = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * place}" cy="{BAR // 2}" r="6" fill="{fill}"/>'
        for place, fill in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(command)}">'
        "<style>text{font:13.3px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        f"fill:{FOREGROUND};white-space:pre}}</style>"
        f'<rect width="{width}" height="{height}" rx="9" fill="{BACKGROUND}"/>{dots}\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def row(number: int, text: Text, at: float | None) -> str:
    """A line of the picture, hidden until its time has come."""
    y = BAR + MARGIN + HEIGHT * number + 13
    spans = "".join(span(text, start, end) for start, end in runs(text))
    wait = "" if at is None else f'<set attributeName="opacity" to="0" end="{at:.2f}s"/>'
    return f'<text x="{MARGIN}" y="{y}">{spans}{wait}</text>'


def runs(text: Text) -> list[tuple[int, int]]:
    """Where the style of a line changes."""
    places = sorted({0, len(text), *(place for part in text.spans for place in (part.start, part.end))})
    return [(start, end) for start, end in itertools.pairwise(places) if start < end]


def span(text: Text, start: int, end: int) -> str:
    """Characters of one style; each run says where it begins, so that columns hold in any font."""
    style = text.get_style_at_offset(CONSOLE, start)
    looks = [f'x="{MARGIN + start * WIDTH:g}" textLength="{(end - start) * WIDTH:g}"']
    if style.color is not None:
        looks.append(f'fill="{colour(style.color)}"')
    if style.bold:
        looks.append('font-weight="bold"')
    if style.dim:
        looks.append('opacity="0.65"')
    return f"<tspan {' '.join(looks)}>{escape(text.plain[start:end])}</tspan>"


def colour(color: Color) -> str:
    """As #rrggbb."""
    return color.get_truecolor(MONOKAI).hex


if __name__ == "__main__":
    main()
