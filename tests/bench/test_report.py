"""What people see: table, bars, sentence, chart, files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2x.bench import chart, compare, report, results
from gpt2x.bench.config import Setting, StepConfig
from gpt2x.bench.ladder import RUNGS, select
from gpt2x.bench.results import Results
from gpt2x.errors import InputDataError, MissingComponentError

from .fakes import Bench

Run = Callable[..., Results]


@pytest.fixture
def climbed(climb: Run) -> Results:
    """bf16 twice as fast as the start, compile 2.5 times that, and a flash attention that breaks the loss."""

    def step_ms(c: StepConfig) -> float:
        return c.micro_batches * c.world_size * (20.0 if c.compile else 50.0 if c.autocast else 100.0)

    bench = Bench(
        step_ms=step_ms,
        losses=lambda c: [4.1, 9.0] if c.attention == "flash" else [4.1, 4.0],
    )
    return climb(bench)


def test_the_table_has_a_line_for_every_rung(climbed: Results) -> None:
    lines = report.table(climbed).splitlines()
    assert len(lines) == 2 + len(RUNGS)
    heads = ["#", "rung", "ms/step", "±", "tokens/s", "× before", "× start", "peak", "memory", "loss"]
    assert lines[0].split() == " ".join(heads).split()
    bf16 = next(line for line in lines if "bf16" in line).split()
    assert bf16[:9] == ["5", "bf16", "autocast", "50", "0%", "320", "2.00", "2.00", "0.1%"]


def test_a_rung_that_cannot_run_has_its_reason_and_dashes(climbed: Results) -> None:
    line = next(line for line in report.table(climbed).splitlines() if "TF32" in line)
    assert line.endswith("TF32 needs an NVIDIA GPU, Ampere or later")
    assert not any(character.isdigit() for character in line.replace("TF32", "")[3:])


def test_a_broken_rung_is_marked(climbed: Results) -> None:
    line = next(line for line in report.table(climbed).splitlines() if "flash" in line)
    assert "does not count: off by 5 nats after 2 steps, allowed 0.02" in line


def test_a_rung_that_alters_the_result_is_marked(climbed: Results) -> None:
    line = next(line for line in report.table(climbed).splitlines() if "clipping" in line)
    assert "changes the result: large gradients shrink" in line


def test_the_losses_in_the_table_are_those_after_the_same_number_of_steps(climb: Run) -> None:
    """The faster rung has made more steps; its last loss is no one else's business."""
    results = climb(Bench(losses=lambda c: [4.1, 4.0, 1.0] if c.autocast else [4.1, 4.0]), select("bf16"))
    assert [results.loss(row) for row in results.measured] == [4.0, 4.0]
    assert all(line.split()[-1] == "4.000" for line in report.table(results).splitlines()[2:])


def test_rows_line_up_with_the_head_as_they_come(climbed: Results) -> None:
    head = report.head_line()
    for row in climbed.measured:
        line = report.row_line(climbed, row)
        ms = report.format_ms(row.step.median)
        assert line.index(ms) + len(ms) == head.index("ms/step") + len("ms/step")


def test_the_sentence_says_how_far_what_helped_most_and_what_was_missing(climbed: Results) -> None:
    assert report.sentence(climbed) == (
        "5.0 × faster than where you started (160 → 800 tokens/s), at 0% of this machine's measured peak; "
        "the largest step was torch.compile (2.50 ×); "
        "not counted, because the loss is off: flash attention; not to be had here: CPU → GPU, TF32."
    )


def test_the_sentence_does_not_boast_when_nothing_was_won(climb: Run) -> None:
    slower = climb(Bench(step_ms=lambda c: 200.0 if c.autocast else 100.0), select("bf16"))
    assert report.sentence(slower).startswith("0.50 × the speed of where you started")
    assert "largest step" not in report.sentence(slower)
    assert "the fastest was naive start (1.0 ×)" in report.sentence(slower)


def test_an_interrupted_climb_says_so(climbed: Results) -> None:
    climbed.complete = False
    assert "interrupted before the end" in report.sentence(climbed)


def test_one_rung_alone_is_no_comparison(climb: Run) -> None:
    assert "Nothing to compare" in report.sentence(climb(Bench(), select("0")))


def test_bars_are_as_long_as_the_rates(climbed: Results) -> None:
    lines = report.bars(climbed).splitlines()
    start, bf16 = (next(line for line in lines if title in line) for title in ("naive", "bf16"))
    assert bf16.count("█") == 16  # 2 / 5 of 40 cells
    assert start.count("█") == 8


def test_a_busy_machine_and_noisy_rungs_are_pointed_out(climbed: Results) -> None:
    assert report.warnings(climbed) == []
    climbed.rows[0].others = [0.6]
    climbed.rows[0].samples_ms = [[100.0], [50.0, 100.0, 150.0, 200.0]]
    climbed.interleaved = False
    busy, noisy, order = report.warnings(climbed)
    assert "at most 60%" in busy
    assert noisy.endswith("naive start")
    assert "one after the other" in order
    climbed.rows[0].others = [1.0] * 99
    assert "so do not quote it" in report.sentence(climbed)


@pytest.mark.parametrize(
    ("ms", "text"), [(0.1234, "0.123"), (12.345, "12.3"), (123.4, "123"), (10794.0, "10,794")]
)
def test_times_have_three_meaningful_digits(ms: float, text: str) -> None:
    assert report.format_ms(ms) == text


# ----------------------------------------------------------------------------------------------------------------
# Files


def test_a_result_survives_its_file(climbed: Results, tmp_path: Path) -> None:
    results.save(climbed, tmp_path / "results.json")
    for place in (tmp_path, tmp_path / "results.json"):
        again = results.load(place)
        assert again == climbed
        assert report.table(again) == report.table(climbed)


def test_the_file_has_the_documented_shape(climbed: Results, tmp_path: Path) -> None:
    results.save(climbed, tmp_path / "results.json")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert (saved["format"], saved["schema"]) == ("gpt2x-bench", 1)
    assert set(saved) == {
        "format", "schema", "created", "command", "complete", "duration_s", "interleaved", "text", "setting",
        "machine", "rungs",
    }  # fmt: skip
    bf16 = next(rung for rung in saved["rungs"] if rung["key"] == "bf16")
    assert bf16["samples_ms"] == [[50.0] * 3] * 2
    assert bf16["config"]["autocast"] == "bfloat16"
    assert bf16["loss"]["verdict"] == "matches"
    assert bf16["figures"] == {
        "step_ms": {"median": 50.0, "q1": 50.0, "q3": 50.0, "count": 3},
        "tokens_per_second": 320.0,
        "speedup_before": 2.0,
        "speedup_start": 2.0,
        "mfu": pytest.approx(320 * 1e6 / 4e11),
        "forward_ms": pytest.approx(50 / 3),
        "backward_ms": pytest.approx(50 / 3),
        "optimizer_ms": pytest.approx(50 / 3),
    }
    tf32 = next(rung for rung in saved["rungs"] if rung["key"] == "tf32")
    assert (tf32["status"], tf32["figures"], tf32["loss"]) == ("skipped", None, None)


def test_a_loss_that_is_no_number_becomes_null(climb: Run, tmp_path: Path) -> None:
    broken = climb(Bench(losses=lambda c: [4.1, float("nan")] if c.autocast else [4.1, 4.0]), select("bf16"))
    results.save(broken, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert '"the loss is not a finite number"' in text
    assert "not a finite number" in report.table(results.load(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a JSON file"),
        ("{", "is not a JSON file"),
        ("[]", "no result of `gpt2x bench`"),
        ('{"format": "gpt2x-bench", "schema": 99}', "upgrade gpt2x"),
        ('{"format": "gpt2x-bench", "schema": 1}', "is damaged"),
    ],
)
def test_a_file_that_is_no_result_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputDataError, match="results.json") as error:
        results.load(tmp_path)
    assert message in str(error.value)


def test_a_missing_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="No such file"):
        results.load(tmp_path / "nowhere.json")


@pytest.mark.skipif(not chart.is_available(), reason="matplotlib is not installed")
def test_the_chart_is_written_as_png_and_svg(climbed: Results, tmp_path: Path) -> None:
    png, svg = chart.draw(climbed, tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in svg.read_text()
    assert png.stat().st_size > 20_000


@pytest.mark.skipif(not chart.is_available(), reason="matplotlib is not installed")
def test_a_chart_of_an_interrupted_climb_is_drawn_too(climb: Run, tmp_path: Path) -> None:
    chart.draw(climb(Bench(), select("0")), tmp_path)


def test_without_matplotlib_the_chart_says_what_to_install(
    climbed: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingComponentError, match="pip install"):
        chart.draw(climbed, tmp_path)


# ----------------------------------------------------------------------------------------------------------------
# Side by side


def test_two_results_are_compared_rung_by_rung(climb: Run) -> None:
    a = climb(Bench(), select("sharing,bf16"))
    b = climb(Bench(step_ms=lambda c: 25.0 if c.autocast else 100.0), select("bf16,flash"))
    assert compare.compare(a, b) == [
        {"key": "start", "title": "naive start", "a": 160.0, "b": 160.0, "ratio": 1.0},
        {"key": "bf16", "title": "bf16 autocast", "a": 160.0, "b": 640.0, "ratio": 4.0},
    ]
    assert compare.table(compare.compare(a, b)).splitlines()[-1].split() == [
        "bf16",
        "autocast",
        "160",
        "640",
        "4.00",
    ]


def test_a_rung_that_one_side_could_not_run_has_no_ratio(climb: Run) -> None:
    compared = compare.compare(climb(Bench(), select("tf32")), climb(Bench(), select("tf32")))
    assert compared[1] == {"key": "tf32", "title": "TF32", "a": None, "b": None, "ratio": None}
    assert compare.table(compared).splitlines()[-1].split() == ["TF32", "–", "–", "–"]


def test_what_else_differs_is_said(climb: Run, tiny_setting: Setting) -> None:
    a, b = climb(Bench(), select("0")), climb(Bench(), select("0"))
    assert compare.differences(a, b) == []
    b.setting = dataclasses.replace(tiny_setting, batch=16)
    b.machine = dataclasses.replace(
        b.machine, cpu="another CPU", versions={**b.machine.versions, "torch": "9"}
    )
    settings, machines, versions = compare.differences(a, b)
    assert "tiny 16 × 8" in settings
    assert "another CPU" in machines
    assert versions == "the versions differ: torch 2 and 9"
