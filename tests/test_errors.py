"""Errors become one sentence and a named exit code at the command line's boundary."""

from __future__ import annotations

import errno

import pytest

from gpt2x.boundary import exit_with_one_sentence
from gpt2x.errors import (
    ExitCode,
    Gpt2xError,
    InputDataError,
    MissingComponentError,
    OutputError,
    UsageError,
    describe_os_error,
    quoted,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Gpt2xError("it broke"), ExitCode.FAILED),
        (UsageError("--vocab 3 is too small"), ExitCode.USAGE),
        (InputDataError("songs.csv is empty"), ExitCode.INPUT_DATA),
        (MissingComponentError("matplotlib is missing"), ExitCode.MISSING_COMPONENT),
        (OutputError("disk full"), ExitCode.FAILED),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "songs.csv"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_each_kind_of_error_has_its_exit_code_and_prints_one_line(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving, exit_with_one_sentence():
        raise error
    assert leaving.value.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gpt2x: ")
    assert printed.err.count("\n") == 1


def test_a_traceback_is_shown_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_TRACEBACK", "1")
    with pytest.raises(UsageError), exit_with_one_sentence():
        raise UsageError("x")


def test_defects_of_our_own_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), exit_with_one_sentence():
        _ = 1 / 0


def test_an_operating_system_error_names_its_file() -> None:
    assert describe_os_error(OSError(errno.EACCES, "Permission denied", "/x")) == "Permission denied: /x"


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"\xff" * 10**6, 10**100_000, -(10**300), ["y"] * 1000],
    ids=lambda v: type(v).__name__,
)
def test_no_error_quotes_more_than_eighty_characters(value: object) -> None:
    assert len(quoted(value)) <= 80


def test_a_quoted_value_keeps_its_beginning_and_its_end() -> None:
    shown = quoted("begin" + "x" * 10**6 + "end")
    assert shown.startswith("'beginx")
    assert shown.endswith("xend'")


def test_a_sentence_of_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_with_one_sentence():
        raise InputDataError("cannot read \x1b[2J.csv")
    assert capsys.readouterr().err == "gpt2x: cannot read �[2J.csv\n"


def test_a_sentence_is_never_longer_than_a_thousand_characters_nor_than_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit), exit_with_one_sentence():
        raise UsageError("begin " + "x" * 10**6 + "\nend")
    printed = capsys.readouterr().err
    assert len(printed) <= len("gpt2x: ") + 1000 + 1
    assert printed.startswith("gpt2x: begin x")
    assert printed.endswith("x end\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("libtorch_global_deps.so: failed to map segment from shared object"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lack_of_memory_is_one_sentence_whoever_tells_of_it(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving, exit_with_one_sentence():
        raise error
    assert leaving.value.code == ExitCode.FAILED
    assert capsys.readouterr().err.startswith("gpt2x: there is not enough memory for this; ")


def test_a_package_that_is_not_installed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving, exit_with_one_sentence():
        import no_such_package  # noqa: F401
    assert leaving.value.code == ExitCode.MISSING_COMPONENT
    assert "the Python package no_such_package is not installed" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError), exit_with_one_sentence():  # a defect of our own
        import gpt2x.no_such_part  # noqa: F401


def test_an_import_that_ctrl_c_broke_off_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving, exit_with_one_sentence():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("numpy: something went wrong") from interrupt
    assert leaving.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "gpt2x: interrupted\n"
