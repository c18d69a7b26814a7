"""What a race says of made-up runs: ratios, intervals, who counts; and that it fits the terminal."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpt2x.bench import records
from gpt2x.bench.race import chart, report
from gpt2x.bench.race.entrants import ENTRANTS
from gpt2x.bench.race.results import Results, load

from .made import raced

BASE = [(50, 5.0, 4.2), (100, 10.0, 4.0)]


def rounds(*reached: tuple[int, float]) -> list[list[tuple[int, float, float]]]:
    """Runs that come to the baseline's loss at these steps and seconds."""
    return [[(step // 2, seconds / 2, 4.5), (step, seconds, 3.9)] for step, seconds in reached]


@pytest.fixture
def results() -> Results:
    return raced(
        {
            "baseline": [BASE] * 5,
            "rotary": rounds((50, 6.0), (48, 5.8), (52, 6.2), (50, 6.1), (50, 5.9)),
            "relu2": rounds((100, 11.0), (95, 9.0), (100, 10.5), (100, 9.6), (105, 10.4)),
            "muon": [
                *rounds((40, 8.0), (40, 8.0), (40, 8.0), (40, 8.0)),
                [(50, 10.0, 4.5), (100, 20.0, 4.3)],
            ],
        }
    )


def test_steps_and_seconds_are_ratios_to_the_baseline_with_intervals_over_the_seeds(results: Results) -> None:
    rotary = results.figures(results.entries[1])
    assert (rotary.steps, rotary.seconds) == (50, 6.0)
    assert report.share(rotary.steps_ratio).startswith("0.50 (")
    low, high = rotary.seconds_ratio.low, rotary.seconds_ratio.high
    assert low is not None
    assert high is not None
    assert 10 / 6.2 <= low <= 10 / 6.0 <= high <= 10 / 5.8
    assert rotary.counts


def test_an_entrant_whose_interval_holds_1_does_not_count(results: Results) -> None:
    relu2 = results.figures(next(e for e in results.entries if e.entrant.key == "relu2"))
    assert relu2.reaches
    assert not relu2.counts
    assert relu2.seconds_ratio.verdict == "cannot tell"


def test_an_entrant_that_misses_the_target_with_one_seed_does_not_count(results: Results) -> None:
    muon = results.figures(next(e for e in results.entries if e.entrant.key == "muon"))
    assert (muon.num_reached, muon.num_seeds, muon.counts) == (4, 5, False)
    assert "4 of 5 seeds come to the target; loss 3.900 at the end" in report.table(results, 200)


def test_the_target_is_the_final_loss_of_the_baselines_worst_seed() -> None:
    better = [(50, 5.0, 4.1), (100, 10.0, 3.9)]
    results = raced({"baseline": [better, BASE, better], "rotary": rounds((50, 5.0), (50, 5.0), (50, 5.0))})
    assert results.target == 4.0
    assert results.figures(results.baseline).reaches


def test_runs_are_held_against_the_baselines_run_with_the_same_seed() -> None:
    """A machine that slows down by half from round to round changes no ratio."""
    slower = [2.0**n for n in range(5)]
    results = raced(
        {
            "baseline": [[(100, 10.0 * slow, 4.0)] for slow in slower],
            "rotary": rounds(*((50, 5.0 * slow) for slow in slower)),
        }
    )
    ratio = results.figures(results.entries[1]).seconds_ratio
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_with_two_seeds_there_is_no_interval_and_nobody_counts() -> None:
    results = raced({"baseline": [BASE] * 2, "rotary": rounds((50, 5.0), (50, 5.0))})
    assert not results.figures(results.entries[1]).counts
    assert "No intervals: they take 3 seeds." in report.text(results)
    assert "0.50" in report.table(results)


def test_the_fastest_comes_first_and_the_sentence_names_it(results: Results) -> None:
    assert [entry.entrant.key for entry in results.ranking] == ["rotary", "baseline", "relu2", "muon"]
    said = report.text(results, 200).splitlines()[-1]
    assert said.startswith(
        "rotary positions comes to the tuned baseline's loss in 50 steps instead of 100, in 0.60 ("
    )


def test_everything_fits_into_80_columns() -> None:
    runs = {entrant.key: rounds(*[(105, 12.0 + n) for n in range(5)]) for entrant in ENTRANTS}
    results = raced({**runs, "baseline": [[(200, 123.4, 4.0)]] * 5, "muon": [BASE] * 5})
    results.others = [0.5] * 5
    for width in (80, 60):
        assert max(map(len, report.text(results, width).splitlines())) <= width
    table = report.table(results, 80)
    assert "\n\n" not in table, "one table, with nothing stacked below it"
    assert all(entrant.title in table for entrant in ENTRANTS if len(entrant.title) <= 22)


def test_what_the_figures_rest_on_is_said(results: Results) -> None:
    results.others = [0.02, 0.4]
    said = " ".join(report.text(results).split())
    assert "Tuning: learning rates 0.001, 0.002, 0.004 for each" in said
    assert "Measuring losses took 0 s, in no figure above." in said
    assert "Other programs used up to 40% of the cores" in said
    assert "*: the lowest or the highest rate that was tried" in said


def test_a_race_without_a_round_says_how_far_it_is() -> None:
    results = raced({"baseline": [BASE], "rotary": rounds((50, 5.0))})
    results.entries[1].runs.clear()
    said = " ".join(report.text(results).split())
    assert said == "No round is done yet: 6 of 6 runs of the sweep and 0 of 1 rounds are done."


def test_a_result_is_the_same_after_it_was_written_and_read(results: Results, tmp_path: Path) -> None:
    records.save(results, tmp_path / "results.json")
    assert report.text(load(tmp_path)) == report.text(results)
    assert load(tmp_path).as_dict() == results.as_dict()


def test_a_loss_that_is_no_number_is_kept_as_one_that_reaches_nothing(tmp_path: Path) -> None:
    broken = [(50, 5.0, float("nan"))]
    results = raced({"baseline": [BASE] * 3, "rotary": [broken] * 3})
    records.save(results, tmp_path / "results.json")
    assert load(tmp_path).figures(load(tmp_path).entries[1]).num_reached == 0


def test_the_chart_is_drawn_as_png_and_svg(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = chart.draw(results, tmp_path)
    assert [path.name for path in written] == ["race.png", "race.svg"]
    assert ElementTree.parse(tmp_path / "race.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")
