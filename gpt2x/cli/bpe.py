"""`gpt2x bpe`: learn a byte-level BPE vocabulary, encode, decode and count with it, and see how it works."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gpt2x.cli import bpe_table, bpe_train
from gpt2x.cli.options import examples, silence

app = typer.Typer(
    help="Learn a byte-level BPE vocabulary; encode, decode and count with one. No command here loads torch.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(name="train", epilog=bpe_train.EXAMPLES, short_help="Learn vocabularies from text.")(
    bpe_train.train
)


def _typed(command: bpe_table.Command) -> Callable[..., None]:
    """The function behind a command, with the signature from which typer reads arguments, options and help."""
    parameters = [_argument(command.argument), *(_option(command, name) for name in command.options)]
    first = command.argument.name

    def run(**values: Any) -> None:
        work = getattr(importlib.import_module(f"gpt2x.cli.{command.module}"), command.function)
        work(values.pop(first), **values)

    run.__doc__ = command.help
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _argument(argument: bpe_table.Argument) -> inspect.Parameter:
    kind: Any = list[str] | None if argument.many else str | None
    annotation = Annotated[kind, typer.Argument(help=argument.help, metavar=argument.metavar)]
    return inspect.Parameter(
        argument.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _option(command: bpe_table.Command, name: str) -> inspect.Parameter:
    option = bpe_table.OPTIONS[name]
    default = command.default(name)
    kind: Any = option.type if default is not None else option.type | None
    info = typer.Option(
        *option.names,
        help=option.help,
        metavar=option.metavar,
        callback=silence if name == "quiet" else None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


for _command in bpe_table.COMMANDS:
    app.command(name=_command.name, epilog=examples(*_command.examples), short_help=_command.summary)(
        _typed(_command)
    )
