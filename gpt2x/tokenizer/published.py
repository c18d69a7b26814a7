"""The encodings that OpenAI has published: checksums, file names, patterns and special tokens, but not the ranks.

The ranks are OpenAI's and do not ship with gpt2x; `registry` finds them and takes none with another checksum.
The facts are those of tiktoken's `openai_public.py`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.arguments import ArgumentTypeError

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
    num_ranks: int = 0
    beginnings: tuple[str, ...] = ()
    """What the SHA-256 of its first 512, 1024, 2048, … lines begin with, by which one that was cut is known."""
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
    50256,
    (
        *("bcd4f9bc3192b401", "0da6717053bb008f", "cd379c37f6fc73a3", "e85eca22a4ba28af"),
        *("a4bb5b7e2423eb7a", "2ddb76d7144a4e11", "6f3902c18e7f49a1"),
    ),
    ("gpt2.tiktoken",),
)
P50K = RankFile(
    "p50k_base",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "ec7223a39ce59f226a68acc30dc1af2788490e15",
    50280,
    R50K.beginnings,  # it is GPT-2's with runs of spaces after it
)
CL100K = RankFile(
    "cl100k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    100256,
    (
        *("c0e322dc2d72e2e9", "132aabefd6dc6924", "4d97b68c01abd234", "3a9dbadc9d836205"),
        *("743e871759ee5afd", "6b837b2497e63ec6", "b285bc1c652188f3", "d16a6f7eb948f228"),
    ),
)
O200K = RankFile(
    "o200k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "fb374d419588a4632f3f557e76b4b70aebbca790",
    199998,
    (
        *("8e5d87b5901f0f4d", "fdb7f77e4d5c50f7", "16ec75977a26cbaa", "a947c27dbf9e6a07"),
        *("13799550d74d77e7", "8381d3bf180b05f3", "af1367d5eb788afc", "eb8a79c9dcddedab"),
        *("d55eee699e9d8096",),
    ),
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
# 200018 has two texts, as in tiktoken: <|endofprompt|>, which it stands for when decoded, and a reserved one.
_HARMONY_SPECIAL = _HARMONY_NAMED | {
    f"<|reserved_{token}|>": token
    for token in range(200000, 201088)
    if token == 200018 or token not in set(_HARMONY_NAMED.values())
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
    if not isinstance(name, str):
        raise ArgumentTypeError("a tokenizer's name", name, f"one of {', '.join(ENCODINGS)}")
    if name not in ENCODINGS:
        raise UsageError(
            f"unknown tokenizer {quoted(name)}; known names: {', '.join(ENCODINGS)}; a path goes to Tokenizer.load"
        )
    return ENCODINGS[name]


def with_ranks(sha256: str) -> Published | None:
    """The encoding whose rank file has that checksum; of several the first, None if there is none.

    >>> with_ranks(R50K.sha256).name, with_ranks("0" * 64)
    ('gpt2', None)
    """
    return next((encoding for encoding in ENCODINGS.values() if encoding.ranks.sha256 == sha256), None)


class Beginning(NamedTuple):
    """What a rank file that is no published one begins with."""

    encoding: Published
    """Of those that begin so, the first that has as many ranks, or else the last."""
    num_same: int
    """How many ranks are surely the same."""


def with_beginning(rank_file: bytes) -> Beginning | None:
    """The encoding whose rank file begins as this one does, None where there is none.

    The first 512, 1,024, 2,048, … lines are compared, as far as both go.
    """
    lines = rank_file.splitlines(keepends=True)
    if len(lines) < _FIRST_BEGINNING:
        return None
    checksum = hashlib.sha256()
    found: list[Published] = list(ENCODINGS.values())
    num_same = 0
    size = _FIRST_BEGINNING
    while size <= len(lines):
        checksum.update(b"".join(lines[num_same:size]))
        step = (size // _FIRST_BEGINNING).bit_length() - 1
        digits = checksum.hexdigest()
        same = [one for one in found if digits.startswith(one.ranks.beginnings[step : step + 1])]
        if not same:
            break
        found, num_same, size = same, size, 2 * size
    if not num_same:
        return None
    large_enough = [one for one in found if one.ranks.num_ranks >= len(lines)]
    return Beginning(large_enough[0] if large_enough else found[-1], num_same)


_FIRST_BEGINNING = 512
