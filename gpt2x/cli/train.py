"""The trainer's command line: ``python -m gpt2x.train``, ``torchrun … -m gpt2x.train`` and ``gpt2x train``.

It reads the settings and loads no torch before there is something to compute.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gpt2x.boundary import exit_with_one_sentence
from gpt2x.cli.options import examples
from gpt2x.cli.train_options import HelpOfPreset, with_settings
from gpt2x.cli.train_rehearsal import overfit_and_show, sweep_and_show
from gpt2x.cli.train_settings import settings_of_stages
from gpt2x.cli.train_verify import verify_and_show
from gpt2x.console import emit, emit_json, say, set_quiet
from gpt2x.errors import UsageError
from gpt2x.settings import Resolved
from gpt2x.tables import emit_table
from gpt2x.train.config import TrainConfig
from gpt2x.train.launch import check_ranks
from gpt2x.train.presets import PRESETS
from gpt2x.train.waiting import let_waiting_threads_sleep

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train a GPT-2; the same code as `python -m gpt2x.train` and `torchrun -m gpt2x.train`.",
)

SETTINGS_FROM = (
    "Settings: default < preset < --config FILE < environment (GPT2X_TRAIN_STEPS=…) < flag; --show-config shows which "
    "held."
)


@dataclass(frozen=True)
class Command:
    """What one command says of its recipe, and the preset it takes when none is given."""

    recipe: str
    preset: str
    summary: str
    help: str
    examples: tuple[str, ...]


COMMANDS = (
    Command(
        "lyrics",
        "lyrics",
        "Train a writer of songs.",
        "Train a writer of songs, from a table with a text column (song, artist, link and tags too): csv (commas, "
        "semicolons, tabs), also as .xz, .gz or .zip, or .parquet.",
        (
            "gpt2x train lyrics",
            "gpt2x train lyrics --data songs.csv.xz --steps 300 --out runs/mine",
            "gpt2x train lyrics --data songs.csv.xz --ranks 2",
            "torchrun --nproc-per-node 2 -m gpt2x.train lyrics --data songs.csv.xz",
            "gpt2x train lyrics --resume --out runs/mine",
            "gpt2x train lyrics --resume --out runs/mine --steps 600",
            "gpt2x train lyrics --init-from openai-community/gpt2 --lr 5e-5 --out runs/tuned",
            "gpt2x train lyrics --data songs.csv.xz --overfit-batch",
            "gpt2x train lyrics --data songs.csv.xz --find-lr 100",
            "gpt2x train lyrics --config stages.toml",
            "gpt2x train lyrics --modern --model mini --out runs/modern",
            "gpt2x train lyrics --preset gpt2 --show-config",
        ),
    ),
    Command(
        "rhymed-lyrics",
        "lyrics",
        "Train on songs, to plan rhymes.",
        "Train on songs as `lyrics` does, with the last word of each line before the line: a fifth more "
        "tokens, from which a model learns to aim at its rhymes. `gpt2x sing` sees that a model has learned so.",
        (
            "gpt2x train rhymed-lyrics --data songs.csv.xz --out runs/rhymes",
            "torchrun --nproc-per-node 2 -m gpt2x.train rhymed-lyrics --data songs.csv.xz",
        ),
    ),
    Command(
        "text",
        "text",
        "Train on text files or JSON lines.",
        "Train on text: a text file (<|endoftext|> ends a document), a .jsonl file (objects with a field text), or a "
        "folder of both; .xz, .gz and .zip are unpacked.",
        (
            "gpt2x train text --data tiny-shakespeare",
            "gpt2x train text --data book.txt --steps 300 --out runs/book",
            "gpt2x train text --data stories.jsonl.gz --ranks 2",
        ),
    ),
    Command(
        "tokens",
        "tokens",
        "Train on files of token ids.",
        "Train on token ids: a .bin file or a folder of them, as nanoGPT (bare uint16), llm.c (with its header) and "
        "`gpt2x bpe encode` write them; val in a name means validation.",
        (
            "gpt2x train tokens --data fineweb10B --model gpt2",
            "gpt2x train tokens --data train.bin --tokenizer my-vocabulary",
        ),
    ),
)


@app.callback()
def root() -> None:
    """Train a GPT-2; the same code as `python -m gpt2x.train` and `torchrun -m gpt2x.train`."""


ABOUT_RUNS = (
    "\n\nWhat stands in square brackets is what holds with the preset (--preset NAME --help). A run that was "
    "interrupted goes on where it was when the same command is given again, without --overwrite. The run "
    "folder is a Hugging Face folder and grows a `trainer/` folder with checkpoints; its path is printed on stdout. "
    "JSON: {run, steps, loss, validation_loss, best_step, best_validation_loss, parameters, tokens, seconds, "
    "tokens_per_second, skipped, token_hash}, and of stages the last one's with {stages}, a list of all; of "
    "--verify-resume: {holds, steps, trials, left_out, demands_bits}; of --overfit-batch: {reached, threshold, steps, "
    "first_loss, loss}; of --find-lr: {suggestion, steepest, lowest, rates, losses, smoothed}."
)


def _add(command: Command) -> None:
    """Give the command line a command for a recipe."""

    @app.command(
        command.recipe,
        cls=HelpOfPreset,
        epilog="\b\n" + SETTINGS_FROM + "\n\n" + examples(*command.examples),
        help=command.help + ABOUT_RUNS,
        short_help=command.summary,
    )
    @with_settings
    def train(  # noqa: PLR0917  (every one is an option with a name)
        flags: dict[str, Any],
        preset: Annotated[
            str, typer.Option("--preset", metavar="NAME", help="One of the presets that `presets` lists.")
        ] = command.preset,
        resume: Annotated[
            bool,
            typer.Option(
                "--resume", help="Go on with the run in --out, with the settings that it was started with."
            ),
        ] = False,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Start anew where --out holds a run.")
        ] = False,
        config: Annotated[
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                help="A TOML file with settings; with [[stage]] tables, stages that follow one another.",
                show_default=False,
            ),
        ] = None,
        stage: Annotated[
            int | None,
            typer.Option(
                "--stage", metavar="N", help="Of a --config with stages, the Nth alone.", show_default=False
            ),
        ] = None,
        ranks: Annotated[
            int,
            typer.Option(
                "--ranks",
                metavar="N",
                help="Train on so many processes of this machine, each on a GPU or with its share of the cores.",
            ),
        ] = 1,
        max_restarts: Annotated[
            int,
            typer.Option(
                "--max-restarts",
                metavar="N",
                help="With --ranks: start all anew so often when one has failed.",
            ),
        ] = 0,
        show_config: Annotated[
            bool,
            typer.Option(
                "--show-config", help="Print each setting, its value and where it came from, and stop."
            ),
        ] = False,
        plan: Annotated[
            bool,
            typer.Option(
                "--plan",
                help="Compute a few steps, print what the run will need (time, memory, disk), and stop.",
            ),
        ] = False,
        verify: Annotated[
            bool,
            typer.Option(
                "--verify-resume",
                help="Train a few steps in a temporary folder, straight and with interruptions, compare, and stop.",
            ),
        ] = False,
        overfit: Annotated[
            bool,
            typer.Option(
                "--overfit-batch",
                help="Train on one batch until it is known by heart (loss below 0.1), say whether it was, and stop.",
            ),
        ] = False,
        sweep: Annotated[
            int,
            typer.Option(
                "--find-lr",
                metavar="N",
                help="Let the learning rate grow over N steps (such as 100), print losses and a suggestion, and stop.",
                show_default=False,
            ),
        ] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
        quiet: Annotated[
            bool, typer.Option("--quiet", "-q", help="No talk and no progress on stderr.")
        ] = False,
    ) -> None:
        with exit_with_one_sentence():
            set_quiet(quiet)
            if verify or (ranks, max_restarts) != (1, 0):
                check_ranks(ranks, max_restarts, verify=verify)
            if (overfit or sweep) and ranks > 1:
                raise UsageError("--overfit-batch and --find-lr compute on one rank; leave out --ranks")
            stages = settings_of_stages(preset, config, flags, stage, resume=resume, complete=not show_config)
            if show_config:
                _show(stages, as_json)
                return
            configs = [resolved.values for resolved in stages]
            asked = [
                word
                for word, given in {
                    "--plan": plan,
                    "--verify-resume": verify,
                    "--overfit-batch": overfit,
                    "--find-lr": sweep,
                }.items()
                if given
            ]
            if asked and len(configs) > 1:
                raise UsageError(
                    f"{asked[0]} looks at one stage; choose it with --stage N, 1 to {len(configs)}"
                )
            if plan:
                _plan(configs[0], ranks, as_json)
            elif verify:
                verify_and_show(command.recipe, configs[0], as_json)
            elif overfit:
                overfit_and_show(command.recipe, configs[0], as_json)
            elif sweep:
                sweep_and_show(command.recipe, configs[0], sweep, as_json)
            elif ranks > 1:
                switches = {"--resume": resume, "--overwrite": overwrite, "--json": as_json, "--quiet": quiet}
                words = [
                    command.recipe,
                    *_words(preset, config, stage, flags),
                    *(s for s, on in switches.items() if on),
                ]
                _launch(configs[0], words, ranks, max_restarts)
            else:
                _train(command.recipe, configs, resume, overwrite, as_json)


def _train(recipe: str, configs: list[TrainConfig], resume: bool, overwrite: bool, as_json: bool) -> None:
    let_waiting_threads_sleep()
    from gpt2x.train.loop import train_stages
    from gpt2x.train.recipe import RECIPES

    results = train_stages(configs, RECIPES[recipe], resume=resume, overwrite=overwrite)
    if not results:  # another rank reports
        return
    if as_json:
        stages = {"stages": [result.to_dict() for result in results]} if len(results) > 1 else {}
        emit_json(results[-1].to_dict() | stages)
    else:
        emit("\n".join(str(result.run) for result in results))


def _words(preset: str, config: Path | None, stage: int | None, flags: dict[str, Any]) -> list[str]:
    """The command line once more, for the ranks."""
    words = [f"--preset={preset}"]
    if config is not None:
        words.append(f"--config={config}")
    if stage is not None:
        words.append(f"--stage={stage}")
    for name, value in flags.items():
        option = name.replace("_", "-")
        switch = "" if value else "no-"
        words.append(f"--{switch}{option}" if isinstance(value, bool) else f"--{option}={value}")
    return words


def _launch(config: TrainConfig, words: list[str], ranks: int, max_restarts: int) -> None:
    from gpt2x.train.launch import launch

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from gpt2x.train.distributed import choose_device

    choose_device(config.device, ranks - 1)  # a rank without a GPU could not say so for all
    launch("gpt2x.train", words, ranks, max_restarts=max_restarts)


for _command in COMMANDS:
    _add(_command)


@app.command("presets")
def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """List the presets and what to expect of each. JSON: a list of {name, what, expect, settings}."""
    if as_json:
        emit_json(
            [
                {"name": r.name, "what": r.what, "expect": r.expect, "settings": dict(r.settings)}
                for r in PRESETS
            ]
        )
    else:
        emit_table(["preset", "what", "expect"], [(r.name, r.what, r.expect) for r in PRESETS])


def _show(stages: list[Resolved[TrainConfig]], as_json: bool) -> None:
    if as_json:
        shown = [{name: {"value": v, "source": source} for name, v, source in one.table()} for one in stages]
        emit_json(shown[0] if len(shown) == 1 else {"stages": shown})
        return
    for number, one in enumerate(stages, 1):
        if len(stages) > 1:
            emit(f"stage {number}")
        emit_table(["setting", "value", "source"], one.table(), right=[False] * 3)


def _plan(config: TrainConfig, ranks: int, as_json: bool) -> None:
    from gpt2x.train.estimate import estimate

    needs = estimate(config, ranks, tell=say)
    if as_json:
        emit_json(needs.to_dict())
        return
    unknown = "known once the data are read (epochs)"
    each, apart = (", for each rank", ", exchanging gradients apart") if ranks > 1 else ("", "")
    rows = [
        ("parameters", f"{needs.parameters:,}"),
        ("steps", unknown if needs.steps is None else f"{needs.steps:,} of {needs.tokens_a_step:,} tokens"),
        ("operations", f"{needs.flops_a_step:.2e} a step (matrix products)"),
        ("speed", f"{needs.flops_a_step / needs.step_s / 1e9:.3g} GFLOP/s, as measured now"),
        ("memory", f"{needs.memory_bytes / 1e6:,.0f} MB at the peak of a micro-batch{each}"),
        ("disk", f"{needs.disk_bytes / 1e6:,.0f} MB of checkpoints"),
        ("a step", f"{needs.step_s:.3g} s{apart}"),
        ("the run", unknown if needs.run_s is None else f"{needs.run_s:,.0f} s, validating and saving apart"),
    ]
    emit_table(["what", "needs"], rows, right=[False] * 2)
