"""`Vocabulary`: what a vocabulary file holds, before anything is built from it."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import published

GPT2_FINGERPRINT = published.R50K.sha256
"""sha256 of GPT-2's rank file (OpenAI's `r50k_base.tiktoken`)."""


class Vocabulary:
    """Name, splitting pattern, ranks of the mergeable tokens, and special tokens; not to be changed once made."""

    def __init__(
        self,
        name: str,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        known_fingerprint: str | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            name: what to call it.
            pat_str: the regular expression that cuts text into pieces.
            mergeable_ranks: the bytes of each token and its id.
            special_tokens: texts that stand for one id each.
            known_fingerprint: the fingerprint, where whoever read the ranks has compared it already.

        """
        self.name = name
        self.pat_str = pat_str
        self.mergeable_ranks = mergeable_ranks
        self.special_tokens = dict(special_tokens)
        self._known_fingerprint = known_fingerprint

    def described(self, name: str, pat_str: str, special_tokens: Mapping[str, int]) -> Vocabulary:
        """The same ranks with another name, pattern and special tokens."""
        return Vocabulary(name, pat_str, self.mergeable_ranks, special_tokens, self._known_fingerprint)

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
                    f"token {rank} ({token!r}) of {self.name!r} cannot be made by merging two others, so the "
                    "vocabulary has no list of merges; keep it as a rank file"
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
