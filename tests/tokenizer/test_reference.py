"""The readable reference is the specification: the core and tiktoken must equal it."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x import _bpe
from gpt2x.tokenizer import Tokenizer, reference
from gpt2x.tokenizer.alphabet import BYTE_ORDER, SINGLE_BYTES, from_characters, to_characters
from gpt2x.tokenizer.patterns import GPT2
from gpt2x.tokenizer.rank_lists import read_rank_file

from .conftest import as_tiktoken
from .strategies import any_text, awkward_bytes, awkward_text

# Few different bytes, the lowest and the highest among them, often one string again and again.
OVERLAPPING = st.one_of(
    st.lists(st.sampled_from([b"a", b"b", b"\0", b"\xff"]), min_size=1, max_size=12).map(b"".join),
    st.builds(lambda part, times: part * times, st.sampled_from([b"a", b"ab", b"aab"]), st.integers(1, 12)),
)


class TestAlphabet:
    def test_is_gpt2s_order_of_bytes(self) -> None:
        assert sorted(BYTE_ORDER) == list(range(256))
        assert (BYTE_ORDER[0], BYTE_ORDER[93], BYTE_ORDER[220]) == (ord("!"), ord("~"), ord(" "))
        assert [to_characters(token) for token in SINGLE_BYTES] == sorted(
            to_characters(t) for t in SINGLE_BYTES
        )

    @given(data=st.binary(max_size=50))
    def test_spells_any_bytes_with_visible_characters(self, data: bytes) -> None:
        spelled = to_characters(data)
        assert from_characters(spelled) == data
        assert spelled.isprintable()
        assert " " not in spelled

    def test_refuses_characters_that_stand_for_no_byte(self) -> None:
        with pytest.raises(KeyError):
            from_characters("a b")


class TestClasses:
    def test_are_those_of_unicode_16(self) -> None:
        """Against a Unicode database of that version, where one is at hand."""
        try:
            import unicodedata2 as database
        except ImportError:
            database = unicodedata
        if database.unidata_version != reference.UNICODE_VERSION:
            pytest.skip(
                f"needs Unicode {reference.UNICODE_VERSION}: pip install unicodedata2=={reference.UNICODE_VERSION}"
            )
        kinds = {"L": "letter", "N": "number"}
        finer = {"Lu": "upper", "Lt": "upper", "Ll": "lower", "Lm": "uncased", "Lo": "uncased"}
        finer |= dict.fromkeys(["Mn", "Mc", "Me"], "mark")
        finer |= dict.fromkeys(
            ["Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"], "punctuation"
        )
        for code in [
            *range(0x3400),
            *range(0xA000, 0xD800),
            *range(0xF900, 0x12000),
            *range(0x16000, 0x1F000, 7),
        ]:
            character = chr(code)
            category = database.category(character)
            expected = kinds.get(category[0], "other")
            if character in reference.WHITE_SPACE:
                expected = "space"
            assert reference.classify(character) == expected, f"U+{code:04X}"
            assert reference.categorize(character) == finer.get(category, expected), f"U+{code:04X}"

    def test_white_space_is_what_tiktoken_takes_for_it(self) -> None:
        oracle = tiktoken.Encoding(
            "s",
            pat_str=r"\s",
            mergeable_ranks=dict(zip(SINGLE_BYTES, range(256), strict=True)),
            special_tokens={},
        )
        everything = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
        assert set(oracle.decode(oracle.encode_ordinary(everything))) == reference.WHITE_SPACE
        assert len(reference.WHITE_SPACE) == 25

    def test_the_core_says_which_unicode_it_follows(self) -> None:
        assert _bpe.unicode_version == reference.UNICODE_VERSION


class TestSplit:
    @settings(max_examples=300, deadline=None)
    @given(text=awkward_text() | any_text())
    def test_the_core_splits_as_the_reference_does(self, songs: Tokenizer, text: str) -> None:
        pieces = reference.split(text)
        assert songs.split(text) == pieces
        assert "".join(pieces) == text

    @pytest.mark.parametrize(
        ("text", "pieces"),
        [
            ("Hello world", ["Hello", " world"]),
            ("it's John's 'tis IT'S", ["it", "'s", " John", "'s", " '", "tis", " IT", "'", "S"]),
            ("a  b", ["a", " ", " b"]),
            ("a\n\nb", ["a", "\n", "\n", "b"]),
            ("a \u3000b", ["a", " ", "\u3000", "b"]),
            ("x1y, 22!", ["x", "1", "y", ",", " 22", "!"]),
            ("end  \n", ["end", "  \n"]),
            ("\t\tx", ["\t", "\t", "x"]),
            ("don’t", ["don", "’", "t"]),
            ("", []),
        ],
    )
    def test_by_hand(self, text: str, pieces: list[str]) -> None:
        assert reference.split(text) == pieces

    @pytest.mark.parametrize(
        ("text", "cl100k", "o200k"),
        [
            ("IT'S we'LLx", ["IT", "'S", " we", "'LL", "x"], ["IT'S", " we'LL", "x"]),
            ("'tis 'law", ["'t", "is", " '", "law"], ["'tis", " '", "law"]),
            ("it'ſo", ["it", "'ſ", "o"], ["it'ſ", "o"]),
            ("camelCase HTMLParser", ["camelCase", " HTMLParser"], ["camel", "Case", " HTMLParser"]),
            ("中文ABC", ["中文ABC"], ["中文", "ABC"]),
            ("cafe\u0301s", ["cafe", "\u0301s"], ["cafe\u0301s"]),
            ("\u0301ABC", ["\u0301ABC"], ["\u0301", "ABC"]),
            ("(1234 5", ["(", "123", "4", " ", "5"], ["(", "123", "4", " ", "5"]),
            ("x;\n//y", ["x", ";\n", "//", "y"], ["x", ";\n//", "y"]),
            ("a \n \n  b", ["a", " \n \n", " ", " b"], ["a", " \n \n", " ", " b"]),
            ("a \n  ", ["a", " \n  "], ["a", " \n", "  "]),
            ("\tx\u3000y", ["\tx", "\u3000y"], ["\tx", "\u3000y"]),
            ("", [], []),
        ],
    )
    def test_by_hand_with_later_patterns(self, text: str, cl100k: list[str], o200k: list[str]) -> None:
        assert reference.split(text, "cl100k") == cl100k
        assert reference.split(text, "o200k") == o200k

    def test_an_unknown_pattern_is_refused(self) -> None:
        with pytest.raises(KeyError, match="klingon"):
            reference.split("text", "klingon")


class TestMerge:
    def test_wikipedias_example_by_hand(self) -> None:
        """https://en.wikipedia.org/wiki/Byte_pair_encoding: aaabdaaabac becomes XdXac with Z=aa, Y=ab, X=ZY."""
        letter = {character: BYTE_ORDER.index(ord(character)) for character in "abcd"}
        a, b = letter["a"], letter["b"]
        merges = reference.learn_merges({b"aaabdaaabac": 1}, 3)
        assert merges == [(a, a, 4), (a, b, 2), (256, 257, 2)]
        ranks = {token: rank for rank, token in enumerate(reference.tokens_of(merges))}
        assert reference.encode_piece(b"aaabdaaabac", ranks) == [258, letter["d"], 258, a, letter["c"]]

    def test_every_step_can_be_seen(self) -> None:
        ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257}
        assert list(reference.merge_steps(b"slow", ranks)) == [
            (256, [b"s", b"lo", b"w"]),
            (257, [b"s", b"low"]),
        ]
        assert reference.merge(b"slow", ranks) == [b"s", b"low"]
        assert reference.merge(b"s", ranks) == [b"s"]

    @settings(max_examples=100, deadline=None)
    @given(
        tokens=st.lists(st.text("abé ", min_size=2, max_size=6), unique=True, max_size=25),
        texts=st.lists(st.text("abé x", max_size=60), min_size=1, max_size=5),
    )
    def test_core_and_tiktoken_agree_with_the_reference_on_any_ranks(
        self, tokens: list[str], texts: list[str]
    ) -> None:
        """Also on vocabularies that no training would give, where tokens cannot be reached by merges."""
        words = dict.fromkeys(token.encode() for token in tokens)
        ranks = {token: rank for rank, token in enumerate([*SINGLE_BYTES, *words])}
        odd = Tokenizer("odd", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        oracle = as_tiktoken(odd)
        for text in texts:
            expected = reference.encode(text, ranks)
            assert odd.encode(text) == expected
            assert oracle.encode(text) == expected

    @settings(max_examples=100, deadline=None)
    @given(parts=st.lists(OVERLAPPING, unique=True, max_size=40), seed=st.integers(0, 2**32), data=st.data())
    def test_the_core_agrees_with_the_reference_on_tokens_that_overlap(
        self, parts: list[bytes], seed: int, data: st.DataObject
    ) -> None:
        """Tokens that begin, end and repeat each other, under ids in any order."""
        tokens = list(dict.fromkeys([*SINGLE_BYTES, *parts]))
        random.Random(seed).shuffle(tokens)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        core = _bpe.BytePairEncoder(tokens, range(len(tokens)), "gpt2")
        for piece in data.draw(st.lists(st.lists(OVERLAPPING, max_size=6).map(b"".join), max_size=10)):
            assert core.encode_piece(piece) == reference.encode_piece(piece, ranks)

    def test_the_core_agrees_with_tiktoken_on_gpt2s_tokens_under_other_ids(
        self, shared_data: Callable[[str], Path]
    ) -> None:
        tokens = list(read_rank_file(shared_data("vocab/r50k_base.tiktoken")))
        random.Random(3).shuffle(tokens)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        shuffled = Tokenizer("shuffled", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        text = shared_data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
        assert shuffled.encode(text) == as_tiktoken(shuffled).encode(text)

    @settings(max_examples=150, deadline=None)
    @given(data=awkward_bytes())
    def test_core_and_tiktoken_agree_with_the_reference_on_any_bytes(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, data: bytes
    ) -> None:
        expected = reference.encode_bytes(data, songs.mergeable_ranks)
        assert songs.encode_bytes(data) == expected
        assert tiktoken_songs._encode_bytes(data) == expected
