"""What `gpt2x classify predict` reads: texts on the command line, and lines of standard input as they come."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator

from gpt2x.console import is_terminal, say
from gpt2x.errors import InputDataError, UsageError

STDIN = "-"
LIKE_A_TEXT = re.compile(r"-\d|-(?!-)\S*\s|--[^=\s]*\s|-\s")
"""An argument that begins like an option and is a text: a number, or several words."""

_BLOCK_BYTES = 1 << 20


def texts_given(given: list[str]) -> list[str] | None:
    """The texts of the command line; None where standard input is to be read.

    Raises:
        InputDataError: one is not UTF-8.
        UsageError: texts and '-'.

    """
    if not given or given == [STDIN]:
        return None
    if STDIN in given:
        raise UsageError("give texts or '-', not both")
    if any("\udc80" <= character <= "\udcff" for text in given for character in text):
        raise InputDataError("a text on the command line is not UTF-8; convert it first")
    return given


def lines_as_they_come() -> Iterator[bytes]:
    """Whole lines of standard input, as UTF-8: as many at once as are there, and one at once when they come one by one.

    A byte order mark at the very beginning is dropped.

    Raises:
        InputDataError: nothing comes, or something that is not UTF-8.

    """
    if is_terminal(sys.stdin):
        say("reading one text a line from the keyboard; Ctrl-D ends")
    read = getattr(sys.stdin.buffer, "read1", sys.stdin.buffer.read)
    begun: list[bytes] = []  # of a line that is not whole yet
    offset, is_empty = 0, True
    while True:
        block = read(_BLOCK_BYTES)
        if block and b"\n" not in block:
            begun.append(block)
            continue
        whole, found, rest = block.rpartition(b"\n") if block else (b"", b"", b"")
        data = b"".join([*begun, whole, found])
        _check_utf8(data, offset)
        lines = data if offset else data.removeprefix(codecs.BOM_UTF8)
        if lines:
            is_empty = False
            yield lines
        offset += len(data)
        begun = [rest]
        if not block:
            break
    if is_empty:
        raise InputDataError("standard input is empty; give one text a line")


def _check_utf8(data: bytes, offset: int) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        is_utf16 = offset == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise InputDataError(
            f"standard input is {'UTF-16' if is_utf16 else 'not UTF-8 text'}: byte 0x{data[error.start]:02x} at "
            f"offset {offset + error.start}; convert it to UTF-8 first"
        ) from error
