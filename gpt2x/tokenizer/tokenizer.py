"""`Tokenizer`: text to ids and back, under tiktoken's names; loaded, saved, or built by name.

`token_set` has what a vocabulary is, `decoding` and `encoding` what is done with it.
A tokenizer never changes once it is made, so any number of threads may share one; the core releases the GIL.
"""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import TypeVar

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer import formats, patterns, registry, saving
from gpt2x.tokenizer.arguments import check_path
from gpt2x.tokenizer.encoding import Encoder

AnyTokenizer = TypeVar("AnyTokenizer", bound="Tokenizer")


class OwnPatternError(UsageError):
    """A pattern was given for a vocabulary that has another one of its own."""


class Tokenizer(Encoder):
    """A byte-level BPE vocabulary and the pattern that splits text for it.

    >>> from gpt2x.tokenizer.patterns import GPT2
    >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257}
    >>> tiny = Tokenizer("tiny", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|end|>": 258})
    >>> tiny.encode("low<|end|>", allowed_special="all")
    [257, 258]
    >>> tiny.decode_tokens_bytes([257, 101, 114])
    [b'low', b'e', b'r']
    """

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
