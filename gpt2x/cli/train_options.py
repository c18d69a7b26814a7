"""Command-line options made from the settings: one definition of name, type, default and help. Loads no torch."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gpt2x.train.config import TrainConfig

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


def _option(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    """``--name`` for a field, typed as the field, with None for "not given"."""
    target = next((k for k in typing.get_args(kind) if k is not type(None)), kind)
    flag = field.name.replace("_", "-")
    default = str(field.default).lower() if target is bool else field.default
    option = typer.Option(
        *([f"--{flag}/--no-{flag}"] if target is bool else [f"--{flag}", *SHORT.get(field.name, [])]),
        help=field.metadata["help"] + ("" if default is None else f" [{default}]"),
        show_default=False,
        metavar=None if target is bool else METAVARS[target],
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[target | None, option]
    )
