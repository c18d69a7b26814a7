"""What can go wrong, with the exit code that each kind of failure has on the command line.

Every error that a user can cause is a `Gpt2xError`. Its text is one sentence: what happened, with which
value, and what to do. The command line prints that sentence and exits; a traceback appears only with
``--traceback`` (or ``GPT2X_TRACEBACK=1``). Idea: httpie's ``status.py``, which gives exit codes names.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum

QUOTED_CHARACTERS = 80
"""No error quotes more than this of a value."""

SENTENCE_CHARACTERS = 1000
"""No error says more than this: the last resort, should a long value have found its way into the sentence."""

NO_MEMORY = (
    *("failed to map segment", "cannot allocate memory", "can't allocate memory"),
    *("not enough memory", "bad_alloc", "storage size calculation overflowed"),
)
"""What the system, the loader of libraries and torch say where memory is short."""


class ExitCode(IntEnum):
    """Exit codes of every gpt2x command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INPUT_DATA = 3
    MISSING_COMPONENT = 4
    INTERRUPTED = 130


class Gpt2xError(Exception):
    """Base of all errors that a user can cause; `str(error)` is one sentence with the remedy."""

    exit_code = ExitCode.FAILED


class UsageError(Gpt2xError, ValueError):
    """An option or argument has a value that can never work."""

    exit_code = ExitCode.USAGE


class InputDataError(Gpt2xError, ValueError):
    """A file or text that was given is missing, empty, corrupt or of another format."""

    exit_code = ExitCode.INPUT_DATA


class MissingComponentError(Gpt2xError, RuntimeError):
    """Something optional that is needed here is not installed or not built (a package, a vocabulary, a GPU)."""

    exit_code = ExitCode.MISSING_COMPONENT


class OutputError(Gpt2xError, OSError):
    """A result could not be written (no space, no permission); nothing half-written is left behind."""

    exit_code = ExitCode.FAILED


def quoted(value: object) -> str:
    """`repr` of a value from outside, for a sentence: at most 80 characters, with the middle left out.

    >>> quoted("songs.csv")
    "'songs.csv'"
    >>> len(quoted("x" * 10**6)), quoted(10**10_000)
    (80, '2**33220 or so')
    """
    if isinstance(value, str) and len(value) > 10**4:  # noqa: SIM114  (mypy adds no str to bytes)
        value = value[:QUOTED_CHARACTERS] + value[-QUOTED_CHARACTERS:]
    elif isinstance(value, bytes) and len(value) > 10**4:
        value = value[:QUOTED_CHARACTERS] + value[-QUOTED_CHARACTERS:]
    elif (
        isinstance(value, int) and value.bit_length() > 10**3
    ):  # Python refuses to write very long numbers out
        return f"{'-' if value < 0 else ''}2**{value.bit_length()} or so"
    try:
        shown = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    if len(shown) <= QUOTED_CHARACTERS:
        return shown
    half = (QUOTED_CHARACTERS - 1) // 2
    return f"{shown[: QUOTED_CHARACTERS - 1 - half]}…{shown[-half:]}"


def shortened(sentence: str) -> str:
    """A sentence of at most 1,000 characters, with the middle left out.

    >>> len(shortened("x" * 10**6))
    1000
    """
    if len(sentence) <= SENTENCE_CHARACTERS:
        return sentence
    half = SENTENCE_CHARACTERS // 2
    return f"{sentence[: half - 1]}…{sentence[-half:]}"


def wants_traceback() -> bool:
    """True when the user asked to see tracebacks (``GPT2X_TRACEBACK`` is set to anything but 0)."""
    return os.environ.get("GPT2X_TRACEBACK", "0") not in ("", "0")


def is_lack_of_memory(error: BaseException) -> bool:
    """True for an error that means that memory is short: said by Python, by torch, or by the loader of libraries."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    said = str(error).lower()
    return isinstance(error, ImportError | OSError | RuntimeError) and any(
        words in said for words in NO_MEMORY
    )


def describe_os_error(error: OSError) -> str:
    """One sentence for an operating-system error: ``No such file or directory: songs.csv``."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {error.filename}" if error.filename is not None else reason
