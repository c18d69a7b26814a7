"""argparse as `gpt2x bpe` and `gpt2x classify predict` use it: words in any order, errors of one sentence, completion.

Its help is laid out as the other commands'. typer takes longer to load (60 to 120 ms with its dependencies) than these
commands take to work (50 ms); argparse takes 3 to 5.
"""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt2x.console import emit_piece
from gpt2x.errors import UsageError, quoted

HELP_COLUMNS = (50, 80)
"""How wide help may be, whatever the terminal."""

_FIRST_COLUMN = 30
"""Names longer than this stand on a line of their own."""


class Option(NamedTuple):
    """An option of a command."""

    names: tuple[str, ...]
    """The first is the long one."""
    help: str
    type: Any = str
    """`bool` for a flag, `int`, `float`, `Path`, or a `Literal` of the words that may be given."""
    default: Any = None
    metavar: str | None = None
    repeated: bool = False
    """It may be given several times; its value is a list, or None."""
    least: float | None = None
    most: float | None = None
    """Bounds of a number, which may be either of them; None for no bound."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that may be given; empty where any may."""
        return typing.get_args(self.type)


class Argument(NamedTuple):
    """The words of a command that are no options, or the first of them."""

    name: str
    help: str
    metavar: str
    many: bool = True
    """Their value is a list; else a text, or None."""
    required: bool = False
    """For one that is not many: it must be given."""


class Completion(NamedTuple):
    """A word that the line may go on with; its attributes are those of typer's completions."""

    value: str
    help: str
    type: str = "plain"


HELP = Option(("--help", "-h"), "Show this message and exit.", bool)


class Parser(argparse.ArgumentParser):
    """The parser of one command, which is whole once its arguments and options are added."""

    def __init__(
        self,
        name: str,
        usage: str,
        help: str,
        examples: Iterable[str] = (),
        *,
        is_text: Callable[[str], object] = lambda word: False,
    ) -> None:
        """Name it as it is called.

        Args:
            name: all its words, `gpt2x bpe count`.
            usage: what follows the name.
            help: what it does, in one paragraph or several.
            examples: whole lines.
            is_text: whether a word that begins with a dash is no option.

        """
        super().__init__(
            prog=name,
            usage=usage,
            description=help,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self._examples = tuple(examples)
        self._is_text = is_text
        self._arguments: list[Argument] = []
        self._options: dict[str, Option] = {}
        self._sections: dict[str, list[tuple[str, str]]] = {}
        # In a group, an argument is added without argparse making a formatter of help for each.
        self._group = self.add_argument_group()

    def add_words(self, argument: Argument) -> None:
        """Take words that are no options: those that the arguments before this one leave."""
        self._arguments.append(argument)
        help = f"{argument.help}  [required]" if argument.required else argument.help
        self.list_in_help("Arguments", argument.metavar, help)

    def add_option(self, key: str, option: Option, default: Any) -> None:
        """Take an option, whose value `parse` gives under the name `key`."""
        if option is HELP:
            self._group.add_argument(*option.names, action="help")
        elif option.type is bool:
            self._group.add_argument(*option.names, dest=key, action="store_true")
        else:
            action = "append" if option.repeated else "store"
            self._group.add_argument(
                *option.names, dest=key, action=action, default=default, type=_reader(option)
            )
        self._options.update(dict.fromkeys(option.names, option))
        facts = "; ".join(filter(None, [_shown_default(option, default), _shown_bounds(option)]))
        self.list_in_help("Options", _shown(option), f"{option.help}  [{facts}]" if facts else option.help)

    def list_in_help(self, section: str, name: str, help: str) -> None:
        """Add a line to a section of the help."""
        self._sections.setdefault(section, []).append((name, help))

    # ------------------------------------------------------------------------------------------------------------
    # Reading a line

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of all arguments and options.

        Raises:
            UsageError: a word has no place here, or a value is none.
            SystemExit: help was asked for, and shown.

        """
        options, others = self._parted(words)
        try:
            values = vars(self.parse_args(options))
        except argparse.ArgumentError as error:
            raise UsageError(error.message) from None
        return self._named(others) | values

    def _named(self, words: list[str]) -> dict[str, Any]:
        """The values of the arguments, by their names."""
        found: dict[str, Any] = {}
        for argument in self._arguments:
            if argument.many:
                found[argument.name], words = words, []
            elif words:
                found[argument.name], *words = words
            elif argument.required:
                raise UsageError(
                    f"{argument.metavar} is missing; `{self.prog} --help` says what stands there"
                )
            else:
                found[argument.name] = None
        if words:
            raise UsageError(
                f"`{self.prog}` takes one text, and {quoted(words[0])} is a second; put several words in quotes"
            )
        return found

    def _parted(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Options, each with its value in one word, and the words that are none.

        argparse alone would take no value that begins with a dash, and not all of the words between options.
        """
        options: list[str] = []
        others: list[str] = []
        remaining = iter(words)
        for word in remaining:
            if word == "--":
                others += remaining
            elif word == "-" or not word.startswith("-") or self._is_text(word):
                others.append(word)
            elif (option := self._waiting(word)) is None:
                options.append(word)
            else:
                options += _flags_before(word)
                value = next(remaining, None)
                if value is None:
                    raise UsageError(f"{word} stands without its value; give it one, or leave it out")
                options.append(f"{option.names[0]}={value}")
        if not {*HELP.names}.isdisjoint(options):
            return ["--help"], []
        return options, others

    def _waiting(self, word: str) -> Option | None:
        """The option whose value is the next word: of ``--out``, ``-o`` or ``-qo``; None if there is none.

        Raises:
            UsageError: there is no such option.

        """
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            option = self._option(name)
            if option.type is bool and equals:
                raise UsageError(f"{name} takes no value; leave {quoted(word[len(name) :])} out")
            return None if equals or option.type is bool else option
        for place, letter in enumerate(word[1:], 2):
            option = self._option(f"-{letter}")
            if option.type is not bool:
                return option if place == len(word) else None
        return None

    def _option(self, name: str) -> Option:
        if name in self._options:
            return self._options[name]
        close = nearest(name.lstrip("-"), [known[2:] for known in self._options if known.startswith("--")])
        hint = f"did you mean '--{close}'?" if close else f"`{self.prog} --help` lists its options"
        if not close and "Arguments" in self._sections:
            hint += ", and -- stands before words that begin with a dash"
        raise UsageError(f"no such option {quoted(name)} in `{self.prog}`; {hint}")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Keep an option's value that is ``--``, which argparse of Python 3.11 drops, to name one."""
        if action.option_strings and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    # ------------------------------------------------------------------------------------------------------------
    # Help

    def print_help(self, file: Any = None) -> None:
        """Print the help as a result, so that one that cannot be delivered is an error."""
        emit_piece(self.format_help())

    def format_help(self) -> str:
        """The help, in the layout of typer's."""
        import shutil

        narrow, wide = HELP_COLUMNS
        columns = max(min(shutil.get_terminal_size().columns, wide) - 2, narrow)
        paragraphs = (self.description or "").split("\n\n")
        parts = [f"Usage: {self.prog} {self.usage}", *(_wrapped(one, "  ", columns) for one in paragraphs)]
        for title, rows in self._sections.items():
            parts.append("\n".join([f"{title}:", *_definitions(rows, columns)]))
        if self._examples:
            parts.append("\n".join(["  Examples:", *(f"    {line}" for line in self._examples)]))
        return "\n\n".join(parts) + "\n"

    # ------------------------------------------------------------------------------------------------------------
    # Completion

    def complete(self, words: Sequence[str], incomplete: str) -> list[Completion]:
        """What a line may go on with: options, or the words that one takes; nothing where the shell offers files.

        Args:
            words: those before it.
            incomplete: the beginning of the word, which may be empty.

        """
        waiting: Option | None = None
        given: set[str] = set()
        for word in words:
            if waiting is not None:
                waiting = None
            elif word == "--":
                return []
            elif word != "-" and word.startswith("-") and not self._is_text(word):
                try:
                    waiting = self._waiting(word)
                except UsageError:  # for the command to say
                    continue
                given.add(word.partition("=")[0])
        name, equals, beginning = incomplete.partition("=")
        if waiting is None and equals and name in self._options:
            waiting, incomplete = self._options[name], beginning
        if waiting is not None:
            return [Completion(word, "") for word in waiting.choices if word.startswith(incomplete)]
        if not incomplete.startswith("-"):
            return []
        return [
            Completion(name, option.help)
            for name, option in self._options.items()
            if name.startswith(incomplete) and (option.repeated or given.isdisjoint(option.names))
        ]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one that was meant by a wrong word; None where nothing is like it.

    >>> nearest("encod", ["train", "encode"])
    'encode'
    """
    import difflib

    return next(iter(difflib.get_close_matches(word[:100], list(known), n=1)), None)


def _reader(option: Option) -> Any:
    """What makes a value of a word; a word that is none is refused with a whole sentence."""
    if option.choices:
        return lambda word: _read_choice(option, word)
    if option.type is Path:
        return lambda word: _read_path(option, word)
    return (lambda word: _read_number(option, word)) if option.type in (int, float) else option.type


def _read_path(option: Option, word: str) -> Path:
    """A path; nothing at all, as a variable of the shell that is not set gives it, would be the current folder."""
    if not word:
        raise argparse.ArgumentTypeError(f"{option.names[0]} is empty; give a path")
    return Path(word)


def _read_choice(option: Option, word: str) -> str:
    if word in option.choices:
        return word
    *others, last = option.choices
    raise argparse.ArgumentTypeError(
        f"{option.names[0]} is {quoted(word)}; give {', '.join(others)} or {last}"
    )


def _read_number(option: Option, word: str) -> float:
    """A number that can be computed with, within its bounds."""
    name = option.names[0]
    try:
        number: float = option.type(word)
    except ValueError:
        kind = "whole number" if option.type is int else "number"
        raise argparse.ArgumentTypeError(f"{name} is {quoted(word)}; give a {kind}") from None
    if isinstance(number, float) or number.bit_length() > 31:
        from gpt2x.settings import check_number

        try:
            check_number(name, number)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    least, most = option.least, option.most
    if (least is not None and number < least) or (most is not None and number > most):
        allowed = (
            f"{least} or more"
            if most is None
            else f"{most} or less"
            if least is None
            else f"{least} to {most}"
        )
        raise argparse.ArgumentTypeError(f"{name} is {number}; give {allowed}")
    return number


def _flags_before(word: str) -> list[str]:
    """The flags that stand in one word with an option: ``-q`` of ``-qo``."""
    return [word[:-1]] if len(word) > 2 and not word.startswith("--") else []


def _shown(option: Option) -> str:
    """The names of an option and what its value is, as help shows them: ``-o, --out PATH``."""
    names = ", ".join(reversed(option.names))
    metavar = option.metavar or f"<{'|'.join(option.choices)}>"
    return names if option.type is bool else f"{names} {metavar}"


def _shown_default(option: Option, default: Any) -> str:
    return "" if option.repeated or default is None or default is False else f"default: {default}"


def _shown_bounds(option: Option) -> str:
    """The bounds of a number as typer shows them: ``x>=1``, ``0.0<=x<=1.0``."""
    low = "" if option.least is None else f"{option.least}<=x"
    if option.most is None:
        return f"x>={option.least}" if low else ""
    return f"{low or 'x'}<={option.most}"


def _wrapped(text: str, indent: str, columns: int) -> str:
    import textwrap

    return textwrap.fill(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _definitions(rows: Sequence[tuple[str, str]], columns: int) -> list[str]:
    """Two columns: names, and what they mean."""
    first = min(max(len(name) for name, _ in rows), _FIRST_COLUMN) + 2
    lines = []
    for name, help in rows:
        meaning = _wrapped(help, " " * (first + 2), columns)
        if len(name) > first - 2:
            lines += [f"  {name}", meaning]
        else:
            lines.append(f"  {name.ljust(first)}{meaning[first + 2 :]}")
    return lines
