"""The encodings that OpenAI has published: checksums, file names, patterns and special tokens, but not the ranks.

The ranks are OpenAI's and do not ship with gpt2x; `registry` finds them and takes none with another checksum.
The facts are those of tiktoken's `openai_public.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from gpt2x.errors import UsageError
from gpt2x.tokenizer import patterns

END_OF_TEXT = "<|endoftext|>"
_END_OF_PROMPT = "<|endofprompt|>"
_FILL_IN = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


class RankFile(NamedTuple):
    """A published rank file."""

    name: str
    """Its name without ``.tiktoken``."""
    sha256: str
    tiktoken_name: str
    """The name that tiktoken gives it in its cache: the SHA-1 of its address."""
    other_names: tuple[str, ...] = ()
    """Names under which packages carry it."""

    @property
    def address(self) -> str:
        """Where OpenAI serves it."""
        return f"https://openaipublic.blob.core.windows.net/encodings/{self.name}.tiktoken"

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every name that the file is found under."""
        return (*self.other_names, f"{self.name}.tiktoken", self.tiktoken_name)


R50K = RankFile(
    "r50k_base",
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4",
    ("gpt2.tiktoken",),
)
P50K = RankFile(
    "p50k_base",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "ec7223a39ce59f226a68acc30dc1af2788490e15",
)
CL100K = RankFile(
    "cl100k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
)
O200K = RankFile(
    "o200k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "fb374d419588a4632f3f557e76b4b70aebbca790",
)


class Published(NamedTuple):
    """One encoding: a rank file, the pattern that goes with it, and special tokens."""

    name: str
    ranks: RankFile
    pattern: str
    """A name in `patterns.BY_NAME`."""
    special_tokens: dict[str, int]

    @property
    def pat_str(self) -> str:
        """The splitting pattern as tiktoken spells it."""
        return patterns.named(self.pattern)


_GPT2_SPECIAL = {END_OF_TEXT: 50256}
_O200K_SPECIAL = {END_OF_TEXT: 199999, _END_OF_PROMPT: 200018}
_HARMONY_NAMED = {
    "<|startoftext|>": 199998,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
    **_O200K_SPECIAL,
}
# tiktoken also gives 200018 a second text, <|reserved_200018|>; here an id has one text.
_HARMONY_SPECIAL = _HARMONY_NAMED | {
    f"<|reserved_{token}|>": token
    for token in range(200000, 201088)
    if token not in set(_HARMONY_NAMED.values())
}

ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        Published("gpt2", R50K, "gpt2", _GPT2_SPECIAL),
        Published("r50k_base", R50K, "gpt2", _GPT2_SPECIAL),
        Published("p50k_base", P50K, "gpt2", _GPT2_SPECIAL),
        Published(
            "p50k_edit", P50K, "gpt2", _GPT2_SPECIAL | dict(zip(_FILL_IN, range(50281, 50284), strict=True))
        ),
        Published(
            "cl100k_base",
            CL100K,
            "cl100k",
            {
                END_OF_TEXT: 100257,
                **dict(zip(_FILL_IN, range(100258, 100261), strict=True)),
                _END_OF_PROMPT: 100276,
            },
        ),
        Published("o200k_base", O200K, "o200k", _O200K_SPECIAL),
        Published("o200k_harmony", O200K, "o200k", _HARMONY_SPECIAL),
    )
}
"""By name, in the order in which they appeared."""


def published(name: str) -> Published:
    """The encoding of that name.

    Raises:
        UsageError: an unknown name.

    """
    if name not in ENCODINGS:
        raise UsageError(
            f"unknown tokenizer {name!r}; known names: {', '.join(ENCODINGS)}; a path goes to Tokenizer.load"
        )
    return ENCODINGS[name]


def with_ranks(sha256: str) -> Published | None:
    """The encoding whose rank file has that checksum; of several the first, None if there is none.

    >>> with_ranks(R50K.sha256).name, with_ranks("0" * 64)
    ('gpt2', None)
    """
    return next((encoding for encoding in ENCODINGS.values() if encoding.ranks.sha256 == sha256), None)
