"""What people see: table, bars, sentence, chart, files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2x.bench import records
from gpt2x.bench.ladder import results
from gpt2x.bench.ladder.report import chart, formatting
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results
from gpt2x.bench.ladder.rungs import RUNGS, select
from gpt2x.errors import InputDataError, MissingComponentError
from tests.bench.fakes import Bench

from . import made

Run = Callable[..., Results]


@pytest.fixture
def ladder() -> Results:
    return made.whole()


def line_of(text: str, title: str) -> str:
    return next(line for line in text.splitlines() if title in line)


def test_the_table_has_a_line_for_every_rung(ladder: Results) -> None:
    lines = report.table(ladder).splitlines()
    assert len(lines) == 2 + len(ladder.rows)
    heads = "# rung ms/step ± tokens/s × before × start peak floor memory loss"
    assert lines[0].split() == heads.split()
    # peak: 320 tokens/s × 1e6 operations of 1e9; floor: (16 × 1e6 / 1e9 + 28 × 100 / 1e6) s of 0.05 s
    expected = "5 bf16 autocast 50 2% 320 2.00 2.00 32% 38% 500 MB 3.900"
    assert line_of(report.table(ladder), "bf16").split() == expected.split()


def test_a_rung_that_has_no_figures_says_why_in_their_place(ladder: Results) -> None:
    assert line_of(report.table(ladder), "GPU").endswith("  – no CUDA GPU here")
    assert line_of(report.table(ladder), "AdamW").endswith("– failed: no such kernel")


def test_what_is_odd_about_a_rung_stands_beside_it_in_a_word_and_below_in_full(ladder: Results) -> None:
    table, notes = report.table(ladder), report.notes(ladder)
    assert line_of(table, "tying").endswith("≠")
    assert line_of(table, "flash").endswith("does not pay here")
    assert line_of(table, "padded").endswith("loss is off")
    assert notes == [
        "≠ changes the result, as it is meant to: weight tying (another model)",
        "does not pay here, so the next rungs do without it: flash attention (0.80 ×)",
        "vocabulary padded to 128 does not count: off by 5 nats after 2 steps, allowed 0.02",
        "gradient clipping: micro-batches of 1, because memory is short",
    ]


def test_columns_that_cannot_be_filled_are_left_out(ladder: Results) -> None:
    assert "mJ/token" not in report.table(ladder)
    ladder.rows[0].energy_j = [3.0, 3.2, 3.4]
    energy = line_of(report.table(ladder), "naive start").split()
    assert "200" in energy, "3.2 J for 16 tokens are 200 mJ each"
    ladder.machine = dataclasses.replace(ladder.machine, bandwidth=0.0)
    assert "floor" not in report.table(ladder)


def test_everything_fits_into_120_columns(ladder: Results, climb: Run) -> None:
    for shown in (ladder, climb(Bench())):
        assert max(map(len, report.text(shown).splitlines())) <= 120


def test_nothing_in_a_file_can_steer_the_terminal() -> None:
    hostile = made.results(made.row("start", 1.0, title="\x1b[2Jgone \ud800"), made.row("bf16", 1.0))
    text = report.text(hostile)
    assert "\x1b" not in text
    text.encode("utf-8")


def test_the_losses_in_the_table_are_those_after_the_same_number_of_steps() -> None:
    """The faster rung has made more steps; its last loss is no one else's business."""
    fast = made.row("bf16", 1.0, losses=[4.1, 4.0, 1.0])
    ladder = made.results(made.row("start", 2.0, losses=[4.1, 4.0]), fast)
    assert all(line.split()[-1] == "4.000" for line in report.table(ladder).splitlines()[2:])


def test_rows_line_up_with_the_head_as_they_come(ladder: Results) -> None:
    head = report.head_line(ladder)
    for row in ladder.measured:
        line = report.row_line(ladder, row)
        ms = f" {formatting.format_ms(row.step.median)} "
        assert line.index(ms) + len(ms) == head.index("ms/step") + len("ms/step") + 1


def test_the_sentence_says_how_far_what_helped_most_and_what_is_left(ladder: Results) -> None:
    ladder.rows[6:7] = []  # the rung whose loss is off
    assert report.sentence(ladder) == (
        "5.0 × faster than where you started (160 → 800 tokens/s), at 80% of this machine's measured peak in float32; "
        "the largest step was torch.compile (2.50 ×); the top is 2.60 × as fast as transformers; "
        "still on the table: CPU → GPU (not to be had here), groups, fused AdamW (failed), "
        f"{len(RUNGS) - 8} rungs (not run), 6.0% of the step (its floor here is 18.8 ms)."
    )


def test_a_broken_rung_is_no_part_of_the_success(ladder: Results) -> None:
    """It would have been ten times as fast as the start."""
    assert report.sentence(ladder).startswith("5.0 × faster")
    assert report.sentence(ladder).endswith("not counted, because the loss is off: vocabulary padded to 128.")


def test_the_sentence_does_not_boast_when_nothing_was_won() -> None:
    slower = made.results(made.row("start", 100.0), made.row("bf16", 200.0))
    assert report.sentence(slower).startswith("0.50 × the speed of where you started")
    assert "largest step" not in report.sentence(slower)
    assert "the fastest was naive start (1.00 ×)" in report.sentence(slower)


def test_an_interrupted_climb_says_so(ladder: Results) -> None:
    ladder.complete = False
    assert "interrupted before the end" in report.sentence(ladder)


@pytest.mark.parametrize("rows", [[], [made.row("start", 1.0)]], ids=["nothing", "one rung"])
def test_less_than_two_rungs_are_no_comparison(rows: list[results.Row]) -> None:
    ladder = made.results(*rows)
    assert "Nothing to compare" in report.sentence(ladder)
    assert "Nothing to compare" in report.text(ladder)


def test_what_a_rung_is_worth_at_the_top_stands_beside_its_worth_on_the_way(ladder: Results) -> None:
    lines = report.left_out_table(ladder).splitlines()
    assert lines[2].split() == ["bf16", "autocast", "30", "533", "1.50", "×", "2.00", "×"]
    assert lines[3].endswith("– failed: cannot be built")
    assert report.left_out_table(made.results()) == ""


def test_peers_stand_beside_the_top(ladder: Results) -> None:
    lines = report.peers_table(ladder).splitlines()
    assert lines[2].split() == [
        "transformers",
        "52",
        "308",
        "500",
        "MB",
        "3.900",
        "the",
        "top",
        "is",
        "2.60",
        "×",
        "as",
        "fast",
    ]
    assert lines[3].endswith("– it is not installed")
    assert report.peers_table(made.results()) == ""


def test_bars_are_as_long_as_the_rates(ladder: Results) -> None:
    bars = report.bars(ladder)
    start, bf16 = line_of(bars, "naive"), line_of(bars, "bf16")
    assert bf16.count("█") == 8  # 320 of 1,600 tokens/s, of 40 cells
    assert start.count("█") == 4
    assert line_of(bars, "flash").count("░") == 16, "what is not part of the ladder is hollow"
    assert line_of(bars, "transformers").count("▒") == 7


def test_a_busy_machine_and_noisy_rungs_are_pointed_out(ladder: Results) -> None:
    assert report.warnings(ladder) == []
    ladder.rows[0].others = [0.6]
    ladder.rows[0].samples_ms = [[50.0, 100.0, 150.0, 200.0]]
    ladder.interleaved = False
    busy, noisy, order = report.warnings(ladder)
    assert "at most 60%" in busy
    assert noisy.endswith("naive start")
    assert "one after the other" in order
    ladder.rows[0].others = [1.0] * 99
    assert "so do not quote it" in report.sentence(ladder)


@pytest.mark.parametrize(
    ("ms", "text"), [(0.1234, "0.123"), (12.345, "12.3"), (123.4, "123"), (10794.0, "10,794")]
)
def test_times_have_three_meaningful_digits(ms: float, text: str) -> None:
    assert formatting.format_ms(ms) == text


# ----------------------------------------------------------------------------------------------------------------
# Files


def test_a_result_survives_its_file(ladder: Results, tmp_path: Path) -> None:
    records.save(ladder, tmp_path / "results.json")
    for place in (tmp_path, tmp_path / "results.json"):
        again = results.load(place)
        assert again == ladder
        assert report.text(again) == report.text(ladder)


def test_the_file_has_the_documented_shape(ladder: Results, tmp_path: Path) -> None:
    records.save(ladder, tmp_path / "results.json")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert (saved["format"], saved["schema"]) == ("gpt2x-bench", 1)
    assert set(saved) == {
        "format", "schema", "created", "command", "complete", "duration_s", "interleaved", "text", "setting",
        "machine", "rungs", "left_out", "peers",
    }  # fmt: skip
    bf16 = next(rung for rung in saved["rungs"] if rung["key"] == "bf16")
    assert bf16["samples_ms"] == [[49.5, 50.0, 50.5]] * 2
    assert bf16["loss"]["verdict"] == "matches"
    figures = {
        "step_ms": {"median": 50.0, "q1": pytest.approx(49.625), "q3": pytest.approx(50.375), "count": 6},
        "tokens_per_second": 320.0,
        "speedup_before": 2.0,
        "speedup_start": 2.0,
        "mfu": pytest.approx(0.32),
        "floor_ms": pytest.approx(18.8),
        "share_of_floor": pytest.approx(0.376),
        "forward_ms": pytest.approx(15.0),
        "backward_ms": pytest.approx(30.0),
        "optimizer_ms": pytest.approx(5.0),
    }
    assert {name: bf16["figures"][name] for name in figures} == figures
    gpu = next(rung for rung in saved["rungs"] if rung["key"] == "gpu")
    assert (gpu["status"], gpu["figures"], gpu["loss"]) == ("skipped", None, None)


def test_a_loss_that_is_no_number_becomes_null(climb: Run, tmp_path: Path) -> None:
    broken = climb(Bench(losses=lambda c: [4.1, float("nan")] if c.autocast else [4.1, 4.0]), select("bf16"))
    records.save(broken, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert '"the loss is not a finite number"' in text
    again = results.load(tmp_path)
    assert "not a finite number" in report.text(again)
    assert line_of(report.table(again), "bf16").endswith("loss is off")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a JSON file"),
        ("{", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ("[]", "no result of `gpt2x bench`"),
        ('{"format": "gpt2x-bench", "schema": 99}', "upgrade gpt2x"),
        ('{"format": "gpt2x-bench", "schema": 1}', "is damaged"),
        ('{"format": "gpt2x-bench", "schema": 1, "setting": 7}', "is damaged"),
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_no_result_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputDataError, match="results.json") as error:
        results.load(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        {"samples_ms": []},
        {"samples_ms": [[0.0]]},
        {"samples_ms": [["fast"]]},
        {"losses": None},
        {"phases_ms": 3},
        {"loss": {"verdict": "matches"}},
        {"config": []},
        {"title": 5},
        {"reason": None},
        {"number": "first"},
        {"pays": "yes"},
    ],
    ids=str,
)
def test_a_damaged_rung_is_refused_when_it_is_read(damage: dict[str, object], tmp_path: Path) -> None:
    values = records.to_json(made.results(made.row("start", 1.0)))
    values["rungs"][0].update(damage)
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(InputDataError, match="is damaged"):
        results.load(tmp_path)


def test_a_missing_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="No such file"):
        results.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "damage", [{"command": [1]}, {"created": 7}, {"text": None}, {"duration_s": "long"}], ids=str
)
def test_a_damaged_head_is_refused_too(damage: dict[str, object], tmp_path: Path) -> None:
    values = records.to_json(made.results(made.row("start", 1.0))) | damage
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(InputDataError, match="is damaged"):
        results.load(tmp_path)


@pytest.mark.skipif(not chart.is_available(), reason="matplotlib is not installed")
@pytest.mark.parametrize("beside", [True, False], ids=["with peers", "alone"])
def test_the_chart_is_written_as_png_and_svg(ladder: Results, beside: bool, tmp_path: Path) -> None:
    if not beside:
        ladder.peers, ladder.left_out = [], []
    png, svg = chart.draw(ladder, tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in svg.read_text()
    assert png.stat().st_size > 20_000


@pytest.mark.skipif(not chart.is_available(), reason="matplotlib is not installed")
def test_a_chart_of_an_interrupted_climb_is_drawn_too(climb: Run, tmp_path: Path) -> None:
    chart.draw(climb(Bench(), select("0")), tmp_path)


@pytest.mark.skipif(not chart.is_available(), reason="matplotlib is not installed")
@pytest.mark.parametrize("title", [r"costs $5, not $\frac$", "\x1b[2J", "\ud800", "名前", "", "x" * 500])
def test_no_title_is_too_odd_for_the_chart(ladder: Results, title: str, tmp_path: Path) -> None:
    for row in [*ladder.rows, *ladder.peers]:
        row.title = row.note = title
        row.reason = title if row.reason else ""
    chart.draw(ladder, tmp_path)


def test_without_matplotlib_the_chart_says_what_to_install(
    ladder: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingComponentError, match="pip install"):
        chart.draw(ladder, tmp_path)


def test_the_roof_is_the_product_in_the_dtype_that_the_top_computes_in() -> None:
    peaks = {"float32": 1e9, "bfloat16": 8e9}

    def share(**config: object) -> tuple[str, float | None]:
        top = made.row("sharing", 50.0, config={"device": "cpu", "world_size": 1, **config})
        found = made.results(made.row("start", 100.0), top)
        found.machine = dataclasses.replace(found.machine, peak_flops=peaks)
        return found.peak_dtype, found.mfu(top)

    assert share() == ("float32", pytest.approx(0.32))
    assert share(autocast="bfloat16") == share(bf16_weights=True) == ("bfloat16", pytest.approx(0.04))
    empty = made.results()
    assert empty.peak_dtype == "float32", "the only one that was measured"
