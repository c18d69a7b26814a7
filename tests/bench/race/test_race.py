"""How a race is run: the sweep, the slices in turn, and what is done again after an interruption."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt2x.bench import records
from gpt2x.bench.race.curve import Curve, Point, Trial, best_trial, horizon_of
from gpt2x.bench.race.entrants import ENTRANTS, select
from gpt2x.bench.race.race import Race
from gpt2x.bench.race.results import Results, load, start
from gpt2x.bench.race.setting import Setting, window_of
from gpt2x.bench.records import to_json
from gpt2x.errors import InputDataError, UsageError

from .made import LAPTOP, SETTING, Made, falling


def begin(entrants: str = "rotary,muon", seeds: int = 3, setting: Setting = SETTING) -> Results:
    return start(setting, LAPTOP, select(entrants), seeds)


def curve(*losses: float) -> Curve:
    return Curve(
        points=[Point(step=5 * n, seconds=float(n), loss=loss) for n, loss in enumerate(losses, start=1)]
    )


def test_the_baseline_takes_the_rate_with_the_lowest_final_loss_and_that_loss_is_the_goal() -> None:
    results = begin()
    Race(results, Made(falling({}))).run()
    assert results.best(results.baseline).lr == 2e-3
    assert results.goal == pytest.approx(4.0)
    assert results.horizon(results.baseline) == 100
    assert [trial.curve.steps for trial in results.baseline.trials] == [100, 100, 100]


def test_an_entrant_takes_the_rate_that_comes_to_the_goal_first_and_its_runs_are_half_as_long_again() -> None:
    results = begin()
    Race(results, Made(falling({"rotary": 2.0, "muon": 0.5}))).run()
    rotary, muon = results.entries[1:]
    assert (results.best(rotary).lr, results.horizon(rotary)) == (2e-3, 75)
    assert {run.steps for run in rotary.runs.values()} == {75}
    assert results.horizon(muon) == 100, "one that does not come to the goal has all steps"


def test_a_trial_ends_where_it_or_one_before_it_has_come_to_the_goal() -> None:
    results = begin("rotary")
    Race(results, Made(falling({"rotary": 2.0}))).run()
    assert [trial.curve.steps for trial in results.entries[1].trials] == [65, 50, 50]


def test_a_rate_at_which_the_loss_is_no_number_is_not_taken() -> None:
    trials = [Trial(lr=0.1, curve=curve(5.0, math.nan)), Trial(lr=0.2, curve=curve(5.0, 4.5))]
    assert best_trial(trials, None).lr == 0.2
    assert best_trial(trials, 3.0).lr == 0.2
    assert trials[0].curve.is_broken


def test_among_trials_that_come_to_the_goal_at_once_the_lower_loss_is_taken() -> None:
    trials = [Trial(lr=0.1, curve=curve(5.0, 4.0)), Trial(lr=0.2, curve=curve(5.0, 3.9))]
    found = best_trial(trials, 4.0)
    assert (found.lr, horizon_of(found, 4.0, 100, 5)) == (0.2, 15)


def test_all_runs_of_a_round_are_made_in_turn_over_its_whole_length() -> None:
    results, made = begin("rotary", seeds=1), Made(falling({"rotary": 2.0}))
    Race(results, made).run()
    turns = [(key, to) for key, seed, to in made.order if seed == 11]
    assert turns == [
        ("baseline", 25), ("rotary", 19), ("rotary", 38), ("baseline", 50), ("baseline", 75), ("rotary", 56),
        ("rotary", 75), ("baseline", 100),
    ], "slices of a shorter run are shorter, and each turn begins with the next"  # fmt: skip


def test_the_sweep_has_a_seed_of_its_own() -> None:
    results, made = begin(), Made(falling({}))
    Race(results, made).run()
    assert {seed for _, seed, _ in made.order} == {10, 11, 12, 13}
    assert results.seeds == [11, 12, 13]


def test_a_race_that_was_interrupted_goes_on_with_the_round_that_was_not_finished(tmp_path: Path) -> None:
    file = tmp_path / "results.json"

    def save(results: Results) -> None:
        records.save(results, file)

    Race(begin(), Made(falling({"rotary": 2.0})), save=save).run()
    whole = load(file)
    made = Made(
        falling({"rotary": 2.0}), interrupt=lambda key, seed, to: (key, seed, to) == ("rotary", 12, 38)
    )
    with pytest.raises(KeyboardInterrupt):
        Race(begin(), made, save=save).run()
    kept = load(tmp_path)
    assert (kept.rounds, kept.complete) == ([11], False)
    made = Made(falling({"rotary": 2.0}))
    Race(kept, made, save=save).run()
    assert {seed for _, seed, _ in made.order} == {12, 13}, "the sweep and the first round are not run again"
    done = load(file)
    assert done.complete
    assert done.as_dict()["entrants"] == whole.as_dict()["entrants"]


def test_a_sweep_that_was_interrupted_goes_on_with_the_rate_that_was_not_finished() -> None:
    results = begin()
    made = Made(falling({}), interrupt=lambda key, seed, to: key == "muon")
    with pytest.raises(KeyboardInterrupt):
        Race(results, made).run()
    made = Made(falling({}))
    Race(results, made).run()
    assert next(iter(made.order))[0] == "muon"
    assert all(len(entry.trials) == 3 for entry in results.entries)


def test_more_rounds_may_be_asked_for_later(tmp_path: Path) -> None:
    results = begin(seeds=2)
    Race(results, Made(falling({}))).run()
    results.num_seeds = 4
    made = Made(falling({}))
    Race(results, made).run()
    assert results.rounds == [11, 12, 13, 14]
    assert {seed for _, seed, _ in made.order} == {13, 14}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "gpt2x-bench"}', '{"format": "gpt2x-bench-race"}']
)
def test_a_file_that_is_no_race_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputDataError, match=r"results\.json is no result of `gpt2x bench race`"):
        load(tmp_path)


def _without_a_sweep(values: dict[str, Any]) -> None:
    values["entrants"][0]["sweep"] = []


def _without_points(values: dict[str, Any]) -> None:
    values["entrants"][1]["runs"][0].update(steps=[], seconds=[], losses=[])


def _without_time(values: dict[str, Any]) -> None:
    values["entrants"][1]["runs"][0]["seconds"] = [0.0 for _ in values["entrants"][1]["runs"][0]["seconds"]]


@pytest.mark.parametrize("damage", [_without_a_sweep, _without_points, _without_time])
def test_a_file_from_which_no_figures_follow_is_one_sentence(
    damage: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    results = begin(seeds=3)
    Race(results, Made(falling({}))).run()
    values = to_json(results)
    damage(values)
    (tmp_path / "results.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputDataError, match="a damaged one"):
        load(tmp_path)


def test_a_name_that_no_entrant_has_gets_the_nearest_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'rotary'"):
        select("rotarry")
    with pytest.raises(UsageError, match="leaves the baseline alone; name one"):
        select("baseline")


def test_entrants_have_names_of_their_own_and_change_something() -> None:
    assert len({entrant.key for entrant in ENTRANTS}) == len(ENTRANTS)
    ways = [(e.parts, e.value_embeddings, e.muon, e.short_first) for e in ENTRANTS]
    assert all(way not in ways[:number] for number, way in enumerate(ways))


def test_short_windows_come_first_and_the_longest_last() -> None:
    windows = [window_of(step, 60, 128, short_first=True) for step in range(60)]
    assert windows == [32] * 20 + [64] * 20 + [128] * 20
    assert {window_of(step, 60, 128, short_first=False) for step in range(60)} == {128}
