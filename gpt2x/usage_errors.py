"""What typer says of a wrong command line, as one sentence: what is wrong, with which value, and where to look.

Errors are typed `Any`: newer typer carries its own copy of click, older typer imports it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from gpt2x.console import clean
from gpt2x.errors import quoted, shortened


def usage_sentence(error: Any, words: Sequence[str]) -> str:
    """One of typer's or click's errors in our words.

    Args:
        error: what was raised.
        words: the command line, where the value that was refused is looked up.

    """
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gpt2x"
    message = shortened(clean(" ".join(error.format_message().split())).rstrip("."))
    if ";" in message:  # it says already what to do
        return message
    kind = type(error).__name__
    if kind == "NoSuchOption":
        name = error.option_name
        hint = _nearest(name, error.possibilities or ()) or f"see {command} -h"
        return f"there is no option {quoted(name)[1:-1]}; {hint}"
    if found := re.match("No such command '([^']*)'", message):
        known = context.command.list_commands(context)
        return f"there is no command {quoted(found[1])}; {_nearest(found[1], known) or 'known: ' + ', '.join(known)}"
    if kind == "BadParameter" and (given := _given(error.param, words)) is not None:
        what = error.message.rstrip(".")
        message = f"{max(error.param.opts, key=len)} is {quoted(given)}: {what[:1].lower()}{what[1:]}"
    return f"{message}; see {command} -h" if context is not None else message


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def _given(parameter: Any, words: Sequence[str]) -> str | None:
    """The word that stands behind an option on the command line; None where it stands elsewhere."""
    names = tuple(parameter.opts) if parameter is not None else ()
    for place, word in enumerate(words):
        if word in names and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(tuple(f"{name}=" for name in names if name.startswith("--"))):
            return word.partition("=")[2]
    return None
