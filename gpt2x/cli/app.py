"""`gpt2x`: the command line's front door.

It knows the name and one-line help of each command, and imports a command's file only when that command is asked
for: `gpt2x --help` answers at once, and no tokenizer command waits for torch.
"""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main

from gpt2x._version import __version__
from gpt2x.boundary import exit_with_one_sentence, run_typer
from gpt2x.cli.own_parser import OwnParser
from gpt2x.console import emit
from gpt2x.errors import quoted
from gpt2x.settings import check_number


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives."""

    name: str
    module: str
    """It holds a `typer.Typer` called ``app``."""
    help: str
    own_parser: bool = False
    """``module`` reads its words itself instead: `run(words)` and `complete(words, incomplete)`."""


COMMANDS = (
    Command("bench", "gpt2x.cli.bench", "Climb the ladder of a faster training step."),
    Command("bpe", "gpt2x.cli.bpe", "Learn and use a byte-level BPE vocabulary.", own_parser=True),
    Command("train", "gpt2x.cli.train", "Train a GPT-2 on songs, text or tokens."),
    Command("runs", "gpt2x.cli.runs", "List training runs and compare them."),
    Command("eval", "gpt2x.cli.eval", "Measure a model: loss, bits per byte."),
    Command("sing", "gpt2x.cli.sing", "Write a song about a topic."),
    Command("classify", "gpt2x.cli.classify", "Train and compare document classifiers."),
    Command("data", "gpt2x.cli.data", "List the data sets and fetch one."),
    Command("export", "gpt2x.cli.export", "Write a run for other programs."),
    Command("ops", "gpt2x.cli.ops", "Say which fused operators run here."),
    Command("env", "gpt2x.cli.env", "Report versions, hardware and folders."),
)

EPILOG = """\b
Examples:
  gpt2x bench
  gpt2x bpe train --vocab 512 book.txt
  gpt2x sing "ex-girlfriend"
  torchrun --nproc-per-node 2 -m gpt2x.train lyrics

\b
Exit codes: 0 fine, 1 failed, 2 usage, 3 input data, 4 missing component, 130 interrupted.
"""


class LazyGroup(typer.core.TyperGroup):
    """A command group that imports a command's module when the command is used.

    Contexts and commands are typed `Any`: newer typer carries its own copy of click, older typer imports it.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order in which they are shown."""
        return [command.name for command in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command; None for an unknown name, for which the nearest is then suggested."""
        found = next((command for command in COMMANDS if command.name == cmd_name), None)
        if found is None:
            return None
        module = importlib.import_module(found.module)
        loaded: Any = (
            OwnParser(found.name, module) if found.own_parser else typer.main.get_command(module.app)
        )
        loaded.name, loaded.short_help = found.name, found.help
        _check_numbers(loaded)
        return loaded

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is asked for; an unknown name is refused with the nearest known one."""
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            close = difflib.get_close_matches(args[0], names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
            ctx.fail(f"No such command {quoted(args[0])}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands from the table above, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.help) for command in COMMANDS])

    def invoke(self, ctx: Any) -> Any:
        """Run the command behind the one boundary that turns errors into a sentence and an exit code."""
        with exit_with_one_sentence():
            return super().invoke(ctx)


def _check_numbers(command: Any) -> None:
    """Let every number on the command line be checked as it is read: each option's, in every command below."""
    for parameter in command.params:
        parameter.callback = _checked(parameter.callback, max(parameter.opts, key=len))
    for below in getattr(command, "commands", {}).values():
        _check_numbers(below)


def _checked(callback: Any, name: str) -> Any:
    def check(context: Any, parameter: Any, value: Any) -> Any:
        for number in value if isinstance(value, list | tuple) else [value]:
            check_number(name, number)
        return value if callback is None else callback(context, parameter, value)

    return check


def _print_version(value: bool) -> None:
    if value:
        emit(f"gpt2x {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    traceback: bool = typer.Option(False, "--traceback", help="Show the traceback of an error."),
) -> None:
    """The GPT-2 workbench: climb the training ladder, learn and use BPE, classify documents, write lyrics."""
    if traceback:
        os.environ["GPT2X_TRACEBACK"] = "1"


def main() -> None:
    """Run the command line with typer."""
    run_typer(app, "gpt2x")


if __name__ == "__main__":
    main()
