"""`gpt2x bench race`: the time to the same loss, a second ladder beside that of the time a step takes."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from gpt2x.cli.bench_common import DATA, Text, look_at_machine, termination_as_interrupt
from gpt2x.cli.options import Device, Json, Out, Quiet, Seed, examples
from gpt2x.console import columns, emit, emit_json, progress, say
from gpt2x.errors import InputDataError, MissingComponentError, UsageError

if TYPE_CHECKING:
    from gpt2x.bench.race.data import Data
    from gpt2x.bench.race.results import Results

EPILOG = examples(
    "gpt2x bench race --quick",
    "gpt2x bench race",
    "gpt2x bench race --entrants rotary,muon,modern --seeds 8 --out race",
    "gpt2x bench race --resume race --seeds 12",
)
HELP = {
    "entrants": "Who races with the baseline: rotary, qk-norm, relu2, values, untied, short-first, muon, rotary-qk, "
    "rotary-qk-relu2, modern; by default all.",
    "seeds": "Rounds, each with a seed of its own; by default 5.",
    "steps": "Steps of the baseline, and the most that another gets; by default 200.",
    "quick": "A short race: 60 steps, 3 seeds, and of the entrants rotary, muon and modern.",
    "resume": "Go on with the race in this folder; --seeds may ask for more rounds.",
}
FIXED = ("entrants", "steps", "quick", "data", "device", "seed", "out")
"""Options that a race that is gone on with has from its file."""


def race(
    ctx: typer.Context,
    *,
    entrants: Annotated[str, Option(help=HELP["entrants"], metavar="LIST", show_default=False)] = "",
    seeds: Annotated[
        int | None, Option(help=HELP["seeds"], min=1, max=1000, metavar="N", show_default=False)
    ] = None,
    steps: Annotated[int | None, Option(help=HELP["steps"], metavar="N", show_default=False)] = None,
    quick: Annotated[bool, Option("--quick", help=HELP["quick"])] = False,
    resume: Annotated[Path | None, Option(help=HELP["resume"], metavar="FOLDER", show_default=False)] = None,
    data: Annotated[Path | None, Option(help=DATA, metavar="FILE")] = None,
    device: Device = "auto",
    seed: Seed = 1,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Race: how many steps and seconds each of the field's ideas needs to the tuned baseline's loss.

    All entrants get the same sweep of learning rates and the same seeds, and run in turn, slice by slice. Writes
    results.json and, with matplotlib, race.png and race.svg to bench-results/TIME, or to --out. The models are no GPT-2
    and are not kept.
    """
    from gpt2x.bench.folder import RESULTS

    if resume is not None:
        _refuse_fixed(ctx)
        results, learned = _resumed(resume, seeds)
        folder = resume
    else:
        folder = out or Path("bench-results") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
        asked = {"entrants": entrants, "seeds": seeds, "steps": steps, "quick": quick, "seed": seed}
        results, learned = _new(asked, data, device, folder)
    try:
        _run(results, learned, folder)
    except KeyboardInterrupt:
        if any(entry.trials for entry in results.entries):
            say(f"\nwhat is finished is kept; go on with: gpt2x bench race --resume {folder}")
        raise
    finally:
        # Also after Ctrl-C: the rounds that are finished.
        if any(entry.trials for entry in results.entries):
            show_race(results, folder, [folder / RESULTS], as_json=as_json)


def _refuse_fixed(ctx: typer.Context) -> None:
    for name in FIXED:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--resume goes on with the race as it was begun; leave out --{name}")


def _new(asked: dict[str, Any], data: Path | None, device: str, folder: Path) -> tuple[Results, Data]:
    """A race that has not begun, and its data: everything is checked before the machine is looked at."""
    from gpt2x.bench import folder as folders
    from gpt2x.bench.ladder.sizing import parse_device
    from gpt2x.bench.race import results as race_results
    from gpt2x.bench.race import setting as sizes
    from gpt2x.bench.race.data import split
    from gpt2x.bench.race.entrants import QUICK, select

    quick = asked["quick"]
    chosen = select(asked["entrants"] or (",".join(QUICK) if quick else "all"))
    steps = asked["steps"] if asked["steps"] is not None else sizes.QUICK_STEPS if quick else sizes.STEPS
    num_seeds = asked["seeds"] or (sizes.QUICK_SEEDS if quick else sizes.SEEDS)
    kind, visible_gpu = parse_device(device)
    setting = sizes.Setting(steps=steps, seed=asked["seed"])
    folders.check(folder, (folders.RESULTS, *folders.RACE_PICTURES))
    tokens, description = Text(data, setting.shape.vocab_size).found
    split_tokens = split(tokens, setting)
    with termination_as_interrupt():
        machine = look_at_machine(kind, visible_gpu)
    if kind == "cuda" and not machine.gpus:
        raise MissingComponentError(
            "--device cuda needs an NVIDIA GPU and a torch that finds it; use --device cpu"
        )
    if machine.gpus and kind != "cpu":
        setting = sizes.Setting(steps=steps, seed=asked["seed"], device=f"cuda:{visible_gpu or 0}")
    found = race_results.start(
        setting,
        machine,
        chosen,
        num_seeds,
        text=description,
        text_digest=_digest(tokens),
        data="" if data is None else str(data),
        command=["gpt2x", *sys.argv[1:]],
    )
    return found, split_tokens


def _resumed(folder: Path, seeds: int | None) -> tuple[Results, Data]:
    """The race in a folder, with more rounds where they are asked for, and its data.

    Raises:
        InputDataError: there is none, or its text is another by now.
        UsageError: fewer rounds than are done.

    """
    from gpt2x.bench.race.data import split
    from gpt2x.bench.race.results import load

    results = load(folder)
    if seeds is not None:
        if seeds < len(results.rounds):
            raise UsageError(f"--seeds {seeds} are fewer than the {len(results.rounds)} rounds that are done")
        results.num_seeds = seeds
    tokens, _ = Text(Path(results.data) if results.data else None, results.setting.shape.vocab_size).found
    if _digest(tokens) != results.text_digest:
        raise InputDataError(
            f"the text of the race in {folder} ({results.data or 'the packaged songs'}) has changed since; "
            "begin a new race"
        )
    results.complete = False
    return results, split(tokens, results.setting)


def _digest(tokens: Any) -> str:
    import hashlib

    return hashlib.blake2b(tokens.tobytes(), digest_size=16).hexdigest()


def _run(results: Results, data: Data, folder: Path) -> None:
    """Run what is missing; the file is written after each run of the sweep and each round."""
    import torch

    from gpt2x.bench import records
    from gpt2x.bench.folder import RESULTS
    from gpt2x.bench.interleave import Listener
    from gpt2x.bench.race import report
    from gpt2x.bench.race.race import Race
    from gpt2x.bench.race.run import Run, step_in_words
    from gpt2x.ops import keep_freed_memory

    keep_freed_memory()  # else returning and fetching pages is charged to whoever has the larger tensors
    step, threads = step_in_words(results.setting), torch.get_num_threads()
    if any(entry.trials for entry in results.entries):
        _refuse_other_conditions(
            results, folder, {"torch": torch.__version__, "threads": threads, "step": step}
        )
    results.step, results.threads = step, threads
    start, before_s = time.monotonic(), results.duration_s
    width = columns()
    for line in (report.setting_line(results), results.text):
        say(report.wrap(line, width))

    def make_run(entrant: Any, **options: Any) -> Run:
        return Run(entrant, results.setting, data, **options)

    def save(results: Results) -> None:
        results.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        results.duration_s = before_s + time.monotonic() - start
        records.save(results, folder / RESULTS)

    slices = results.setting.num_slices * (results.num_seeds - len(results.rounds))
    with termination_as_interrupt(), progress("racing", total=slices, unit="slices") as advance:

        class Screen(Listener):
            def stage(self, text: str) -> None:
                say(text)

            def round(self, number: int, of: int) -> None:
                advance(1, note=f"slice {number} of {of}")

        Race(results, make_run, save=save, listener=Screen()).run()


def _refuse_other_conditions(results: Results, folder: Path, here: dict[str, Any]) -> None:
    """Times of runs are held against one another, so all of them are of one machine, one torch and one way to step.

    Raises:
        UsageError: this is another machine than the race was begun on, or something of `here` is not as it was then.

    """
    import dataclasses

    from gpt2x.bench.machine import without_torch

    begun = results.machine
    now = dataclasses.replace(without_torch(), gpus=begun.gpus)
    then = {
        "torch": begun.versions.get("torch", here["torch"]),
        "threads": results.threads,
        "step": results.step,
    }
    changed = [f"{name} {then[name]} then and {here[name]} now" for name in here if then[name] != here[name]]
    if not begun.is_like(now):
        changed.insert(0, f"{begun.describe('cpu')} then and {now.describe('cpu')} now")
    if changed:
        raise UsageError(
            f"the race in {folder} was begun under other conditions ({'; '.join(changed)}), so that its times cannot "
            "be held against new ones; begin a new race"
        )


def show_race(results: Results, folder: Path | None, written: list[Path], *, as_json: bool) -> None:
    """Draw the chart, print the tables, what they rest on, and the sentence, and say what was written.

    Args:
        results: of the race.
        folder: where the chart goes; None: it is not drawn.
        written: files that were written before.
        as_json: print the result as JSON instead.

    """
    from gpt2x.bench import charts
    from gpt2x.bench.race import chart, report
    from gpt2x.bench.records import to_json

    try:
        if folder is not None and charts.is_available():
            written = [*written, *chart.draw(results, folder)]
    finally:  # a disk that is full by now does not take the figures away
        if as_json:
            emit_json(to_json(results))
        else:
            say("")
            emit(report.text(results, columns()))
    if written:
        say("\nwritten: " + ", ".join(map(str, written)))
    if folder is not None and not charts.is_available():
        say('the chart needs matplotlib: pip install "gpt2x[plots]"')
