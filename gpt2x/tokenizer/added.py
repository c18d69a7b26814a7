"""Added tokens: texts that stand for one id each wherever they occur, and that nobody is refused for.

Hugging Face calls them added tokens with ``"special": false`` (``<tool_call>``, runs of spaces). They are looked for
after special tokens and before the text is split; of those that begin at one place the longest counts, and between them
the text is encoded as if it stood alone. `AddedCore` does that before a core, so that whatever works on a core (files,
offsets, chunks, counts) knows them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from gpt2x.tokenizer.arguments import copy_ids
from gpt2x.tokenizer.special import end_of_token_around, native
from gpt2x.tokenizer.utf8 import as_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x._bpe import SpecialTokens
    from gpt2x.tokenizer.patterns import PlainCore

    Core: TypeAlias = "PlainCore | AddedCore"

    Dtype = Literal["uint16", "uint32"]

Encoded = TypeVar("Encoded")


class AddedCore:
    """The methods of a core, with added tokens cut out of the text first."""

    def __init__(self, core: PlainCore, ids: Mapping[str, int]) -> None:
        """Wrap a core, which decodes the added tokens already.

        Args:
            core: what splits and encodes the text between added tokens.
            ids: the added tokens, of which there is at least one.

        """
        self.core = core
        self.ids = dict(ids)
        self._added = native(self.ids)
        self.longest = max(len(text.encode()) for text in self.ids)
        """How many bytes the longest of them has."""
        self.n_vocab: int = core.n_vocab
        self.decode_bytes: Callable[[Any], bytes] = core.decode_bytes
        self.token_bytes: Callable[[int], bytes] = core.token_bytes
        self.token_lengths: Callable[[Any], npt.NDArray[np.uint32]] = core.token_lengths

    def _parts(
        self, text: str | bytes, specials: SpecialTokens | None = None
    ) -> Iterator[tuple[bytes, int | None]]:
        """(Bytes before a special or added token, its id), and last (the rest, None)."""
        done = 0
        for start, end, token in specials.find_all(text).tolist() if specials is not None else ():
            yield from self._cut(as_bytes(text[done:start]), token)
            done = end
        yield from self._cut(as_bytes(text[done:]), None)

    def _cut(self, data: bytes, token_after: int | None) -> Iterator[tuple[bytes, int | None]]:
        """The same for bytes without special tokens, which the given one follows."""
        done = 0
        for start, end, token in self._added.find_all(data).tolist():
            yield data[done:start], token
            done = end
        yield data[done:], token_after

    def split(self, text: str | bytes) -> list[bytes]:
        """The pieces of the text between added tokens, and each added token as a piece."""
        pieces: list[bytes] = []
        for part, token in self._parts(text):
            pieces += self.core.split(part)
            if token is not None:
                pieces.append(self.core.token_bytes(token))
        return pieces

    def find_safe_cut(self, text: bytes, start: int) -> int:
        """A place at or after `start` that is one for the core and inside no added token."""
        while start < len(text):
            cut = self.core.find_safe_cut(text, start)
            if cut >= len(text):
                break
            end = end_of_token_around(self._added, self.longest, text, cut)
            if end is None:
                return cut
            start = end
        return len(text)

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """Encode; special tokens are plain text, added ones are not."""
        return self.encode(text, None)

    def encode(self, text: str | bytes, specials: SpecialTokens | None) -> list[int]:
        """Encode a text in which these special tokens stand for themselves."""
        ids: list[int] = []
        for part, token in self._parts(text, specials):
            ids += self.core.encode_ordinary(part)
            if token is not None:
                ids.append(token)
        return ids

    def encode_to_numpy(
        self,
        text: str | bytes,
        dtype: Dtype = "uint32",
        out: npt.NDArray[np.unsignedinteger[Any]] | None = None,
        specials: SpecialTokens | None = None,
    ) -> npt.NDArray[Any]:
        """The same as an array, or in the first places of `out`.

        Raises:
            ValueError: `out` is too small, or not writable.

        """
        ids = self.encode_batch([text], 1, dtype, specials)[0]
        return ids if out is None else copy_ids(ids, out)

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        num_threads: int,
        dtype: Dtype = "uint32",
        specials: SpecialTokens | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Encode each text."""
        import numpy as np

        def join(arrays: list[npt.NDArray[Any]], tokens: list[int | None]) -> npt.NDArray[Any]:
            singles = [np.array([] if token is None else [token], dtype=dtype) for token in tokens]
            return np.concatenate([array for pair in zip(arrays, singles, strict=True) for array in pair])

        def work(parts: list[bytes]) -> list[npt.NDArray[Any]]:
            return self.core.encode_batch(parts, num_threads, dtype)

        return self._each(texts, specials, work, join)

    def encode_batch_lists(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[list[int]]:
        """The same as lists."""

        def join(lists: list[list[int]], tokens: list[int | None]) -> list[int]:
            pairs = zip(lists, tokens, strict=True)
            return [one for ids, token in pairs for one in (ids if token is None else [*ids, token])]

        def work(parts: list[bytes]) -> list[list[int]]:
            return self.core.encode_batch_lists(parts, num_threads)

        return self._each(texts, specials, work, join)

    def count(self, text: str | bytes, specials: SpecialTokens | None = None) -> int:
        """How many tokens the text has."""
        return sum(self.core.count(part) + (token is not None) for part, token in self._parts(text, specials))

    def count_batch(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[int]:
        """How many tokens each text has."""

        def join(counts: list[int], tokens: list[int | None]) -> int:
            return sum(counts) + len(tokens) - 1

        return self._each(texts, specials, lambda parts: self.core.count_batch(parts, num_threads), join)

    def _each(
        self,
        texts: Iterable[str | bytes],
        specials: SpecialTokens | None,
        work: Callable[[list[bytes]], list[Encoded]],
        join: Callable[[list[Encoded], list[int | None]], Encoded],
    ) -> list[Encoded]:
        """Work on all parts of all texts at once, and put the results of each text together."""
        layouts = [list(self._parts(text, specials)) for text in texts]
        done = iter(work([part for layout in layouts for part, _ in layout]))
        return [join([next(done) for _ in layout], [token for _, token in layout]) for layout in layouts]

    def encode_piece(self, piece: str | bytes) -> list[int]:
        """Merge one piece without splitting it first; an added token is its id."""
        data = as_bytes(piece)
        token = self.ids.get(data.decode("utf-8", "surrogateescape"))
        return self.core.encode_piece(data) if token is None else [token]

    def encode_single_token(self, token: bytes) -> int:
        """The id of exactly this token, added ones left out.

        Raises:
            KeyError: there is none.

        """
        return self.core.encode_single_token(token)
