r"""How text is split before merging: well-known patterns natively, any other one through the `regex` package.

A pattern is stored in a tokenizer as the regular expression that tiktoken would be given, or, where no such one says
it all, as the pre-tokenizer of a ``tokenizer.json`` (see `splitting`). The core does not run regular expressions: it
knows some patterns by name and splits for those itself. For an unknown pattern `RegexCore` stands in for the core; it
splits in Python, much slower and by the Unicode version of `regex` rather than 16.0, and says so once.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer.arguments import check_text, copy_ids
from gpt2x.tokenizer.ranks import FileRanks
from gpt2x.tokenizer.utf8 import as_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from gpt2x._bpe import BytePairEncoder, SpecialTokens
    from gpt2x.tokenizer.splitting import Splitter

    PlainCore: TypeAlias = "BytePairEncoder | RegexCore"

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""GPT-2's pattern as tiktoken spells it."""

GPT2_ORIGINAL = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""The same as OpenAI first published it; Hugging Face's ByteLevel splits by it."""

_GPT2_OLDER = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
"""The pattern of cl100k_base (GPT-3.5, GPT-4) as tiktoken spells it.

The older spelling, which many a ``tokenizer.json`` carries, has no ``\\s++$`` and is another pattern (`LLAMA3`): where
a text ends in white space with a newline in it, it cuts that after the last newline.
"""

# The same for engines that have no possessive quantifiers.
_CL100K_GREEDY = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
    r"""|\s+$|\s*[\r\n]|\s+(?!\S)|\s"""
)

CL100K_ONIGURUMA = CL100K.replace("{1,3}+", "{1,3}")
"""The same for the engine of Hugging Face's tokenizers, which takes ``{1,3}+`` for one group or several."""

O200K = (
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
"""The pattern of o200k_base (GPT-4o and later) as tiktoken spells it."""

LLAMA3 = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
"""The pattern of Llama 3; cl100k_base as Hugging Face's files spell it, which is not quite tiktoken's."""

QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
"""The pattern of Qwen 2 and later: the same with each digit by itself."""

_CJK = "一-龥\u3040-\u309f\u30a0-\u30ff"
_ASCII_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""

DEEPSEEK_SPLITS = (
    r"\p{N}{1,3}",
    f"[{_CJK}]+",
    _ASCII_WORD + r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
"""The three patterns of DeepSeek-V3, each of which divides the pieces of the one before and keeps what it misses."""

DEEPSEEK = "|".join(
    [
        r"\p{N}{1,3}",
        _ASCII_WORD,
        # The third pattern among Chinese characters and kana, and among all other characters.
        rf"[{_CJK}&&[^\p{{L}}\p{{P}}\p{{S}}]]?[{_CJK}&&[\p{{L}}\p{{M}}]]+|[{_CJK}&&[\p{{P}}\p{{S}}]]+",
        rf"[^\r\n\p{{L}}\p{{P}}\p{{S}}\p{{N}}{_CJK}]?[\p{{L}}\p{{M}}&&[^{_CJK}]]+",
        rf" ?[\p{{P}}\p{{S}}&&[^{_CJK}]]+[\r\n]*",
        rf"\s*[\r\n]+|\s+(?![^\s\p{{N}}{_CJK}])|\s+",
        # What it misses, but for the last character before letters.
        rf"[{_CJK}&&[^\p{{L}}\p{{M}}\p{{P}}\p{{S}}]]+(?![{_CJK}&&[\p{{L}}\p{{M}}]])",
        rf"[^\s\p{{L}}\p{{M}}\p{{N}}\p{{P}}\p{{S}}{_CJK}]+(?![\p{{L}}\p{{M}}&&[^{_CJK}]])",
    ]
)
"""The same as one regular expression, which gives tiktoken the same pieces."""

NATIVE = {
    GPT2: "gpt2",
    GPT2_ORIGINAL: "gpt2",
    _GPT2_OLDER: "gpt2",
    CL100K: "cl100k",
    CL100K_ONIGURUMA: "cl100k",
    _CL100K_GREEDY: "cl100k",
    O200K: "o200k",
    LLAMA3: "llama3",
    QWEN2: "qwen2",
    DEEPSEEK: "deepseek",
}
"""Patterns that the core splits by itself, and the names under which it knows them."""

BY_NAME = {
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "llama3": LLAMA3,
    "qwen2": QWEN2,
    "deepseek": DEEPSEEK,
}
"""The spelling of each name."""

HUGGING_FACE = {
    "cl100k": (CL100K_ONIGURUMA,),
    "o200k": (O200K,),
    "llama3": (LLAMA3,),
    "qwen2": (QWEN2,),
    "deepseek": DEEPSEEK_SPLITS,
}
"""The same as Splits of a ``tokenizer.json``, for Oniguruma; gpt2 is what ByteLevel does by itself."""

HUGGING_FACE_NATIVE = {splits: name for name, splits in HUGGING_FACE.items()} | {
    (GPT2_ORIGINAL,): "gpt2",
    (_GPT2_OLDER,): "gpt2",
    (GPT2,): "gpt2",
    (DEEPSEEK_SPLITS[0], r"[一-龥\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_SPLITS[2]): "deepseek",
}
"""The names of Splits in a ``tokenizer.json`` that the core splits by itself.

Not the same spellings as in `NATIVE`: ``{1,3}+`` and ``$`` mean other things to Oniguruma.
"""


def route(pat_str: str) -> str:
    """Which way a pattern takes, in words: through the core, or through `regex`."""
    name = NATIVE.get(pat_str)
    if name is not None:
        return f"native ({name})"
    import importlib.metadata

    return f"Python (regex {importlib.metadata.version('regex')}), slower"


def named(name: str) -> str:
    """The pattern of that name.

    Raises:
        UsageError: an unknown name.

    """
    if name not in BY_NAME:
        raise UsageError(f"unknown pattern {quoted(name)}; known: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def resolve(pattern: str) -> str:
    """The pattern that an option or argument stands for: a name, that of a published encoding, or a regular expression.

    Raises:
        UsageError: a word that is no known name.
        ArgumentTypeError: no str.

    """
    check_text(pattern, "pattern")
    name = pattern.removesuffix("_base")
    if name in BY_NAME:
        return BY_NAME[name]
    if pattern.isidentifier() or not pattern:
        raise UsageError(
            f"unknown pattern {quoted(pattern)}; give {', '.join(BY_NAME)}, or a regular expression"
        )
    return pattern


def are_same(pat_str: str, other: str) -> bool:
    """Whether two patterns are one, in this spelling or another that is known."""
    return pat_str == other or NATIVE.get(pat_str, pat_str) == NATIVE.get(other, other)


def make_core(
    pat_str: str, mergeable_ranks: dict[bytes, int] | FileRanks, special_tokens: Mapping[int, bytes]
) -> PlainCore:
    """Build what encodes with this vocabulary: the native core, behind a splitter in Python where it must be.

    Raises:
        UsageError: the ranks are no byte-level vocabulary, or the pattern is no regular expression (or one that might
            be split in another way here than where it comes from).

    """
    from gpt2x._bpe import BytePairEncoder

    pattern = NATIVE.get(pat_str, "gpt2")
    try:
        if isinstance(mergeable_ranks, FileRanks):
            load = getattr(BytePairEncoder, mergeable_ranks.loader)
            native = load(mergeable_ranks.contents, pattern, special_tokens)
        else:
            native = BytePairEncoder(
                list(mergeable_ranks), list(mergeable_ranks.values()), pattern, special_tokens
            )
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"these ranks are no byte-level vocabulary: {error}") from error
    return native if pat_str in NATIVE else RegexCore(native, pat_str)


class RegexCore:
    """The core's methods for a pattern that it does not know, with the splitting done by `regex`."""

    def __init__(self, native: BytePairEncoder, pat_str: str) -> None:
        """Wrap the native core; its own pattern is never used.

        Raises:
            UsageError: `pat_str` is no regular expression, or has something in it that `regex` may see otherwise.

        """
        self._native = native
        self._splitter = _splitter(pat_str)
        self.n_vocab = native.n_vocab
        self.decode_bytes = native.decode_bytes
        self.token_bytes = native.token_bytes
        self.token_lengths = native.token_lengths
        self.encode_single_token = native.encode_single_token
        self.encode_piece = native.encode_piece

    def split(self, text: str | bytes) -> list[bytes]:
        """The pieces into which the pattern cuts the text; what a regular expression misses is dropped, as in tiktoken.

        Raises:
            InputDataError: the pattern takes too long; `splitting` says how long that is.

        """
        return [piece.encode() for piece in self._splitter.split(as_bytes(text).decode())]

    def find_safe_cut(self, text: bytes, start: int) -> int:
        """The end of the text: where an unknown pattern may be cut is unknown."""
        return len(text)

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """Encode without special tokens; bytes that are not valid UTF-8 as in `reference.encode_broken`."""
        from gpt2x.tokenizer import reference

        return reference.encode_broken(
            as_bytes(text), self._native.encode_piece, self._native.token_bytes, self._splitter.split
        )

    def encode(self, text: str | bytes, specials: SpecialTokens | None) -> list[int]:
        """Encode a text in which these special tokens stand for themselves."""
        if specials is None:
            return self.encode_ordinary(text)
        ids: list[int] = []
        done = 0
        for start, end, token in specials.find_all(text).tolist():
            ids += self.encode_ordinary(text[done:start])
            ids.append(token)
            done = end
        return ids + self.encode_ordinary(text[done:])

    def encode_to_numpy(
        self,
        text: str | bytes,
        dtype: str = "uint32",
        out: npt.NDArray[Any] | None = None,
        specials: SpecialTokens | None = None,
    ) -> npt.NDArray[Any]:
        """The same as an array, or in the first places of `out`.

        Raises:
            ValueError: `out` is too small, or not writable.

        """
        import numpy as np

        ids = self.encode(text, specials)
        return np.array(ids, dtype=dtype) if out is None else copy_ids(ids, out)

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        num_threads: int,
        dtype: str = "uint32",
        specials: SpecialTokens | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Encode each text; `num_threads` does not help here, since the splitting holds the GIL."""
        return [self.encode_to_numpy(text, dtype, None, specials) for text in texts]

    def encode_batch_lists(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[list[int]]:
        """The same as lists."""
        return [self.encode(text, specials) for text in texts]

    def count(self, text: str | bytes, specials: SpecialTokens | None = None) -> int:
        """How many tokens the text has."""
        return len(self.encode(text, specials))

    def count_batch(
        self, texts: Iterable[str | bytes], num_threads: int, specials: SpecialTokens | None = None
    ) -> list[int]:
        """How many tokens each text has."""
        return [self.count(text, specials) for text in texts]


@functools.cache
def _splitter(pat_str: str) -> Splitter:
    from gpt2x.tokenizer.splitting import splitter_of

    splitter = splitter_of(pat_str)
    warnings.warn(
        f"the core does not know the pattern {quoted(pat_str)}; splitting runs in Python through `regex`, slower, and "
        "by its Unicode version instead of 16.0",
        RuntimeWarning,
        stacklevel=5,
    )
    return splitter
