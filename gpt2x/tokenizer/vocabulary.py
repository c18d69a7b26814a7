"""`Vocabulary`: what a vocabulary file holds, before anything is built from it."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence

from gpt2x.errors import InputDataError, quoted
from gpt2x.tokenizer import published

GPT2_FINGERPRINT = published.R50K.sha256
"""sha256 of GPT-2's rank file (OpenAI's `r50k_base.tiktoken`)."""


class Vocabulary:
    """Name, splitting pattern, ranks, special tokens and added tokens; not to be changed once made."""

    def __init__(
        self,
        name: str,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        known_fingerprint: str | None = None,
        *,
        added_tokens: Mapping[str, int] | None = None,
        note: str = "",
    ) -> None:
        """Put the parts together.

        Args:
            name: what to call it.
            pat_str: the regular expression that cuts text into pieces.
            mergeable_ranks: the bytes of each token and its id.
            special_tokens: texts that stand for one id each.
            known_fingerprint: the fingerprint, where whoever read the ranks has compared it already.
            added_tokens: texts that stand for one id each, too, and are never refused.
            note: what whoever loads it should be told: that its pattern is a guess.

        """
        self.name = name
        self.pat_str = pat_str
        self.mergeable_ranks = mergeable_ranks
        self.special_tokens = dict(special_tokens)
        self.added_tokens = dict(added_tokens or {})
        self.note = note
        self._known_fingerprint = known_fingerprint

    def described(
        self,
        name: str,
        pat_str: str,
        special_tokens: Mapping[str, int],
        added_tokens: Mapping[str, int] | None = None,
        *,
        note: str = "",
    ) -> Vocabulary:
        """The same ranks with another name, pattern, special and added tokens."""
        return Vocabulary(
            name,
            pat_str,
            self.mergeable_ranks,
            special_tokens,
            self._known_fingerprint,
            added_tokens=added_tokens,
            note=note,
        )

    @functools.cached_property
    def rank_file(self) -> bytes:
        """The ranks as a tiktoken rank file: lines of base64 token, space, rank; in the order of ranks."""
        by_rank = sorted(self.mergeable_ranks.items(), key=lambda item: item[1])
        return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in by_rank)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the rank file: the same for the same ranks, whatever kind of file they came from."""
        return self._known_fingerprint or hashlib.sha256(self.rank_file).hexdigest()

    @functools.cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The two tokens that make each longer token, in the order of ranks.

        A rank file holds only results; the parts come back by merging the token's bytes with all lower ranks.

        Raises:
            InputDataError: a token that no two others make, so that it has no merge.

        """
        by_rank = sorted(self.mergeable_ranks.items(), key=lambda item: item[1])
        return [self._parts(token, rank) for token, rank in by_rank if len(token) > 1]

    def _parts(self, token: bytes, rank: int) -> tuple[bytes, bytes]:
        ranks = self.mergeable_ranks
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            found = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
            lowest = min(found)
            if lowest >= rank:
                raise InputDataError(
                    f"token {rank} ({quoted(token)}) of {quoted(self.name)} cannot be made by merging two others, so "
                    "the vocabulary has no list of merges; keep it as a rank file"
                )
            i = found.index(lowest)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts[0], parts[1]


def of_published(encoding: published.Published, ranks: Mapping[bytes, int]) -> Vocabulary:
    """A published encoding's vocabulary from its ranks, whose checksum has been compared."""
    return Vocabulary(encoding.name, encoding.pat_str, ranks, encoding.special_tokens, encoding.ranks.sha256)


def check_bytes(ranks: dict[bytes, int], source: object) -> dict[bytes, int]:
    """Give the ranks back when all 256 single bytes are among them.

    Raises:
        InputDataError: a byte is missing.

    """
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise InputDataError(f"{source} is no byte-level vocabulary: byte 0x{byte:02x} has no token")
    return ranks


def first_odd_merge(merges: Sequence[tuple[bytes, bytes]]) -> int | None:
    """The first merge that ranks cannot stand for, by its number from 0 on; None if ranks say the same as the list.

    Whoever goes by a list of merges joins only pairs that are listed. Ranks join any two tokens that make a third, and
    take a piece that is a token as it is. Both come to the same if merging the bytes of each token with the merges
    before its own ends with the two parts of its own. That holds where none of them joins something across the
    border between the parts, which is found out by taking both apart from there, the latest merge first (the idea is
    that of `is_valid_token_pair` in github/rust-gems, crates/bpe).

    >>> first_odd_merge([(b"a", b"b"), (b"ab", b"c")]), first_odd_merge([(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")])
    (None, 2)
    """
    ids = {bytes([byte]): byte for byte in range(256)}
    parts: dict[int, tuple[int, int]] = {}
    made: dict[tuple[int, int], int] = {}
    for number, (left, right) in enumerate(merges):
        pair = ids.get(left), ids.get(right)
        if pair[0] is None or pair[1] is None or left + right in ids:
            return number
        token = 256 + number
        if _joined_across(pair[0], pair[1], token, made, parts):
            return number
        parts[token] = made_of = (pair[0], pair[1])
        made[made_of] = token
        ids[left + right] = token
    return None


def _joined_across(
    left: int, right: int, limit: int, made: dict[tuple[int, int], int], parts: dict[int, tuple[int, int]]
) -> bool:
    """Whether a merge before `limit` joins something across the border between two tokens."""
    while True:
        if made.get((left, right), limit) < limit:
            return True
        if left > right:  # the left one was made later: what stood there before?
            if left < 256:
                return False
            limit, left = left, parts[left][1]
        else:
            if right < 256:
                return False
            # Of equal pairs the left one is joined first, so that one across the border would have come before.
            limit, right = right + 1, parts[right][0]
