"""When to stop writing: at certain tokens, or at certain strings, also where a string is spread over tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gpt2x.errors import UsageError

BLANK_LINES = "\n\n\n"  # two empty lines in a row: no song has them, a text that has lost its thread does


@dataclass(frozen=True, kw_only=True, slots=True)
class Stops:
    """What ends a text, besides the number of tokens.

    Attributes:
        token_ids: the text ends before one of these tokens.
        strings: the text ends before the first of these strings that is complete.

    """

    token_ids: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.strings, str) or "" in self.strings:
            raise UsageError(f"stop strings {self.strings!r}: give a tuple of texts, none of them empty")


def at_end_of_text(tokenizer: Any, strings: Iterable[str] = ()) -> Stops:
    """Stop at the tokenizer's ``<|endoftext|>``, where it has one, and at `strings`."""
    try:
        return Stops(token_ids=frozenset([tokenizer.eot_token]), strings=tuple(strings))
    except (KeyError, ValueError, AttributeError):
        return Stops(strings=tuple(strings))


class StopStrings:
    """Watches a text that comes in pieces, and holds back what might be the beginning of a stop string.

    >>> watch = StopStrings(["END"])
    >>> watch.feed("The E"), watch.feed("N"), watch.feed("t. EN"), watch.feed("D of it"), watch.found
    ('The ', '', 'ENt. ', '', True)
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self.strings = tuple(strings)
        self.found = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece; give what can be printed now. After a stop string, `found` is true and nothing comes."""
        if self.found:
            return ""
        text = self._held + text
        # The one that is complete first counts, however the text was cut; of two that end together, the longer.
        found = [(start + len(string), start) for string in self.strings if (start := text.find(string)) >= 0]
        if found:
            self.found, self._held = True, ""
            return text[: min(found)[1]]
        keep = max((self._overlap(text, string) for string in self.strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Give what is still held back: the text ended and it was no stop string."""
        text, self._held = self._held, ""
        return text

    @staticmethod
    def _overlap(text: str, string: str) -> int:
        """How many characters at the end of `text` are the beginning of `string`."""
        for size in range(min(len(string) - 1, len(text)), 0, -1):
            if string.startswith(text[-size:]):
                return size
        return 0
