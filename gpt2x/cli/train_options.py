"""Command-line options made from the settings: one definition of name, type, default and help. Loads no torch."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gpt2x.train.config import TrainConfig
from gpt2x.train.presets import Preset, find_preset

SHORT = {"out": ["-o"]}
METAVARS = {int: "N", float: "X", str: "TEXT"}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `TrainConfig`; it receives those given as ``flags``.

    An option that is not given is None and does not appear in ``flags``, so that presets, config files and the
    environment keep their say.
    """
    kinds = typing.get_type_hints(TrainConfig)
    options = [_option(field, kinds[field.name]) for field in dataclasses.fields(TrainConfig)]
    names = [option.name for option in options]

    def wrapper(**values: Any) -> None:
        flags = {name: values.pop(name) for name in names}
        command(flags={name: value for name, value in flags.items() if value is not None}, **values)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "flags"]
    wrapper.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in (*own, *options)}
    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    return wrapper


class HelpOfPreset(TyperCommand):
    """A command whose help shows each setting's value in the preset that is chosen beside ``--help``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as ever, but for help put the preset's values into the options first."""
        if {"-h", "--help"} & set(args):
            usual = next(str(option.default) for option in self.params if option.name == "preset")
            self._show_values(find_preset(_preset_in(args, usual)))
        return super().parse_args(ctx, args)

    def _show_values(self, preset: Preset) -> None:
        fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
        values = {"out": str(preset.default_out), **preset.settings}
        for option in self.params:
            if option.name in fields:
                field = fields[option.name]
                option.help = _help(field, values.get(field.name, field.default))  # type: ignore[attr-defined]


def _preset_in(args: list[str], usual: str) -> str:
    """The preset that a command line names, before it is parsed.

    >>> [_preset_in(words.split(), "text") for words in ("--preset=gpt2 --help", "--preset gpt2", "--help")]
    ['gpt2', 'gpt2', 'text']
    """
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == "--preset" and following:
            return following
        if word.startswith("--preset="):
            return word.removeprefix("--preset=")
    return usual


def _help(field: dataclasses.Field[Any], value: object) -> str:
    shown = str(value).lower() if isinstance(value, bool) else value
    return str(field.metadata["help"]) + ("" if value is None else f" [{shown}]")


def _option(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    """``--name`` for a field, typed as the field, with None for "not given"."""
    target = next((k for k in typing.get_args(kind) if k is not type(None)), kind)
    flag = field.name.replace("_", "-")
    option = typer.Option(
        *([f"--{flag}/--no-{flag}"] if target is bool else [f"--{flag}", *SHORT.get(field.name, [])]),
        help=_help(field, field.default),
        show_default=False,
        metavar=None if target is bool else METAVARS[target],
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[target | None, option]
    )
