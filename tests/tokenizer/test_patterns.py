"""Splitting by other patterns than GPT-2's: possible, slower, and never silently."""

from __future__ import annotations

import warnings

import pytest
import tiktoken
from hypothesis import given, settings

from gpt2x import _bpe
from gpt2x.errors import UsageError
from gpt2x.tokenizer import Tokenizer, patterns

from .conftest import as_tiktoken
from .strategies import awkward_bytes, awkward_text

CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)


def with_pattern(tokenizer: Tokenizer, pat_str: str) -> Tokenizer:
    patterns._compile.cache_clear()
    return Tokenizer(
        "other",
        pat_str=pat_str,
        mergeable_ranks=tokenizer.mergeable_ranks,
        special_tokens=tokenizer.special_tokens,
    )


@pytest.fixture(scope="module")
def other(songs: Tokenizer) -> Tokenizer:
    with pytest.warns(RuntimeWarning, match="does not know the pattern"):
        return with_pattern(songs, CL100K)


@pytest.fixture(scope="module")
def tiktoken_other(other: Tokenizer) -> tiktoken.Encoding:
    return as_tiktoken(other)


def test_all_spellings_of_gpt2s_pattern_split_natively(songs: Tokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spelling in patterns.NATIVE:
            assert with_pattern(songs, spelling).encode("It's  2 o'clock") == songs.encode("It's  2 o'clock")
    assert set(patterns.NATIVE.values()) <= set(_bpe.patterns)
    assert patterns.named("gpt2") == patterns.GPT2
    with pytest.raises(UsageError, match="unknown pattern 'klingon'; known: gpt2"):
        patterns.named("klingon")


def test_an_unknown_pattern_says_once_that_it_is_slow(songs: Tokenizer) -> None:
    patterns._compile.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            Tokenizer("w", pat_str=r"\w+|\W", mergeable_ranks=songs.mergeable_ranks, special_tokens={})
    assert [str(warning.message).split(";")[0] for warning in caught] == [
        r"the core does not know the pattern '\\w+|\\W'"
    ]
    assert caught[0].filename == __file__, "the warning points at the caller"


@settings(max_examples=150, deadline=None)
@given(text=awkward_text().filter(lambda text: not set(text) & set("\U00010d4a\U0001e5d0")))
def test_an_unknown_pattern_encodes_as_tiktoken_does(
    other: Tokenizer, tiktoken_other: tiktoken.Encoding, text: str
) -> None:
    ids = tiktoken_other.encode_ordinary(text)
    assert other.encode_ordinary(text) == ids
    assert other.encode_ordinary_batch([text, "x"])[0] == ids
    assert other.encode_to_numpy(text, disallowed_special=()).tolist() == ids
    assert other.count(text, disallowed_special=()) == len(ids)
    assert other.decode(ids) == text


@settings(max_examples=100, deadline=None)
@given(data=awkward_bytes())
def test_an_unknown_pattern_takes_any_bytes(
    other: Tokenizer, tiktoken_other: tiktoken.Encoding, data: bytes
) -> None:
    assert other.encode_bytes(data) == tiktoken_other._encode_bytes(data)
    assert other.decode_bytes(other.encode_bytes(data)) == data


def test_what_is_no_regular_expression_is_refused(songs: Tokenizer) -> None:
    with pytest.raises(UsageError, match=r"pattern '\(' is no regular expression"):
        with_pattern(songs, "(")
