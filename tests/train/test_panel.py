"""The live panel, and what takes its place in a pipe."""

from __future__ import annotations

import io
import math
import os
import select
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from gpt2x.train.metrics import Console
from gpt2x.train.panel import Panel, watch

PROGRAM = """
import sys
from gpt2x.console import say
from gpt2x.train.panel import watch
with watch(10, 0, panel=True) as (shown, advance):
    for step in range(1, 4):
        shown.log({"loss": 5.0 / step}, step)
        advance()
    say("a sample")
    if sys.argv[1:] == ["stop"]:
        raise KeyboardInterrupt
"""


def drawn(panel: Panel, width: int) -> list[str]:
    terminal = Terminal(width=width, record=True, file=io.StringIO())
    terminal.print(panel)
    return terminal.export_text().splitlines()


def test_the_panel_shows_the_numbers_in_80_columns() -> None:
    now = iter([100.0, 110.0, 110.0])
    panel = Panel(steps=100_000, first_step=10, flops_a_token=2_000_000, clock=lambda: next(now))
    for n in range(200):
        panel.log(
            {
                "loss": 10.1234 - n / 100,
                "learning_rate": 6e-4,
                "grad_norm": 1234.56,
                "tokens_per_second": 165e6,
                "validation_loss": 3.25 + n,
            },
            n,
        )
    panel.advance(10)
    lines = drawn(panel, 80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in (
        "step 20/100000",
        "8.1334",
        "(best 3.2500)",
        "6.00e-04",
        "1234.56",
        "165.0M",
        "330 TFLOP/s",
        "█",
        "27:46:20",
    ):
        assert words in text, text


def test_a_loss_that_is_not_finite_leaves_the_panel_readable() -> None:
    panel = Panel(steps=3)
    panel.log({"loss": math.nan, "grad_norm": math.inf}, 1)
    assert "–" in "\n".join(drawn(panel, 80))
    panel.log({"loss": 2.0}, 2)
    assert panel.smoothed == 2.0


def test_in_a_pipe_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watch(100, 0, panel=True) as (shown, advance):
        assert isinstance(shown, Console)
        shown.log({"loss": 2.5}, 7)
        advance()
    assert capsys.readouterr().err == "step   7/100  loss 2.5000\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.parametrize("how", ["", "stop"])
def test_the_terminal_is_left_clean_also_after_an_interrupt(how: str, tmp_path: Path) -> None:
    import pty

    (tmp_path / "program.py").write_text(PROGRAM)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, str(tmp_path / "program.py"), *([how] if how else [])])
    written, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        written += piece
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status) == 0) == (how == ""), written
    assert b"a sample" in written
    assert b"\x1b[?25l" in written
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l"), "the cursor stays hidden"
    assert b"\x1b[2K" in written[written.rindex(b"training") :], "the panel is not wiped away"
