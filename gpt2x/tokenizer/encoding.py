"""`Tokenizer`: text to ids and back, under tiktoken's names.

One idea to hold on to: everything here is bytes. Text becomes UTF-8 at the door, a token is some bytes with an id,
and decoding is joining bytes; only special tokens are looked for in the text itself, before it is split.
A tokenizer never changes once it is made, so any number of threads may share one; the core releases the GIL.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer import formats, patterns, registry, saving
from gpt2x.tokenizer.added import AddedCore
from gpt2x.tokenizer.arguments import (
    ArgumentTypeError,
    as_list,
    as_texts,
    check_path,
    check_text,
    check_threads,
    whole_number,
)
from gpt2x.tokenizer.ranks import FileRanks
from gpt2x.tokenizer.special import (
    END_OF_TEXT,
    LARGEST_ID,
    Allowed,
    Disallowed,
    SpecialTokens,
    checked_ids,
    taken,
    token_bytes,
)
from gpt2x.tokenizer.utf8 import as_bytes, to_utf8

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2x.tokenizer.added import Core
    from gpt2x.tokenizer.files import EncodedFile, TextReader

    Ids = Sequence[int] | npt.NDArray[np.integer[Any]]

AnyTokenizer = TypeVar("AnyTokenizer", bound="Tokenizer")

__all__ = ["Tokenizer", "UnknownTokenError", "to_utf8"]


class UnknownTokenError(InputDataError, KeyError):
    """An id or a token that the vocabulary does not have; a KeyError, as in tiktoken."""

    def __str__(self) -> str:
        return str(self.args[0])


class TokenTypeError(UnknownTokenError, TypeError):
    """What should be an id is no number, and so none that the vocabulary has; a TypeError, as in tiktoken."""


class OwnPatternError(UsageError):
    """A pattern was given for a vocabulary that has another one of its own."""


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

    # ------------------------------------------------------------------------------------------------------------
    # Loading and saving

    @classmethod
    def load(cls, source: str | os.PathLike[str], *, pattern: str | None = None) -> Tokenizer:
        """Load a vocabulary.

        Args:
            source: a rank file (``*.tiktoken``), a ``tokenizer.json``, GPT-2's ``vocab.bpe`` or ``encoder.json``
                beside one another, a folder that holds one of these, or the name ``gpt2``.
            pattern: what splits text, where neither the file, nor its checksum, nor a file beside it tells: "gpt2",
                "cl100k", "o200k", or a regular expression. Without it, a pattern is guessed, with a RuntimeWarning.

        Raises:
            InputDataError: it is missing, damaged or of another kind; the sentence names file and line.
            MissingComponentError: the GPT-2 vocabulary was asked for by name and is nowhere to be found.
            UsageError: `pattern` is none, or another one than the vocabulary's own (`OwnPatternError`).

        """
        check_path(source, "source")
        wanted = None if pattern is None else patterns.resolve(pattern)
        if str(source) in registry.NAMES:
            loaded = get(str(source))
        else:
            vocabulary = formats.read(source, wanted)
            if vocabulary.note:
                warnings.warn(vocabulary.note, RuntimeWarning, stacklevel=2)
            try:
                loaded = cls.from_vocabulary(vocabulary)
            except UsageError as error:
                if vocabulary.pat_str == wanted:
                    raise
                raise InputDataError(
                    f"{os.fspath(source)} holds no vocabulary that can be used: {error}"
                ) from error
        if wanted is not None and not patterns.are_same(wanted, loaded.pat_str):
            raise OwnPatternError(
                f"the vocabulary {quoted(loaded.name)} has a pattern of its own, "
                f"{quoted(patterns.NATIVE.get(loaded.pat_str, loaded.pat_str))}; leave pattern {quoted(pattern)} out"
            )
        return loaded

    @staticmethod
    def from_pretrained(name: str = "gpt2", path: str | os.PathLike[str] | None = None) -> Tokenizer:
        """A published vocabulary: "gpt2", or another encoding of OpenAI's ("cl100k_base", "o200k_base", …).

        It is taken from `path` if that is given, else from ``GPT2X_VOCAB``, gpt2x's cache, the caches of tiktoken and
        Hugging Face, an installed package that carries it, or a download (``GPT2X_OFFLINE=1`` forbids that one); and
        only if its ranks have the checksum that OpenAI's file has.

        Raises:
            UsageError: an unknown name.
            InputDataError: `path` or ``GPT2X_VOCAB`` does not hold that vocabulary.
            MissingComponentError: it is nowhere to be found; the sentence says what was looked at and what to do.

        """
        return get(name, path)

    @classmethod
    def from_vocabulary(cls: type[AnyTokenizer], vocabulary: formats.Vocabulary) -> AnyTokenizer:
        """Build from what `formats.read` gives."""
        tokenizer = cls(
            vocabulary.name,
            pat_str=vocabulary.pat_str,
            mergeable_ranks=vocabulary.mergeable_ranks,
            special_tokens=vocabulary.special_tokens,
            added_tokens=vocabulary.added_tokens,
        )
        tokenizer.__dict__["vocabulary"] = vocabulary  # it may know its checksum already
        return tokenizer

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json``, ``vocab.tiktoken`` and ``tokenizer_config.json`` into a folder.

        Either all of them appear or none does; other files in the folder stay as they are.

        Raises:
            OutputError: they cannot be written.

        """
        check_path(folder, "folder")
        saving.write_folder(self.vocabulary, folder)

    @functools.cached_property
    def vocabulary(self) -> formats.Vocabulary:
        """What is saved: name, pattern, ranks and special tokens, with merges and checksum on demand."""
        return formats.Vocabulary(
            self.name, self._pat_str, self._mergeable_ranks, self._special.ids, added_tokens=self._added
        )

    # ------------------------------------------------------------------------------------------------------------
    # Encoding

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

    # ------------------------------------------------------------------------------------------------------------
    # Decoding

    def decode_bytes(self, tokens: Ids) -> bytes:
        """Join the bytes of the tokens; special and added tokens give their text.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).
            ArgumentTypeError: no list of whole numbers (a TypeError); so in every method that takes ids.

        """
        if isinstance(tokens, str | bytes):
            raise ArgumentTypeError("tokens", tokens, "a list of ids")
        try:
            return self._core.decode_bytes(tokens)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self.decode_tokens_bytes(tokens)  # names the first id that is wrong
            raise ArgumentTypeError("tokens", tokens, "a list of ids, or an array of one axis") from error

    def decode(self, tokens: Ids, errors: str = "replace") -> str:
        """Decode to text; bytes that are not valid UTF-8 become U+FFFD, or what `errors` says (as in `bytes.decode`).

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).
        """
        data = self.decode_bytes(tokens)
        check_text(errors, "errors")
        try:
            return data.decode("utf-8", errors)
        except UnicodeDecodeError:
            raise
        except (LookupError, ValueError):  # ValueError for a NUL in it
            raise UsageError(f"errors is {quoted(errors)}; give 'strict', 'replace' or 'ignore'") from None

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one token, special tokens included.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        try:
            number = _as_id(token)
            return self._core.token_bytes(number)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            finding = (
                f"unknown token id {quoted(token)}: the vocabulary {quoted(self.name)} has the ids 0 to "
                f"{self.max_token_value}"
            )
            if isinstance(error, ArgumentTypeError):
                raise TokenTypeError(f"{finding}, which are whole numbers") from None
            raise UnknownTokenError(finding) from None

    def decode_tokens_bytes(self, tokens: Ids) -> list[bytes]:
        """The bytes of each token.

        Raises:
            UnknownTokenError: an id that the vocabulary does not have (a KeyError).

        """
        return [self.decode_single_token_bytes(token) for token in _as_ints(tokens)]

    def decode_with_offsets(self, tokens: Ids) -> tuple[str, list[int]]:
        """Decode to text, with the index of the character at which each token starts.

        A token that starts inside a character has the index of that character.

        Raises:
            UnicodeDecodeError: the tokens are not valid UTF-8 together, as in tiktoken.

        >>> gpt2.decode_with_offsets([31373, 995])  # doctest: +SKIP
        ('hello world', [0, 5])
        """
        parts = self.decode_tokens_bytes(tokens)
        offsets = []
        length = 0
        for part in parts:
            inside = 0x80 <= part[0] < 0xC0
            offsets.append(max(0, length - inside))
            length += sum(not 0x80 <= byte < 0xC0 for byte in part)
        return b"".join(parts).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Sequence[Ids], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Decode many lists of ids; `num_threads` is there for tiktoken's sake, decoding needs no threads."""
        check_threads(num_threads)
        return [self.decode(ids, errors) for ids in as_list(batch, "batch", "lists of ids")]

    def decode_bytes_batch(self, batch: Sequence[Ids], *, num_threads: int = 8) -> list[bytes]:
        """Decode many lists of ids to bytes."""
        check_threads(num_threads)
        return [self.decode_bytes(ids) for ids in as_list(batch, "batch", "lists of ids")]

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
        return _as_id(token) in self._special.token_bytes

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every token that is not special, sorted."""
        return sorted(self._mergeable_ranks)

    def __repr__(self) -> str:
        return f"<Tokenizer {quoted(self.name)}: {self.n_vocab:,} ids>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
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

    # ------------------------------------------------------------------------------------------------------------
    # Private

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


def _as_id(token: object) -> int:
    """A token's id; a negative one is none that a vocabulary has, but it is a number."""
    return whole_number(token, "a token's id", None)


def _as_ints(ids: Any) -> list[Any]:
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    if isinstance(listed, str | bytes):
        raise ArgumentTypeError("tokens", ids, "a list of ids")
    return as_list(listed, "tokens", "a list of ids")


# ----------------------------------------------------------------------------------------------------------------
# Published vocabularies by name


def get(name: str = "gpt2", path: str | os.PathLike[str] | None = None) -> Tokenizer:
    """The tokenizer of that name.

    Args:
        name: "gpt2", or another encoding of OpenAI's (`registry.NAMES`).
        path: where its vocabulary is, if you know; nothing else is tried then.

    Raises:
        UsageError: an unknown name.
        InputDataError: `path` or ``GPT2X_VOCAB`` does not hold that vocabulary.
        MissingComponentError: the vocabulary is nowhere to be found and cannot be downloaded.

    >>> get("gpt2").encode("hello world")  # doctest: +SKIP
    [31373, 995]
    """
    return _build(registry.find(path, name=name).path.absolute(), name)


@functools.lru_cache(maxsize=8)
def _build(path: Path, name: str) -> Tokenizer:
    return Tokenizer.from_vocabulary(registry.genuine(path, name))
