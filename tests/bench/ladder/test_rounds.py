"""The rounds over a ladder: what is measured again, what is repeated, and that equal rungs are not told apart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpt2x.bench.bootstrap import FASTER, UNCLEAR
from gpt2x.bench.ladder import aa
from gpt2x.bench.ladder.climb import Climb
from gpt2x.bench.ladder.config import Setting, StepConfig
from gpt2x.bench.ladder.effort import Effort
from gpt2x.bench.ladder.report import text as report
from gpt2x.bench.ladder.results import Results
from gpt2x.bench.ladder.rungs import select
from gpt2x.bench.machine import Machine
from tests.bench.fakes import Bench, FakeRunner

Run = Callable[..., Results]


@dataclass
class Machinery(Bench):
    """Steps that take their time on a clock that nobody waits for, on a machine that drifts and jitters."""

    true_ms: Callable[[StepConfig], float] = lambda config: 100.0
    noise: Callable[[StepConfig], float] = lambda config: 0.01
    drift: float = 0.0
    """How much slower the machine is after a minute, as a share."""
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    now: float = 0.0

    def __post_init__(self) -> None:
        self.step_ms = self._step_ms

    def _step_ms(self, config: StepConfig) -> float:
        slower = (1.0 + self.drift * self.now / 60.0) * self.chance.lognormvariate(0.0, self.noise(config))
        ms = self.true_ms(config) * slower
        self.now += 4 * ms / 1000
        return ms

    def climb(self, keys: str, setting: Setting, machine: Machine, **effort: Any) -> Results:
        results = Results(setting=setting, machine=machine)
        options: dict[str, Any] = {"steps": 2, "budget_s": 240.0, "sharpens": True, **effort}
        Climb(
            select(keys),
            results,
            self.launch,
            effort=Effort(**options),
            clock=lambda: self.now,
            keep_all=True,
        ).run()
        return results


def test_the_time_that_is_left_goes_to_the_pair_with_the_widest_interval(
    laptop: Machine, tiny_setting: Setting
) -> None:
    machinery = Machinery(noise=lambda config: 0.08 if config.padded_vocab_size else 0.002)
    results = machinery.climb("flash,vocab", tiny_setting, laptop)
    start, flash, vocab = results.measured
    assert len(start.rounds) == 7, "round 1 and six over all"
    assert len(vocab.rounds) > 20
    assert flash.rounds == vocab.rounds, "both of a pair are measured"
    assert results.before_ratio(vocab).rounds == len(vocab.rounds) - 1


def test_pairs_are_measured_there_and_back(laptop: Machine, tiny_setting: Setting) -> None:
    machinery = Machinery(noise=lambda config: 0.08)
    machinery.climb("vocab", tiny_setting, laptop, rounds=10)
    names = "".join("B" if config.padded_vocab_size else "A" for config in machinery.order)
    assert names == "AB" + "ABBA" * 5, "round 1, then rounds 2 to 11"


def test_certain_enough_is_enough(laptop: Machine, tiny_setting: Setting) -> None:
    results = Machinery(noise=lambda config: 0.001).climb("flash,vocab", tiny_setting, laptop)
    assert {len(row.rounds) for row in results.measured} == {6}, "round 1 and the least number in turn"


def test_the_budget_ends_it_where_nothing_is_certain(laptop: Machine, tiny_setting: Setting) -> None:
    results = Machinery(noise=lambda config: 0.5).climb("flash,vocab", tiny_setting, laptop, budget_s=30.0)
    assert 20.0 < results.duration_s < 32.0


def test_a_machine_that_slows_down_by_a_third_is_in_no_ratio(laptop: Machine, tiny_setting: Setting) -> None:
    machinery = Machinery(
        true_ms=lambda config: 50.0 if config.padded_vocab_size else 100.0,
        noise=lambda config: 0.003,
        drift=0.3,
    )
    results = machinery.climb("flash,vocab", tiny_setting, laptop)
    vocab = results.measured[-1]
    ratio = results.before_ratio(vocab)
    assert ratio.verdict == FASTER
    assert ratio.median == pytest.approx(2.0, rel=0.01)
    assert results.before_ratio(results.measured[1]).median == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_of_forty_ladders_of_equal_rungs_few_call_one_different(
    drift: float, laptop: Machine, tiny_setting: Setting
) -> None:
    """A/A: every rung takes as long as the start; each ladder compares three of them."""
    verdicts: Counter[str] = Counter()
    for seed in range(40):
        machinery = Machinery(noise=lambda config: 0.03, drift=drift, chance=random.Random(seed))
        results = machinery.climb("flash,vocab,memory", tiny_setting, laptop, budget_s=60.0)
        verdicts.update(results.before_ratio(row).verdict for row in results.measured[1:])
    assert verdicts.total() == 120
    assert verdicts[UNCLEAR] >= 0.95 * verdicts.total()


def test_a_ladder_of_equal_rungs_says_how_many_were_called_different(
    laptop: Machine, tiny_setting: Setting
) -> None:
    results = Results(setting=tiny_setting, machine=laptop)
    launched: list[StepConfig] = []

    def launch(config: StepConfig) -> FakeRunner:
        launched.append(config)
        step_ms = 150.0 if len(launched) == 3 else 100.0
        return Bench(step_ms=lambda config: step_ms).launch(config)

    rungs = aa.equal_rungs(3)
    Climb(rungs, results, launch, effort=Effort(steps=2, rounds=6), clock=lambda: 0.0, ladder=rungs,
          keep_all=True).run()  # fmt: skip
    assert len(set(map(str, launched))) == 1
    assert aa.sentence(results) == (
        "A/A: 2 of 3 comparisons of equal rungs were called different (equal 2, equal 3), "
        "more than the 5% that may be; the farthest ratio is 1.500 ×"
    )
    assert report.sentence(results).startswith("A/A: 2 of 3")


def busy(monkeypatch: pytest.MonkeyPatch, is_busy: Callable[[int], bool]) -> list[int]:
    """Other programs take half of the cores in those measurements, by number; returns all numbers."""
    calls: list[int] = []
    measure = FakeRunner.measure

    def disturbed(runner: FakeRunner, steps: int, warm_steps: int) -> dict[str, Any]:
        calls.append(len(calls))
        measured = measure(runner, steps, warm_steps)
        wall_s = measured["wall_s"]
        return {
            **measured,
            "machine_cpu_s": (2.0 if is_busy(calls[-1]) else 1.0) * wall_s,
            "own_cpu_s": wall_s,
        }

    monkeypatch.setattr(FakeRunner, "measure", disturbed)
    return calls


def test_a_turn_that_others_disturbed_is_made_again(climb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = busy(monkeypatch, lambda number: number == 1)
    results = climb(Bench(), select("flash"), effort=Effort(steps=2, rounds=2))
    flash = results.measured[1]
    assert len(calls) == 5
    assert (flash.repeats, flash.others, len(flash.samples_ms)) == (1, [0.0, 0.0], 2)


def test_on_a_machine_that_is_always_busy_it_is_made_again_twice_at_most(
    climb: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = busy(monkeypatch, lambda number: True)
    results = climb(Bench(), select("0"), effort=Effort(steps=2, rounds=3))
    assert len(calls) == 9
    assert results.measured[0].others == [0.5] * 3


def test_repeats_take_a_tenth_of_the_budget_at_most(
    laptop: Machine, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(monkeypatch, lambda number: True)
    results = Machinery().climb("flash", tiny_setting, laptop, budget_s=20.0, rounds=9, sharpens=False)
    assert 4 <= sum(row.repeats for row in results.measured) <= 7, "of 0.4 s each, up to 2 s"


def test_where_memory_is_short_that_one_is_ended_whose_turn_is_farthest_away(
    laptop: Machine, tiny_setting: Setting
) -> None:
    """There and back: the one that was just measured at the turn is still there for its next, so fewer start again."""
    bench = Bench(free_bytes=0)
    results = Results(setting=tiny_setting, machine=laptop)
    Climb(select("1-3"), results, bench.launch, effort=Effort(steps=2, rounds=3), clock=lambda: 0.0).run()
    assert len(bench.launched) == 3 + 3 + 2, "on the way back the third is there already"
