"""Encoding files that are larger than memory.

The file is read in windows. A window is encoded up to a place where the text can be cut without any piece noticing
(the core's `find_safe_cut`) and the rest goes before the next window, so that the ids are those of the whole text.
Special tokens are looked for first; a window ends so early that one that crosses its border is seen whole in the
next. Where a window has no place to cut, as much again is added to it: a text without any break is held in memory.
"""

from __future__ import annotations

import bisect
import codecs
import lzma
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from gpt2x.console import progress
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import atomic_write, open_input
from gpt2x.tokenizer.added import AddedCore
from gpt2x.tokenizer.fitting import last_cut
from gpt2x.tokenizer.special import Allowed, Disallowed, DisallowedSpecialError, SpecialTokens, native
from gpt2x.tokenizer.utf8 import NotUtf8Error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer.added import Core

    Place = Sequence[int]  # where a special token starts and ends

WINDOW_BYTES = 16 << 20
"""How much of a file is read at a time."""

_SEARCH_BYTES = 1 << 16  # how far before a window's end a place to cut is first looked for
_MARGIN_BYTES = 64  # no cut so near to a window's end, since what follows there is not known
_SHARE_BYTES = 1 << 20  # what one thread takes at least: less is done before a second one is ready


class EncodedFile(NamedTuple):
    """What `Tokenizer.encode_file` did."""

    tokens: int
    """How many ids were written."""
    bytes: int
    """How long the text is, as UTF-8."""
    seconds: float
    """How long it took, with reading and writing."""


class TextReader:
    """Reads a binary file as UTF-8 text that comes in stretches, each of which can be encoded by itself."""

    def __init__(
        self,
        core: Core,
        special: SpecialTokens,
        *,
        allowed: Allowed = frozenset(),
        disallowed: Disallowed = "all",
        errors: str = "strict",
    ) -> None:
        """Settle what is done with special tokens, as in `Tokenizer.encode`, and with bytes that are not valid UTF-8.

        Raises:
            UsageError: `errors` is neither "strict" nor "replace".

        """
        if errors not in ("strict", "replace"):
            raise UsageError(f"errors is {quoted(errors)}; take 'strict' or 'replace'")
        accepted, refused = special.decide(allowed, disallowed)
        self._core = core
        self._errors = errors
        self._accepted = special.native(accepted)
        self._refused = native(dict.fromkeys(refused, 0)) if refused else None
        special_sizes = (len(text.encode("utf-8", "surrogatepass")) for text in (*accepted, *refused))
        longest_added = core.longest if isinstance(core, AddedCore) else 0
        self._margin = max(_MARGIN_BYTES, longest_added, *special_sizes)

    def encode(
        self, source: IO[bytes], name: str, dtype: np.dtype[Any], num_threads: int
    ) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """Yield the ids of one stretch after the other, and how many bytes of text it has.

        Raises:
            InputDataError, DisallowedSpecialError: as `stretches`.

        """
        import numpy as np

        for stretch, places in self.stretches(source, name):
            kind: Literal["uint16", "uint32"] = "uint16" if dtype.name == "uint16" else "uint32"
            texts = self._evenly(stretch, places, num_threads)
            arrays = self._core.encode_batch(texts, num_threads, kind, self._accepted)
            yield np.concatenate([np.empty(0, dtype=dtype), *arrays]), len(stretch)

    def count(self, source: IO[bytes], name: str, num_threads: int) -> tuple[int, int]:
        """How many tokens and bytes the text has.

        Raises:
            InputDataError, DisallowedSpecialError: as `stretches`.

        """
        num_tokens = num_bytes = 0
        for stretch, places in self.stretches(source, name):
            texts = self._evenly(stretch, places, num_threads)
            num_tokens += sum(self._core.count_batch(texts, num_threads, self._accepted))
            num_bytes += len(stretch)
        return num_tokens, num_bytes

    def stretches(self, source: IO[bytes], name: str) -> Iterator[tuple[bytes, list[Place]]]:
        """Yield one stretch of text after the other, with the start and end of each special token in it.

        Raises:
            InputDataError: the source is damaged or, unless `errors` is "replace", not UTF-8.
            DisallowedSpecialError: it holds a special token that is refused.

        """
        decoder = _Utf8Decoder(name, self._errors)
        text = b""
        offset = 0
        size = WINDOW_BYTES
        at_end = False
        while not at_end:
            block = _read(source, size, name)
            at_end = not block
            text += decoder.feed(block)
            used, places = self._cut(text, offset, name, at_end)
            if used:
                yield text[:used], places
            text = text[used:]
            offset += used
            size = WINDOW_BYTES if used else max(WINDOW_BYTES, len(text))

    def _evenly(self, text: bytes, places: list[Place], num_threads: int) -> Iterator[bytes]:
        """Cut a stretch where neither a piece nor a special token notices, into about as much for each thread."""
        share = max(len(text) // (4 * num_threads), _SHARE_BYTES)
        ends = [end for _, end in places]
        start = 0
        plain = range(0)  # what lies between two special tokens
        plain_text = b""
        while start < len(text):
            end = min(start + share, len(text))
            behind = bisect.bisect_right(ends, end)  # the first special token that ends behind `end`
            low = ends[behind - 1] if behind else 0
            high = places[behind][0] if behind < len(places) else len(text)
            if end > high:
                end = ends[behind]
            elif low < end < high:
                if plain != range(low, high):
                    plain, plain_text = range(low, high), text[low:high]
                end = low + self._core.find_safe_cut(plain_text, end - low)
            yield text[start:end]
            start = end

    def _cut(self, text: bytes, offset: int, name: str, at_end: bool) -> tuple[int, list[Place]]:
        """Where the stretch that `text` begins with ends, 0 where more text must be seen, and its special tokens."""
        limit = len(text) if at_end else max(0, len(text) - self._margin)
        refused = self._refused.find(text) if self._refused else None
        if refused and refused[0] < limit:
            token = text[refused[0] : refused[1]].decode()
            raise DisallowedSpecialError(token, offset + refused[0], name, "byte")
        places: list[Place] = []
        if self._accepted:
            found = self._accepted.find_all(text)[:, :2]
            places = found[found[:, 0] < limit].tolist()
        start = places[-1][1] if places else 0
        rest = text[start:]
        end = len(rest) if at_end else last_cut(self._core, rest, limit - start, _SEARCH_BYTES)
        return start + end, places


class _Utf8Decoder:
    """Makes whole characters of blocks that may begin and end inside one."""

    def __init__(self, name: str, errors: str) -> None:
        self._name = name
        self._errors = errors
        self._pending = b""
        self._offset = 0

    def feed(self, block: bytes) -> bytes:
        """Take the next block, an empty one at the end; return the characters that are now whole, as UTF-8."""
        data = self._pending + block
        try:
            text, used = codecs.utf_8_decode(data, self._errors, not block)
        except UnicodeDecodeError as error:
            raise NotUtf8Error(self._name, data[error.start], self._offset + error.start) from error
        self._pending = data[used:]
        self._offset += used
        return data[:used] if self._errors == "strict" else text.encode()


def _read(source: IO[bytes], size: int, name: str) -> bytes:
    try:
        return source.read(size)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputDataError(f"cannot read {name}: {error}; is the file complete?") from error


def encode_file(
    reader: TextReader,
    path: Path,
    out: str | os.PathLike[str],
    *,
    dtype: np.dtype[Any],
    num_threads: int,
    append: int | None,
) -> EncodedFile:
    """Encode a file into a file; see `Tokenizer.encode_file`."""
    started = time.perf_counter()
    num_tokens = num_bytes = 0
    with (
        open_input(path) as source,
        atomic_write(out) as target,
        progress(f"encoding {path.name}", total=_size(path), unit="MB") as advance,
    ):
        for ids, size in reader.encode(source, str(path), dtype, num_threads):
            write_ids(target, ids)
            num_tokens += len(ids)
            num_bytes += size
            advance(size / 1e6)
        if append is not None:
            target.write(append.to_bytes(dtype.itemsize, "little"))
            num_tokens += 1
    return EncodedFile(num_tokens, num_bytes, time.perf_counter() - started)


def write_ids(target: IO[bytes], ids: npt.NDArray[Any]) -> None:
    """Write ids as they are stored: little-endian, nothing between."""
    target.write(ids.astype(ids.dtype.newbyteorder("<"), copy=False).data)


def _size(path: Path) -> float | None:
    """Megabytes of text; None where only unpacking would tell."""
    return None if path.suffix in (".xz", ".gz") or not path.is_file() else path.stat().st_size / 1e6
