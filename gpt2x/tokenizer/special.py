"""Special tokens: texts such as ``<|endoftext|>`` that stand for one id and are never split or merged.

They are looked for in the text before anything else happens, and refused unless the caller allows them, as in
tiktoken: text from outside must not be able to end a document or start a role.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gpt2x.errors import UsageError

if TYPE_CHECKING:
    from gpt2x import _bpe

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
        self._natives: dict[frozenset[str], _bpe.SpecialTokens] = {}
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

    def allow(self, text: str, allowed: Allowed, disallowed: Disallowed) -> _bpe.SpecialTokens | None:
        """Refuse what is disallowed; return the special tokens that are allowed, None if there are none.

        Raises:
            DisallowedSpecialError: the text holds one that is disallowed.

        """
        if (
            not allowed and isinstance(disallowed, str) and disallowed == "all"
        ):  # the usual case, at the least cost
            match = self._find(text) if self.ids else None
            if match:
                raise DisallowedSpecialError(match.group(), match.start())
            return None
        return self.allow_all((text,), allowed, disallowed)

    def allow_all(
        self, texts: Sequence[str], allowed: Allowed, disallowed: Disallowed
    ) -> _bpe.SpecialTokens | None:
        """The same for many texts.

        Raises:
            DisallowedSpecialError: one of them holds a special token that is disallowed.

        """
        accepted, refused = self.decide(allowed, disallowed)
        if refused:
            find = finder(refused)
            for text in texts:
                if match := find(text):
                    raise DisallowedSpecialError(match.group(), match.start())
        return self.native(accepted)

    def decide(self, allowed: Allowed, disallowed: Disallowed) -> tuple[frozenset[str], frozenset[str]]:
        """The special tokens that are encoded as such, and the texts that are refused."""
        if not allowed:  # the usual case, without a set being made
            accepted = _NONE
        else:
            accepted = self.texts if isinstance(allowed, str) and allowed == "all" else frozenset(allowed)
        if isinstance(disallowed, str) and disallowed == "all":
            refused = _without(self.texts, accepted)
        else:
            refused = frozenset(disallowed)
        return _within(self.texts, accepted), refused

    def native(self, accepted: frozenset[str]) -> _bpe.SpecialTokens | None:
        """What the core needs to encode the accepted tokens as such; None for no tokens."""
        if not accepted:
            return None
        if (known := self._natives.get(accepted)) is not None:
            return known
        if len(self._natives) >= _MOST_SETS:
            self._natives.clear()
        made = self._natives[accepted] = native({text: self.ids[text] for text in accepted})
        return made


_NONE: frozenset[str] = frozenset()


def _taken(text: str, token: int) -> UsageError:
    return UsageError(f"special token {text!r} has id {token}, which another token has; take a free id")


# Sets of a hundred thousand tokens take milliseconds to compare, so what became of the last few is kept. A set is
# found again by itself at once: Python keeps the hash of a frozenset.
_MOST_SETS = 128


@functools.lru_cache(maxsize=_MOST_SETS)
def _without(texts: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    return texts - others if others else texts


@functools.lru_cache(maxsize=_MOST_SETS)
def _within(texts: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    return others if others <= texts else others & texts


class Match(NamedTuple):
    """Where a token stands; under the names of `re.Match`."""

    text: str
    place: int

    def group(self) -> str:
        """The token."""
        return self.text

    def start(self) -> int:
        """Where it starts."""
        return self.place

    def end(self) -> int:
        """Behind its last character."""
        return self.place + len(self.text)


@functools.lru_cache(maxsize=_MOST_SETS)
def finder(tokens: frozenset[str]) -> Callable[..., Match | None]:
    """``find(text, start=0)``: the first match of any of the tokens; where one starts with another, the longer one.

    Linear in the text, whatever the tokens. The character that all tokens begin with (``<``) is looked for first: most
    texts are without it, and nothing finds that out as fast as Python.
    """
    texts = list(tokens - {""})
    core = native({text: index for index, text in enumerate(texts)})
    firsts = {text[0] for text in texts}
    first = firsts.pop() if len(firsts) == 1 else ""

    def find(text: str, start: int = 0) -> Match | None:
        near = text.find(first, start)
        found = core.find(text, near) if near >= 0 else None
        if "" in tokens and (found is None or found[0] > start) and start <= len(text):
            return Match("", start)
        return None if found is None else Match(texts[found[2]], found[0])

    return find


def native(ids: Mapping[str, int]) -> _bpe.SpecialTokens:
    """The core's form of these tokens; a lone surrogate, which is no UTF-8, is found where a text has it."""
    from gpt2x import _bpe

    return _bpe.SpecialTokens([text.encode("utf-8", "surrogatepass") for text in ids], list(ids.values()))
