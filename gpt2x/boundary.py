"""The boundary between a command and what started it: streams, interrupts and errors, for every entry point alike.

A shell, a cron job or a script may close any of the three standard descriptors, point them at a full disk, choose an
encoding of 1963, and interrupt at any moment. `run` makes each of these one sentence and a named exit code.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from gpt2x import interrupts
from gpt2x.child import protect_children
from gpt2x.console import complain, discard, flush_results, replace_what_it_cannot_hold
from gpt2x.errors import (
    ExitCode,
    Gpt2xError,
    InputDataError,
    OutputError,
    describe_os_error,
    is_lack_of_memory,
    shortened,
    wants_traceback,
)


def run(command: Callable[[], object]) -> None:
    """Run a command to its end, its results delivered.

    Raises:
        SystemExit: with the code of an error.

    """
    with exit_with_one_sentence():
        prepare_streams()
        protect_children()
        interrupts.be_raised()
        try:
            command()
        except SystemExit as leaving:
            if isinstance(leaving.__context__, BrokenPipeError):
                raise leaving.__context__ from None  # the reader has seen enough of the help
            if leaving.code:
                with contextlib.suppress(OutputError):
                    flush_results()
                raise
        flush_results()


def run_typer(app: Callable[..., Any], name: str) -> None:
    """Run a typer application; what it says of a wrong command line is one sentence, too.

    Raises:
        SystemExit: as `run`, and with typer's own codes.

    """
    run(lambda: _run_typer(app, name))


def _run_typer(app: Callable[..., Any], name: str) -> None:
    try:
        code = app(prog_name=name, standalone_mode=False)
    except Exception as error:  # typer's own, or click's, by the version of typer
        if type(error).__name__ == "Abort":
            raise KeyboardInterrupt from error
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            raise SystemExit(ExitCode.USAGE) from None
        from gpt2x.usage_errors import usage_sentence  # `difflib` is not for a command that starts in 50 ms

        _leave(usage_sentence(error, sys.argv[1:]), ExitCode.USAGE)
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)


# ----------------------------------------------------------------------------------------------------------------
# Streams


def prepare_streams() -> None:
    """Make the three standard streams safe to use, whatever state they were handed over in."""
    _occupy_standard_descriptors()
    if sys.stdin is None:
        sys.stdin = _ClosedInput()
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (it stays)
    replace_what_it_cannot_hold(sys.stdout)


def _occupy_standard_descriptors() -> None:
    """See to it that no file opened later gets the number of a closed standard stream, and is read or written as it."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)  # children print there, too


class _ClosedInput(io.TextIOBase):
    """Stands for a standard input that is closed: reading it is an error that says so."""

    def _refuse(self) -> NoReturn:
        raise InputDataError("standard input is closed; name a file, or send the text there")

    @property
    def buffer(self) -> Any:
        """There is none."""
        self._refuse()

    def read(self, size: int | None = -1) -> str:
        """There is nothing to read."""
        self._refuse()

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """There is nothing to read."""
        self._refuse()


class _ClosedOutput(io.TextIOBase):
    """Stands for a standard output that is closed: writing there is an error that says so."""

    encoding = "utf-8"

    def _refuse(self) -> NoReturn:
        raise OutputError("standard output is closed, so that the result went nowhere; leave it open")

    @property
    def buffer(self) -> Any:
        """There is none."""
        self._refuse()

    def write(self, text: str) -> int:
        """Nothing can be written."""
        self._refuse()


# ----------------------------------------------------------------------------------------------------------------
# Errors


@contextlib.contextmanager
def exit_with_one_sentence() -> Iterator[None]:
    """Turn errors into one sentence on stderr and a named exit code; the boundary of every command.

    Raises:
        SystemExit: with the error's `ExitCode`, or 130 after Ctrl-C.

    """
    try:
        yield
    except KeyboardInterrupt:
        _leave("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of stdout went away (`gpt2x … | head`): not an error.
        discard(sys.stdout)
        raise SystemExit(ExitCode.OK) from None
    except Exception as error:
        known = _explain(error)
        if known is None or wants_traceback():
            raise
        _leave(*known)


def _explain(error: Exception) -> tuple[str, ExitCode] | None:
    """The sentence and the exit code of an error that a user can cause; None for a defect of our own."""
    if isinstance(error, Gpt2xError):
        return str(error), error.exit_code
    if _was_interrupted(error):
        return "interrupted", ExitCode.INTERRUPTED
    if is_lack_of_memory(error):
        return (
            "there is not enough memory for this; end other programs, lift the limit (ulimit -v), or ask for less",
            ExitCode.FAILED,
        )
    if isinstance(error, OSError):
        return describe_os_error(error), ExitCode.FAILED
    if isinstance(error, ModuleNotFoundError) and not (error.name or "gpt2x").startswith("gpt2x"):
        remedy = f"install it, or gpt2x anew: {sys.executable} -m pip install gpt2x"
        return f"the Python package {error.name} is not installed here; {remedy}", ExitCode.MISSING_COMPONENT
    return None


def _was_interrupted(error: BaseException | None) -> bool:
    """True where Ctrl-C is behind an error: an import that it ends may raise one of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _leave(sentence: str, code: ExitCode) -> None:
    complain(f"gpt2x: {shortened(' '.join(sentence.splitlines()))}")
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        discard(sys.stdout)
    raise SystemExit(code)
