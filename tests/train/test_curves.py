"""Reading and thinning the record of a run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.errors import InputDataError
from gpt2x.train import curves as module
from gpt2x.train.curves import Curve, Curves, envelope, parse_curves, plot, read_curves, sparkline
from gpt2x.train.metric_index import index_of, read_index
from gpt2x.train.metrics import JsonLines


def write(path: Path, lines: list[dict[str, object]], end: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end, encoding="utf-8")
    return path


def slow_envelope(x: list[float], y: list[float], columns: int) -> set[int]:
    """The reference: a loop over the points."""
    kept, span = {0, len(x) - 1}, (x[-1] - x[0]) or 1.0
    points: dict[int, list[int]] = {}
    for place, value in enumerate(x):
        points.setdefault(min(int((value - x[0]) * (columns / span)), columns - 1), []).append(place)
    for places in points.values():
        kept |= {min(places, key=lambda p: y[p]), max(places, key=lambda p: y[p])}
    return kept


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(-5, 5)), min_size=1, max_size=200), st.integers(1, 20)
)
def test_thinning_keeps_the_extremes_of_each_column_as_a_plain_loop_does(
    points: list[tuple[int, int]], columns: int
) -> None:
    x, y = (list(map(float, values)) for values in zip(*sorted(points), strict=True))
    kept = envelope(np.array(x), np.array(y), columns).tolist()
    if len(x) <= 2 * columns:
        assert kept == list(range(len(x)))
    else:
        assert kept == sorted(slow_envelope(x, y, columns))


def test_a_single_spike_in_a_long_record_is_kept(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"step": n, "loss": 3.0, "step_ms": 10, "tokens": 64 * n} for n in range(1, 5001)
    ]
    lines[3210]["loss"], lines[1234]["loss"] = 9.0, 1.0
    curves = parse_curves(write(tmp_path / "m", lines), columns=20)
    assert (curves.loss.values.max(), curves.loss.values.min()) == (9.0, 1.0)
    assert len(curves.loss) <= 42
    assert (curves.steps, curves.tokens, curves.seconds) == (5000, 320_000, pytest.approx(50.0))


def test_seconds_count_the_steps_between_two_lines(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"step": 10, "loss": 2, "step_ms": 100},
        {"step": 30, "loss": 1, "step_ms": 50},
    ]
    curves = parse_curves(write(tmp_path / "m", lines))
    assert curves.loss.seconds.tolist() == [1.0, 2.0]
    assert math.isnan(curves.tokens)
    assert curves.tokens_per_second() is None


@pytest.mark.parametrize(
    "end", ['{"step": 3, "lo', "null\n", '{"loss": 1}\n', "[" * 100_000, "\n\n", '{"step": "x"}\n']
)
def test_what_is_no_line_of_a_record_is_left_out(tmp_path: Path, end: str) -> None:
    curves = parse_curves(write(tmp_path / "m", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}], end))
    assert curves.steps == 2
    assert curves.loss.values.tolist() == [2.0]


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"2.0x"', "[1]", "1" + "0" * 400, "1e301", "{}"])
def test_a_value_that_is_no_finite_number_is_no_point(tmp_path: Path, value: str) -> None:
    (tmp_path / "m").write_text(f'{{"step": 1, "loss": 2}}\n{{"step": 2, "loss": {value}}}\n')
    assert parse_curves(tmp_path / "m").loss.values.tolist() == [2.0]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b"{}\n", b"[1,2]\n"])
def test_a_file_without_a_step_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(InputDataError, match="no line with a step"):
        read_curves(tmp_path / "m")


def test_a_long_record_is_read_once_and_again_when_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_LONG", 0)
    path = write(
        tmp_path / "m",
        [{"step": n, "loss": 1 / n, "validation_loss": n, "tokens": n, "step_ms": 3} for n in range(1, 2000)],
    )
    first = read_curves(path)
    with monkeypatch.context() as patch:
        patch.delattr(module, "parse_curves")
        again = read_curves(path)
    assert module._to_table(first).tolist() == module._to_table(again).tolist()
    with path.open("a") as file:
        file.write('{"step": 2001, "loss": 0.5}\n')
    assert read_curves(path).steps == 2001


def test_a_damaged_cache_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_LONG", 0)
    path = write(tmp_path / "m", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    read_curves(path)
    (kept,) = (tmp_path / "cache" / "curves").iterdir()
    for content in (b"", b"\x93NUMPY", kept.read_bytes()[:-8]):
        kept.write_bytes(content)
        assert read_curves(path).loss.values.tolist() == [2.0, 1.0]


def indexed(folder: Path, num_lines: int) -> Path:
    """A record of a run, written with its index by the logger of a run."""
    (folder / "trainer").mkdir(parents=True)
    logger = JsonLines(folder / "metrics.jsonl")
    for step in range(1, num_lines + 1):
        known = {"validation_loss": 3.0 - step / 100} if step % 5 == 0 else {}
        loss = math.nan if step == 7 else 1 / step
        logger.log({"loss": loss, "tokens": 64.0 * step, "step_ms": 10.0, **known}, step)
    logger.close()
    return folder / "metrics.jsonl"


def as_lists(curves: Curves) -> list[float]:
    return list(module._to_table(curves)[:3].ravel())


def test_the_index_of_a_run_gives_the_curves_that_its_lines_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = indexed(tmp_path / "run", 60)
    by_lines = parse_curves(path)
    assert len(by_lines.loss) == 59
    with monkeypatch.context() as patch:
        patch.delattr(module, "parse_curves")
        assert as_lists(read_curves(path)) == as_lists(by_lines)
    index = index_of(path)
    whole = index.read_bytes()
    index.write_bytes(whole[: 48 * 50 + 7])  # the disk was full, or the process killed
    found = read_index(path)
    assert found is not None
    assert found.table.shape == (5, 50)
    assert as_lists(read_curves(path)) == as_lists(by_lines)
    again = JsonLines(path, first_step=30)  # resumed
    again.log({"loss": 8.0}, 31)
    again.close()
    found = read_index(path)
    assert found is not None
    assert found.table[:, -1].tolist()[::3] == [31.0, 8.0]
    assert found.num_bytes == path.stat().st_size
    assert read_curves(path).steps == 31


@pytest.mark.parametrize("how", ["another number", "another record", "older", "noise", "empty"])
def test_an_index_that_is_not_of_its_record_is_not_believed(tmp_path: Path, how: str) -> None:
    path = indexed(tmp_path / "run", 20)
    index = index_of(path)
    if how == "another number":
        rows = np.fromfile(index).reshape(-1, 6)
        rows[-1, 3] += 1e-9
        rows.tofile(index)
    elif how == "another record":
        path.write_text(path.read_text("utf-8").replace('"loss": 1.0', '"loss": 2.0'), "utf-8")
        os.utime(path, ns=(1, 1))
    elif how == "older":
        os.utime(index, ns=(1, 1))
    else:
        index.write_bytes(b"" if how == "empty" else bytes(range(240)))
    assert read_index(path) is None
    assert read_curves(path).steps == 20


def test_sparkline_and_plot_show_a_fall_as_a_fall() -> None:
    values = np.linspace(5.0, 1.0, 300)
    line = sparkline(values, 8)
    assert line == "█▇▆▅▄▃▂▁"
    assert sparkline(np.array([])) == ""
    assert sparkline(np.array([2.0, 2.0])) == "▁▁"
    x = np.arange(300.0)
    drawn = plot(Curve(x, x, x, values), width=10, height=5)
    assert [len(row) for row in drawn] == [10] * 5
    assert drawn[0][0] != "\u2800" == drawn[0][-1]
    assert drawn[-1][0] == "\u2800" != drawn[-1][-1]
