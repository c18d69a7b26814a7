"""tiktoken's front door before our tokenizer, for programs that were written for tiktoken.

Replace ``import tiktoken`` by

>>> from gpt2x.tokenizer import tiktoken

and the rest stays: `get_encoding`, `encoding_for_model`, `encoding_name_for_model`, `list_encoding_names` and
`Encoding` with its methods, the ones that begin with an underscore among them. The ids are the same; an encoding's
ranks are looked for as `gpt2x.tokenizer.get` does it, so a machine that has them needs no network. Not here is
``Encoding.encode_with_unstable``, which tiktoken itself calls unstable.
"""

from __future__ import annotations

import copyreg
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import registry
from gpt2x.tokenizer.special import END_OF_TEXT
from gpt2x.tokenizer.tokenizer import Tokenizer

__all__ = [
    "Encoding",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
]

_MODELS = {
    "o200k_base": ("o1", "o3", "o4-mini", "gpt-5", "gpt-4.1", "gpt-4o"),
    "cl100k_base": (
        *("gpt-4", "gpt-3.5-turbo", "gpt-3.5", "gpt-35-turbo", "davinci-002", "babbage-002"),
        *("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"),
    ),
    "p50k_base": (
        *("text-davinci-003", "text-davinci-002", "davinci-codex", "cushman-codex"),
        *("code-davinci-002", "code-davinci-001", "code-cushman-002", "code-cushman-001"),
    ),
    "p50k_edit": ("text-davinci-edit-001", "code-davinci-edit-001"),
    "r50k_base": (
        *("davinci", "curie", "babbage", "ada"),
        *(f"text-{size}-001" for size in ("davinci", "curie", "babbage", "ada")),
        *(f"text-similarity-{size}-001" for size in ("davinci", "curie", "babbage", "ada")),
        *(f"text-search-{size}-doc-001" for size in ("davinci", "curie", "babbage", "ada")),
        *(f"code-search-{size}-code-001" for size in ("babbage", "ada")),
    ),
    "gpt2": ("gpt2", "gpt-2"),
}
_ENCODING_OF_MODEL = {model: encoding for encoding, models in _MODELS.items() for model in models}

# Models whose names go on: versions, dates, fine-tuned ones.
_ENCODING_OF_PREFIX = {
    **dict.fromkeys(("o1-", "o3-", "o4-mini-", "gpt-5", "gpt-4.5-", "gpt-4.1-"), "o200k_base"),
    **dict.fromkeys(("chatgpt-4o-", "gpt-4o-", "ft:gpt-4o"), "o200k_base"),
    **dict.fromkeys(("gpt-4-", "gpt-3.5-turbo-", "gpt-35-turbo-", "ft:gpt-4"), "cl100k_base"),
    **dict.fromkeys(("ft:gpt-3.5-turbo", "ft:davinci-002", "ft:babbage-002"), "cl100k_base"),
    "gpt-oss-": "o200k_harmony",
}

_encodings: dict[str, Encoding] = {}
_lock = threading.Lock()


class Encoding(Tokenizer):
    """`Tokenizer` with the few things more that tiktoken's class of this name has."""

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        explicit_n_vocab: int | None = None,
        added_tokens: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Build as `Tokenizer` does.

        Raises:
            UsageError: also when `explicit_n_vocab` is given and is not the number of tokens.

        """
        super().__init__(
            name,
            pat_str=pat_str,
            mergeable_ranks=mergeable_ranks,
            special_tokens=special_tokens,
            added_tokens=added_tokens,
        )
        if explicit_n_vocab and {len(mergeable_ranks) + len(special_tokens), self.n_vocab} != {
            explicit_n_vocab
        }:
            raise UsageError(
                f"explicit_n_vocab is {explicit_n_vocab}, but {quoted(name)} has {len(mergeable_ranks)} ranks, "
                f"{len(special_tokens)} special tokens and ids up to {self.max_token_value}"
            )

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``.

        Raises:
            KeyError: there is none.

        """
        return self._special.ids[END_OF_TEXT]

    @property
    def _special_tokens(self) -> dict[str, int]:
        return self._special.ids

    def _encode_bytes(self, text: bytes) -> list[int]:
        return self.encode_bytes(text)

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        return self._core.encode_piece(text_or_bytes)

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        return self.encode_ordinary(text)

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an encoding that `get_encoding` gave by its name."""
        if _encodings.get(self.name) is self:
            return get_encoding, (self.name,)
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]


def get_encoding(encoding_name: str) -> Encoding:
    """The encoding of that name; the same object each time.

    Raises:
        ValueError: an unknown name.
        MissingComponentError: its ranks are nowhere to be found and cannot be downloaded.

    """
    if not isinstance(encoding_name, str):
        raise UsageError(f"an encoding's name is a string, not {type(encoding_name).__name__}")
    with _lock:
        if encoding_name not in _encodings:
            _encodings[encoding_name] = Encoding.from_vocabulary(registry.find(name=encoding_name).vocabulary)
        return _encodings[encoding_name]


def list_encoding_names() -> list[str]:
    """The names that `get_encoding` knows."""
    return list(registry.NAMES)


def encoding_name_for_model(model_name: str) -> str:
    """The encoding that an OpenAI model uses.

    Raises:
        KeyError: an unknown model.

    >>> encoding_name_for_model("gpt-4o-mini"), encoding_name_for_model("davinci")
    ('o200k_base', 'r50k_base')
    """
    if model_name in _ENCODING_OF_MODEL:
        return _ENCODING_OF_MODEL[model_name]
    prefixes = [prefix for prefix in _ENCODING_OF_PREFIX if model_name.startswith(prefix)]
    if not prefixes:
        raise KeyError(f"no encoding is known for the model {quoted(model_name)}; name one to get_encoding")
    return _ENCODING_OF_PREFIX[max(prefixes, key=len)]


def encoding_for_model(model_name: str) -> Encoding:
    """`get_encoding` of `encoding_name_for_model`."""
    return get_encoding(encoding_name_for_model(model_name))
