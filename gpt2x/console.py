"""Talking to the person at the terminal: talk and progress on stderr, results on stdout.

Progress bars and colour appear only where stderr is a terminal; in a pipe or a log file each message is one
plain line. `rich` draws and is imported at the first use, so that no command pays for it at start-up.

A result goes out by one of the functions `emit…`: on a terminal it is cleaned, into a pipe or file it goes as it is,
and a character that the stream's encoding does not have is replaced (in JSON: escaped, so that nothing is lost). One
that cannot be delivered is an error; talk that cannot be is not.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from gpt2x.errors import OutputError

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say` and `progress` for the rest of the process (``--quiet``); errors are still printed."""
    global _quiet  # noqa: PLW0603  (the one switch that belongs to the process as a whole)
    _quiet = quiet


def is_quiet() -> bool:
    """True after ``set_quiet(True)``."""
    return _quiet


def clean(text: str) -> str:
    """Text that may hold somebody else's words (a file's name, a label, a title), made safe for a terminal.

    Whatever could steer a terminal or cannot be printed becomes U+FFFD; line ends and tabs stay.

    >>> clean("label \\x1b[2J")
    'label \ufffd[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def say(message: str = "") -> None:
    """Print one line of talk on stderr, cleaned."""
    if not _quiet:
        complain(message)


def complain(message: str) -> None:
    """Print one line on stderr, cleaned, also after ``--quiet``; where stderr is closed or full, it is lost.

    On a terminal a long line goes on below, at words, under where its second column begins.
    """
    if sys.stderr is None:
        return  # `print` would take stdout instead
    line = clean(message)
    try:
        if is_terminal(sys.stderr):
            line = wrapped(line, shutil.get_terminal_size((80, 24)).columns)
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        discard(sys.stderr)


def wrapped(text: str, width: int) -> str:
    """A text whose lines are no longer than `width`, where its words allow it.

    >>> print(wrapped("model      3.0M parameters: 3 layers", 25))
    model      3.0M
               parameters: 3
               layers
    """
    return "\n".join(line if len(line) <= width else _wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    import textwrap  # for few lines

    head, gap, rest = line.partition("  ")
    column = len(line) - len(rest.lstrip()) if gap and head and " " not in head else 0
    indent = " " * column if column < width // 2 else ""
    return textwrap.fill(
        line,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def columns() -> int:
    """How wide a table may be here: as wide as the terminal, 40 to 120; 80 where there is none."""
    return max(40, min(120, shutil.get_terminal_size((80, 24)).columns))


def on_terminal() -> bool:
    """True where progress bars and colour make sense."""
    return not _quiet and is_terminal(sys.stderr)


def is_terminal(stream: Any) -> bool:
    """True for an open stream that a person looks at; False for one that is closed, or None."""
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


def discard(stream: Any) -> None:
    """Point a stream at nothing, so that the interpreter does not fail again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


# ----------------------------------------------------------------------------------------------------------------
# Results


def emit(text: str) -> None:
    """Print one line of a result on stdout.

    Raises:
        OutputError: it cannot be delivered.

    """
    emit_piece(f"{text}\n")


def emit_piece(text: str) -> None:
    """Print a part of a result on stdout, with no end of line.

    Raises:
        OutputError: it cannot be delivered.

    """
    with _delivery() as stream:
        stream.write(clean(text) if is_terminal(stream) else text)
        stream.flush()


def emit_bytes(data: bytes) -> None:
    """Print a result on stdout that need not be text: exactly these bytes, on a terminal what can be read of them.

    Raises:
        OutputError: it cannot be delivered.

    """
    if is_terminal(sys.stdout):
        emit_piece(data.decode("utf-8", "replace"))
        if not data.endswith(b"\n"):
            emit_piece("\n")
        return
    with _delivery() as stream:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def emit_json(value: Any) -> None:
    """Print a result as JSON on stdout; the shape of each command's object is documented in docs/reference.

    A character that the stream's encoding does not have, or that a terminal would act on, is written as ``\\u…``.

    Raises:
        OutputError: it cannot be delivered.

    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    with _delivery() as stream:
        stream.write(_escaped(text, getattr(stream, "encoding", None) or "utf-8", is_terminal(stream)) + "\n")
        stream.flush()


def flush_results() -> None:
    """Wait until what others printed on stdout (help, say) is delivered.

    Raises:
        OutputError: it cannot be delivered.

    """
    with _delivery() as stream:
        stream.flush()


@contextmanager
def _delivery() -> Iterator[TextIO]:
    """Stdout, ready for any text; a failure is an error with the reason."""
    stream = sys.stdout
    if stream is None or getattr(stream, "closed", False):
        raise OutputError("standard output is closed, so that the result went nowhere; leave it open")
    replace_what_it_cannot_hold(stream)
    try:
        yield stream
    except (BrokenPipeError, OutputError):
        raise
    except OSError as error:
        discard(stream)
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write the result to standard output: {reason}; send it to another place"
        ) from error


def replace_what_it_cannot_hold(stream: Any) -> None:
    """Let a text stream replace the characters that its encoding does not have, instead of failing."""
    if getattr(stream, "errors", None) != _REPLACE and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_REPLACE)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes for characters that an encoding does not have: U+FFFD or a question mark for each.

    A byte of a file's name that is not valid UTF-8 reaches Python as a lone surrogate (PEP 383) and becomes that byte
    again.
    """
    assert isinstance(error, UnicodeEncodeError)
    try:
        unknown = "\ufffd".encode(error.encoding)
    except UnicodeEncodeError:
        unknown = "?".encode(error.encoding)
    holds_bytes = "?".encode(error.encoding) == b"?"  # not UTF-16
    shown = (
        bytes([ord(char) - 0xDC00]) if holds_bytes and "\udc80" <= char <= "\udcff" else unknown
        for char in error.object[error.start : error.end]
    )
    return b"".join(shown), error.end


_REPLACE = "gpt2x.replace"
codecs.register_error(_REPLACE, _replacement)


def _escaped(text: str, encoding: str, for_terminal: bool) -> str:
    r"""JSON in which characters that cannot be shown are escaped, which means the same.

    >>> print(_escaped('["é"]', "ascii", False))
    ["\u00e9"]
    """
    if not for_terminal and _holds(text, encoding):
        return text
    strange = {
        char
        for char in set(text)
        if not _holds(char, encoding) or (for_terminal and not char.isprintable() and char != "\n")
    }
    return text.translate({ord(char): json.dumps(char)[1:-1] for char in strange})


def _holds(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


# ----------------------------------------------------------------------------------------------------------------
# Progress and tables


@contextmanager
def progress(description: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show a progress bar while the block runs; yields ``advance(amount=1, note="")``.

    On a terminal the bar shows the share done, speed and time left, and vanishes at the end; elsewhere it is silent.

    >>> with progress("counting", total=3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    if not on_terminal():
        yield lambda amount=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(clean(description), total=total, note="")

        def advance(amount: float = 1, note: str = "") -> None:
            fields: dict[str, Any] = {"note": clean(note)} if note else {}
            bar.update(task, advance=amount, **fields)

        yield advance


def format_count(number: float) -> str:
    """A large count for people: 1234567 -> '1.2M', 50257 -> '50.3k', 999 -> '999'."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.1f}{suffix}"
    return f"{number:.4g}"


def key_value_lines(values: Mapping[str, object]) -> str:
    """Lay out names and values in two aligned columns."""
    width = max((display_width(key) for key in values), default=0)
    return "\n".join(f"{padded(key, width, False)}  {value}" for key, value in values.items())


_ENDS = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"), " ")


def on_one_line(cell: str) -> str:
    """A cell that may hold somebody else's words: an end of line in it does not break the table."""
    return " ".join(cell.splitlines()) if not cell.isprintable() else cell


def one_line(label: object) -> str:
    r"""A label in a line of text: tabs and line ends of its own become blanks (JSON has it as it is).

    >>> one_line("sci\ntech")
    'sci tech'
    """
    return str(label).translate(_ENDS)


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal: two for a wide character, none for one that stands on another."""
    if text.isascii():
        return len(text)
    import unicodedata

    marks = ("Mn", "Me")
    return sum(
        0 if unicodedata.category(char) in marks else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def padded(text: str, width: int, right: bool) -> str:
    """A text with blanks up to so many columns of a terminal, before it (`right`) or behind it."""
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks
