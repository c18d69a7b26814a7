"""Special tokens: texts such as ``<|endoftext|>`` that stand for one id and are never split or merged.

They are looked for in the text before anything else happens, and refused unless the caller allows them, as in
tiktoken: text from outside must not be able to end a document or start a role.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from gpt2x.errors import UsageError

END_OF_TEXT = "<|endoftext|>"
"""The token that separates documents."""

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]


class DisallowedSpecialError(UsageError):
    """The text holds a special token that was not allowed; a ValueError, as in tiktoken."""

    def __init__(self, token: str, position: int, source: str = "the text", unit: str = "character") -> None:
        """Say which token stands where.

        Args:
            token: the special token.
            position: where it starts.
            source: what holds it: "the text", or the name of a file.
            unit: what `position` counts: "character", or "byte" for a file.

        """
        self.token, self.position, self.source, self.unit = token, position, source, unit
        super().__init__(
            f"{self.finding}: pass allowed_special={{{token!r}}} to encode it as such, or disallowed_special=() "
            "to take it as plain text"
        )

    @property
    def finding(self) -> str:
        """The sentence without its remedy, which is another one on the command line."""
        return f"{self.source} holds the special token {self.token!r} at {self.unit} {self.position}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.token, self.position, self.source, self.unit)


class SpecialTokens:
    """The special tokens of one vocabulary."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        """Keep texts and ids.

        Raises:
            UsageError: an empty text, an id below 0, or one id for two tokens.

        """
        self.ids = dict(ids)
        self.texts = frozenset(self.ids)
        self._find = finder(self.texts)
        self.token_bytes: dict[int, bytes] = {}
        for text, token in self.ids.items():
            if not text or token < 0:
                raise UsageError(f"special token {text!r} with id {token}: no text, or an id below 0")
            if token in self.token_bytes:
                raise _taken(text, token)
            self.token_bytes[token] = text.encode("utf-8")

    def check_free(self, ids: Collection[int]) -> None:
        """See that no other token has the id of a special one.

        Raises:
            UsageError: one has.

        """
        for text, token in self.ids.items():
            if token in ids:
                raise _taken(text, token)

    def allow(self, text: str, allowed: Allowed, disallowed: Disallowed) -> AbstractSet[str]:
        """Refuse what is disallowed; return the special tokens that are allowed.

        Raises:
            DisallowedSpecialError: the text holds one that is disallowed.

        """
        if (
            not allowed and isinstance(disallowed, str) and disallowed == "all"
        ):  # the usual case, at the least cost
            match = self._find(text) if self.ids else None
            if match:
                raise DisallowedSpecialError(match.group(), match.start())
            return _NONE
        allowed, refused = self.decide(allowed, disallowed)
        if refused and (match := finder(refused)(text)):
            raise DisallowedSpecialError(match.group(), match.start())
        return allowed

    def decide(self, allowed: Allowed, disallowed: Disallowed) -> tuple[frozenset[str], frozenset[str]]:
        """The special tokens that are encoded as such, and the texts that are refused."""
        if not allowed:  # the usual case, without a set being made
            accepted = _NONE
        else:
            accepted = self.texts if isinstance(allowed, str) and allowed == "all" else frozenset(allowed)
        if isinstance(disallowed, str) and disallowed == "all":
            refused = self.texts - accepted if accepted else self.texts
        else:
            refused = frozenset(disallowed)
        return accepted & self.texts if accepted else accepted, refused

    def parts(self, text: str, allowed: AbstractSet[str]) -> Iterator[tuple[str, int | None]]:
        """Cut the text at allowed special tokens: (text before, its id), and last (rest, None)."""
        start = 0
        if allowed:
            find = finder(frozenset(allowed))
            while match := find(text, start):
                yield text[start : match.start()], self.ids[match.group()]
                start = match.end()
        yield text[start:], None


_NONE: frozenset[str] = frozenset()


def _taken(text: str, token: int) -> UsageError:
    return UsageError(f"special token {text!r} has id {token}, which another token has; take a free id")


@functools.lru_cache(maxsize=128)
def finder(tokens: frozenset[str]) -> Callable[..., re.Match[str] | None]:
    """``find(text, start=0)``: the first match of any of the tokens; where one starts with another, the longer one.

    The character that all tokens begin with (``<``) is looked for first: most texts are without it, and to find
    that out is forty times as fast as a regular expression.
    """
    firsts = {token[:1] for token in tokens}
    first = firsts.pop() if len(firsts) == 1 else ""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    search = re.compile("|".join(map(re.escape, longest_first))).search

    def find(text: str, start: int = 0) -> re.Match[str] | None:
        near = text.find(first, start)
        return search(text, near) if near >= 0 else None

    return find
