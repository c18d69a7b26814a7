"""What a race leaves behind: every measurement of every run, from which table, chart and verdicts can be redrawn.

The shape is documented in docs/reference/bench.md; it only grows. The unit of comparison is the seed, which is a round:
all entrants made their runs with that seed within the same minutes, slice by slice in turn. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.bench.bootstrap import FASTER, LEAST_ROUNDS, ONE, Ratio, paired
from gpt2x.bench.folder import RESULTS, format_of
from gpt2x.bench.machine import Machine
from gpt2x.bench.race.curve import Curve, Point, Trial, best_trial, horizon_of
from gpt2x.bench.race.entrants import BASELINE, Entrant, named
from gpt2x.bench.race.setting import Setting
from gpt2x.bench.records import FORMAT as ANY
from gpt2x.bench.records import head
from gpt2x.errors import InputDataError
from gpt2x.paths import read_text

FORMAT = f"{ANY}-race"
SCHEMA = 1


@dataclass(kw_only=True)
class Entry:
    """One entrant in a result: the runs of its sweep, and one run for each seed."""

    entrant: Entrant
    parameters: int = 0
    trials: list[Trial] = field(default_factory=list)
    runs: dict[int, Curve] = field(default_factory=dict)
    """By seed; each is whole."""
    eval_s: float = 0.0
    """What measuring the losses of these runs took; in no other figure."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What follows for one entrant from the rounds so far."""

    num_reached: int
    """Seeds with which it came to the target."""
    num_seeds: int
    steps: float = 0.0
    """The median step at which it did; 0 unless all seeds did."""
    seconds: float = 0.0
    steps_ratio: Ratio = ONE
    """The baseline's steps ÷ its own: how many times as fast, seed by seed."""
    seconds_ratio: Ratio = ONE

    @property
    def reaches(self) -> bool:
        """True when every seed came to the target."""
        return self.num_seeds > 0 and self.num_reached == self.num_seeds

    @property
    def counts(self) -> bool:
        """True when every seed came to the target, in less time than the baseline beyond doubt."""
        return self.reaches and self.seconds_ratio.verdict == FASTER


@dataclass(kw_only=True)
class Results:
    """All entries, with what is needed to judge them, to repeat them, or to go on."""

    setting: Setting
    machine: Machine
    entries: list[Entry]
    num_seeds: int
    """Rounds that were asked for."""
    text: str = ""
    """What was learned: the text and the vocabulary."""
    text_digest: str = ""
    """Of its tokens, so that only the same race is gone on with."""
    data: str = ""
    """The file it came from; empty for the packaged songs."""
    step: str = ""
    """How a step was computed."""
    threads: int = 0
    others: list[float] = field(default_factory=list)
    """The share of the cores that other programs used, round by round."""
    command: list[str] = field(default_factory=list)
    created: str = ""
    """When it ended, ISO 8601 in UTC."""
    duration_s: float = 0.0
    complete: bool = False

    @property
    def baseline(self) -> Entry:
        """The entry that the others are held against."""
        return self.entries[0]

    @property
    def goal(self) -> float | None:
        """The loss of the sweep: the lowest final loss of the baseline's trials; None before they are done."""
        trials = self.baseline.trials
        return None if len(trials) < len(self.setting.rates) else best_trial(trials, None).curve.final_loss

    def best(self, entry: Entry) -> Trial:
        """The trial whose learning rate an entrant races with."""
        return best_trial(entry.trials, None if entry is self.baseline else self.goal)

    def horizon(self, entry: Entry) -> int:
        """How many steps an entrant's runs have; their schedule is laid out for those of the baseline."""
        goal = None if entry is self.baseline else self.goal
        return horizon_of(self.best(entry), goal, self.setting.steps, self.setting.eval_every)

    @property
    def seeds(self) -> list[int]:
        """The seeds of the race, as many as were asked for."""
        first = self.setting.seed + 1
        return list(range(first, first + self.num_seeds))

    @property
    def rounds(self) -> list[int]:
        """The seeds with which every entrant's run is done."""
        return [seed for seed in self.seeds if all(seed in entry.runs for entry in self.entries)]

    @property
    def target(self) -> float | None:
        """The tuned baseline's final loss: that of its worst seed, so that each of its runs came to it."""
        return max((self.baseline.runs[seed].final_loss for seed in self.rounds), default=None)

    def points(self, entry: Entry) -> list[Point | None]:
        """Where each of an entrant's runs first came to the target, round by round."""
        target = self.target
        return [] if target is None else [entry.runs[seed].reached(target) for seed in self.rounds]

    def figures(self, entry: Entry) -> Figures:
        """What the rounds say of an entrant."""
        found = self.points(entry)
        points = [point for point in found if point is not None]
        if not found or len(points) < len(found):
            return Figures(num_reached=len(points), num_seeds=len(found))
        base = [point for point in self.points(self.baseline) if point is not None]
        return Figures(
            num_reached=len(points),
            num_seeds=len(found),
            steps=statistics.median(point.step for point in points),
            seconds=statistics.median(point.seconds for point in points),
            steps_ratio=_times_as_fast([b.step / p.step for b, p in zip(base, points, strict=True)]),
            seconds_ratio=_times_as_fast([b.seconds / p.seconds for b, p in zip(base, points, strict=True)]),
        )

    def final_loss(self, entry: Entry) -> float:
        """The median final loss of its runs."""
        return statistics.median(entry.runs[seed].final_loss for seed in self.rounds)

    def step_ms(self, entry: Entry) -> float:
        """The median time of a step of its runs, in milliseconds."""
        runs = [entry.runs[seed] for seed in self.rounds]
        return 1000 * statistics.median(run.points[-1].seconds / run.steps for run in runs)

    @property
    def ranking(self) -> list[Entry]:
        """Those that come to the target with every seed, the fastest first; then the others."""
        found = {entry.entrant.key: self.figures(entry) for entry in self.entries}

        def place(entry: Entry) -> tuple[bool, float]:
            figures = found[entry.entrant.key]
            return not figures.reaches, -figures.seconds_ratio.median

        return sorted(self.entries, key=place)

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON shape."""
        return {
            **head(self, FORMAT, SCHEMA),
            "text": self.text,
            "text_digest": self.text_digest,
            "data": self.data,
            "num_seeds": self.num_seeds,
            "step": self.step,
            "threads": self.threads,
            "others": self.others,
            "goal": self.goal,
            "target": self.target,
            "setting": self.setting.as_dict(),
            "machine": self.machine.as_dict(),
            "entrants": [self._entry_as_dict(entry) for entry in self.entries],
        }

    def _entry_as_dict(self, entry: Entry) -> dict[str, Any]:
        entrant = entry.entrant
        is_swept = len(entry.trials) == len(self.setting.rates) and self.goal is not None
        figures = dataclasses.asdict(self.figures(entry)) if self.rounds else None
        return {
            "key": entrant.key,
            "title": entrant.title,
            "change": entrant.change,
            "parameters": entry.parameters,
            "lr": self.best(entry).lr if is_swept else None,
            "horizon": self.horizon(entry) if is_swept else None,
            "sweep": [{"lr": trial.lr, **trial.curve.as_dict()} for trial in entry.trials],
            "runs": [{"seed": seed, **curve.as_dict()} for seed, curve in entry.runs.items()],
            "eval_s": round(entry.eval_s, 3),
            "figures": figures and {**figures, "counts": self.figures(entry).counts},
        }


def _times_as_fast(ratios: list[float]) -> Ratio:
    """With an interval where there are rounds enough for one."""
    return paired(ratios) if len(ratios) >= LEAST_ROUNDS else Ratio(median=statistics.median(ratios))


def start(
    setting: Setting, machine: Machine, entrants: list[Entrant], num_seeds: int, **more: Any
) -> Results:
    """A race in which nothing has been run yet."""
    assert entrants[0] is BASELINE
    entries = [Entry(entrant=entrant) for entrant in entrants]
    return Results(setting=setting, machine=machine, entries=entries, num_seeds=num_seeds, **more)


def is_race(path: Path) -> bool:
    """Whether a results.json, or the one in a folder, says that it is a race's."""
    return format_of(path / RESULTS if path.is_dir() else path) == FORMAT


def load(path: Path) -> Results:
    """Read a results.json, or the one in a folder.

    Raises:
        InputDataError: it is missing, or no result of a race.

    """
    file = path / RESULTS if path.is_dir() else path
    text = read_text(file)
    try:
        values = json.loads(text)
        if values["format"] != FORMAT or values["schema"] != SCHEMA:
            raise ValueError("format")
        results = _from_dict(values)
        _derive(results)
        return results
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InputDataError(
            f"{file} is no result of `gpt2x bench race`, or a damaged one ({type(error).__name__}); give another"
        ) from error


def _derive(results: Results) -> None:
    """Derive every figure, so that nobody stumbles over a damaged one later."""
    results.as_dict()
    if results.rounds:
        for entry in results.entries:
            results.final_loss(entry), results.step_ms(entry)


def _from_dict(values: dict[str, Any]) -> Results:
    entries = [_entry_from_dict(entry) for entry in values["entrants"]]
    if not entries or entries[0].entrant is not BASELINE:
        raise ValueError("entrants")
    setting = Setting.from_dict(values["setting"])
    if any(entry.runs and len(entry.trials) < len(setting.rates) for entry in entries):
        raise ValueError("sweep")
    return Results(
        setting=setting,
        machine=Machine.from_dict(values["machine"]),
        entries=entries,
        num_seeds=int(values["num_seeds"]),
        others=[float(share) for share in values["others"]],
        threads=int(values["threads"]),
        duration_s=float(values["duration_s"]),
        complete=bool(values["complete"]),
        command=[str(word) for word in values["command"]],
        **{name: str(values[name]) for name in ("text", "text_digest", "data", "step", "created")},
    )


def _entry_from_dict(values: dict[str, Any]) -> Entry:
    return Entry(
        entrant=named(values["key"]),
        parameters=int(values["parameters"]),
        trials=[Trial(lr=float(trial["lr"]), curve=Curve.from_dict(trial)) for trial in values["sweep"]],
        runs={int(run["seed"]): Curve.from_dict(run) for run in values["runs"]},
        eval_s=float(values["eval_s"]),
    )
