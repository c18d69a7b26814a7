"""Special tokens: texts such as ``<|endoftext|>`` that stand for one id and are never split or merged.

They are looked for in the text before anything else happens, and refused unless the caller allows them, as in
tiktoken: text from outside must not be able to end a document or start a role.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.arguments import ArgumentTypeError, whole_number

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
            f"{self.finding}: pass allowed_special={{{quoted(token)}}} to encode it as such, or disallowed_special=() "
            "to take it as plain text"
        )

    @property
    def finding(self) -> str:
        """The sentence without its remedy, which is another one on the command line."""
        return f"{self.source} holds the special token {quoted(self.token)} at {self.unit} {self.position}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.token, self.position, self.source, self.unit)


class SpecialTokens:
    """The special tokens of one vocabulary."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        """Keep texts and ids.

        Two texts may have the same id, as in o200k_harmony; it then stands for the one that comes first in the alphabet
        when it is decoded.

        Raises:
            UsageError: an empty text, one that is no Unicode, or an id that no token can have.

        """
        self.ids = checked_ids(ids, "special token")
        self.texts = frozenset(self.ids)
        self.token_bytes = token_bytes(self.ids)
        self._natives: dict[frozenset[str], _bpe.SpecialTokens] = {}

    @functools.cached_property
    def _find(self) -> Callable[..., Match | None]:
        return finder(self.texts)

    def allow(self, text: str, allowed: Allowed, disallowed: Disallowed) -> _bpe.SpecialTokens | None:
        """Refuse what is disallowed; return the special tokens that are allowed, None if there are none.

        Raises:
            DisallowedSpecialError: the text holds one that is disallowed.
            ArgumentTypeError: `allowed` or `disallowed` is neither "all" nor texts.

        """
        if (
            allowed is _NONE and isinstance(disallowed, str) and disallowed == "all"
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
        """The special tokens that are encoded as such, and the texts that are refused.

        Raises:
            ArgumentTypeError: as `allow`.

        """
        accepted = _within(self.texts, self._named(allowed, "allowed_special"))
        if isinstance(disallowed, str) and disallowed == "all":
            return accepted, _without(self.texts, accepted)
        return accepted, self._named(() if disallowed is None else disallowed, "disallowed_special")

    def _named(self, texts: Allowed | Disallowed, name: str) -> frozenset[str]:
        """The texts of an argument, all special tokens for "all"."""
        if isinstance(texts, str) and texts == "all":
            return self.texts
        try:
            named = None if isinstance(texts, str | bytes) else frozenset(texts)
        except TypeError:
            named = None
        if named is None or not _are_texts(named):
            raise ArgumentTypeError(name, texts, "a set of special tokens' texts, or 'all'")
        return named - {""} if "" in named else named

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


def taken(kind: str, text: str, token: int) -> UsageError:
    """What is wrong where two tokens have one id."""
    return UsageError(f"{kind} {quoted(text)} has id {token}, which another token has; take a free id")


LARGEST_ID = (1 << 24) - 1
"""The core keeps no larger id."""


def checked_ids(ids: Mapping[str, int], kind: str) -> dict[str, int]:
    """Texts and ids, after a look at each.

    Raises:
        UsageError: an empty text, one that is no Unicode, or an id that no token can have.
        ArgumentTypeError: something else than texts and whole numbers.

    """
    if not isinstance(ids, Mapping):
        raise ArgumentTypeError(f"{kind}s", ids, "a dict of texts and ids")
    numbers = ids.values()
    kinds = {*map(type, ids)} <= {str} and {*map(type, numbers)} <= {int}
    if kinds and "" not in ids and min(numbers, default=0) >= 0 and max(numbers, default=0) <= LARGEST_ID:
        return dict(ids)  # nothing is wrong, as with nearly all; there may be a hundred thousand
    checked = {}
    for text, token in ids.items():
        if not isinstance(text, str):
            raise ArgumentTypeError(f"a {kind}", text, "its text as str")
        if type(token) is not int:
            whole_number(token, f"the id of the {kind} {quoted(text)}", None)
        if not text or not 0 <= token <= LARGEST_ID:
            raise UsageError(
                f"{kind} {quoted(text)} with id {quoted(token)}: no text, or an id that is not between 0 and "
                f"{LARGEST_ID}"
            )
        checked[text] = int(token)
    return checked


def token_bytes(ids: Mapping[str, int], kind: str = "special token") -> dict[int, bytes]:
    """The UTF-8 of each id's text.

    Raises:
        UsageError: a text with half a character (a lone surrogate) in it.

    """
    found: dict[int, bytes] = {}
    for text, token in ids.items():
        try:
            spelled = text.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{kind} {quoted(text)} is no Unicode text; give one that is") from None
        if token not in found or spelled < found[token]:
            found[token] = spelled
    return found


# Sets of a hundred thousand tokens take milliseconds to compare, so what became of the last few is kept. A set is
# found again by itself at once: Python keeps the hash of a frozenset.
_MOST_SETS = 128


@functools.lru_cache(maxsize=_MOST_SETS)
def _without(texts: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    return texts - others if others else texts


@functools.lru_cache(maxsize=_MOST_SETS)
def _within(texts: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    return others if others <= texts else others & texts


@functools.lru_cache(maxsize=_MOST_SETS)
def _are_texts(named: frozenset[Any]) -> bool:
    return all(isinstance(text, str) for text in named)


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
    """The core's form of these tokens; a lone surrogate, which is not valid UTF-8, is found where a text has it."""
    from gpt2x import _bpe

    return _bpe.SpecialTokens([text.encode("utf-8", "surrogatepass") for text in ids], list(ids.values()))


def end_of_token_around(tokens: _bpe.SpecialTokens, longest: int, text: bytes, cut: int) -> int | None:
    """Where a token ends that begins before `cut` and ends after it; None if there is none.

    Tokens that would not be found, because another one overlaps them, count as well: what is found depends on all the
    text before, and this is to be decided by the text around, `longest` bytes (of the longest token) each way.
    """
    begin = max(0, cut - longest)
    window = text[begin : cut + longest]
    match = tokens.find(window)
    while match and begin + match[0] < cut:
        if begin + match[1] > cut:
            return begin + match[1]
        match = tokens.find(window, match[0] + 1)
    return None
