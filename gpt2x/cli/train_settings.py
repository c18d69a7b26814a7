"""The settings of `gpt2x train`: where each comes from, and the stages of a --config file. Loads no torch.

A file with `[[stage]]` tables describes runs that follow one another, each in a folder of its own. What stands under
`[train]`, or before the first table, holds in all of them. A stage starts from the best weights of the one before it
unless it says otherwise.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

from gpt2x.errors import Gpt2xError, UsageError
from gpt2x.settings import Resolved, read_toml, resolve
from gpt2x.train.config import TrainConfig
from gpt2x.train.presets import Preset, find_preset

PREFIX = "GPT2X_TRAIN_"

Table = tuple[str, dict[str, Any]]
"""Settings, and where they come from in words."""


def settings_of_stages(
    preset: str,
    config: Path | None,
    flags: dict[str, Any],
    stage: int | None,
    *,
    resume: bool,
    complete: bool,
) -> list[Resolved[TrainConfig]]:
    """The settings of each run that a command line asks for: one, or as many as its --config has stages.

    Args:
        preset: the name of one.
        config: a TOML file.
        flags: settings from the command line; they hold in all stages, `init_from` in the first.
        stage: the one that is wanted, from 1; None: all.
        resume: the settings of the run in `out` take the preset's place.
        complete: there must be data to train on.

    Raises:
        UsageError: settings or stages that cannot work.
        InputDataError: a file that cannot be read.
        SystemExit: the same on ranks other than the first, without a word.

    """
    try:
        return _settings_of_stages(preset, config, flags, stage, resume=resume, complete=complete)
    except Gpt2xError as error:
        _silence_other_ranks(error)
        raise


def _settings_of_stages(
    preset: str,
    config: Path | None,
    flags: dict[str, Any],
    stage: int | None,
    *,
    resume: bool,
    complete: bool,
) -> list[Resolved[TrainConfig]]:
    chosen = find_preset(preset)
    _check_environment()
    tables: list[Table | None] = [None] if config is None else [*stages_in(config)]
    if stage is not None and not 1 <= stage <= len(tables):
        raise UsageError(f"--stage is {stage} and there are {len(tables)} stages; give 1 to {len(tables)}")
    if resume and stage is None and len(tables) > 1:
        raise UsageError(
            "stages go on by themselves when the same command is given again; leave out --resume, or choose one with "
            "--stage N"
        )
    resolved: list[Resolved[TrainConfig]] = []
    for number, table in enumerate(tables, 1):
        goes_on = resume and number == (stage or 1)
        if number == 1 or table is None:
            resolved.append(_resolve(chosen, goes_on, table, flags))
            continue
        after = (table[0], {"init_from": resolved[-1].values.out, **table[1]})
        own = {name: value for name, value in flags.items() if name != "init_from"}
        resolved.append(_resolve(chosen, goes_on, after, own))
    if stage is not None:
        resolved = resolved[stage - 1 : stage]
    _check_stages(resolved, complete=complete)
    return resolved


def _check_stages(stages: list[Resolved[TrainConfig]], *, complete: bool) -> None:
    outs = [str(one.values.out) for one in stages]
    for number, one in enumerate(stages):
        if complete and not one.values.data:
            raise UsageError("there is nothing to train on; give --data, a file or folder")
        if outs[number] in outs[:number]:
            raise UsageError(
                f"stages {outs.index(outs[number]) + 1} and {number + 1} both have out = {outs[number]}; give each a "
                "folder of its own, in the file"
            )
        if one.values.device != stages[0].values.device:
            raise UsageError(
                f"stage {number + 1} has device = {one.values.device}, not {stages[0].values.device} as stage 1; all "
                "stages of a file compute on one device"
            )


def stages_in(file: Path) -> list[Table]:
    """The settings of each stage in a TOML file; those of a file without stages are one.

    Raises:
        InputDataError: the file is missing or not TOML.
        UsageError: ``stage`` is something else than tables.

    """
    whole = read_toml(file)
    listed = whole.pop("stage", None)
    section = whole.get("train")
    shared = section if isinstance(section, dict) else whole
    if listed is None:
        return [(f"file {file}", shared)]
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"stage in {file} is no list of tables; write [[stage]] before the settings of each")
    return [(f"stage {number} of file {file}", {**shared, **one}) for number, one in enumerate(listed, 1)]


def _resolve(
    chosen: Preset, resume: bool, table: Table | None, flags: dict[str, Any]
) -> Resolved[TrainConfig]:
    """Lay the sources of settings over one another; a resumed run starts from the settings in its folder."""
    preset: tuple[str, Any] = (chosen.name, chosen.settings)
    if resume:
        from gpt2x.train.checkpoint import saved_settings

        out = Path(flags.get("out") or (table[1] if table else {}).get("out") or chosen.default_out)
        preset = (f"of {out}", saved_settings(out))

    def lay(but: frozenset[str]) -> Resolved[TrainConfig]:
        kept = {name: value for name, value in preset[1].items() if name not in but}
        return resolve(
            TrainConfig, preset=(preset[0], kept), config_table=table, section="train", flags=flags
        )

    resolved = lay(frozenset(("min_lr",)))
    if resolved.values.init_from is not None and not resume:
        resolved = lay(SHAPE | {"min_lr"})
    values, sources = resolved.values, resolved.sources
    if sources["min_lr"] == "default":
        _follow(resolved, preset)
    # A resumed run has steps and epochs of its own, which only a flag changes.
    counts = sources["steps"] == "flag" or not resume
    if values.epochs is not None and counts and _strength(sources["steps"]) > _strength(sources["epochs"]):
        source = sources["steps"]
        values.epochs, sources["epochs"] = None, "flag --steps" if source == "flag" else source
    if values.out is None:
        values.out, sources["out"] = str(chosen.default_out), f"preset {chosen.name}"
    return resolved


STRENGTHS = {"default": 0, "preset": 1, "file": 2, "stage": 2, "environment": 3, "flag": 4}
"""How strong a source of settings is, by the first word of its name."""


def _strength(source: str) -> int:
    return STRENGTHS[source.split(maxsplit=1)[0]]


SHAPE = frozenset(("model", "n_layer", "n_head", "n_embd", "block_size", "tokenizer"))
"""What a preset says of the model; where a run starts from given weights, these say it."""


def _follow(resolved: Resolved[TrainConfig], preset: tuple[str, Any]) -> None:
    """Set the last learning rate that nobody gave: the preset's, or where lr is another, the same share of that."""
    values, sources = resolved.values, resolved.sources
    usual = TrainConfig()
    lr, min_lr = preset[1].get("lr", usual.lr), preset[1].get("min_lr", usual.min_lr)
    if values.lr == lr:
        values.min_lr, sources["min_lr"] = (
            min_lr,
            f"preset {preset[0]}" if "min_lr" in preset[1] else "default",
        )
    else:
        values.min_lr, sources["min_lr"] = values.lr * (min_lr / lr), "follows lr"


def _check_environment() -> None:
    """Refuse a variable that looks like a setting and is none.

    Raises:
        UsageError: there is one; the nearest name is suggested.

    """
    known = [PREFIX + field.name.upper() for field in dataclasses.fields(TrainConfig)]
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "`gpt2x train lyrics --help` names all settings"
            raise UsageError(f"the environment has {name}, which is no setting; {hint}")


def _silence_other_ranks(error: Gpt2xError) -> None:
    """All ranks read the same settings and fail alike; one sentence is enough."""
    if int(os.environ.get("RANK", "0")) != 0:
        raise SystemExit(error.exit_code)
