"""`gpt2x bpe`: learn a byte-level BPE vocabulary, encode, decode and count with it, and see how it works.

Scripts call these commands again and again, so nothing is imported here that the asked command does not need, and
only its own parser is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from gpt2x.cli.arguments import HELP, Completion, Parser, nearest
from gpt2x.cli.bpe_table import COMMANDS, OPTIONS, Command
from gpt2x.console import complain, set_quiet
from gpt2x.errors import ExitCode, UsageError, quoted


def run(words: Sequence[str]) -> None:
    """Do what the words after `gpt2x bpe` ask for.

    Raises:
        Gpt2xError: as the command.
        SystemExit: help was shown; with code 2 where nothing was asked for.

    """
    if not words:
        complain(group().format_help().rstrip())
        raise SystemExit(ExitCode.USAGE)
    if words[0].startswith("-") and words[0] != "-":
        group().parse(words[:1])
    command = find(words[0])
    values = parser(command).parse(words[1:])
    if values["quiet"]:
        set_quiet(True)
    work = getattr(importlib.import_module(f"gpt2x.cli.{command.module}"), command.function)
    work(values.pop(command.argument.name), **values)


def complete(words: Sequence[str], incomplete: str) -> list[Completion]:
    """What a line may go on with, after `gpt2x bpe` and these words."""
    if words:
        asked = [command for command in COMMANDS if command.name == words[0]]
        return parser(asked[0]).complete(words[1:], incomplete) if asked else []
    names = [Completion(command.name, command.summary) for command in COMMANDS]
    return [name for name in names if name.value.startswith(incomplete)] or group().complete([], incomplete)


def group() -> Parser:
    """The parser of `gpt2x bpe` alone, whose help lists the commands."""
    made = Parser(
        "gpt2x bpe",
        "[OPTIONS] COMMAND [ARGS]...",
        "Learn a byte-level BPE vocabulary; encode, decode and count with one. No command here loads torch.",
    )
    made.add_option("help", HELP, None)
    for command in COMMANDS:
        made.list_in_help("Commands", command.name, command.summary)
    return made


def parser(command: Command) -> Parser:
    """The parser of one command."""
    usage = f"[OPTIONS] {command.argument.metavar}"
    made = Parser(f"gpt2x bpe {command.name}", usage, command.help, command.examples)
    made.add_words(command.argument)
    for key in command.options:
        made.add_option(key, OPTIONS[key], command.default(key))
    made.add_option("help", HELP, None)
    return made


def find(name: str) -> Command:
    """A command by its name.

    Raises:
        UsageError: there is none.

    """
    names = [command.name for command in COMMANDS]
    if name not in names:
        close = nearest(name, names)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(names)}"
        raise UsageError(f"no such command {quoted(name)} in `gpt2x bpe`; {hint}")
    return COMMANDS[names.index(name)]
