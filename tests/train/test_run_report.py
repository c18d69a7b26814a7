"""What the end of a run leaves for people: its curves, and the closing lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from gpt2x.train import loop
from gpt2x.train.chart import Line, line_chart, standalone, ticks
from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.config import TrainConfig
from gpt2x.train.curves import Curve
from gpt2x.train.records import read_record
from tests.train.conftest import run

Tiny = Callable[..., TrainConfig]


def test_a_run_ends_with_its_curves_as_svg_and_page_and_in_the_closing_lines(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tiny())
    assert result is not None
    said = capsys.readouterr().err
    assert "\ntime       " in said
    assert "█" in next(line for line in said.splitlines() if line.startswith("curves "))
    svg = ElementTree.parse(tmp_path / "run" / "curves.svg").getroot()
    assert len(svg.findall(".//{http://www.w3.org/2000/svg}polyline")) == 2
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "loss and validation loss against seconds" in page


def test_the_record_of_a_run_tells_what_its_result_told(tiny: Tiny, tmp_path: Path) -> None:
    result = run(tiny())
    assert result is not None
    record = read_record(tmp_path / "run").to_dict()
    for name in ("parameters", "steps", "tokens", "loss", "validation_loss", "best_validation_loss"):
        assert record[name] == getattr(result, name), name
    assert record["recipe"] == "lyrics"
    assert record["seconds"] == pytest.approx(result.seconds, rel=0.05)


def test_curves_that_cannot_be_written_do_not_fail_the_run(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny(steps=2))
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "report.html").mkdir()
    result = run(tiny(steps=4), resume=True)
    assert result is not None
    assert result.steps == 4
    assert "curves     not drawn: " in capsys.readouterr().err


def test_starting_anew_removes_the_old_curves(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny())
    assert (tmp_path / "run" / "curves.svg").exists()
    RunFolder(tmp_path / "run").clear()
    assert not (tmp_path / "run" / "report.html").exists()
    assert not (tmp_path / "run" / "curves.svg").exists()


@pytest.mark.parametrize("watched", [True, False])
def test_a_sample_is_shown_at_each_validation_where_a_person_looks_on(
    watched: bool, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    monkeypatch.setattr(loop, "on_terminal", lambda: watched)
    monkeypatch.setattr(loop, "sample", lambda setup: shown.append(1))
    run(tiny(steps=12, eval_every=4))
    assert len(shown) == (3 if watched else 0)
    shown.clear()
    run(tiny("silent", steps=4, eval_every=4, sample_every=0))
    assert not shown


@pytest.mark.parametrize("values", [[], [2.0], [3.0, 3.0], [-1.0, 1e-9], [1e200, 2.0]])
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    x = np.arange(float(len(values)))
    chart = standalone(line_chart("loss <&>", [Line(Curve(x, x, x, np.array(values)), 9, "a<b")], "steps"))
    lines = ElementTree.fromstring(chart).findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == (1 if values else 0)
    assert "nan" not in chart


def test_ticks_are_round_and_inside() -> None:
    assert ticks(2.9, 5.6) == [3.0, 4.0, 5.0]
    assert ticks(0.0, 1500.0) == [0.0, 500.0, 1000.0, 1500.0]
