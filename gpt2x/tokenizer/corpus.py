"""A corpus as training sees it: how often each piece occurs, whatever files, parts or machines the text came from.

Files of any size are read into one buffer, window after window. A window is counted up to the last place at which no
piece can notice a cut (the core's `find_safe_cut`), and the rest begins the next one, so that the counts are those of
the whole file. Files are read rather than mapped: a mapped file that somebody cuts short kills the process that reads
it, and reading costs a tenth of the time that counting takes.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import open_input
from gpt2x.tokenizer import counts, patterns
from gpt2x.tokenizer.fitting import last_cut
from gpt2x.tokenizer.utf8 import NotUtf8Error, as_bytes

if TYPE_CHECKING:
    from gpt2x._bpe import PieceCounter

Errors: TypeAlias = Literal["strict", "replace"]
Text: TypeAlias = "bytes | memoryview"

WINDOW_BYTES = 16 << 20
"""How much of a file is read at a time: with 4 MiB counting takes a quarter longer, with 64 MiB a twentieth less."""

STDIN = "-"


_SEARCH_BYTES = 256  # how far before a window's end a place to cut is first looked for
_BLOCK_BYTES = 1 << 16  # looked through at a time for the last line's start
_MARGIN_BYTES = 64  # no cut so near to a window's end, since what follows there is not known


class Corpus:
    """How often each piece occurs in texts, files and other corpora; all that learning needs to know of them.

    Counts add up: the order of what is added, the number of threads and where files are cut do not matter. Memory
    grows with the distinct pieces, not with the texts.

    >>> corpus = Corpus()
    >>> corpus.add_text("low lower low")
    >>> corpus.items()
    [(b' low', 1), (b' lower', 1), (b'low', 1)]
    """

    def __init__(
        self,
        pattern: str = "gpt2",
        *,
        split_lines: bool = False,
        errors: Errors = "strict",
        limit_bytes: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        """Begin with nothing counted.

        Args:
            pattern: the splitting pattern, one of `patterns.BY_NAME`.
            split_lines: take each line, with its line end, as a document of its own, as Hugging Face's trainer takes
                files; else each text and each file is one document.
            errors: what to do with bytes that are not valid UTF-8: refuse them ("strict"), or take U+FFFD ("replace").
            limit_bytes: no more than so many bytes of all texts and files are counted, the first ones.
            num_threads: for counting; all cores by default.

        Raises:
            UsageError: an unknown pattern or value of `errors`, a limit or a number of threads below 1.

        """
        from gpt2x._bpe import PieceCounter

        patterns.named(pattern)
        if errors not in ("strict", "replace"):
            raise UsageError(f"errors is {errors!r}; take 'strict' or 'replace'")
        for name, value in (("limit_bytes", limit_bytes), ("num_threads", num_threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; give 1 or more")
        self.pattern = pattern
        self.split_lines = split_lines
        self.counter: PieceCounter = PieceCounter(pattern)
        """The native table; `learn` may empty it."""
        self._errors: Errors = errors
        self._left = limit_bytes
        self._num_threads = num_threads or 0

    @property
    def num_bytes(self) -> int:
        """The bytes of all texts."""
        return self.counter.num_bytes

    @property
    def num_pieces(self) -> int:
        """All pieces, repeated ones counted each time."""
        return self.counter.num_pieces

    @property
    def num_unique(self) -> int:
        """Distinct pieces."""
        return self.counter.num_unique

    @property
    def is_full(self) -> bool:
        """True once `limit_bytes` are counted: nothing more is read."""
        return self._left == 0

    def items(self) -> list[tuple[bytes, int]]:
        """Pieces and counts: the most frequent first, equally frequent ones in the order of their bytes."""
        return self.counter.items()

    def add_text(self, text: str | bytes) -> None:
        """Count a document; bytes need not be UTF-8.

        A lone surrogate becomes U+FFFD, a surrogate pair its character.
        """
        data = as_bytes(text)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            data = data[: _num_whole(data)] if self.is_full and isinstance(text, str) else data
        self._count(data)

    def add_file(
        self,
        path: str | os.PathLike[str],
        on_bytes: Callable[[int], None] | None = None,
        *,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        """Count a UTF-8 file of any size; ``.xz`` and ``.gz`` files are unpacked on the way, ``-`` is standard input.

        Args:
            path: the file.
            on_bytes: called after each part with the number of bytes that were counted.
            window_bytes: how much to read at a time. A stretch of text without any place to cut is held as a whole.

        Raises:
            InputDataError: the file is missing, damaged, not UTF-8 (`NotUtf8Error`, with the offset), a file of
                counts, or became shorter while it was read. Parts of it may have been counted by then.

        """
        for part in self.read_parts(path, window_bytes=window_bytes):
            self._count(part)
            if on_bytes is not None:
                on_bytes(len(part))

    def read_parts(self, path: str | os.PathLike[str], *, window_bytes: int = WINDOW_BYTES) -> Iterator[Text]:
        """The parts in which `add_file` counts a file, cut where no piece notices; each is valid until the next.

        Raises:
            InputDataError: as `add_file`.

        """
        if self.is_full:
            return
        with _open(path) as file:
            reader = _WindowReader(file, label(path), self._errors, self._left)
            for text, at_end in reader.windows(window_bytes):
                end = len(text) if at_end else self._last_cut(text)
                reader.keep(text[end:])
                if end:
                    yield text[:end]
            self._left = reader.left

    def add_counts(self, path: str | os.PathLike[str]) -> None:
        """Add the counts in a file that `save_counts` wrote; ``.xz`` and ``.gz`` files are unpacked on the way.

        Raises:
            InputDataError: it is missing, damaged or no file of counts, or was counted with another pattern, another
                Unicode version, or line by line where this corpus is not; nothing is added then.

        """
        counts.add(self, path)

    def save_counts(self, path: str | os.PathLike[str]) -> None:
        """Write all counts to a file; equal corpora give equal files.

        Raises:
            OutputError: it cannot be written; nothing is left behind.

        """
        counts.write(self, path)

    def _count(self, text: Text) -> None:
        if self.split_lines:
            self.counter.add_lines(text, self._num_threads)
        else:
            self.counter.add(text, self._num_threads)

    def _last_cut(self, text: Text) -> int:
        if self.split_lines:
            return _after_last_newline(text)
        core: Any = self.counter  # it can say where to cut, as an encoder can
        return last_cut(core, text, len(text) - _MARGIN_BYTES, _SEARCH_BYTES)  # type: ignore[arg-type]


def label(path: str | os.PathLike[str]) -> str:
    """What to call a file in a message."""
    return "standard input" if str(path) == STDIN else str(path)


class BinaryFileError(NotUtf8Error):
    """Bytes that are no text, in a file that does not look like one."""

    @property
    def finding(self) -> str:
        """The sentence without its remedy."""
        return f"{self.source} looks like a binary file: byte 0x{self.byte:02x} at offset {self.offset} is not UTF-8"


# ----------------------------------------------------------------------------------------------------------------
# Windows


class _WindowReader:
    """Reads a file into one buffer again and again, as whole characters."""

    def __init__(self, file: IO[bytes], name: str, errors: Errors, left: int | None) -> None:
        self._file = file
        self._name = name
        self._errors = errors
        self._kept = b""  # what the next window begins with
        self._tail = b""  # and the start of a character after it
        self._num_read = 0
        self._size_at_first = _regular_size(file)
        self.left = left
        """How much may still be read; None for all."""

    def keep(self, text: Text) -> None:
        """Put this much of the last window before the next one."""
        self._kept = bytes(text)

    def windows(self, window_bytes: int) -> Iterator[tuple[Text, bool]]:
        """Yield what was kept and what follows it in the file, and whether that is the end."""
        buffer = bytearray(window_bytes)
        at_end = False
        while not at_end:
            rest = self._kept + self._tail
            if 2 * len(rest) > len(buffer):  # no place to cut was found: look at as much again
                buffer = bytearray(2 * len(rest))
            window = memoryview(buffer)
            window[: len(rest)] = rest
            size, at_end = self._fill(window[len(rest) :])
            data = window[: len(rest) + size]
            if self._num_read == size:
                self._check_start(data)
            yield self._whole_characters(data, at_end), at_end
        if self.left != 0 and self._num_read < self._size_at_first:
            raise InputDataError(
                f"{self._name} became shorter while it was read (from {self._size_at_first:,} to "
                f"{self._num_read:,} bytes): nothing was saved; start again when it is no longer written to"
            )

    def _fill(self, buffer: memoryview) -> tuple[int, bool]:
        """Read until the buffer is full or the file at its end; returns how much, and whether that is the end."""
        if self.left is not None:
            buffer = buffer[: self.left]
        size = 0
        try:
            while size < len(buffer) and (num_bytes := self._file.readinto(buffer[size:])):  # type: ignore[attr-defined]
                size += num_bytes
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise InputDataError(f"cannot read {self._name}: {error}; is the file complete?") from error
        self._num_read += size
        if self.left is not None:
            self.left -= size
        return size, size < len(buffer) or self.left == 0

    def _check_start(self, data: memoryview) -> None:
        if data[: len(counts.START)] == counts.START:
            raise InputDataError(
                f"{self._name} holds counts of pieces, no text; pass --counts, or use Corpus.add_counts"
            )

    def _whole_characters(self, data: memoryview, at_end: bool) -> Text:
        """The window as valid UTF-8; a character that has only begun is left for the next."""
        from gpt2x._bpe import valid_utf8_prefix

        self._tail = b""
        valid = valid_utf8_prefix(data)
        if valid == len(data):
            return data
        goes_on = not at_end or self.left == 0  # the file does, beyond what is read
        if goes_on and _has_only_begun(bytes(data[valid : valid + 4])):
            self._tail = bytes(data[valid:])
            return data[:valid]
        if self._errors == "strict":
            # Nothing before this window was changed on the way, so its place in the file is known.
            offset = self._num_read - len(data) + valid
            kind = (
                BinaryFileError if b"\0" in bytes(data[max(0, valid - 512) : valid + 512]) else NotUtf8Error
            )
            raise kind(self._name, data[valid], offset)
        text, used = codecs.utf_8_decode(data, "replace", not goes_on)
        self._tail = bytes(data[used:])
        return text.encode()


def _has_only_begun(data: bytes) -> bool:
    """True for the first bytes of one character that more bytes could complete."""
    try:
        return codecs.utf_8_decode(data, "strict", False)[1] == 0
    except UnicodeDecodeError:
        return False


def _num_whole(data: bytes) -> int:
    """The length of UTF-8 without a last character that has only begun."""
    from gpt2x._bpe import valid_utf8_prefix

    return valid_utf8_prefix(data)


def _after_last_newline(text: Text) -> int:
    """Where the last line begins; 0 if there is only one."""
    end = len(text)
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        if (found := bytes(text[start:end]).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _open(path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return contextlib.nullcontext(sys.stdin.buffer) if str(path) == STDIN else open_input(path)


def _regular_size(file: IO[bytes]) -> int:
    """How long a regular file is; 0 for a pipe and for a file that is unpacked."""
    if not isinstance(getattr(file, "raw", None), io.FileIO):
        return 0
    status = os.fstat(file.fileno())
    return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else 0
