r"""How text is split before merging: GPT-2's pattern natively, any other one through the `regex` package.

A pattern is stored in a tokenizer as the regular expression that tiktoken would be given. The core does not run
regular expressions: it knows some patterns by name and splits for those itself. For an unknown pattern
`RegexCore` stands in for the core; it splits in Python, much slower and by the Unicode version of `regex`
rather than 16.0, and says so once.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpt2x.errors import UsageError
from gpt2x.tokenizer import reference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x._bpe import BytePairEncoder

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""GPT-2's pattern as tiktoken spells it."""

GPT2_ORIGINAL = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""The same as OpenAI first published it; Hugging Face's ByteLevel splits by it."""

_GPT2_OLDER = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

NATIVE = {GPT2: "gpt2", GPT2_ORIGINAL: "gpt2", _GPT2_OLDER: "gpt2"}
"""Patterns that the core splits by itself, and the names under which it knows them."""

BY_NAME = {"gpt2": GPT2}
"""The spelling of each name."""


def named(name: str) -> str:
    """The pattern of that name.

    Raises:
        UsageError: an unknown name.

    """
    if name not in BY_NAME:
        raise UsageError(f"unknown pattern {name!r}; known: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def make_core(pat_str: str, mergeable_ranks: dict[bytes, int]) -> BytePairEncoder | RegexCore:
    """Build what encodes with this vocabulary: the native core, behind a splitter in Python where it must be.

    Raises:
        UsageError: the ranks are no byte-level vocabulary, or the pattern is no regular expression.

    """
    from gpt2x._bpe import BytePairEncoder

    try:
        native = BytePairEncoder(
            list(mergeable_ranks), list(mergeable_ranks.values()), NATIVE.get(pat_str, "gpt2")
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"these ranks are no byte-level vocabulary: {error}") from error
    return native if pat_str in NATIVE else RegexCore(native, pat_str)


class RegexCore:
    """The core's methods for a pattern that it does not know, with the splitting done by `regex`."""

    def __init__(self, native: BytePairEncoder, pat_str: str) -> None:
        """Wrap the native core; its own pattern is never used.

        Raises:
            UsageError: `pat_str` is no regular expression.

        """
        self._native = native
        self._pattern = _compile(pat_str)
        self.n_vocab = native.n_vocab
        self.decode_bytes = native.decode_bytes
        self.token_bytes = native.token_bytes
        self.encode_single_token = native.encode_single_token
        self.encode_piece = native.encode_piece

    def split(self, text: bytes) -> list[bytes]:
        """The pieces into which the pattern cuts the text; what no alternative matches is dropped, as in tiktoken."""
        return [piece.encode() for piece in self._pieces(text.decode())]

    def _pieces(self, text: str) -> list[str]:
        return [match.group() for match in self._pattern.finditer(text) if match.group()]

    def encode_ordinary(self, text: bytes) -> list[int]:
        """Encode without special tokens; bytes that are no UTF-8 as in `reference.encode_broken`."""
        return reference.encode_broken(
            text, self._native.encode_piece, self._native.token_bytes, self._pieces
        )

    def encode_to_numpy(self, text: bytes) -> npt.NDArray[np.uint32]:
        """The same as an array."""
        import numpy as np

        return np.array(self.encode_ordinary(text), dtype=np.uint32)

    def encode_batch(self, texts: Sequence[bytes], num_threads: int) -> list[npt.NDArray[np.uint32]]:
        """Encode each text; `num_threads` does not help here, since the splitting holds the GIL."""
        return [self.encode_to_numpy(text) for text in texts]

    def count(self, text: bytes) -> int:
        """How many tokens the text has."""
        return len(self.encode_ordinary(text))


@functools.cache
def _compile(pat_str: str) -> Any:
    import regex

    try:
        pattern = regex.compile(pat_str)
    except regex.error as error:
        raise UsageError(f"pattern {pat_str!r} is no regular expression: {error}") from error
    warnings.warn(
        f"the core does not know the pattern {pat_str!r}; splitting runs in Python through `regex`, slower, and by "
        "its Unicode version instead of 16.0",
        RuntimeWarning,
        stacklevel=5,
    )
    return pattern
