"""`Vocabulary`: what a vocabulary file holds, before anything is built from it."""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import patterns

GPT2_FINGERPRINT = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
"""sha256 of GPT-2's rank file (OpenAI's `r50k_base.tiktoken`)."""

GPT2_SPECIAL_TOKENS = {"<|endoftext|>": 50256}


@dataclass(frozen=True)
class Vocabulary:
    """Name, splitting pattern, ranks of the mergeable tokens, and special tokens."""

    name: str
    pat_str: str
    mergeable_ranks: dict[bytes, int]
    special_tokens: dict[str, int]

    @functools.cached_property
    def rank_file(self) -> bytes:
        """The ranks as a tiktoken rank file: lines of base64 token, space, rank; in the order of ranks."""
        by_rank = sorted(self.mergeable_ranks.items(), key=lambda item: item[1])
        return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in by_rank)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the rank file: the same for the same ranks, whatever kind of file they came from."""
        return hashlib.sha256(self.rank_file).hexdigest()

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


def gpt2(ranks: dict[bytes, int]) -> Vocabulary:
    """GPT-2's vocabulary from its ranks."""
    return Vocabulary("gpt2", patterns.GPT2, ranks, dict(GPT2_SPECIAL_TOKENS))


def check_bytes(ranks: dict[bytes, int], source: object) -> dict[bytes, int]:
    """Give the ranks back when all 256 single bytes are among them.

    Raises:
        InputDataError: a byte is missing.

    """
    for byte in range(256):
        if bytes([byte]) not in ranks:
            raise InputDataError(f"{source} is no byte-level vocabulary: byte 0x{byte:02x} has no token")
    return ranks
