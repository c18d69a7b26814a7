"""The boundary between a command and what started it: streams, interrupts and errors, for every entry point alike.

A shell, a cron job or a script may close any of the three standard descriptors, point them at a full disk, choose an
encoding of 1963, and interrupt at any moment. `run` makes each of these one sentence and a named exit code.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from gpt2x import interrupts
from gpt2x.child import protect_children
from gpt2x.console import clean, flush_results, replace_what_it_cannot_hold
from gpt2x.errors import ExitCode, InputDataError, OutputError, exit_with_one_sentence, shortened


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
    """Run a typer application; what it says of a wrong command line is cleaned and not endless.

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
        error.message = "\n".join(map(shortened, clean(error.message).split("\n")))  # type: ignore[attr-defined]
        error.show()  # type: ignore[attr-defined]
        raise SystemExit(error.exit_code) from None  # type: ignore[attr-defined]
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
