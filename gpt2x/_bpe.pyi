"""The tokenizer core (csrc/bpe) as pybind11 exposes it; `gpt2x.tokenizer` is the public face."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

unicode_version: str
patterns: list[str]

class BytePairEncoder:
    """An immutable vocabulary with its splitting pattern; shareable between threads, every call releases the GIL."""

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int], pattern: str) -> None:
        """Build from token bytes and their ids (= ranks).

        Raises ValueError: lengths differ, an id or token occurs twice, one of the 256 single bytes is missing,
        an empty token, or an unknown pattern name.
        """

    @property
    def n_vocab(self) -> int:
        """One more than the largest id."""

    def encode_ordinary(self, text: bytes) -> list[int]:
        """Encode UTF-8 bytes without special tokens; bytes that are no UTF-8 give what tiktoken's
        `_encode_bytes` gives."""

    def encode_to_numpy(self, text: bytes) -> npt.NDArray[np.uint32]: ...
    def encode_batch(self, texts: Sequence[bytes], num_threads: int) -> list[npt.NDArray[np.uint32]]:
        """Each text's tokens, on that many threads; 0 means one for each core."""

    def count(self, text: bytes) -> int: ...
    def encode_piece(self, piece: bytes) -> list[int]:
        """Merge one piece without splitting it first."""

    def split(self, text: bytes) -> list[bytes]:
        """The pieces into which the pattern cuts the text."""

    def decode_bytes(self, ids: Sequence[int] | npt.NDArray[np.uint32]) -> bytes:
        """The bytes of all tokens, one after the other.

        Raises KeyError naming the first unknown id, TypeError for what is no integer. Arrays of uint32 are read in
        place; anything else one number at a time.
        """

    def token_bytes(self, id: int) -> bytes:
        """Raises KeyError."""

    def encode_single_token(self, token: bytes) -> int:
        """Raises KeyError."""

class PieceCounter:
    """Counts pieces of a growing corpus with 64-bit counts; `add` may be called with one document at a time.

    The counts, and the order of items(), are the same for any number of threads. Threads may share a counter.
    """

    def __init__(self, pattern: str) -> None: ...
    def add(self, text: bytes, num_threads: int = 1) -> None:
        """Count a document's pieces; 0 threads means one for each core."""

    @property
    def num_pieces(self) -> int:
        """All pieces, repeated ones counted each time."""

    @property
    def num_unique(self) -> int: ...
    def items(self) -> list[tuple[bytes, int]]:
        """The distinct pieces and their counts, in the order in which they first occurred."""

    def add_counts(self, items: Sequence[tuple[bytes, int]]) -> None:
        """Add what items() of another counter gave.

        Raises ValueError for an empty piece or a negative count; nothing is added then.
        """

def learn_merges(
    counter: PieceCounter,
    num_merges: int,
    min_frequency: int,
    on_merge: Callable[[int, int, int, int], bool] | None,
) -> list[tuple[int, int, int]]:
    """Learn up to `num_merges` merges as (left id, right id, count); merge number i makes id 256 + i.

    The pair with the highest count wins, ties go to the smaller (left id, right id); ids 0-255 are the bytes in the
    order of GPT-2's byte-to-unicode characters. Stops early when no pair occurs at least `min_frequency` times.
    `on_merge(index, left, right, count)` is called with the GIL now and then for progress (at least every 256
    merges; every merge when fewer than 2,048 are asked for); returning False stops the learning.
    Signals (Ctrl-C) are honoured: KeyboardInterrupt is raised.
    """
