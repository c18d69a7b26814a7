"""`TokenSet`: the tokens of a vocabulary and the core that knows them, before anything is encoded or decoded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.added import AddedCore
from gpt2x.tokenizer.arguments import ArgumentTypeError, check_text, whole_number
from gpt2x.tokenizer.ranks import FileRanks
from gpt2x.tokenizer.special import END_OF_TEXT, LARGEST_ID, SpecialTokens, checked_ids, taken, token_bytes

if TYPE_CHECKING:
    from gpt2x.tokenizer.added import Core


class TokenSet:
    """Ranks, special and added tokens, and the pattern that splits text for them; never changed once it is made."""

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        added_tokens: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Build from the four parts that tiktoken's `Encoding` takes, and one more.

        Args:
            name: what to call it in messages.
            pat_str: the regular expression that cuts text into pieces (`patterns.GPT2`), as Rust's engine in tiktoken
                reads it, with tiktoken's outcome: its matches are encoded, and text that it does not match is dropped.
                Or a pre-tokenizer of Hugging Face's as JSON, which is what `load` makes of a ``tokenizer.json`` whose
                pattern is not built in; `splitting` has the kinds that are known.
            mergeable_ranks: the bytes of each token and its id, which is also its merge priority; all 256 single
                bytes must be among them.
            special_tokens: texts that stand for one id each, are never merged, and are refused unless allowed. A text
                may have the id of the very same bytes in the ranks, and two texts may have one id.
            added_tokens: texts that stand for one id each wherever they occur, also in `encode_ordinary`.

        Raises:
            UsageError: the ranks are no byte-level vocabulary, a special or added token has an id that is taken, or the
                pattern is none, or has something in it that would be split otherwise here.

        """
        check_text(name, "name")
        check_text(pat_str, "pat_str")
        self.name = name
        self._pat_str = pat_str
        self._special = SpecialTokens(special_tokens)
        self._added = checked_ids(added_tokens, "added token")
        tokens = _all_tokens(self._special, self._added)
        self._mergeable_ranks: dict[bytes, int] | FileRanks
        if isinstance(mergeable_ranks, FileRanks):  # in which none of them is
            self._mergeable_ranks = mergeable_ranks
        else:
            self._mergeable_ranks = _checked_ranks(mergeable_ranks)
            tokens = _not_ranked(tokens, self._mergeable_ranks, self._special, self._added)
        core = patterns.make_core(pat_str, self._mergeable_ranks, tokens)
        self._core: Core = AddedCore(core, self._added) if self._added else core
        self.max_token_value: int = max(
            core.n_vocab - 1, *self._special.token_bytes, *self._added.values(), 0
        )
        """The largest id."""

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""
        return self.max_token_value + 1

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``, which separates documents.

        Raises:
            UsageError: this vocabulary has no such token.

        """
        if END_OF_TEXT not in self._special.ids:
            raise UsageError(
                f"the vocabulary {quoted(self.name)} has no special token {END_OF_TEXT!r}; train one with it"
            )
        return self._special.ids[END_OF_TEXT]

    @property
    def special_tokens_set(self) -> frozenset[str]:
        """The texts of the special tokens."""
        return self._special.texts

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The special tokens and their ids."""
        return MappingProxyType(self._special.ids)

    @property
    def added_tokens(self) -> Mapping[str, int]:
        """Texts that stand for one id each wherever they occur, without being special, and their ids."""
        return MappingProxyType(self._added)

    @property
    def mergeable_ranks(self) -> Mapping[bytes, int]:
        """The bytes of every other token and its id."""
        ranks = self._mergeable_ranks
        return MappingProxyType(ranks.parsed if isinstance(ranks, FileRanks) else ranks)

    @property
    def pat_str(self) -> str:
        """The regular expression that cuts text into pieces, or Hugging Face's pre-tokenizer as JSON."""
        return self._pat_str

    def is_special_token(self, token: int) -> bool:
        """True for the id of a special token."""
        return as_id(token) in self._special.token_bytes

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every token that is not special, sorted."""
        return sorted(self._mergeable_ranks)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {quoted(self.name)}: {self.n_vocab:,} ids>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenSet):
            return NotImplemented
        return self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash((self.name, self._core.n_vocab, frozenset(self._special.ids.items())))

    def __getstate__(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special.ids,
            "added_tokens": self._added,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def as_id(token: object) -> int:
    """A token's id; a negative one is none that a vocabulary has, but it is a number."""
    return whole_number(token, "a token's id", None)


def _all_tokens(special: SpecialTokens, added: Mapping[str, int]) -> dict[int, bytes]:
    """The bytes of each special and added token.

    Raises:
        UsageError: a token is both, or an id is taken.

    """
    if not added:
        return special.token_bytes
    if both := special.ids.keys() & added.keys():
        raise UsageError(f"the token {quoted(min(both))} is special and added; it can be one of them")
    tokens = dict(special.token_bytes)
    for token, spelled in token_bytes(added, "added token").items():
        if token in tokens:
            raise taken("added token", spelled.decode(), token)
        tokens[token] = spelled
    return tokens


def _not_ranked(
    tokens: dict[int, bytes], ranks: dict[bytes, int], special: SpecialTokens, added: Mapping[str, int]
) -> dict[int, bytes]:
    """The special and added tokens without those that have the id of the very same bytes in the ranks.

    Raises:
        UsageError: an id is taken by other bytes.

    """
    used = set(ranks.values())
    shared = {token for token in tokens if token in used}
    if not shared:
        return tokens
    for kind, ids in (("special token", special.ids), ("added token", added)):
        for text, token in ids.items():
            if token in shared and ranks.get(text.encode()) != token:
                raise taken(kind, text, token)
    return {token: spelled for token, spelled in tokens.items() if token not in shared}


def _checked_ranks(ranks: Mapping[bytes, int]) -> dict[bytes, int]:
    """The ranks as a dict, after a look at each.

    Raises:
        UsageError: an id that no token can have.
        ArgumentTypeError: something else than bytes and whole numbers.

    """
    if not isinstance(ranks, Mapping):
        raise ArgumentTypeError("mergeable_ranks", ranks, "a dict of bytes and ids")
    kept = dict(ranks)
    if not {*map(type, kept)} <= {bytes} or not {*map(type, kept.values())} <= {int}:
        for token, rank in kept.items():
            if not isinstance(token, bytes):
                raise ArgumentTypeError("a token in mergeable_ranks", token, "bytes")
            kept[token] = whole_number(rank, f"the id of {quoted(token)}", None)
    token = max(kept, key=kept.__getitem__, default=b"")
    if kept and kept[token] > LARGEST_ID:
        raise UsageError(
            f"these ranks are no byte-level vocabulary: id {quoted(kept[token])} of token {quoted(token)} is not "
            f"between 0 and {LARGEST_ID}"
        )
    return kept
