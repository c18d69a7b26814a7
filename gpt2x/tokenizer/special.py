"""Special tokens: texts such as ``<|endoftext|>`` that stand for one id and are never split or merged.

They are looked for in the text before anything else happens, and refused unless the caller allows them, as in
tiktoken: text from outside must not be able to end a document or start a role.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from gpt2x.errors import UsageError

END_OF_TEXT = "<|endoftext|>"
"""The token that separates documents."""

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]


class DisallowedSpecialError(UsageError):
    """The text holds a special token that was not allowed; a ValueError, as in tiktoken."""

    def __init__(self, token: str, position: int) -> None:
        self.token, self.position = token, position
        super().__init__(
            f"the text holds the special token {token!r} at character {position}: pass "
            f"allowed_special={{{token!r}}} to encode it as such, or disallowed_special=() to take it as plain text"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.token, self.position)


class SpecialTokens:
    """The special tokens of one vocabulary."""

    def __init__(self, ids: Mapping[str, int], ranks: Mapping[bytes, int]) -> None:
        """Keep texts and ids.

        Raises:
            UsageError: an empty text, or an id that another token has.

        """
        self.ids = dict(ids)
        self.texts = frozenset(self.ids)
        self.token_bytes: dict[int, bytes] = {}
        taken = set(ranks.values())
        for text, token in self.ids.items():
            if not text or token < 0:
                raise UsageError(f"special token {text!r} with id {token}: no text, or an id below 0")
            if token in taken or token in self.token_bytes:
                raise UsageError(
                    f"special token {text!r} has id {token}, which another token has; take a free id"
                )
            self.token_bytes[token] = text.encode("utf-8")

    def allow(self, text: str, allowed: Allowed, disallowed: Disallowed) -> AbstractSet[str]:
        """Refuse what is disallowed; return the special tokens that are allowed.

        Raises:
            DisallowedSpecialError: the text holds one that is disallowed.

        """
        allowed = self.texts if isinstance(allowed, str) and allowed == "all" else frozenset(allowed)
        refused = self.texts - allowed if isinstance(disallowed, str) and disallowed == "all" else disallowed
        if refused and (match := _any_of(frozenset(refused)).search(text)):
            raise DisallowedSpecialError(match.group(), match.start())
        return allowed & self.texts

    def parts(self, text: str, allowed: AbstractSet[str]) -> Iterator[tuple[str, int | None]]:
        """Cut the text at allowed special tokens: (text before, its id), and last (rest, None)."""
        start = 0
        if allowed:
            for match in _any_of(frozenset(allowed)).finditer(text):
                yield text[start : match.start()], self.ids[match.group()]
                start = match.end()
        yield text[start:], None


@functools.lru_cache(maxsize=128)
def _any_of(tokens: frozenset[str]) -> re.Pattern[str]:
    """Matches any of the tokens; where one starts with another, the longer one."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)))
