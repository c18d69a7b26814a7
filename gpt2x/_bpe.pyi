"""The tokenizer core (csrc/bpe) as pybind11 exposes it; `gpt2x.tokenizer` is the public face."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from mmap import mmap
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

unicode_version: str
patterns: list[str]

Dtype = Literal["uint16", "uint32"]
Ids = Sequence[int] | npt.NDArray[np.integer[Any]]
Buffer = bytes | bytearray | memoryview | mmap

class SpecialTokens:
    """Texts that stand for one id each: the leftmost counts, and of those that begin there the longest.

    Finding them takes time linear in the text, whatever the tokens. In a `str` places are counted in characters, in
    `bytes` in bytes; a surrogate is a character of its own. Long calls release the GIL and let signals through.
    """

    def __init__(self, tokens: Sequence[bytes], ids: Sequence[int]) -> None:
        """Build from UTF-8 texts and their ids, which may repeat.

        Raises ValueError: lengths differ, an empty token or one that occurs twice, an id that is none.
        """

    def __len__(self) -> int: ...
    def find(self, text: str | bytes, start: int = 0) -> tuple[int, int, int] | None:
        """The first one from `start` on: where it starts and ends, and its index among `tokens`."""

    def find_all(self, text: str | bytes) -> npt.NDArray[np.int64]:
        """A row for each that stands in the text, from left to right: where it starts and ends, and its id."""

class BytePairEncoder:
    """A vocabulary with its splitting pattern; shareable between threads.

    Encoding, counting and decoding release the GIL, and all long calls but `find_safe_cut` let signals through: what
    their handlers raise, as the one of Ctrl-C does, ends the call.

    Texts are `str` or `bytes`. Of a str, surrogate pairs join and lone surrogates become U+FFFD; bytes that are no
    UTF-8 give what tiktoken's `_encode_bytes` gives. Special tokens are known for decoding; in texts, those that a
    call names with `specials` stand for their ids, and what is between them is encoded by itself.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        ids: Sequence[int],
        pattern: str,
        special_tokens: Mapping[int, bytes] = ...,
    ) -> None:
        """Build from token bytes and their ids (= ranks).

        Raises ValueError: lengths differ, an id or token occurs twice, one of the 256 single bytes is missing,
        an empty token, or an unknown pattern name.
        """

    @staticmethod
    def from_rank_file(
        contents: bytes, pattern: str, special_tokens: Mapping[int, bytes] = ...
    ) -> BytePairEncoder:
        """Build from the contents of a rank file: lines of base64 token, space, rank.

        Raises ValueError as `__init__`, or naming the line that is damaged.
        """

    @staticmethod
    def from_merges(
        contents: bytes, pattern: str, special_tokens: Mapping[int, bytes] = ...
    ) -> BytePairEncoder:
        """Build from the contents of a `vocab.bpe` or `merges.txt`: the 256 bytes in GPT-2's order, then the merges.

        Raises ValueError naming the line that is no merge of two known tokens.
        """

    @property
    def n_vocab(self) -> int:
        """One more than the largest id that is not special."""

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """Encode without special tokens. Equal ids in the lists are the same object."""

    def encode(self, text: str | bytes, specials: SpecialTokens | None) -> list[int]: ...
    def encode_to_numpy(
        self,
        text: str | bytes,
        dtype: Dtype = "uint32",
        out: npt.NDArray[np.unsignedinteger[Any]] | None = None,
        specials: SpecialTokens | None = None,
    ) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The same as an array, or in the first places of `out`, whose own dtype then counts; returns those places.

        Raises ValueError: `out` is too small (both sizes are named; what fits has been written), or is not one
        contiguous axis, or the ids do not fit uint16. TypeError: `out` is neither uint16 nor uint32.
        """

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        num_threads: int,
        dtype: Dtype = "uint32",
        specials: SpecialTokens | None = None,
    ) -> list[npt.NDArray[np.unsignedinteger[Any]]]:
        """Each text's tokens, on that many threads, which share long texts; 0 means one for each core."""

    def encode_batch_lists(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[list[int]]: ...
    def count(self, text: str | bytes, specials: SpecialTokens | None = None) -> int: ...
    def count_batch(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[int]: ...
    def encode_piece(self, piece: str | bytes) -> list[int]:
        """Merge one piece without splitting it first."""

    def split(self, text: str | bytes) -> list[bytes]:
        """The pieces into which the pattern cuts the text."""

    def find_safe_cut(self, text: bytes, start: int) -> int:
        """A position at or after `start` where the text may be cut in two without changing its pieces, or its end."""

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of all tokens, one after the other.

        Raises KeyError naming the first unknown id, TypeError for what is no integer, ValueError for an array of
        several axes. Arrays of 16, 32 or 64 bits are read in place.
        """

    def token_lengths(self, ids: Ids) -> npt.NDArray[np.uint32]:
        """How many bytes each token has. Raises as decode_bytes."""

    def token_bytes(self, id: int) -> bytes:
        """Raises KeyError."""

    def encode_single_token(self, token: bytes) -> int:
        """Raises KeyError."""

class PieceCounter:
    """Counts pieces of a growing corpus with 64-bit counts; `add` may be called with one document at a time.

    The counts are the same for any number of threads. Threads may share a counter. Memory grows with the distinct
    pieces, not with the texts.
    """

    def __init__(self, pattern: str) -> None: ...
    def add(self, text: Buffer, num_threads: int = 1) -> None:
        """Count a document's pieces; 0 threads means one for each core.

        The text is read in place, with the GIL released: nobody may write to it meanwhile. Of a file that is larger
        than memory, map it and add one slice (of a memoryview) after the other, cut where a piece starts.

        Raises TypeError for what holds no bytes, ValueError for a negative number of threads.
        """

    def add_lines(self, text: Buffer, num_threads: int = 1) -> None:
        """Count each line, with its line end, as a document of its own: as Hugging Face's trainer reads files.

        Raises as `add`.
        """

    def find_safe_cut(self, text: Buffer, start: int) -> int:
        """A position at or after `start` where the text may be cut in two without changing its pieces, or its end."""

    def count_tokens(self, tokens: Sequence[bytes]) -> int:
        """How many tokens all counted texts have in the vocabulary that has `tokens` as ids 0, 1, 2, …

        Raises ValueError as `BytePairEncoder`.
        """

    @property
    def num_bytes(self) -> int:
        """The bytes of all texts: the lengths of all pieces, repeated ones counted each time."""

    @property
    def num_pieces(self) -> int:
        """All pieces, repeated ones counted each time."""

    @property
    def num_unique(self) -> int: ...
    def items(self) -> list[tuple[bytes, int]]:
        """The distinct pieces and their counts: the most frequent first, equally frequent ones in the order of their
        bytes. Counters with the same counts give the same list."""

    def add_counts(self, items: Sequence[tuple[bytes, int]]) -> None:
        """Add what items() of another counter gave.

        Raises ValueError for an empty piece or a negative count; nothing is added then.
        """

def learn_merges(
    counter: PieceCounter,
    num_merges: int,
    min_frequency: int,
    on_merge: Callable[[int, int, int, int], bool] | None,
    *,
    byte_order: str = "gpt2",
    continue_from: Sequence[tuple[int, int]] = (),
    consume: bool = False,
    report_every: int = 0,
) -> list[tuple[int, int, int]]:
    """Learn up to `num_merges` merges as (left id, right id, count); merge number i makes id 256 + i.

    The pair with the highest count wins, ties go to the smaller (left id, right id). Ids 0-255 are the bytes: with
    byte_order "gpt2" in the order of GPT-2's byte-to-unicode characters, with "raw" in that of their values. Stops
    early when no pair occurs at least `min_frequency` times.

    `continue_from` are (left id, right id) of merges learned before. They are made first and not returned; merge
    number i then makes id 256 + len(continue_from) + i, and with the same counts is the one that would have come next.
    `consume` empties the counter before the first merge, which saves its memory.

    `on_merge(index, left, right, count)` is called with the GIL for every `report_every`-th merge, beginning with the
    first; 0 stands for every merge when fewer than 2,048 are asked for, else for every 256th. Returning False stops
    the learning.
    Signals (Ctrl-C) are honoured: KeyboardInterrupt is raised.

    Raises ValueError for an unknown byte order, or a merge in `continue_from` that joins ids which do not exist by
    then or have been joined before.
    """

def valid_utf8_prefix(text: Buffer) -> int:
    """How many bytes at the beginning are well-formed UTF-8: all of them in a text."""
