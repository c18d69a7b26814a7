"""Looking for special tokens: the leftmost, of those the longest, in time linear in the text whatever they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x import _bpe
from gpt2x.errors import UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Tokenizer
from gpt2x.tokenizer.patterns import GPT2
from gpt2x.tokenizer.special import finder

from .strategies import any_text

LETTERS = "ab<é中😀"


def by_regex(tokens: Sequence[str]) -> re.Pattern[str]:
    """The same as an alternation, the longest first."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)))


def tokenizer_with(songs: Tokenizer, tokens: Sequence[str], pat_str: str = GPT2) -> Tokenizer:
    return Tokenizer(
        "with specials",
        pat_str=pat_str,
        mergeable_ranks=songs.mergeable_ranks,
        special_tokens={token: 2000 + 3 * index for index, token in enumerate(tokens)},
    )


def in_parts(tokenizer: Tokenizer, text: str, tokens: Sequence[str]) -> list[int]:
    """What `encode` is to give: the text cut at its special tokens, each part encoded by itself."""
    ids: list[int] = []
    done = 0
    for match in by_regex(tokens).finditer(text):
        ids += [
            *tokenizer.encode_ordinary(text[done : match.start()]),
            tokenizer.special_tokens[match.group()],
        ]
        done = match.end()
    return ids + tokenizer.encode_ordinary(text[done:])


token_lists = st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=8, unique=True)


class TestFinder:
    @given(tokens=token_lists, text=st.text(LETTERS, max_size=80), start=st.integers(0, 90))
    def test_finds_what_an_alternation_finds(self, tokens: list[str], text: str, start: int) -> None:
        expected = by_regex(tokens).search(text, start)
        found = finder(frozenset(tokens))(text, start)
        assert (found is None) == (expected is None)
        if found and expected:
            assert (found.group(), found.start(), found.end()) == (expected.group(), *expected.span())

    @given(tokens=token_lists, text=st.text(LETTERS, max_size=200))
    def test_places_are_characters_in_a_str_and_bytes_in_bytes(self, tokens: list[str], text: str) -> None:
        native = _bpe.SpecialTokens([token.encode() for token in tokens], range(len(tokens)))
        matches = list(by_regex(tokens).finditer(text))
        rows = [[*match.span(), tokens.index(match.group())] for match in matches]
        assert native.find_all(text).tolist() == rows

        def in_bytes(place: int) -> int:
            return len(text[:place].encode())

        rows = [[in_bytes(start), in_bytes(end), token] for start, end, token in rows]
        assert native.find_all(text.encode()).tolist() == rows
        assert native.find(text.encode()) == (tuple(rows[0]) if rows else None)

    def test_finds_lone_surrogates_and_no_text_at_all(self) -> None:
        assert finder(frozenset({"\ud800"}))("a\ud800").start() == 1
        assert finder(frozenset({"\ud83d"}))("😀") is None
        assert finder(frozenset())("<a>") is None
        assert finder(frozenset({"", "b"}))("ab").end() == 0
        assert finder(frozenset({"", "ab"}))("ab").end() == 2

    def test_refuses_what_is_no_list_of_tokens(self) -> None:
        for tokens, ids, message in (
            ([b"a"], [1, 2], "1 tokens but 2 ids"),
            ([b""], [1], "special token 1 is empty"),
            ([b"a", b"a"], [1, 2], 'special token "a" occurs twice'),
            ([b"a"], [-1], "id -1 of token"),
        ):
            with pytest.raises(ValueError, match=message):
                _bpe.SpecialTokens(tokens, ids)


class TestEncoding:
    @given(tokens=token_lists, text=any_text() | st.text(LETTERS, max_size=80))
    def test_gives_their_ids_and_what_each_part_has_by_itself(
        self, songs: Tokenizer, tokens: list[str], text: str
    ) -> None:
        tokenizer = tokenizer_with(songs, tokens)
        expected = in_parts(tokenizer, text, tokens)
        assert tokenizer.encode(text, allowed_special="all") == expected
        assert tokenizer.encode_to_numpy(text, allowed_special="all").tolist() == expected
        assert tokenizer.encode_batch([text, "", text], allowed_special="all") == [expected, [], expected]
        assert tokenizer.count(text, allowed_special="all") == len(expected)
        out = np.zeros(len(expected), dtype=np.uint16)
        assert tokenizer.encode_to_numpy(text, allowed_special="all", out=out).tolist() == expected

    @given(tokens=token_lists, text=st.text(LETTERS, max_size=60), data=st.data())
    def test_of_a_part_of_them_takes_the_others_as_text(
        self, songs: Tokenizer, tokens: list[str], text: str, data: st.DataObject
    ) -> None:
        tokenizer = tokenizer_with(songs, tokens)
        some = data.draw(st.sets(st.sampled_from(tokens), min_size=1))
        expected = in_parts(tokenizer, text, list(some))
        assert tokenizer.encode(text, allowed_special=some, disallowed_special=()) == expected
        refused = set(tokens) - some
        first = by_regex(list(refused)).search(text) if refused else None
        if first is None:
            assert tokenizer.encode(text, allowed_special=some) == expected
            return
        for call in (
            tokenizer.encode,
            tokenizer.count,
            lambda text, **sets: tokenizer.encode_batch([text], **sets),
        ):
            with pytest.raises(DisallowedSpecialError) as caught:
                call(text, allowed_special=some)
            assert (caught.value.token, caught.value.position) == (first.group(), first.start())

    @pytest.mark.filterwarnings("ignore:the core does not know")
    def test_is_the_same_with_a_pattern_that_is_not_built_in(self, songs: Tokenizer) -> None:
        tokenizer = tokenizer_with(songs, ["<a>", "<a>+"], pat_str=r"[a-z]+|[^a-z]")
        text = "one<a>+two<a>three"
        expected = in_parts(tokenizer, text, ["<a>", "<a>+"])
        assert tokenizer.encode(text, allowed_special="all") == expected
        assert tokenizer.encode_to_numpy(text, allowed_special="all").tolist() == expected
        assert tokenizer.encode_batch([text], allowed_special="all") == [expected]
        assert tokenizer.count(text, allowed_special="all") == len(expected)

    def test_names_the_largest_id_that_does_not_fit(self, songs: Tokenizer) -> None:
        specials = _bpe.SpecialTokens([b"<a>"], [70_000])
        core = songs._core
        assert core.encode("a<a>", specials)[-1] == 70_000
        assert core.encode_to_numpy("<a>", "uint32", None, specials).tolist() == [70_000]
        with pytest.raises(ValueError, match="ids up to 70000 do not fit uint16"):
            core.encode_to_numpy("<a>", "uint16", None, specials)
        with pytest.raises(ValueError, match="ids up to 70000 do not fit uint16"):
            core.encode_batch(["<a>"], 1, "uint16", specials)
        tokenizer = tokenizer_with(songs, ["<a>"])
        with pytest.raises(UsageError, match="has 2 tokens, out has room for 1"):
            tokenizer.encode_to_numpy("<a><a>", allowed_special="all", out=np.zeros(1, dtype=np.uint16))


class TestManyAndHostile:
    """Trying one token after the other, or beginning anew at each place, would take minutes here."""

    def test_a_hundred_thousand_tokens(self, songs: Tokenizer) -> None:
        tokenizer = tokenizer_with(songs, [f"<|w{index}|>" for index in range(100_000)])
        text = "hello there cat <|w5|> " * 2000
        ids = tokenizer.encode(text, allowed_special="all")
        assert ids.count(2000 + 3 * 5) == 2000
        assert ids == tokenizer.encode(text, allowed_special={"<|w5|>"})
        assert tokenizer.count("<|x" * 333_333) == songs.count("<|x" * 333_333)

    @pytest.mark.parametrize(
        ("tokens", "text"),
        [
            (["<|x|>"], "<|x" * 333_333),
            (["a", "a" * 5000 + "b"], "a" * 1_000_000),
            ([f"{'x' * 500}{index:05}" for index in range(2_000)], "x" * 1_000_000),
            ([f"{index:05}{'x' * 500}" for index in range(2_000)], "x" * 1_000_000),
            ([chr(0x4E00 + index) for index in range(10_000)], "中一七" * 300_000),
            (["é" * 1000 + "e", "éé"], "é" * 500_000),
        ],
        ids=["opened", "one or many", "long prefixes", "long suffixes", "characters", "no ASCII"],
    )
    def test_hostile_ones(self, songs: Tokenizer, tokens: list[str], text: str) -> None:
        tokenizer = tokenizer_with(songs, tokens)
        ids = tokenizer.encode(text, allowed_special="all")
        assert tokenizer.decode(ids) == text
        assert tokenizer.count(text, allowed_special="all") == len(ids)
        if max(ids) < 2000:  # none of them stands in the text
            assert tokenizer.encode(text) == ids
