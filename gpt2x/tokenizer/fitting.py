"""Texts of at most so many tokens: cutting one short, and cutting one into chunks.

That a text has n tokens says little about its parts: a token may end inside a character, and a part may be split
and merged in another way than it was in the whole (of " tokens" the prefix " token" is one token, " toke" is two). So
each result is counted by itself, as it will be given out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.utf8 import ceil_to_character, floor_to_character, is_inside_character

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer.added import Core

UNBROKEN_BYTES = 2048
"""How long a stretch without a place to cut may be for `truncate` to find the longest prefix of all."""

_CONTEXT_BYTES = 16  # as much text after a place to cut is enough to make it one


class HasCuts(Protocol):
    """What tells where a text may be cut: a core, or `seams.Seams`."""

    def find_safe_cut(self, text: bytes, start: int) -> int:
        """A place at or after `start` where the text may be cut, or its end."""
        ...


def truncate(core: Core, data: bytes, n: int) -> bytes:
    """A prefix of UTF-8 text with at most n tokens; `Tokenizer.truncate` says which.

    Linear in n: no more of a long text is looked at than is needed.
    """
    _check(n, "n")
    size = 8 * n + 4096
    while size < len(data):
        window = data[: floor_to_character(data, size)]
        if (end := _longest_prefix(core, window, n, goes_on=True)) is not None:
            return data[:end]
        size *= 4
    return data[: _longest_prefix(core, data, n, goes_on=False)]


def _longest_prefix(core: Core, data: bytes, n: int, *, goes_on: bool) -> int | None:
    """Where to cut `data`; None where the text goes on after it and may fit further than `data` reaches."""
    ends = token_ends(core, data)
    if len(ends) <= n:
        return None if goes_on else len(data)
    first_left_out = int(ends[n - 1]) if n else 0
    low = last_cut(core, data, max(0, first_left_out - _CONTEXT_BYTES), 256)
    budget = n - int(ends.searchsorted(low, side="right"))
    # Beyond `high` every prefix is cut there, too, so that it has all the tokens before it, which are more than n.
    high = core.find_safe_cut(data, min(first_left_out + 1, len(data)))
    while high < len(data) and ends.searchsorted(high, side="right") <= n:
        high = core.find_safe_cut(data, high + 1)
    high += _CONTEXT_BYTES
    if high >= len(data):
        if goes_on and len(data) - low <= UNBROKEN_BYTES:
            return None
        high = len(data)

    def fits(end: int) -> bool:
        return core.count(data[low:end]) <= budget

    if high - low <= UNBROKEN_BYTES:
        candidates = (end for end in range(high, low, -1) if not is_inside_character(data, end))
        return next((end for end in candidates if fits(end)), low)
    end = floor_to_character(data, first_left_out)
    while end > low and not fits(end):
        end = floor_to_character(data, end - 1)
    while end < len(data) and fits(following := ceil_to_character(data, end + 1)):
        end = following
    return None if goes_on and end == len(data) else end


def chunk(core: Core, data: bytes, n: int, overlap: int) -> Iterator[bytes]:
    """Cut UTF-8 text into chunks of at most n tokens; see `Tokenizer.chunk`.

    Raises:
        UsageError: n is below 1, `overlap` is negative or not below n, or one character has more than n tokens.

    """
    _check(n, "n")
    _check(overlap, "overlap")
    if overlap >= n:
        raise UsageError(f"overlap is {overlap} and n is {n}: the overlap must be smaller than a chunk")
    ends = token_ends(core, data)
    start = covered = 0
    while covered < len(data):
        end = _chunk_end(core, data, ends, start, n)
        if end <= covered:  # the overlap leaves no room for anything new
            start = covered
            continue
        yield data[start:end]
        covered = end
        start = _overlap_start(core, data[start:end], start, overlap)


def _chunk_end(core: Core, data: bytes, ends: npt.NDArray[np.int64], start: int, n: int) -> int:
    """Where a chunk that begins at `start` ends: at a token's end if it can be, and at most n tokens long."""
    first = int(ends.searchsorted(start, side="right"))
    last = min(first + n, len(ends))
    while last > first:
        end = floor_to_character(data, int(ends[last - 1]))
        excess = core.count(data[start:end]) - n
        if end > start and excess <= 0:
            return end
        last -= max(1, excess)
    end = ceil_to_character(data, start + 1)
    num_tokens = core.count(data[start:end])
    if num_tokens > n:
        raise UsageError(
            f"the character {quoted(data[start:end].decode())} has {num_tokens} tokens, so chunks of {n} cannot hold "
            f"it; take n = {num_tokens} or more"
        )
    return end


def _overlap_start(core: Core, piece: bytes, start: int, overlap: int) -> int:
    """Where the next chunk begins: at a character, at most `overlap` tokens before this one's end."""
    if not overlap:
        return start + len(piece)
    ends = token_ends(core, piece)
    if len(ends) <= overlap:
        return start + len(piece)
    return start + ceil_to_character(piece, int(ends[-overlap - 1]))


def token_ends(core: Core, data: bytes) -> npt.NDArray[np.int64]:
    """The byte at which each token of a text ends.

    Raises:
        UsageError: the pattern drops some of the text.

    """
    import numpy as np

    ends = core.token_lengths(core.encode_to_numpy(data)).cumsum(dtype=np.int64)
    check_complete(ends, data)
    return ends


def check_complete(ends: npt.NDArray[np.int64], data: bytes) -> None:
    """See that tokens or pieces, which end there, have the whole text in them; else nobody knows where they are.

    Raises:
        UsageError: they have less.

    """
    num_bytes = int(ends[-1]) if len(ends) else 0
    if num_bytes != len(data):
        raise UsageError(
            f"the tokens have {num_bytes:,} of the text's {len(data):,} bytes, since the pattern drops what it does "
            "not match, so their places are not known; take a vocabulary whose pattern matches everything"
        )


def last_cut(core: HasCuts, text: bytes, limit: int, distance: int) -> int:
    """A place up to `limit` at which a text can be cut without changing its pieces; 0 where there is none.

    It is at most `distance` before the limit if there is one, but not always the last.
    """
    while limit > 0:
        start = max(0, limit - distance)
        cut = core.find_safe_cut(text, start)
        if cut <= limit:
            return cut
        if start == 0:
            break
        distance *= 16
    return 0


def _check(value: int, name: str) -> None:
    if value < 0:
        raise UsageError(f"{name} is {value}; give 0 or more")


def offsets(core: Core, data: bytes, ids: npt.NDArray[np.uint32], unit: str) -> list[tuple[int, int]]:
    """Where each token starts and ends; see `Tokenizer.encode_with_offsets`.

    Raises:
        UsageError: an unknown unit.

    """
    import numpy as np

    if unit not in ("bytes", "characters"):
        raise UsageError(f"unit is {quoted(unit)}; take 'bytes' or 'characters'")
    ends = core.token_lengths(ids).cumsum(dtype=np.int64)
    check_complete(ends, data)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])[: len(ends)]
    if unit == "characters" and len(ends):
        first_bytes = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
        character = first_bytes.cumsum() - 1  # of each byte
        starts, ends = character[starts], character[ends - 1] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
