"""Races that compute nothing: runs of which the test says how they learn and how long a step takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gpt2x.bench.machine import Machine
from gpt2x.bench.race.curve import Curve, Point, Trial
from gpt2x.bench.race.entrants import Entrant, select
from gpt2x.bench.race.results import Results, start
from gpt2x.bench.race.setting import Setting

LAPTOP = Machine(cpu="a CPU", cores=2, versions={"torch": "2"})
SETTING = Setting(steps=100, seed=10)


@dataclass
class Made:
    """Makes runs: `loss` and `step_s` by entrant, seed, rate, steps of the whole run, and step.

    `order` has each slice as (entrant, seed, steps at its end); `interrupt` raises Ctrl-C at one of them.
    """

    loss: Callable[..., float]
    step_s: Callable[[str], float] = lambda key: 0.01
    order: list[tuple[str, int, int]] = field(default_factory=list)
    interrupt: Callable[[str, int, int], bool] = lambda key, seed, to: False

    def __call__(self, entrant: Entrant, *, seed: int, lr: float, steps: int) -> FakeRun:
        return FakeRun(self, entrant.key, seed, lr, steps)


@dataclass
class FakeRun:
    made: Made
    key: str
    seed: int
    lr: float
    steps: int
    num_steps: int = 0
    seconds: float = 0.0
    eval_s: float = 0.5
    parameters: int = 1000
    curve: Curve = field(default_factory=Curve)

    def advance(self, to: int, goal: float | None = None) -> None:
        self.made.order.append((self.key, self.seed, to))
        if self.made.interrupt(self.key, self.seed, to):
            raise KeyboardInterrupt
        while self.num_steps < to:
            self.num_steps += 1
            self.seconds += self.made.step_s(self.key)
            if self.num_steps % 5 == 0 or self.num_steps == self.steps:
                loss = self.made.loss(self.key, self.seed, self.lr, self.steps, self.num_steps)
                self.curve.points.append(Point(step=self.num_steps, seconds=self.seconds, loss=loss))
                if goal is not None and loss <= goal:
                    return


def falling(speed: dict[str, float], best_lr: float = 2e-3) -> Callable[..., float]:
    """A loss of 5 that falls by 1 in 100 steps, so many times as fast, and more slowly at other rates."""

    def loss(key: str, seed: int, lr: float, steps: int, step: int) -> float:
        slow = 1.0 if lr == best_lr else 0.8
        return 5 - speed.get(key, 1.0) * slow * step / 100

    return loss


def raced(
    runs: dict[str, list[list[tuple[int, float, float]]]], *, setting: Setting = SETTING, **more: Any
) -> Results:
    """A result whose runs are told: for each entrant and seed the (step, seconds, loss) of each measurement."""
    num_seeds = len(next(iter(runs.values())))
    machine = replace(LAPTOP)
    results = start(setting, machine, select(",".join(runs)), num_seeds, **more)
    for entry in results.entries:
        curves = [
            Curve(points=[Point(step=s, seconds=t, loss=x) for s, t, x in run])
            for run in runs[entry.entrant.key]
        ]
        entry.parameters = 1_300_000
        entry.runs = dict(zip(results.seeds, curves, strict=True))
        entry.trials = [Trial(lr=lr, curve=curves[0]) for lr in setting.rates]
        results.others = [0.0] * num_seeds
    results.complete = True
    return results
