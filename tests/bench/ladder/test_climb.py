"""Climbing: what stands on what, what is measured when, and what is left after trouble."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from gpt2x.bench.ladder.climb import Climb, Listener
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.report import text
from gpt2x.bench.ladder.results import Results, Row
from gpt2x.bench.ladder.rungs import RUNGS, select
from gpt2x.bench.machine import Machine
from gpt2x.bench.process import Missing, OutOfMemory, WorkerFailed
from gpt2x.bench.records import to_json
from gpt2x.bench.step.compare import ladder_peers
from tests.bench.fakes import Bench, FakeRunner

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
    assert order == ["naive1", "flash1", "naive2", "flash2", "flash3", "naive3"], (
        "every second round goes back"
    )
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


def test_without_room_for_waiting_processes_they_are_ended_and_started_again_for_their_turn(
    climb: Run,
) -> None:
    bench = Bench(free_bytes=0)
    waiting: list[int] = []
    bench.broken = lambda config: waiting.append(len(bench.launched) - bench.closed)  # type: ignore[assignment]
    results = climb(bench, select("1-3"), effort=Effort(steps=2, rounds=3))
    assert results.interleaved
    assert [len(row.samples_ms) for row in results.measured] == [3, 3, 3]
    assert bench.closed == len(bench.launched) > 3
    assert set(waiting) == {1}, "only the one that is being built is there"


def test_with_room_every_process_is_started_once(climb: Run) -> None:
    bench = Bench()
    climb(bench, select("1-3"), effort=Effort(steps=2, rounds=3))
    assert bench.closed == len(bench.launched) == 3


# ----------------------------------------------------------------------------------------------------------------
# What pays


def test_a_rung_for_speed_that_is_slower_does_not_pay_and_is_not_built_upon(climb: Run) -> None:
    bench = Bench(step_ms=lambda c: 110.0 if c.attention == "flash" else 100.0)
    results = climb(bench)
    flash = row(results, "flash")
    assert flash.counts
    assert not flash.pays
    assert not flash.carries
    assert {"naive"} == {
        c.attention for c in bench.launched[bench.launched.index(_config(bench, flash)) + 1 :]
    }
    assert results.before(row(results, "vocab")) is row(results, "compile")
    assert flash.decided_ms == {"with": [110.0] * 24, "without": [100.0] * 24}


def _config(bench: Bench, row: Row) -> StepConfig:
    return next(config for config in bench.launched if config == StepConfig(**row.config))


def test_both_are_measured_again_in_turn_before_a_rung_is_passed_over(climb: Run) -> None:
    """Round 1 disturbed the rung; measured again beside the one below it is as fast, so it stays."""
    rounds: dict[str, int] = {}

    def step_ms(config: StepConfig) -> float:
        rounds[config.attention] = rounds.get(config.attention, 0) + 1
        return 500.0 if config.attention == "flash" and rounds["flash"] <= 2 else 100.0  # prepare and round 1

    bench = Bench(step_ms=step_ms)
    results = climb(bench, select("flash"), effort=Effort(steps=2, rounds=1))
    assert [config.attention for config in bench.order] == [
        "naive",
        "flash",
        "naive",
        "flash",
    ], "once is enough, since it is not slower"
    assert row(results, "flash").pays
    assert row(results, "flash").decided_ms["with"] == [100.0] * 2
    assert row(results, "flash").samples_ms == [[500.0] * 2], "what decided is no round"


def test_a_little_slower_is_not_worth_a_second_look(climb: Run) -> None:
    bench = Bench(step_ms=lambda c: 104.0 if c.attention == "flash" else 100.0)
    results = climb(bench, select("flash"))
    assert row(results, "flash").pays
    assert not row(results, "flash").decided_ms


def test_keep_all_builds_on_every_sound_rung(climb: Run) -> None:
    bench = Bench(step_ms=lambda c: 900.0 if c.attention == "flash" else 100.0)
    results = climb(bench, keep_all=True)
    assert row(results, "flash").carries
    assert StepConfig(**row(results, "clip").config).attention == "flash"


def test_a_rung_that_changes_the_result_is_there_for_more_than_speed(climb: Run) -> None:
    results = climb(Bench(step_ms=lambda c: 900.0 if c.grad_clip else 100.0), select("clip"))
    assert row(results, "clip").carries


def test_more_tokens_in_a_longer_step_are_no_slower_step(climb: Run) -> None:
    """DDP: half the micro-batches on each of two ranks, as many tokens; slower for the same tokens does not pay."""
    slow = climb(Bench(step_ms=lambda c: 300.0 if c.world_size > 1 else 100.0 * c.micro_batches))
    assert row(slow, "ddp").pays
    slower = climb(Bench(step_ms=lambda c: 500.0 if c.world_size > 1 else 100.0 * c.micro_batches))
    assert not row(slower, "ddp").pays


# ----------------------------------------------------------------------------------------------------------------
# Each rung left out, and peers


def test_each_rung_is_left_out_of_the_top_alone_and_all_others_stay(climb: Run) -> None:
    bench = Bench(step_ms=lambda c: 40.0 * (1 if c.compile else 2) * (1 if c.grad_clip else 3))
    results = climb(bench, select("bf16,compile,clip"), leave_one_out=True)
    top = StepConfig(**row(results, "clip").config)
    assert [left_out.key for left_out in results.left_out] == ["bf16", "compile", "clip"]
    assert [StepConfig(**left_out.config) for left_out in results.left_out] == [
        dataclasses.replace(top, autocast=None),
        dataclasses.replace(top, compile=False),
        dataclasses.replace(top, grad_clip=None),
    ]
    assert [results.worth(left_out) for left_out in results.left_out] == [1.0, 2.0, 3.0]
    assert all(left_out.counts for left_out in results.left_out)


def test_what_is_left_out_is_measured_in_turn_with_the_top(climb: Run) -> None:
    bench = Bench()
    climb(bench, select("bf16,compile"), leave_one_out=True, effort=Effort(steps=2, rounds=1))
    kinds = [(bool(config.autocast), config.compile) for config in bench.order[3:]]
    assert kinds == [(False, True), (True, True), (True, False), (True, True)]


def test_a_top_that_cannot_be_without_a_rung_says_why(climb: Run) -> None:
    """The playground's DDP does not pay here, so bf16 weights apply; they cannot be without the fused layers."""
    results = climb(Bench(step_ms=lambda c: 900.0 if c.world_size > 1 else 100.0), leave_one_out=True)
    without = {left_out.key: left_out for left_out in results.left_out}
    assert without["fused-layers"].status == "skipped"
    assert "need the fused layers" in without["fused-layers"].reason
    assert without["bf16"].reason == "the rungs above do all that it did", "bf16 weights replace autocast"
    assert without["bf16-weights"].is_measured
    assert StepConfig(**without["bf16-weights"].config).autocast == "bfloat16"
    assert "ddp" not in without, "what does not carry the top cannot be left out of it"


def test_the_loss_of_a_top_without_a_rung_is_held_against_the_top(climb: Run) -> None:
    def losses(config: StepConfig) -> list[float]:
        return [4.1, 3.0 if config.compile or not config.padded_vocab_size else 3.5, 2.9][:2]

    results = climb(Bench(losses=losses), select("compile,vocab"), leave_one_out=True)
    without = {left_out.key: left_out.loss for left_out in results.left_out}
    assert without["vocab"] is not None
    assert without["vocab"].verdict == "matches"
    assert without["compile"] is not None
    assert (without["compile"].verdict, without["compile"].loss, without["compile"].before) == (
        "differs",
        3.5,
        3.0,
    )


def test_peers_learn_as_many_tokens_a_step_as_the_top(climb: Run) -> None:
    bench = Bench(step_ms=lambda c: 100.0 if c.network == "gpt2x" else 300.0)
    results = climb(bench, peers=ladder_peers(["nanogpt", "hf"]))
    assert [peer.key for peer in results.peers] == ["nanogpt", "hf"]
    assert results.top is not None
    assert {peer.tokens_per_step for peer in results.peers} == {results.top.tokens_per_step}
    nanogpt, hf = (StepConfig(**peer.config) for peer in results.peers)
    assert nanogpt.compile
    assert nanogpt.autocast == "bfloat16"
    assert nanogpt.optimizer == "fused"
    assert not any(
        getattr(nanogpt, name) for name in ("fused_loss", "fused_layers", "keep_memory", "bf16_weights")
    )
    assert hf.network == "transformers"
    assert results.ratio(results.top, results.peers[1]).median == pytest.approx(3.0)
    assert all(len(peer.samples_ms) == 2 and not peer.first_round_counts for peer in results.peers)
    assert all(peer.loss is not None and peer.loss.verdict == "matches" for peer in results.peers)


def test_beside_a_top_of_another_recipe_a_peers_loss_says_nothing(climb: Run) -> None:
    bench = Bench(losses=lambda c: [4.1, 9.0] if c.network == "gpt2x" else [4.1, 4.0])
    results = climb(bench, select("sharing"), peers=ladder_peers(["hf"]))
    loss = results.peers[0].loss
    assert loss is not None
    assert (loss.verdict, loss.reason) == ("changes", "a recipe that the ladder's top does not follow")


def test_a_peer_that_is_not_installed_is_skipped_with_the_reason(climb: Run) -> None:
    def broken(config: StepConfig) -> str | None:
        if config.network == "lightning":
            raise Missing("the peer lightning needs Lightning")
        return None

    results = climb(Bench(broken=broken), select("2"), peers=ladder_peers(["lightning"]))
    assert (results.peers[0].status, results.peers[0].reason) == (
        "skipped",
        "the peer lightning needs Lightning",
    )


@pytest.mark.parametrize("phase", ["left out", "peer"])
def test_ctrl_c_beside_the_ladder_keeps_the_ladder(
    phase: str, laptop: Machine, tiny_setting: Setting
) -> None:
    def interrupt(config: StepConfig, rounds: int) -> bool:
        is_left_out = config.compile and not config.autocast
        return config.network == "transformers" if phase == "peer" else is_left_out

    bench = Bench(interrupt=interrupt)
    results = Results(setting=tiny_setting, machine=laptop)
    peers = ladder_peers(["hf"])
    with pytest.raises(KeyboardInterrupt):
        Climb(
            select("bf16,compile"),
            results,
            bench.launch,
            effort=Effort(steps=2),
            leave_one_out=True,
            peers=peers,
        ).run()
    assert [row.key for row in results.measured] == ["start", "bf16", "compile"]
    assert len(results.left_out) == (2 if phase == "peer" else 0)
    assert not results.peers
    assert not results.complete
    assert bench.closed == len(bench.launched)


# ----------------------------------------------------------------------------------------------------------------
# Memory


def test_out_of_memory_halves_the_micro_batch_where_batches_are_added_up_anyway(climb: Run) -> None:
    def broken(config: StepConfig) -> str | None:
        if config.micro_batches > 1 and config.split == 1:
            raise OutOfMemory("out of memory")
        return None

    bench = Bench(broken=broken)
    results = climb(bench, select("bf16,accumulation"))
    accumulated = row(results, "accumulation")
    assert accumulated.carries
    assert accumulated.note == "each batch of 2 in 2 parts of 1, because memory is short"
    assert accumulated.tokens_per_step == 4 * row(results, "bf16").tokens_per_step
    assert StepConfig(**accumulated.config).split == 2


def test_out_of_memory_ends_the_processes_that_wait_before_anything_is_given_up(climb: Run) -> None:
    tries: list[StepConfig] = []

    def broken(config: StepConfig) -> str | None:
        tries.append(config)
        if config.autocast and len(tries) == 2:
            raise OutOfMemory("out of memory")
        return None

    results = climb(Bench(broken=broken), select("bf16"))
    assert row(results, "bf16").carries
    assert row(results, "bf16").note == ""
    assert row(results, "start").carries


def test_out_of_memory_without_accumulation_fails_with_the_arithmetic(climb: Run) -> None:
    def broken(config: StepConfig) -> str | None:
        if config.autocast:
            raise OutOfMemory("out of memory")
        return None

    bf16 = row(climb(Bench(broken=broken), select("bf16,flash")), "bf16")
    assert bf16.status == "failed"
    assert bf16.reason.startswith(
        "out of memory: a naive step of tiny with batch × seq = 2 × 8 needs about 0.3 GB of 16.0"
    )


# ----------------------------------------------------------------------------------------------------------------
# What is noted beside the times


def test_the_energy_of_a_step_is_kept_where_the_machine_tells(climb: Run) -> None:
    assert row(climb(Bench(energy_j=2.5), select("0")), "start").energy_j == [2.5, 2.5]
    assert row(climb(Bench(), select("0")), "start").energy_j == []


def test_the_harness_s_own_time_is_in_no_figure(climb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 steps of 100 ms in 0.4 s: a quarter of the round was the harness's, and the step still takes 100 ms."""
    measure = FakeRunner.measure
    monkeypatch.setattr(FakeRunner, "measure", lambda self, *args: {**measure(self, *args), "wall_s": 0.4})
    start = row(climb(Bench(), select("0"), effort=Effort(steps=3, rounds=1)), "start")
    assert start.between == [0.25]
    assert start.step.median == 100.0


def test_rounds_are_as_short_as_the_budget_asks() -> None:
    assert Effort.within(240.0, 20).round_s == 0.4
    assert Effort.within(80.0, 20).round_s == 0.25
    assert Effort.within(1.0, 20).round_s == 0.1


def climb_by_the_clock(laptop: Machine, setting: Setting, *, round_s: float, budget_s: float) -> Row:
    """Two rungs, each of which takes so many seconds for a round; the second one's row."""
    now = [0.0]

    def goes_on(config: StepConfig, rounds: int) -> bool:
        now[0] += round_s
        return False

    results = Results(setting=setting, machine=laptop)
    effort = Effort(steps=3, rounds=50, budget_s=budget_s)
    bench = Bench(interrupt=goes_on)
    Climb(select("flash"), results, bench.launch, effort=effort, clock=lambda: now[0]).run()
    assert results.duration_s == 2 * round_s * len(row(results, "flash").samples_ms)
    return row(results, "flash")


def test_no_round_is_started_that_would_end_after_the_budget(laptop: Machine, tiny_setting: Setting) -> None:
    flash = climb_by_the_clock(laptop, tiny_setting, round_s=50.0, budget_s=350.0)
    assert len(flash.samples_ms) == 4  # they began at 0, 100, 200 and 300 seconds


def test_one_round_in_turn_is_made_whatever_the_budget(laptop: Machine, tiny_setting: Setting) -> None:
    flash = climb_by_the_clock(laptop, tiny_setting, round_s=60.0, budget_s=100.0)
    assert len(flash.samples_ms) == 2
    assert not flash.first_round_counts


@pytest.mark.parametrize(
    ("step_ms", "steps"), [(0.001, 50), (100.0, 4), (900.0, 2), (1400.0, 1), (90_000.0, 1)]
)
def test_a_round_has_as_many_steps_as_fit_and_at_least_two_of_less_than_a_second(
    step_ms: float, steps: int
) -> None:
    assert Effort().steps_in_round(step_ms) == steps


@pytest.mark.parametrize(
    ("step_ms", "steps"), [(0.001, 50), (100.0, 6), (400.0, 2), (900.0, 2), (1400.0, 1), (90_000.0, 1)]
)
def test_a_step_is_warm_again_before_it_is_timed(step_ms: float, steps: int) -> None:
    assert Effort().warm_steps(step_ms) == steps


def test_a_rung_is_warmed_up_for_every_round_but_its_first(climb: Run) -> None:
    bench = Bench(step_ms=lambda config: 100.0)
    climb(bench, select("flash"), effort=Effort(steps=3, rounds=3))
    assert bench.warm_steps == [0, 0, 6, 6, 6, 6]


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


def dying(has: Callable[[StepConfig], object], in_round: int) -> Bench:
    """The process of a step with that property fails in its n-th round."""

    def dies(config: StepConfig, rounds: int) -> bool:
        if rounds == in_round and has(config):
            raise WorkerFailed("killed")
        return False

    return Bench(interrupt=dies)


def test_a_process_that_dies_in_a_later_round_leaves_its_earlier_figures_and_the_others_theirs(
    climb: Run,
) -> None:
    bench = dying(lambda config: config.attention == "flash" and not config.padded_vocab_size, 2)
    results = climb(bench, select("flash,vocab"), effort=Effort(steps=2, rounds=4))
    start, flash, vocab = results.measured
    assert flash.counts
    assert flash.note == "failed in round 2, so that its figures are those before: killed"
    assert (flash.rounds, flash.first_round_counts) == ([1], True)
    for other in (start, vocab):
        assert (other.rounds, other.first_round_counts) == ([1, 2, 3, 4], False)
    assert results.interleaved
    assert "not in turn" not in text.text(results)


def test_a_top_that_dies_before_a_round_in_turn_and_was_measured_beside_peers_keeps_its_figures(
    climb: Run,
) -> None:
    top = dying(lambda config: config.padded_vocab_size and config.network == "gpt2x", 3)
    results = climb(top, select("vocab"), effort=Effort(steps=2, rounds=4), peers=ladder_peers(["hf"]))
    vocab = row(results, "vocab")
    assert (vocab.rounds, vocab.first_round_counts) == ([1, 1], True)
    assert vocab.step.median == 100.0
    json.dumps(to_json(results))
    assert "transformers" in text.text(results)


def test_a_ladder_of_which_nothing_is_left_keeps_the_first_round(climb: Run) -> None:
    results = climb(dying(lambda config: True, 2), select("flash"))
    assert [r.step.median for r in results.measured] == [100.0, 100.0]
    assert not results.interleaved


def test_a_process_that_dies_while_its_gain_is_confirmed_is_ended_and_started_again(climb: Run) -> None:
    bench = dying(lambda config: config.attention == "flash", 2)
    bench.step_ms = lambda config: 200.0 if config.attention == "flash" else 100.0
    results = climb(bench, select("flash"), effort=Effort(steps=2, rounds=3))
    flash = row(results, "flash")
    assert not flash.pays
    assert sum(config.attention == "flash" for config in bench.launched) == 2


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
    setting = dataclasses.replace(tiny_setting, device="cuda")
    results = climb(Bench(), machine=workstation, setting=setting)
    assert results.mfu(row(results, "start")) is None
    assert results.mfu(row(results, "gpu")) == pytest.approx(2 * 8 / 0.1 * 1e6 / 4e11)
    # Two GPUs have twice the peak.
    assert results.peak_flops(row(results, "ddp")) == 8e11
