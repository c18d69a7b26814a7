"""How a race is run: the sweep of each entrant, then round after round, all entrants in turn. Loads no torch.

One round is one seed. Each run of it is cut into the same number of slices (25 steps of the baseline, fewer of an
entrant whose runs are shorter), and the slices of all entrants are made in turn, so that a machine that slows down
slows all of them, from the first slice to the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from gpt2x.bench import machine
from gpt2x.bench.contender import Contender
from gpt2x.bench.effort import Effort
from gpt2x.bench.interleave import Listener, interleave
from gpt2x.bench.race.curve import Curve, Trial
from gpt2x.bench.race.entrants import Entrant
from gpt2x.bench.race.results import Entry, Results


class Runner(Protocol):
    """As much of `run.Run` as a race needs."""

    curve: Curve
    num_steps: int
    seconds: float
    eval_s: float

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        ...

    def advance(self, to: int, goal: float | None = None) -> None:
        """Take steps until there are `to` of them, or a loss is at or below the goal."""
        ...


class MakeRun(Protocol):
    """Makes a run; see `run.Run`."""

    def __call__(self, entrant: Entrant, *, seed: int, lr: float, steps: int) -> Runner:
        """A run that has not begun."""
        ...


class RunContender(Contender):
    """The run of one entrant in a round."""

    def __init__(self, entry: Entry, runner: Runner, steps: int, num_slices: int) -> None:
        super().__init__(entry.entrant.key, entry.entrant.title)
        self.entry, self.runner, self.steps, self.num_slices = entry, runner, steps, num_slices

    def measure(self) -> float:
        """One slice; the seconds of its steps."""
        number, before = len(self.seconds) + 1, self.runner.seconds
        self.runner.advance(round(self.steps * number / self.num_slices))
        return self.runner.seconds - before

    def keep(self, measured: float) -> float:
        """The curve is kept by the run itself."""
        return measured


class Race:
    """Runs what a result still lacks.

    Args:
        results: what there is so far; all that is run is added to it.
        make_run: makes a run.
        save: called after each run of the sweep and each round.
        listener: hears what is being done.

    """

    def __init__(
        self,
        results: Results,
        make_run: MakeRun,
        *,
        save: Callable[[Results], None] = lambda results: None,
        listener: Listener | None = None,
    ) -> None:
        self.results, self.make_run, self.save = results, make_run, save
        self.listener = listener or Listener()

    def run(self) -> None:
        """The sweeps that are missing, then the rounds that are; what is interrupted in a round is run again."""
        for entry in self.results.entries:
            self._sweep(entry)
        for seed in self.results.seeds:
            if seed not in self.results.rounds:
                self._round(seed)
        self.results.complete = True
        self.save(self.results)

    def _sweep(self, entry: Entry) -> None:
        """Try each learning rate; a trial ends early once it, or an earlier one, has come to the goal by then."""
        for lr in self.results.setting.rates[len(entry.trials) :]:
            curve = self._trial(entry, lr)
            entry.trials.append(Trial(lr=lr, curve=curve))
            self.listener.stage(
                f"sweep: {entry.entrant.title}, rate {lr:g}: loss {curve.final_loss:.3f} after {curve.steps} steps"
            )
            self.save(self.results)

    def _trial(self, entry: Entry, lr: float) -> Curve:
        setting = self.results.setting
        goal = None if entry is self.results.baseline else self.results.goal
        limit = setting.steps
        if entry.trials and goal is not None:
            best = self.results.best(entry).curve.reached(goal)
            limit = best.step if best else limit
        runner = self.make_run(entry.entrant, seed=setting.seed, lr=lr, steps=setting.steps)
        entry.parameters = runner.parameters
        runner.advance(limit, goal)
        entry.eval_s += runner.eval_s
        return runner.curve

    def _round(self, seed: int) -> None:
        """All entrants' runs with one seed, slice by slice in turn."""
        results, setting = self.results, self.results.setting
        number = seed - setting.seed
        self.listener.stage(f"round {number} of {results.num_seeds}, all in turn")
        contenders = []
        for entry in results.entries:
            steps = results.horizon(entry)
            runner = self.make_run(entry.entrant, seed=seed, lr=results.best(entry).lr, steps=setting.steps)
            contenders.append(RunContender(entry, runner, steps, setting.num_slices))
        busy = Busy()
        effort = Effort(rounds=setting.num_slices, min_rounds=setting.num_slices)
        interleave(contenders, effort, listener=self.listener, rotate=True)
        results.others.append(busy.share_of_others())
        for contender in contenders:
            contender.entry.runs[seed] = contender.runner.curve
            contender.entry.eval_s += contender.runner.eval_s
        self.save(results)


class Busy:
    """What other programs did on the cores since it was made."""

    def __init__(self) -> None:
        self.start, (self.all_s, self.own_s) = time.monotonic(), machine.cpu_seconds()

    def share_of_others(self) -> float:
        """The share of the cores that they used; 0 where the system does not tell."""
        all_s, own_s = machine.cpu_seconds()
        cores_s = (time.monotonic() - self.start) * machine.usable_cores()
        others_s = (all_s - self.all_s) - (own_s - self.own_s)
        return round(min(1.0, max(0.0, others_s / cores_s)), 3) if cores_s else 0.0
