"""Flags of `gpt2x classify train` and `compare` from the table of dials (`gpt2x.classify.dials`)."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gpt2x.classify.dials import DIALS, Dial, check_belong, check_values, dials_of
from gpt2x.classify.kinds import KINDS, PRETRAIN
from gpt2x.console import emit_json
from gpt2x.settings import Resolved, resolve
from gpt2x.tables import emit_table

SECTION = "classify"
METAVARS = {int: "N", float: "X", str: "NAME"}

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings of the models from a TOML file, also in a table [classify]: default < file < environment "
        "(GPT2X_CLASSIFY_ALPHA=…) < flag. A setting holds for each model that has it.",
    ),
]


def with_dials(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each dial; it receives those given as ``dials``, by their names in Python."""
    names = [dial.name for dial in DIALS]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        command(dials={name: value for name, value in given.items() if value is not None}, **values)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "dials"]
    parameters = [*own, *map(_parameter, DIALS)]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _parameter(dial: Dial) -> inspect.Parameter:
    option = typer.Option(
        dial.flag,
        *(["-t"] if dial.name == "tokenizer" else []),
        metavar=dial.metavar or METAVARS[dial.type],
        help=dial.described(),
        show_default=False,
    )
    return inspect.Parameter(
        dial.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[dial.type | None, option],
    )


ShowConfig = Annotated[
    bool,
    typer.Option(
        "--show-config",
        help="Print each setting of the chosen models, its value and where it came from, and stop.",
    ),
]


def settings(
    models: list[str], flags: Mapping[str, Any], config: Path | None, device: str
) -> dict[str, dict[str, Any]]:
    """The hyperparameters of each chosen model of ours, checked before anything is read or learned.

    Peers have none of their own here; MiniLM is told where to compute.

    Raises:
        UsageError: a flag of no chosen model, a value that can never work, or a vocabulary or run that is not there.
        InputDataError: the config file is missing or not TOML.

    """
    own, given = _given(models, flags, config)
    values = {name: value for name, (value, _) in given.items()}
    found: dict[str, dict[str, Any]] = {}
    for model in own:
        found[model] = dials_of(model, values)
        if KINDS[model].neural:
            found[model] |= {"device": device, "verbose": True}
    if "minilm" in models:
        found["minilm"] = {"device": device, "verbose": True}
    _check_there(found, device)
    return found


def show_settings(models: list[str], flags: Mapping[str, Any], config: Path | None, as_json: bool) -> None:
    """Print what each dial of each chosen model of ours will be, and where that came from.

    Raises:
        UsageError: as `settings`, but for what is not there.
        InputDataError: as `settings`.

    """
    own, given = _given(models, flags, config)
    rows = [
        (model, dial.name, *given.get(dial.name, (dial.defaults[model], "default")))
        for model in own
        for dial in DIALS
        if model in dial.defaults
    ]
    if as_json:
        shown: dict[str, dict[str, Any]] = {model: {} for model in own}
        for model, name, value, source in rows:
            shown[model][name] = {"value": value, "source": source}
        emit_json(shown)
        return
    emit_table(["model", "setting", "value", "source"], rows, right=[False] * 4)


def _given(
    models: list[str], flags: Mapping[str, Any], config: Path | None
) -> tuple[list[str], dict[str, tuple[Any, str]]]:
    """Those of the models that are ours, and each dial that is given, with where it came from; all are checked."""
    own = [model for model in models if model in KINDS]
    check_belong(flags, own)
    fields = [(dial.name, dial.type | None, dataclasses.field(default=None)) for dial in DIALS]
    resolved: Resolved[Any] = resolve(
        dataclasses.make_dataclass("Dials", fields), config_file=config, section=SECTION, flags=flags
    )
    given = {name: (value, source) for name, value, source in resolved.table() if value is not None}
    for model in own:
        check_values(model, {name: value for name, (value, _) in given.items()})
    return own, given


def _check_there(found: Mapping[str, Mapping[str, Any]], device: str) -> None:
    """Refuse what was asked for and is not there."""
    run = found.get("gpt2-lstm", {}).get("gpt2")
    if run not in (None, PRETRAIN):
        from gpt2x.model.runs import find_run

        find_run(run)
    tokenizer = found.get("rnn", {}).get("tokenizer")
    if tokenizer not in (None, "learn"):
        from gpt2x.tokenizer import Tokenizer

        Tokenizer.load(tokenizer)
    if device != "auto" and any("device" in values for values in found.values()):
        from gpt2x.model.device import pick_device

        pick_device(device)
