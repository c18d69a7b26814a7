"""`Tokenizer`: text to ids and back, under tiktoken's names.

One idea to hold on to: everything here is bytes. Text becomes UTF-8 at the door, a token is some bytes with an id,
and decoding is joining bytes; only special tokens are looked for in the text itself, before it is split.
A tokenizer never changes once it is made, so any number of threads may share one; the core releases the GIL.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import formats
from gpt2x.tokenizer.patterns import make_core
from gpt2x.tokenizer.special import END_OF_TEXT, Allowed, Disallowed, SpecialTokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids = Sequence[int] | npt.NDArray[np.integer[Any]]


class UnknownTokenError(InputDataError, KeyError):
    """An id or a token that the vocabulary does not have; a KeyError, as in tiktoken."""

    def __str__(self) -> str:
        return str(self.args[0])


class Tokenizer:
    """A byte-level BPE vocabulary and the pattern that splits text for it.

    >>> from gpt2x.tokenizer.patterns import GPT2
    >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257}
    >>> tiny = Tokenizer("tiny", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|end|>": 258})
    >>> tiny.encode("low<|end|>", allowed_special="all")
    [257, 258]
    >>> tiny.decode_tokens_bytes([257, 101, 114])
    [b'low', b'e', b'r']
    """

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
    ) -> None:
        """Build from the four parts that tiktoken's `Encoding` takes.

        Args:
            name: what to call it in messages.
            pat_str: the regular expression that cuts text into pieces (`patterns.GPT2`).
            mergeable_ranks: the bytes of each token and its id, which is also its merge priority; all 256 single
                bytes must be among them.
            special_tokens: texts that stand for one id each and are never merged.

        Raises:
            UsageError: the ranks are no byte-level vocabulary, or a special token has an id that is taken.

        """
        self.name = name
        self._pat_str = pat_str
        self._mergeable_ranks = dict(mergeable_ranks)
        self._special = SpecialTokens(special_tokens, self._mergeable_ranks)
        self._core = make_core(pat_str, self._mergeable_ranks)
        self.max_token_value: int = max([*self._mergeable_ranks.values(), *self._special.token_bytes])
        """The largest id."""

    # ------------------------------------------------------------------------------------------------------------
    # Loading and saving

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Tokenizer:
        """Load a vocabulary.

        Args:
            source: a rank file (``*.tiktoken``), a ``tokenizer.json``, GPT-2's ``vocab.bpe`` or ``encoder.json``
                beside one another, a folder that holds one of these, or the name ``gpt2``.

        Raises:
            InputDataError: it is missing, damaged or of another kind; the sentence names file and line.
            MissingComponentError: the GPT-2 vocabulary was asked for by name and is nowhere to be found.

        """
        from gpt2x.tokenizer import registry

        if str(source) in registry.NAMES:
            return registry.get(str(source))
        return cls.from_vocabulary(formats.read(source))

    @classmethod
    def from_vocabulary(cls, vocabulary: formats.Vocabulary) -> Tokenizer:
        """Build from what `formats.read` gives."""
        return cls(
            vocabulary.name,
            pat_str=vocabulary.pat_str,
            mergeable_ranks=vocabulary.mergeable_ranks,
            special_tokens=vocabulary.special_tokens,
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json``, ``vocab.tiktoken`` and ``tokenizer_config.json`` into a folder.

        Either all of them appear or none does; other files in the folder stay as they are.

        Raises:
            OutputError: they cannot be written.

        """
        formats.write_folder(self.vocabulary, folder)

    @functools.cached_property
    def vocabulary(self) -> formats.Vocabulary:
        """What is saved: name, pattern, ranks and special tokens, with merges and checksum on demand."""
        return formats.Vocabulary(self.name, self._pat_str, self._mergeable_ranks, self._special.ids)

    # ------------------------------------------------------------------------------------------------------------
    # Encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text; special tokens in it are plain text."""
        return self._core.encode_ordinary(to_utf8(text))

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> list[int]:
        """Encode a text in which special tokens are refused unless they are allowed.

        Args:
            text: any string; a lone surrogate becomes U+FFFD, a surrogate pair becomes its character.
            allowed_special: the special tokens to encode as such, or "all".
            disallowed_special: the texts to refuse; by default all special tokens that are not allowed. With ()
                nothing is refused, and what is not allowed is encoded as plain text.

        Raises:
            DisallowedSpecialError: the text holds a disallowed special token (a ValueError).

        >>> gpt2.encode("<|endoftext|>", allowed_special={"<|endoftext|>"})  # doctest: +SKIP
        [50256]
        >>> gpt2.encode("<|endoftext|>", disallowed_special=())  # doctest: +SKIP
        [27, 91, 437, 1659, 5239, 91, 29]
        """
        allowed = self._special.allow(text, allowed_special, disallowed_special)
        if not allowed:
            return self._core.encode_ordinary(to_utf8(text))
        ids: list[int] = []
        for part, special in self._special.parts(text, allowed):
            if part:
                ids += self._core.encode_ordinary(to_utf8(part))
            if special is not None:
                ids.append(special)
        return ids

    def encode_to_numpy(
        self,
        text: str,
        *,
        dtype: npt.DTypeLike = "uint32",
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> npt.NDArray[Any]:
        """The same as `encode`, as an array and without a Python list on the way.

        Raises:
            DisallowedSpecialError: as in `encode`.
            UsageError: `dtype` cannot hold the largest id.

        """
        import numpy as np

        kind = self._dtype(dtype)
        allowed = self._special.allow(text, allowed_special, disallowed_special)
        arrays: list[npt.NDArray[Any]] = []
        for part, special in self._special.parts(text, allowed):
            if part:
                arrays.append(self._core.encode_to_numpy(to_utf8(part)))
            if special is not None:
                arrays.append(np.array([special], dtype=np.uint32))
        whole = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, dtype=np.uint32), *arrays])
        return whole.astype(kind, copy=False)

    def encode_bytes(self, text: bytes) -> list[int]:
        """Encode any bytes without special tokens; where they are UTF-8 this is `encode_ordinary`.

        Bytes that are no UTF-8 give what tiktoken's `_encode_bytes` gives; `decode_bytes` always gives them back.
        """
        return self._core.encode_ordinary(text)

    def encode_ordinary_batch(
        self, texts: Sequence[str], *, num_threads: int | None = None
    ) -> list[list[int]]:
        """Encode many texts on all cores (or `num_threads`); special tokens in them are plain text."""
        return [ids.tolist() for ids in self._encode_arrays([to_utf8(text) for text in texts], num_threads)]

    def encode_batch(
        self,
        texts: Sequence[str],
        *,
        num_threads: int | None = None,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """Encode many texts on all cores (or `num_threads`); each as `encode` would.

        Raises:
            DisallowedSpecialError: as in `encode`.

        """
        parts: list[bytes] = []
        layout: list[
            list[int | None]
        ] = []  # for each text: None = the ids of the next part, a number = that id
        for text in texts:
            order: list[int | None] = []
            for part, special in self._special.parts(
                text, self._special.allow(text, allowed_special, disallowed_special)
            ):
                if part:
                    parts.append(to_utf8(part))
                    order.append(None)
                if special is not None:
                    order.append(special)
            layout.append(order)
        encoded = iter(self._encode_arrays(parts, num_threads))
        return [
            [token for item in order for token in (next(encoded).tolist() if item is None else (item,))]
            for order in layout
        ]

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of exactly this token, special tokens included.

        Raises:
            UnknownTokenError: there is no such token (a KeyError).

        """
        token = text_or_bytes if isinstance(text_or_bytes, bytes) else to_utf8(text_or_bytes)
        if token in self._mergeable_ranks:
            return self._mergeable_ranks[token]
        for special, token_bytes in self._special.token_bytes.items():
            if token_bytes == token:
                return special
        raise UnknownTokenError(f"the vocabulary {self.name!r} has no token {text_or_bytes!r}")

    def count(
        self,
        text: str,
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> int:
        """How many tokens `encode` would give, without making them a list.

        Raises:
            DisallowedSpecialError: as in `encode`.

        """
        allowed = self._special.allow(text, allowed_special, disallowed_special)
        return sum(
            (self._core.count(to_utf8(part)) if part else 0) + (special is not None)
            for part, special in self._special.parts(text, allowed)
        )

    def encode_piece(self, piece: bytes) -> list[int]:
        """Merge one piece without splitting it first."""
        return self._core.encode_piece(piece)

    def split(self, text: str) -> list[str]:
        """The pieces into which the pattern cuts the text before merging: ``It's here`` gives It, 's and " here"."""
        return [piece.decode() for piece in self._core.split(to_utf8(text))]

    # ------------------------------------------------------------------------------------------------------------
    # Decoding

    def decode_bytes(self, ids: Ids) -> bytes:
        """Join the bytes of the tokens; special tokens give their text.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        import numpy as np

        array = np.asarray(ids)
        if array.size == 0:
            return b""
        if (
            array.ndim != 1
            or array.dtype.kind not in "iu"
            or array.min() < 0
            or array.max() > self.max_token_value
        ):
            return b"".join(self.decode_tokens_bytes(ids))  # names the first id that is wrong
        array = array.astype(np.uint32, copy=False)
        # The core knows no special tokens: it decodes what lies between them.
        parts: list[bytes] = []
        start = 0
        try:
            for end in np.flatnonzero(np.isin(array, list(self._special.token_bytes))).tolist():
                parts += (
                    self._core.decode_bytes(array[start:end]),
                    self._special.token_bytes[int(array[end])],
                )
                start = end + 1
            parts.append(self._core.decode_bytes(array[start:]))
        except KeyError:
            return b"".join(self.decode_tokens_bytes(ids))
        return b"".join(parts)

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """Decode to text; bytes that are no UTF-8 become U+FFFD, or what `errors` says (as in `bytes.decode`).

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one token, special tokens included.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        try:
            return (
                self._special.token_bytes[token]
                if token in self._special.token_bytes
                else self._core.token_bytes(token)
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UnknownTokenError(
                f"unknown token id {token!r}: the vocabulary {self.name!r} has the ids 0 to {self.max_token_value}"
            ) from None

    def decode_tokens_bytes(self, ids: Ids) -> list[bytes]:
        """The bytes of each token.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        return [self.decode_single_token_bytes(token) for token in _as_ints(ids)]

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[int]]:
        """Decode to text, with the index of the character at which each token starts.

        A token that starts inside a character has the index of that character.

        Raises:
            UnicodeDecodeError: the tokens are no UTF-8 together, as in tiktoken.

        >>> gpt2.decode_with_offsets([31373, 995])  # doctest: +SKIP
        ('hello world', [0, 5])
        """
        tokens = self.decode_tokens_bytes(ids)
        offsets = []
        length = 0
        for token in tokens:
            inside = 0x80 <= token[0] < 0xC0
            offsets.append(max(0, length - inside))
            length += sum(not 0x80 <= byte < 0xC0 for byte in token)
        return b"".join(tokens).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Sequence[Ids], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Decode many lists of ids; `num_threads` is there for tiktoken's sake, decoding needs no threads."""
        return [self.decode(ids, errors) for ids in batch]

    def decode_bytes_batch(self, batch: Sequence[Ids], *, num_threads: int = 8) -> list[bytes]:
        """Decode many lists of ids to bytes."""
        return [self.decode_bytes(ids) for ids in batch]

    # ------------------------------------------------------------------------------------------------------------
    # What it is

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
                f"the vocabulary {self.name!r} has no special token {END_OF_TEXT!r}; train one with it"
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
    def mergeable_ranks(self) -> Mapping[bytes, int]:
        """The bytes of every other token and its id."""
        return MappingProxyType(self._mergeable_ranks)

    @property
    def pat_str(self) -> str:
        """The regular expression that cuts text into pieces."""
        return self._pat_str

    def is_special_token(self, token: int) -> bool:
        """True for the id of a special token."""
        return token in self._special.token_bytes

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every token that is not special, sorted."""
        return sorted(self._mergeable_ranks)

    def __repr__(self) -> str:
        return f"<Tokenizer {self.name!r}: {self.n_vocab:,} ids>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash((self.name, len(self._mergeable_ranks), tuple(self._special.ids.items())))

    def __getstate__(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special.ids,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    # ------------------------------------------------------------------------------------------------------------
    # Private

    def _encode_arrays(self, texts: list[bytes], num_threads: int | None) -> list[npt.NDArray[np.uint32]]:
        return self._core.encode_batch(texts, num_threads or os.cpu_count() or 1)

    def _dtype(self, dtype: npt.DTypeLike) -> np.dtype[Any]:
        import numpy as np

        kind = np.dtype(dtype)
        if not np.issubdtype(kind, np.integer) or np.iinfo(kind).max < self.max_token_value:
            raise UsageError(
                f"dtype {kind} cannot hold the ids of {self.name!r} (up to {self.max_token_value})"
            )
        return kind


def to_utf8(text: str) -> bytes:
    r"""UTF-8 of any Python string: surrogate pairs join, a lone surrogate becomes U+FFFD, as in tiktoken.

    >>> to_utf8("\ud83d\ude00") == "😀".encode(), to_utf8("\ud83d") == "\ufffd".encode()
    (True, True)
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def _as_ints(ids: Any) -> list[Any]:
    return ids.tolist() if hasattr(ids, "tolist") else list(ids)
