"""The way in for commands that scripts call again and again: `gpt2x bpe encode`, `count` and nearly all others.

typer takes longer to load than these commands take to work (60 to 120 ms with its dependencies, against 50). A
command line that says nothing but what `bpe_table` lists is read here; help, mistakes and everything else are
left to typer, which says the same things better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpt2x.cli import bpe_table


def find(words: list[str]) -> Callable[[], None] | None:
    """What a command line asks for, if the line is plain; None if it is for typer."""
    parsed = parse(words)
    if parsed is None:
        return None
    import importlib

    from gpt2x.console import set_quiet

    name, argument, options = parsed
    command = next(command for command in bpe_table.COMMANDS if command.name == name)

    def run() -> None:
        work = getattr(importlib.import_module(f"gpt2x.cli.{command.module}"), command.function)
        set_quiet(options["quiet"])
        work(argument, **options)

    return run


def parse(words: list[str]) -> tuple[str, Any, dict[str, Any]] | None:
    """Read a command line as typer would: (command, argument, options); None for what is left to typer.

    >>> parse(["bpe", "count", "--json", "a.txt"])[:2]
    ('count', ['a.txt'])
    >>> parse(["bpe", "count", "--jsn", "a.txt"]), parse(["bpe", "--help"]), parse(["bench"])
    (None, None, None)
    """
    if words[:1] != ["bpe"]:
        return None
    command = next((command for command in bpe_table.COMMANDS if [command.name] == words[1:2]), None)
    if command is None:
        return None
    try:
        rest, options = _split(command, words[2:])
    except _LeftToTyperError:
        return None
    if command.argument.many:
        return command.name, rest or None, options
    return (command.name, rest[0] if rest else None, options) if len(rest) < 2 else None


class _LeftToTyperError(Exception):
    """The line is not plain."""


def _split(command: bpe_table.Command, words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The words that are no options, and the values of all options."""
    named = {name: key for key in command.options for name in bpe_table.OPTIONS[key].names}
    options = {key: command.default(key) for key in command.options}
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name not in named:
            raise _LeftToTyperError
        option = bpe_table.OPTIONS[named[name]]
        if option.type is bool:
            value = "" if equals else "yes"
        elif not equals:
            value = next(remaining, "")
        options[named[name]] = _value(option, value)
    return rest, options


def _value(option: bpe_table.Option, text: str) -> Any:
    if not text or text.startswith("-"):  # forgotten, or one of those that only typer should judge
        raise _LeftToTyperError
    try:
        value = option.type(text)
    except ValueError:
        raise _LeftToTyperError from None
    if option.type is int and value.bit_length() > 31:  # refused there
        raise _LeftToTyperError
    return value
