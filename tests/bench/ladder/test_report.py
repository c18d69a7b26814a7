"""What people see: table, bars, sentence, chart, files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt2x.bench import charts, records
from gpt2x.bench.ladder import results
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.loss_check import CHANGES
from gpt2x.bench.ladder.report import chart, formatting, table
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
    lines = table.table(ladder, 120).splitlines()
    assert len(lines) == 2 + len(ladder.rows)
    heads = "# rung ms/step × before × start tokens/s peak floor memory loss"
    assert lines[0].split() == heads.split()
    # peak: 320 tokens/s × 1e6 operations of 1e9; floor: (16 × 1e6 / 1e9 + 28 × 100 / 1e6) s of 0.05 s
    expected = "5 bf16 autocast 50 2.00 2.00 320 32% 38% 500 MB 3.900"
    assert line_of(table.table(ladder, 120), "bf16").split() == expected.split()


def test_a_rung_that_has_no_figures_says_why_in_their_place(ladder: Results) -> None:
    assert line_of(table.table(ladder), "GPU").endswith("  – no CUDA GPU here")
    assert line_of(table.table(ladder), "AdamW").endswith("– failed: no such kernel")


def test_what_is_odd_about_a_rung_stands_beside_it_in_a_word_and_below_in_full(ladder: Results) -> None:
    notes = report.notes(ladder)
    for title, words in (("tying", "≠"), ("flash", "does not pay here"), ("padded", "loss is off")):
        assert f"  {words} " in line_of(table.table(ladder, 120), title)
    assert notes == [
        "≠ changes the result, as it is meant to: weight tying (another model)",
        "does not pay here, so the next rungs do without it: flash attention, 0.80 ×",
        "vocabulary padded to 128 does not count: off by 5 nats after 2 steps, allowed 0.02",
        "gradient clipping: micro-batches of 1, because memory is short",
    ]


def test_columns_that_cannot_be_filled_are_left_out(ladder: Results) -> None:
    assert "mJ/token" not in table.table(ladder)
    ladder.rows[0].energy_j = [3.0, 3.2, 3.4]
    energy = line_of(table.table(ladder, 120), "naive start").split()
    assert "200" in energy, "3.2 J for 16 tokens are 200 mJ each"
    ladder.machine = dataclasses.replace(ladder.machine, bandwidth=0.0)
    assert "floor" not in table.table(ladder)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_everything_fits_into_the_terminal_and_no_word_is_broken(
    ladder: Results, climb: Run, width: int
) -> None:
    rounds = Effort(steps=2, rounds=8)
    for shown in (ladder, climb(Bench()), climb(drifting(Bench()), effort=rounds, leave_one_out=True)):
        text = report.text(shown, width)
        assert max(map(len, text.splitlines())) <= width
        words = {word for row in shown.rows for word in row.title.split()}
        assert words <= set(text.split())
        live = [table.head_line(width), *(table.row_line(shown, row, width) for row in shown.rows)]
        assert max(len(line) for lines in live for line in lines.splitlines()) <= width


def drifting(bench: Bench) -> Bench:
    """Every measurement takes a hundredth longer than the one before."""
    now = [100.0]

    def step_ms(config: object) -> float:
        now[0] *= 1.01
        return now[0]

    bench.step_ms = step_ms
    return bench


def test_an_interval_stands_beside_a_ratio_and_about_1_where_it_holds_1() -> None:
    def rounds(key: str, *ms: float) -> results.Row:
        samples = [[value] for value in (ms[0], *ms)]
        return made.row(
            key, 1.0, samples_ms=samples, rounds=[1, *range(2, len(ms) + 2)], first_round_counts=False
        )

    ladder = made.results(
        rounds("start", 100.0, 110.0, 105.0, 102.0, 108.0),
        rounds("bf16", 50.0, 54.0, 52.5, 52.0, 53.0),
        rounds("flash", 51.0, 53.0, 53.5, 51.5, 53.5),
    )
    shown = table.table(ladder, 80)
    assert "2.00 (1.9" in line_of(shown, "bf16")
    assert "≈ 1" in line_of(shown, "flash")
    assert "the largest step was bf16 autocast, 2.00 × (1.9" in report.sentence(ladder)
    assert "at the top bf16 autocast and flash attention cannot be told apart" in report.headline(ladder)


def test_nothing_in_a_file_can_steer_the_terminal() -> None:
    hostile = made.results(made.row("start", 1.0, title="\x1b[2Jgone \ud800"), made.row("bf16", 1.0))
    text = report.text(hostile)
    assert "\x1b" not in text
    text.encode("utf-8")


def test_the_losses_in_the_table_are_those_after_the_same_number_of_steps() -> None:
    """The faster rung has made more steps; its last loss is no one else's business."""
    fast = made.row("bf16", 1.0, losses=[4.1, 4.0, 1.0])
    ladder = made.results(made.row("start", 2.0, losses=[4.1, 4.0]), fast)
    assert all(line.split()[-1] == "4.000" for line in table.table(ladder, 120).splitlines()[2:])


def test_rows_line_up_with_the_head_as_they_come(ladder: Results) -> None:
    head = table.head_line(80)
    for row in ladder.measured:
        line = table.row_line(ladder, row)
        ms = f" {formatting.format_ms(row.step.median)} "
        assert line.index(ms) + len(ms) == head.index("ms/step") + len("ms/step") + 1


def test_the_sentence_says_how_far_what_helped_most_and_what_is_left(ladder: Results) -> None:
    ladder.rows[6:7] = []  # the rung whose loss is off
    assert report.sentence(ladder) == (
        "5.0 × faster than where you started (160 → 800 tokens/s), at 80% of this machine's measured peak in float32; "
        "at the top torch.compile and gradient clipping cannot be told apart; "
        "the largest step was torch.compile, 2.50 ×; the top is 2.60 × as fast as transformers; "
        "still on the table: CPU → GPU (not to be had here), groups, fused AdamW (failed), "
        f"{len(RUNGS) - 8} rungs (not run), 6.0% of the step (its floor here is 18.8 ms)."
    )


def test_a_broken_rung_is_no_part_of_the_success(ladder: Results) -> None:
    """It would have been ten times as fast as the start."""
    assert report.sentence(ladder).startswith("5.0 × faster")
    assert report.sentence(ladder).endswith("not counted, because the loss is off: vocabulary padded to 128.")


def test_the_sentence_does_not_boast_when_nothing_was_won() -> None:
    slower = made.results(made.row("start", 100.0), made.row("bf16", 200.0))
    assert report.sentence(slower).startswith(
        "Nothing was faster than where you started (160 tokens/s); the top, bf16 autocast, has 0.50 × its speed"
    )
    assert "largest step" not in report.sentence(slower)


def test_the_headline_takes_the_fastest_rung_also_where_it_is_not_the_top() -> None:
    clip = made.row("clip", 30.0, loss=made.check(CHANGES, "large gradients shrink"))
    ladder = made.results(made.row("start", 100.0), made.row("bf16", 25.0), clip)
    assert report.headline(ladder).startswith("4.0 × faster than where you started (160 → 640 tokens/s)")
    assert report.headline(ladder).endswith("the fastest is bf16 autocast, below the top")


def test_only_a_rung_that_is_for_speed_can_be_the_largest_step() -> None:
    accumulated = made.row("accumulation", 20.0, loss=made.check(CHANGES, "more tokens a step"))
    ladder = made.results(made.row("start", 100.0), made.row("bf16", 80.0), accumulated)
    assert "the largest step was bf16 autocast, 1.25 ×" in report.sentence(ladder)


def test_same_work_takes_the_cheaper_updates_out() -> None:
    """A step of 100 ms, 10 of them the update; four batches an update would be 4 × 90 + 10 = 370 ms of the start's."""
    longer = made.row("accumulation", 185.0, tokens_per_step=4 * made.TOKENS)
    ladder = made.results(made.row("start", 100.0), longer)
    assert ladder.speedup_start(longer) == pytest.approx(400 / 185)
    assert ladder.same_work(longer).median == pytest.approx(370 / 185)
    assert "same work" in table.table(ladder, 120)
    assert "2.0 × for the same work" in report.headline(ladder)
    assert "same work" not in report.text(made.results(made.row("start", 1.0), made.row("bf16", 1.0)), 120)


def test_an_interrupted_climb_says_so(ladder: Results) -> None:
    ladder.complete = False
    assert "interrupted before the end" in report.sentence(ladder)


@pytest.mark.parametrize("rows", [[], [made.row("start", 1.0)]], ids=["nothing", "one rung"])
def test_less_than_two_rungs_are_no_comparison(rows: list[results.Row]) -> None:
    ladder = made.results(*rows)
    assert "Nothing to compare" in report.sentence(ladder)
    assert "Nothing to compare" in report.text(ladder)


def test_what_a_rung_is_worth_at_the_top_stands_beside_its_worth_on_the_way(ladder: Results) -> None:
    lines = table.left_out_table(ladder).splitlines()
    assert lines[2].split() == ["bf16", "autocast", "30", "533", "1.50", "×", "2.00", "×"]
    assert lines[3].endswith("– failed: cannot be built")
    assert table.left_out_table(made.results()) == ""


def test_peers_stand_beside_the_top(ladder: Results) -> None:
    lines = table.peers_table(ladder, 120).splitlines()
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
    assert table.peers_table(made.results()) == ""


def test_bars_are_as_long_as_the_rates(ladder: Results) -> None:
    bars = table.bars(ladder, 120)
    start, bf16 = line_of(bars, "naive"), line_of(bars, "bf16")
    assert bf16.count("█") == 8  # 320 of 1,600 tokens/s, of 40 cells
    assert start.count("█") == 4
    assert line_of(bars, "flash").count("░") == 16, "what is not part of the ladder is hollow"
    assert line_of(bars, "transformers").count("▒") == 7


def test_a_busy_machine_and_noisy_rungs_are_pointed_out(ladder: Results) -> None:
    assert report.warnings(ladder) == []
    ladder.rows[0].others = [0.6]
    ladder.interleaved = False
    busy, order = report.warnings(ladder)
    assert "at most 60%" in busy
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
    assert (saved["format"], saved["schema"]) == ("gpt2x-bench", 2)
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


def test_a_noisy_ratio_marks_the_row_after_a_noisy_one_too() -> None:
    def rounds(key: str, *ms: float) -> results.Row:
        samples = [[value] for value in (ms[0], *ms)]
        return made.row(
            key, 1.0, samples_ms=samples, rounds=[1, *range(2, len(ms) + 2)], first_round_counts=False
        )

    ladder = made.results(
        rounds("start", 100, 100, 100, 101, 100),
        rounds("bf16", 50, 70, 45, 90, 60),
        rounds("flash", 50, 50, 50, 50, 50),
        rounds("vocab", 50, 50, 50, 50, 50),
    )
    assert [ladder.is_noisy(row) for row in ladder.rows] == [False, True, True, False]
    assert any(line.endswith("bf16 autocast, flash attention") for line in report.warnings(ladder))


def test_a_file_without_numbers_of_rounds_is_read_and_its_rounds_are_paired(tmp_path: Path) -> None:
    """Schema 1: the top has a list more, for the peer that was measured beside it before the rounds in turn."""
    ms = {"start": [[900.0], [100.0], [110.0], [120.0]], "bf16": [[900.0], [500.0], [50.0], [55.0], [60.0]]}
    rows = [made.row(key, 1.0, samples_ms=lists, first_round_counts=False) for key, lists in ms.items()]
    values = records.to_json(made.results(*rows, peers=[made.row("hf", 1.0, samples_ms=[[200.0]] * 4)]))
    values["schema"] = 1
    for row in [*values["rungs"], *values["peers"]]:
        del row["rounds"], row["repeats"]
    (tmp_path / "results.json").write_text(json.dumps(values))
    old = results.load(tmp_path)
    assert [row.rounds for row in old.rows] == [[1, 2, 3, 4], [1, 1, 2, 3, 4]]
    ratio = old.before_ratio(old.rows[1])
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio.rounds == 3


def test_a_loss_that_is_no_number_becomes_null(climb: Run, tmp_path: Path) -> None:
    broken = climb(Bench(losses=lambda c: [4.1, float("nan")] if c.autocast else [4.1, 4.0]), select("bf16"))
    records.save(broken, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert '"the loss is not a finite number"' in text
    again = results.load(tmp_path)
    assert "not a finite number" in report.text(again)
    assert "loss is off" in line_of(table.table(again, 120), "bf16")


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
        {"rounds": [1]},
        {"rounds": ["1", "2"]},
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


@pytest.mark.skipif(not charts.is_available(), reason="matplotlib is not installed")
@pytest.mark.parametrize("beside", [True, False], ids=["with peers", "alone"])
def test_the_chart_is_written_as_png_and_svg(ladder: Results, beside: bool, tmp_path: Path) -> None:
    if not beside:
        ladder.peers, ladder.left_out = [], []
    png, svg = chart.draw(ladder, tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in svg.read_text()
    assert png.stat().st_size > 20_000


@pytest.mark.skipif(not charts.is_available(), reason="matplotlib is not installed")
def test_a_chart_of_an_interrupted_climb_is_drawn_too(climb: Run, tmp_path: Path) -> None:
    chart.draw(climb(Bench(), select("0")), tmp_path)


@pytest.mark.skipif(not charts.is_available(), reason="matplotlib is not installed")
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
