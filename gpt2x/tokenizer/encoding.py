"""`Encoder`: text to ids, as lists, arrays or files.

One idea to hold on to: everything here is bytes. Text becomes UTF-8 at the door, a token is some bytes with an id,
and decoding is joining bytes; only special tokens are looked for in the text itself, before it is split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.arguments import (
    ArgumentTypeError,
    as_texts,
    check_path,
    check_text,
    check_threads,
    whole_number,
)
from gpt2x.tokenizer.decoding import Decoder, UnknownTokenError
from gpt2x.tokenizer.special import Allowed, Disallowed
from gpt2x.tokenizer.utf8 import as_bytes, to_utf8

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer.budget import Fitted
    from gpt2x.tokenizer.files import EncodedFile, TextReader
    from gpt2x.tokenizer.seams import Seams
    from gpt2x.tokenizer.session import Session


class Encoder(Decoder):
    """The half of a tokenizer that turns text into ids."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text; special tokens in it are plain text.

        Raises:
            ArgumentTypeError: it is no str (a TypeError); so in every method that takes a text.

        """
        check_text(text)
        return self._core.encode_ordinary(text)

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
        check_text(text)
        specials = self._special.allow(text, allowed_special, disallowed_special)
        if specials is None:
            return self._core.encode_ordinary(text)
        return self._core.encode(text, specials)

    def encode_to_numpy(
        self,
        text: str,
        *,
        dtype: npt.DTypeLike | None = None,
        out: npt.NDArray[np.unsignedinteger[Any]] | None = None,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> npt.NDArray[Any]:
        """The same as `encode`, as an array and without a Python list on the way.

        Args:
            text: as in `encode`.
            dtype: any integer type that holds the largest id; uint32 unless `out` says otherwise.
            out: a contiguous array of uint16 or uint32 to write into; the result is then ``out[:number of ids]``.
            allowed_special: as in `encode`.
            disallowed_special: as in `encode`.

        Raises:
            DisallowedSpecialError: as in `encode`.
            UsageError: `dtype` cannot hold the largest id, or `out` is too small or of another type.

        >>> gpt2.encode_to_numpy("hello world", dtype="uint16")  # doctest: +SKIP
        array([31373,   995], dtype=uint16)
        """
        check_text(text)
        specials = self._special.allow(text, allowed_special, disallowed_special)
        if dtype is None and out is None and specials is None:
            return self._core.encode_to_numpy(text)
        kind = self._dtype(dtype, out)
        native: Literal["uint16", "uint32"] = "uint16" if kind.name == "uint16" else "uint32"
        try:
            return self._core.encode_to_numpy(text, native, out, specials).astype(kind, copy=False)
        except ValueError as error:
            raise UsageError(f"{error}; give a larger one, contiguous and writable") from error

    def encode_bytes(self, text: bytes) -> list[int]:
        """Encode any bytes without special tokens; where they are UTF-8 this is `encode_ordinary`.

        Bytes that are not valid UTF-8 give what tiktoken's `_encode_bytes` gives; `decode_bytes` gives them back.
        """
        if not isinstance(text, bytes | bytearray | memoryview):
            raise ArgumentTypeError("text", text, "bytes (encode takes a str)")
        return self._core.encode_ordinary(bytes(text))

    def encode_ordinary_batch(
        self, text: Iterable[str], *, num_threads: int | None = None
    ) -> list[list[int]]:
        """Encode many texts on all cores (or `num_threads`); special tokens in them are plain text."""
        return self._core.encode_batch_lists(as_texts(text), check_threads(num_threads))

    def encode_ordinary_batch_to_numpy(
        self, text: Iterable[str], *, dtype: npt.DTypeLike = "uint32", num_threads: int | None = None
    ) -> list[npt.NDArray[Any]]:
        """The same as arrays, one for each text, and without Python lists on the way.

        Raises:
            UsageError: `dtype` cannot hold the largest id.

        """
        kind = self._dtype(dtype, None)
        native: Literal["uint16", "uint32"] = "uint16" if kind.name == "uint16" else "uint32"
        arrays = self._core.encode_batch(as_texts(text), check_threads(num_threads), native)
        return [array.astype(kind, copy=False) for array in arrays]

    def encode_batch(
        self,
        text: Sequence[str],
        *,
        num_threads: int | None = None,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """Encode many texts on all cores (or `num_threads`); each as `encode` would.

        Raises:
            DisallowedSpecialError: as in `encode`.

        """
        texts, threads = as_texts(text), check_threads(num_threads)
        specials = self._special.allow_all(texts, allowed_special, disallowed_special)
        return self._core.encode_batch_lists(texts, threads, specials)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of exactly this token, special tokens included.

        Raises:
            UnknownTokenError: there is no such token (a KeyError).

        """
        if not isinstance(text_or_bytes, str | bytes):
            raise ArgumentTypeError("the token", text_or_bytes, "a str or bytes")
        token = as_bytes(text_or_bytes)
        try:
            return self._core.encode_single_token(token)
        except KeyError:
            text = token.decode("utf-8", "surrogateescape")
        for ids in (self._special.ids, self._added):
            if text in ids:
                return ids[text]
        raise UnknownTokenError(f"the vocabulary {quoted(self.name)} has no token {quoted(text_or_bytes)}")

    def encode_with_offsets(
        self,
        text: str,
        unit: Literal["bytes", "characters"] = "characters",
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode a text, with the start and end of each token in it.

        Args:
            text: as in `encode`.
            unit: what start and end count: "characters" (then ``text[start:end]`` is the least part of the text that
                has the token in it, and the tokens of one character all have its start and end), or "bytes" of UTF-8
                (then the tokens follow one another without a gap). A surrogate pair counts as the character it means.
            allowed_special: as in `encode`.
            disallowed_special: as in `encode`.

        Raises:
            DisallowedSpecialError: as in `encode`.
            UsageError: an unknown unit.

        >>> gpt2.encode_with_offsets("hello world")  # doctest: +SKIP
        ([31373, 995], [(0, 5), (5, 11)])
        """
        from gpt2x.tokenizer import fitting

        ids = self.encode_to_numpy(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return ids.tolist(), fitting.offsets(self._core, to_utf8(text), ids, unit)

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
        check_text(text)
        return self._core.count(text, self._special.allow(text, allowed_special, disallowed_special))

    def count_up_to(
        self,
        text: str,
        limit: int,
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> int:
        """How many tokens `encode` would give, but ``limit + 1`` where they are more than `limit`.

        Takes time linear in the limit, however long the text is: no more of it is looked at than has that many tokens
        (and about 16,000 characters, or a longer stretch without a place to cut). A special token behind that is not
        refused.

        Raises:
            DisallowedSpecialError: as in `encode`.
            UsageError: `limit` is negative.

        >>> gpt2.count_up_to("one two three four" * 10**6, 100)  # doctest: +SKIP
        101
        """
        from gpt2x.tokenizer import budget

        check_text(text)
        limit = whole_number(limit, "limit")
        return budget.count_up_to(self._seams(allowed_special, disallowed_special), text, limit)

    def count_ordinary_batch(self, text: Iterable[str], *, num_threads: int | None = None) -> list[int]:
        """How many tokens each text has, computed on all cores (or `num_threads`); special tokens are plain text."""
        return self._core.count_batch(as_texts(text), check_threads(num_threads))

    def encode_file(
        self,
        path: str | os.PathLike[str],
        out: str | os.PathLike[str],
        *,
        dtype: npt.DTypeLike = "uint16",
        num_threads: int | None = None,
        append_eot: bool = False,
        errors: Literal["strict", "replace"] = "strict",
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> EncodedFile:
        """Encode a text file of any size into a file of ids: the ids of the whole text, one after the other.

        The text is read in windows and encoded on all cores (or `num_threads`), so memory does not grow with the
        file (but for stretches of text without any white space, which are held whole). Progress is shown on a terminal.

        Args:
            path: a UTF-8 text file; ``.xz`` and ``.gz`` are unpacked on the way.
            out: the file to write, little-endian and without a header (``numpy.fromfile(out, dtype)`` or
                ``numpy.memmap`` reads it); it appears under this name when it is complete.
            dtype: "uint16", or "uint32" for a vocabulary of more than 65,536 ids.
            num_threads: by default one for each core.
            append_eot: end the file with the end-of-text token.
            errors: what becomes of bytes that are not valid UTF-8: an error ("strict") or U+FFFD ("replace").
            allowed_special: as in `encode`.
            disallowed_special: as in `encode`.

        Raises:
            DisallowedSpecialError: as in `encode`; `position` is in bytes.
            InputDataError: the file is missing, damaged, or not UTF-8; the sentence names file and offset.
            OutputError: `out` cannot be written; what stood there before is untouched.
            UsageError: `dtype` cannot hold the largest id, or there is no end-of-text token.

        """
        from gpt2x.tokenizer import files

        kind = self._dtype(dtype, None)
        if kind.name not in ("uint16", "uint32"):
            raise UsageError(f"dtype is {kind}; a file of ids has uint16 or uint32")
        check_path(path, "path")
        check_path(out, "out")
        threads = check_threads(num_threads)
        return files.encode_file(
            self.text_reader(
                errors=errors, allowed_special=allowed_special, disallowed_special=disallowed_special
            ),
            Path(path),
            out,
            dtype=kind,
            num_threads=threads or os.cpu_count() or 1,
            append=self.eot_token if append_eot else None,
        )

    def text_reader(
        self,
        *,
        errors: str = "strict",
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> TextReader:
        """What reads a file stretch by stretch for this vocabulary; the options are those of `encode_file`."""
        from gpt2x.tokenizer.files import TextReader

        return TextReader(
            self._core, self._special, allowed=allowed_special, disallowed=disallowed_special, errors=errors
        )

    def _dtype(self, dtype: npt.DTypeLike | None, out: npt.NDArray[Any] | None) -> np.dtype[Any]:
        import numpy as np

        if out is not None and not isinstance(out, np.ndarray):
            raise ArgumentTypeError("out", out, "a NumPy array of uint16 or uint32")
        try:
            kind = np.dtype(dtype if dtype is not None else "uint32" if out is None else out.dtype)
        except (TypeError, ValueError):
            raise ArgumentTypeError("dtype", dtype, "an integer type of NumPy's, such as 'uint32'") from None
        if out is not None and (out.dtype != kind or kind.name not in ("uint16", "uint32")):
            raise UsageError(
                f"out has dtype {out.dtype} and dtype is {kind}; both must be uint16, or both uint32"
            )
        if not np.issubdtype(kind, np.integer) or np.iinfo(kind).max < self.max_token_value:
            raise UsageError(
                f"dtype {kind} cannot hold the ids of {quoted(self.name)} (up to {self.max_token_value})"
            )
        return kind

    # ------------------------------------------------------------------------------------------------------------
    # Texts that fit

    def truncate(self, text: str, n: int) -> str:
        """The longest beginning of a text that has at most `n` tokens when it is encoded by itself.

        It ends between two characters, and special tokens count as plain text, as in `encode_ordinary`. That no longer
        beginning fits holds where the text around its end can be cut somewhere within 2,000 bytes (between a word and
        a space, say). Inside a longer stretch without such a place, or with a pattern that is not built in, what
        holds is that one more character would be too much. (Longer beginnings may fit again: "toke" has two tokens,
        "token" one.)

        Raises:
            UsageError: `n` is negative.

        >>> gpt2.truncate("hello wonderful world", 2)  # doctest: +SKIP
        'hello wonderful'
        """
        from gpt2x.tokenizer import fitting

        check_text(text)
        return fitting.truncate(self._core, to_utf8(text), whole_number(n, "n")).decode()

    def encode_up_to(
        self,
        text: str,
        limit: int,
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> Fitted:
        """Encode the longest beginning of a text that has at most `limit` tokens.

        Takes time linear in the limit, as `count_up_to`. The beginning is `truncate`'s, which see, but special tokens
        are treated as in `encode`, and it ends inside none of those that are allowed.

        Returns:
            `ids`, and `num_characters` of the text that have them: it goes on with ``text[num_characters:]``.

        Raises:
            DisallowedSpecialError: as in `encode`, in as much of the text as is looked at.
            UsageError: `limit` is negative, or the pattern drops some of the text.

        >>> gpt2.encode_up_to("hello wonderful world", 2)  # doctest: +SKIP
        Fitted(ids=[31373, 7932], num_characters=15)
        """
        from gpt2x.tokenizer import budget

        check_text(text)
        limit = whole_number(limit, "limit")
        return budget.encode_up_to(self._seams(allowed_special, disallowed_special), text, limit)

    def chunk(self, text: str, n: int, overlap: int = 0) -> list[str]:
        """Cut a text into chunks of at most `n` tokens each, as they have when they are encoded by themselves.

        Every character is in a chunk, and chunks begin and end between characters. A chunk begins with the last
        `overlap` tokens of the one before it; with fewer where those would begin inside a character, and with none
        where they would leave no room for anything new. Special tokens count as plain text. Takes time linear in the
        text (times ``n / (n - overlap)``).

        Raises:
            UsageError: `overlap` is not between 0 and `n` - 1, or a single character has more than `n` tokens.

        >>> gpt2.chunk("one two three four", 2)  # doctest: +SKIP
        ['one two', ' three four']
        """
        from gpt2x.tokenizer import fitting

        check_text(text)
        n, overlap = whole_number(n, "n"), whole_number(overlap, "overlap")
        return [part.decode() for part in fitting.chunk(self._core, to_utf8(text), n, overlap)]

    # ------------------------------------------------------------------------------------------------------------
    # Texts that change

    def session(
        self,
        text: str = "",
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
    ) -> Session:
        """A text that can be appended to and edited, whose ids are after every change those that `encode` would give.

        What a change costs depends on how long it is, not on the text; `Session` says more.

        Raises:
            DisallowedSpecialError: as in `encode`, here and at every change.
            UsageError: half a character (a surrogate) in the text.

        >>> session = gpt2.session("hello wonderful world")  # doctest: +SKIP
        >>> session.edit(5, 15, "")  # doctest: +SKIP
        Change(start=1, end=2, ids=[])
        """
        from gpt2x.tokenizer.session import Session

        return Session(self._seams(allowed_special, disallowed_special), text)

    def _seams(self, allowed: Allowed, disallowed: Disallowed) -> Seams:
        from gpt2x.tokenizer.seams import Seams

        return Seams(self._core, self._special, allowed, disallowed)

    # ------------------------------------------------------------------------------------------------------------
    # The two steps of encoding

    def encode_piece(self, piece: bytes) -> list[int]:
        """Merge one piece without splitting it first; an added token is its id."""
        if not isinstance(piece, str | bytes):
            raise ArgumentTypeError("piece", piece, "bytes")
        return self._core.encode_piece(piece)

    def split(self, text: str) -> list[str]:
        """The pieces into which the pattern cuts the text before merging: ``It's here`` gives It, 's and " here".

        An added token is a piece.
        """
        check_text(text)
        return [piece.decode() for piece in self._core.split(text)]
