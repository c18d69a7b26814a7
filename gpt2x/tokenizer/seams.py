"""Where a text may be cut so that its parts, each encoded by itself, have the tokens of the whole.

One idea to hold on to: a place to cut is decided by the text near it. At some places a pattern starts a piece whatever
stands before and after (`find_safe_cut` of the core: white space after a letter, say), and the two characters around
tell. Where special or added tokens are looked for, no spelling of one may reach across the place, be it found there or
not; then the search from left to right comes by it in any case. So however the text changes elsewhere, it stays a
place to cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gpt2x.tokenizer.added import AddedCore
from gpt2x.tokenizer.fitting import last_cut
from gpt2x.tokenizer.special import (
    Allowed,
    Disallowed,
    DisallowedSpecialError,
    SpecialTokens,
    end_of_token_around,
    finder,
)
from gpt2x.tokenizer.utf8 import to_utf8

if TYPE_CHECKING:
    from gpt2x.tokenizer.added import Core

_SEARCH_BYTES = 256  # how far before a stretch's end a place to cut is first looked for

_CHARACTER = re.compile("[\ud800-\udbff][\udc00-\udfff]|.", re.DOTALL)


class Stretch(NamedTuple):
    """A part of a text that can be encoded by itself."""

    data: bytes
    """Its UTF-8."""
    num_characters: int
    """How much of the str it is; a surrogate pair is two."""


class Seams:
    """The places to cut a text for one core and one policy on special tokens."""

    def __init__(self, core: Core, special: SpecialTokens, allowed: Allowed, disallowed: Disallowed) -> None:
        """Settle which special tokens are looked for, and which are refused, as in `Tokenizer.encode`.

        Raises:
            ArgumentTypeError: `allowed` or `disallowed` is neither "all" nor texts.

        """
        accepted, refused = special.decide(allowed, disallowed)
        self.core = core
        self.specials = special.native(accepted)
        """The special tokens that are encoded as such, for the core; None for none."""
        self._find_refused = finder(refused) if refused else None
        self._longest_refused = max(map(len, refused), default=0)
        longest_added = core.longest if isinstance(core, AddedCore) else 0
        self._longest_special = max((len(text.encode()) for text in accepted), default=0)
        self._longest = max(1, longest_added, self._longest_special)
        self.reach = max(self._longest, self._longest_refused)
        """A place with so many unchanged characters on each side stays a place to cut. A refused token that a change
        makes is within as many characters of it."""

    def find_safe_cut(self, text: bytes, start: int) -> int:
        """A place at or after `start` where UTF-8 text may be cut, or its end."""
        while start < len(text):
            cut = self.core.find_safe_cut(text, start)
            if self.specials is None or cut >= len(text):
                return cut
            end = end_of_token_around(self.specials, self._longest_special, text, cut)
            if end is None:
                return cut
            start = end
        return len(text)

    def parts(self, data: bytes, size: int) -> Iterator[bytes]:
        """Cut UTF-8 text into parts of `size` bytes, or as many more as there are up to the next place to cut."""
        start = 0
        while start < len(data):
            end = self.find_safe_cut(data, start + size)
            yield data[start:end]
            start = end

    def check(self, text: str, position: int = 0, *, starts: int | None = None) -> None:
        """See that no refused token is in a text which stands at `position` in a longer one.

        Args:
            text: the text.
            position: what is added to the place that the error tells.
            starts: so many characters are looked at for where a token starts; all of them unless it is said.

        Raises:
            DisallowedSpecialError: there is one.

        """
        match = self._find_refused(text) if self._find_refused else None
        if match and (starts is None or match.start() < starts):
            raise DisallowedSpecialError(match.group(), position + match.start())

    def stretches(self, text: str, size: int) -> Iterator[Stretch]:
        """Yield one stretch of a text after the other, each of about `size` characters.

        No more of the text is looked at than is asked for, and where that has no place to cut, four times as much.

        Raises:
            DisallowedSpecialError: the stretch has the start of a refused token in it.

        """
        start = 0
        while start < len(text):
            stretch = self._stretch(text, start, size)
            end = start + stretch.num_characters
            self.check(text[start : end + self._longest_refused], start, starts=stretch.num_characters)
            yield stretch
            start = end

    def _stretch(self, text: str, start: int, size: int) -> Stretch:
        while (end := _end_of_pair(text, start + size)) < len(text):
            window = text[start:end]
            data = to_utf8(window)
            if cut := last_cut(self, data, len(data) - self._longest, _SEARCH_BYTES):
                return Stretch(data[:cut], num_characters(window, data[:cut]))
            size *= 4
        return Stretch(to_utf8(text[start:]), len(text) - start)


def num_characters(text: str, prefix: bytes) -> int:
    r"""How many characters of a str the beginning `prefix` of its UTF-8 is; a surrogate pair is two.

    >>> num_characters("aé😀", "aé".encode()), num_characters("\ud83d\ude00b", "😀".encode())
    (2, 2)
    """
    count = len(prefix.decode())
    if len(to_utf8(text).decode()) == len(text):
        return count
    return sum(map(len, _CHARACTER.findall(text)[:count]))


def _end_of_pair(text: str, end: int) -> int:
    """`end`, or the place behind it where it is between the two halves of a surrogate pair."""
    return end + 1 if "\ud800" <= text[end - 1 : end] <= "\udbff" else end
