"""Climbing: what stands on what, what is measured when, and what is left after trouble."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt2x.bench.climb import Climb, Effort, Listener
from gpt2x.bench.config import Setting, StepConfig
from gpt2x.bench.ladder import RUNGS, select
from gpt2x.bench.machine import Machine
from gpt2x.bench.results import Results, Row

from .fakes import Bench

Run = Callable[..., Results]


def row(results: Results, key: str) -> Row:
    return next(row for row in results.rows if row.key == key)


def test_every_rung_has_a_row_in_the_order_of_the_ladder(climb: Run) -> None:
    results = climb(Bench())
    assert [row.key for row in results.rows] == [rung.key for rung in RUNGS]
    assert [row.number for row in results.rows] == list(range(len(RUNGS)))


def test_a_rung_that_cannot_run_shows_the_reason_and_no_number(climb: Run) -> None:
    tf32 = row(climb(Bench()), "tf32")
    assert (tf32.status, tf32.reason) == (
        "skipped",
        "TF32 needs an NVIDIA GPU, Ampere or later",
    )
    assert not tf32.samples_ms


def test_the_ladder_goes_on_from_the_last_rung_that_ran(climb: Run) -> None:
    bench = Bench(broken=lambda config: "no such luck" if config.compile else None)
    results = climb(bench)
    assert (row(results, "compile").status, row(results, "compile").reason) == ("failed", "no such luck")
    assert all(not config.compile for config in bench.launched if config.attention == "flash")
    assert results.before(row(results, "flash")) is row(results, "bf16")


def test_speed_is_relative_to_the_rung_before_and_to_the_start(climb: Run) -> None:
    results = climb(Bench(step_ms=lambda c: 25.0 if c.compile else 50.0 if c.autocast else 100.0))
    compiled = row(results, "compile")
    assert (results.speedup_before(compiled), results.speedup_start(compiled)) == (2.0, 4.0)
    assert results.speedup_start(row(results, "start")) == 1.0


def test_speed_is_counted_in_tokens_so_longer_steps_of_more_tokens_are_no_loss(climb: Run) -> None:
    """Accumulation: four times the tokens in twice the time is twice as fast."""
    results = climb(Bench(step_ms=lambda c: 200.0 if c.micro_batches * c.world_size == 4 else 100.0))
    assert row(results, "accumulation").tokens_per_second == 4 * 2 * 8 / 0.2
    assert results.speedup_before(row(results, "accumulation")) == 2.0


def test_a_rung_that_breaks_the_loss_does_not_count_and_is_not_built_upon(climb: Run) -> None:
    bench = Bench(
        step_ms=lambda c: 1.0 if c.attention == "flash" else 100.0,
        losses=lambda c: [4.1, 9.0, 9.0, 9.0] if c.attention == "flash" else [4.1, 4.0, 3.9, 3.8],
    )
    results = climb(bench)
    flash = row(results, "flash")
    assert flash.is_measured
    assert not flash.counts
    assert flash.loss is not None
    assert flash.loss.verdict == "differs"
    above = bench.launched[[c.padded_vocab_size is not None for c in bench.launched].index(True)]
    assert above.attention == "naive"
    assert results.speedup_start(results.climbed[-1]) < 100


def test_rounds_go_over_all_rungs_in_turn(climb: Run) -> None:
    order: list[str] = []
    bench = Bench(interrupt=lambda config, rounds: bool(order.append(f"{config.attention}{rounds}")))
    results = climb(bench, select("flash"), effort=Effort(steps=2, rounds=3))
    assert order == ["naive1", "flash1", "naive2", "flash2", "naive3", "flash3"]
    assert results.interleaved
    assert [len(samples) for samples in row(results, "flash").samples_ms] == [2, 2, 2]


def test_once_there_is_a_round_in_turn_the_first_one_no_longer_counts(climb: Run) -> None:
    """The machine was busy while round 1 went over the later rungs; the rounds in turn show what is true."""
    rounds: dict[str, int] = {}

    def step_ms(config: StepConfig) -> float:
        rounds[config.attention] = rounds.get(config.attention, 0) + 1
        return 900.0 if config.attention == "flash" and rounds["flash"] <= 2 else 100.0  # prepare and round 1

    results = climb(Bench(step_ms=step_ms), select("flash"), effort=Effort(steps=2, rounds=3))
    flash = row(results, "flash")
    assert flash.samples_ms == [[900.0] * 2, [100.0] * 2, [100.0] * 2]
    assert flash.step.median == 100.0
    assert flash.step.count == 4
    assert flash.phase_ms("forward") == pytest.approx(100 / 3)


def test_without_a_second_round_the_first_one_counts(climb: Run) -> None:
    results = climb(Bench(), select("flash"), effort=Effort(steps=2, rounds=1))
    assert row(results, "flash").step.count == 2
    assert not results.interleaved


def test_without_room_for_waiting_processes_the_rounds_of_a_rung_follow_at_once(
    climb: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Climb, "_fits", lambda self, row, free: False)
    bench = Bench()
    results = climb(bench, select("flash"), effort=Effort(steps=2, rounds=3))
    assert not results.interleaved
    assert len(row(results, "flash").samples_ms) == 3
    assert bench.closed == 2


def test_no_round_is_started_that_would_end_after_the_budget(laptop: Machine, tiny_setting: Setting) -> None:
    seconds = iter(range(0, 10_000, 100))
    results = Results(setting=tiny_setting, machine=laptop)
    effort = Effort(steps=3, rounds=50, budget_s=350.0)
    Climb(select("flash"), results, Bench().launch, effort=effort, clock=lambda: float(next(seconds))).run()
    assert len(row(results, "flash").samples_ms) == 4  # at 0 s the start, then rounds at 100, 200 and 300 s


def test_one_round_in_turn_may_overdraw_the_budget(laptop: Machine, tiny_setting: Setting) -> None:
    seconds = iter([0.0, 140.0, 145.0, 145.0])
    results = Results(setting=tiny_setting, machine=laptop)
    effort = Effort(steps=3, rounds=50, budget_s=100.0)
    Climb(select("flash"), results, Bench().launch, effort=effort, clock=lambda: next(seconds)).run()
    assert len(row(results, "flash").samples_ms) == 2
    assert results.interleaved


@pytest.mark.parametrize(("step_ms", "steps"), [(0.001, 50), (100.0, 15), (1400.0, 2), (90_000.0, 2)])
def test_a_round_has_as_many_steps_as_fit_and_at_least_two(step_ms: float, steps: int) -> None:
    assert Effort().steps_in_round(step_ms) == steps


def test_ctrl_c_keeps_the_finished_rungs_and_ends_every_process(
    laptop: Machine, tiny_setting: Setting
) -> None:
    bench = Bench(interrupt=lambda config, rounds: config.attention == "flash")
    results = Results(setting=tiny_setting, machine=laptop)
    with pytest.raises(KeyboardInterrupt):
        Climb(RUNGS, results, bench.launch, effort=Effort(steps=2)).run()
    assert [row.key for row in results.measured] == ["start", "sharing", "init", "bf16", "compile"]
    assert not results.complete
    assert bench.closed == len(bench.launched)


def test_a_process_that_dies_in_a_later_round_leaves_its_earlier_figures(climb: Run) -> None:
    from gpt2x.bench.process import RungFailed

    def dies(config: object, rounds: int) -> bool:
        if rounds == 2 and getattr(config, "autocast", None):
            raise RungFailed("killed")
        return False

    results = climb(Bench(interrupt=dies), select("bf16"))
    assert row(results, "bf16").counts
    assert len(row(results, "bf16").samples_ms) == 1


def test_compile_time_is_kept_apart_from_step_time(climb: Run) -> None:
    results = climb(Bench())
    assert row(results, "compile").compile_s == pytest.approx(20.0)
    assert row(results, "bf16").compile_s == 0.0
    assert row(results, "compile").step.median == 100.0


def test_the_listener_hears_every_row_once(laptop: Machine, tiny_setting: Setting) -> None:
    heard = []

    class Ear(Listener):
        def row(self, results: Results, row: Row) -> None:
            heard.append(row.key)

    results = Results(setting=tiny_setting, machine=laptop)
    Climb(RUNGS, results, Bench().launch, effort=Effort(steps=1, rounds=2), listener=Ear()).run()
    assert heard == [rung.key for rung in RUNGS]


def test_what_other_programs_took_is_noted(climb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from .fakes import FakeRunner

    measure = FakeRunner.measure
    monkeypatch.setattr(
        FakeRunner,
        "measure",
        lambda self, *args: {**measure(self, *args), "own_cpu_s": 0.0, "machine_cpu_s": 0.3},
    )
    results = climb(Bench(), select("0"), effort=Effort(steps=3, rounds=1))
    assert row(results, "start").others == [0.5]  # 0.3 s of CPU time, on 2 cores in 0.3 s


def test_a_gpu_ladder_measures_its_start_on_the_cpu_without_a_share_of_the_gpus_peak(
    climb: Run, workstation: Machine, tiny_setting: Setting
) -> None:
    import dataclasses

    setting = dataclasses.replace(tiny_setting, device="cuda")
    results = climb(Bench(), machine=workstation, setting=setting)
    assert results.mfu(row(results, "start")) is None
    assert results.mfu(row(results, "gpu")) == pytest.approx(2 * 8 / 0.1 * 1e6 / 4e11)
    # Two GPUs have twice the peak.
    assert results.peak_flops(row(results, "ddp")) == 8e11
