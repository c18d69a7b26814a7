"""Encoding and decoding: what tiktoken gives, on every input."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Tokenizer, UnknownTokenError
from gpt2x.tokenizer.patterns import GPT2

from .conftest import GOLDEN, as_tiktoken
from .strategies import any_text, awkward_bytes, awkward_text

END = "<|endoftext|>"
VECTORS = [
    (bytes.fromhex(line.split("\t")[0]), [int(token) for token in line.split("\t")[1].split()])
    for line in (GOLDEN / "encode_vectors.tsv").read_text(encoding="ascii").splitlines()
]


@pytest.mark.parametrize(("data", "ids"), VECTORS, ids=[repr(data)[:40] for data, _ in VECTORS])
def test_the_golden_vectors_hold(songs: Tokenizer, data: bytes, ids: list[int]) -> None:
    assert songs.encode_bytes(data) == ids
    assert songs.decode_bytes(ids) == data


class TestEqualsTiktoken:
    @settings(max_examples=400, deadline=None)
    @given(text=awkward_text())
    def test_on_awkward_text(self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, text: str) -> None:
        assert songs.encode_ordinary(text) == tiktoken_songs.encode_ordinary(text)

    @settings(max_examples=200, deadline=None)
    @given(text=any_text())
    def test_on_any_text_with_gpt2s_vocabulary(
        self, gpt2_tokenizer: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, text: str
    ) -> None:
        assert gpt2_tokenizer.encode_ordinary(text) == tiktoken_gpt2.encode_ordinary(text)

    @settings(max_examples=400, deadline=None)
    @given(data=awkward_bytes())
    def test_on_bytes_that_are_no_utf8(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, data: bytes
    ) -> None:
        assert songs.encode_bytes(data) == tiktoken_songs._encode_bytes(data)

    @pytest.mark.parametrize("part", ["^", "a", " ", "ab", "\n \n", "漢", "0", "'s"])
    def test_on_catastrophic_repetition(
        self, gpt2_tokenizer: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, part: str
    ) -> None:
        text = part * (30_000 // len(part))
        assert gpt2_tokenizer.encode(text) == tiktoken_gpt2.encode(text)

    def test_on_every_code_point_between_a_letter_and_a_digit(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding
    ) -> None:
        """The neighbours tell the class: 'a' joins a letter, '1' a number, neither joins the rest."""
        for start in range(0, 0x110000, 0x4000):
            points = [code for code in range(start, start + 0x4000) if not 0xD800 <= code < 0xE000]
            text = "".join(f"a{chr(code)}1 " for code in points)
            assert songs.encode_ordinary(text) == tiktoken_songs.encode_ordinary(text), f"from U+{start:04X}"

    @pytest.mark.parametrize("character", ["\u3000", "\x85", "漢", "é", "😀", "'s", " ", "\n", "\u0301"])
    def test_on_special_places_at_every_offset(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, character: str
    ) -> None:
        for offset in range(130):
            for filler in ("a", " ", "!"):
                text = filler * offset + character + "b" + character
                assert songs.encode_ordinary(text) == tiktoken_songs.encode_ordinary(text), (offset, filler)

    def test_where_a_piece_is_a_token_that_no_merge_makes(self) -> None:
        ranks = {bytes([byte]): byte for byte in range(256)} | {b"xyz": 256}
        odd = Tokenizer("odd", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        for text in ("xyz", " xyz", "xyzxyz", "axyz"):
            assert odd.encode(text) == as_tiktoken(odd).encode(text)


class TestRoundTrip:
    @settings(max_examples=300, deadline=None)
    @given(data=st.binary(max_size=300))
    def test_any_bytes_come_back(self, songs: Tokenizer, data: bytes) -> None:
        assert songs.decode_bytes(songs.encode_bytes(data)) == data

    @settings(max_examples=200, deadline=None)
    @given(text=any_text())
    def test_any_text_comes_back(self, songs: Tokenizer, text: str) -> None:
        assert songs.decode(songs.encode_ordinary(text)) == text

    def test_decoding_replaces_what_is_no_character_unless_told_otherwise(self, songs: Tokenizer) -> None:
        ids = songs.encode_bytes(b"a\xffb")
        assert songs.decode(ids) == "a\ufffdb"
        assert songs.decode(ids, errors="ignore") == "ab"
        with pytest.raises(UnicodeDecodeError):
            songs.decode(ids, errors="strict")


class TestSurrogates:
    @pytest.mark.parametrize(
        "text", ["\ud83d\ude00", "\ud83d", "a\ude00b", "\ud83d \ude00", "\ud83d\ud83d\ude00 x"]
    )
    def test_pairs_join_and_lone_ones_are_replaced_as_in_tiktoken(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, text: str
    ) -> None:
        expected = tiktoken_songs.encode(text)
        assert songs.encode(text) == expected
        assert songs.encode_ordinary(text) == expected
        assert songs.encode_batch([text]) == [expected]
        assert songs.encode_to_numpy(text).tolist() == expected
        assert songs.count(text) == len(expected)

    def test_a_pair_is_its_character(self, songs: Tokenizer) -> None:
        assert songs.decode(songs.encode("\ud83d\ude00")) == "😀"
        assert songs.decode(songs.encode("a\ud83db")) == "a\ufffdb"


class TestSpecialTokens:
    CALLS = ("encode", "encode_to_numpy", "count")

    @pytest.mark.parametrize("call", CALLS)
    def test_are_refused_unless_allowed(self, songs: Tokenizer, call: str) -> None:
        with pytest.raises(DisallowedSpecialError, match=r"'<\|endoftext\|>' at character 2") as caught:
            getattr(songs, call)(f"a {END}")
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, UsageError)
        with pytest.raises(ValueError, match="special token"):
            songs.encode_batch(["fine", f"not {END} fine"])

    @pytest.mark.parametrize(
        "options",
        [
            {"allowed_special": "all"},
            {"allowed_special": {END}},
            {"disallowed_special": ()},
            {"allowed_special": set(), "disallowed_special": set()},
            {"allowed_special": "all", "disallowed_special": ()},
            {"allowed_special": {"<|unknown|>"}, "disallowed_special": ()},
        ],
        ids=str,
    )
    @pytest.mark.parametrize(
        "text", [END, f"a{END}b", f" {END} {END}{END}\n", "<|endoftext|", "none", f"  {END}x"]
    )
    def test_are_encoded_as_tiktoken_does(
        self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding, options: dict, text: str
    ) -> None:
        expected = tiktoken_songs.encode(text, **options)
        assert songs.encode(text, **options) == expected
        assert songs.encode_batch([text, "x"], **options)[0] == expected
        assert songs.encode_to_numpy(text, **options).tolist() == expected
        assert songs.count(text, **options) == len(expected)

    def test_any_text_can_be_disallowed(self, songs: Tokenizer) -> None:
        with pytest.raises(ValueError, match="'secret'"):
            songs.encode("a secret", disallowed_special={"secret"})
        assert songs.encode("a secret", disallowed_special={"other"})

    def test_the_longest_wins_where_one_starts_with_another(self) -> None:
        ranks = {bytes([byte]): byte for byte in range(256)}
        two = Tokenizer("two", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<a>": 256, "<a>+": 257})
        assert two.encode("<a>+<a>", allowed_special="all") == [257, 256]
        assert two.encode("<a>+", allowed_special={"<a>"}, disallowed_special=()) == [256, ord("+")]

    def test_are_never_what_plain_text_gives(self, songs: Tokenizer) -> None:
        assert songs.eot_token not in songs.encode_ordinary(END * 3)

    def test_decode_to_their_text(self, songs: Tokenizer) -> None:
        ids = songs.encode(f"a{END}b{END}", allowed_special="all")
        assert songs.decode(ids) == f"a{END}b{END}"
        assert songs.decode(np.array(ids, dtype=np.uint16)) == f"a{END}b{END}"
        assert songs.decode_tokens_bytes(ids)[-1] == END.encode()

    def test_are_listed(self, songs: Tokenizer) -> None:
        assert songs.special_tokens_set == {END}
        assert songs.eot_token == songs.max_token_value == songs.n_vocab - 1
        assert songs.is_special_token(songs.eot_token)
        assert not songs.is_special_token(0)
        assert songs.encode_single_token(END) == songs.eot_token

    def test_the_end_of_text_may_be_missing(self) -> None:
        ranks = {bytes([byte]): byte for byte in range(256)}
        plain = Tokenizer("plain", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        with pytest.raises(UsageError, match="'plain' has no special token"):
            _ = plain.eot_token


class TestBatches:
    @settings(max_examples=50, deadline=None)
    @given(texts=st.lists(awkward_text(), max_size=20), num_threads=st.integers(1, 4))
    def test_are_the_single_calls(self, songs: Tokenizer, texts: list[str], num_threads: int) -> None:
        expected = [songs.encode_ordinary(text) for text in texts]
        assert songs.encode_ordinary_batch(texts, num_threads=num_threads) == expected
        for dtype in ("uint16", "uint32", "int64"):
            arrays = songs.encode_ordinary_batch_to_numpy(texts, dtype=dtype, num_threads=num_threads)
            assert [array.tolist() for array in arrays] == expected
            assert all(array.dtype == dtype for array in arrays)
        assert songs.count_ordinary_batch(texts, num_threads=num_threads) == [len(ids) for ids in expected]
        allowed = [songs.encode(text, allowed_special="all") for text in texts]
        assert songs.encode_batch(texts, num_threads=num_threads, allowed_special="all") == allowed
        assert songs.encode_batch(texts, num_threads=num_threads, disallowed_special=()) == expected
        assert songs.decode_batch(expected) == [songs.decode(ids) for ids in expected]
        assert songs.decode_bytes_batch(expected) == [songs.decode_bytes(ids) for ids in expected]

    @pytest.mark.parametrize("unit", ["在雨中，我唱歌。", "she sings<|endoftext|>, 2 🚀。", "né à Zürich. "])
    def test_threads_share_one_long_text(self, songs: Tokenizer, unit: str) -> None:
        text = unit * (1_200_000 // len(unit))
        for form in (text, text.encode()):
            one, two = (songs._core.encode_batch([form], threads, "uint32", None) for threads in (1, 2))
            assert np.array_equal(one[0], two[0])
        one, two = (
            songs.encode_batch([text, unit], num_threads=threads, allowed_special="all") for threads in (1, 2)
        )
        assert one == two

    def test_one_tokenizer_serves_many_threads(self, songs: Tokenizer) -> None:
        texts = [
            f"{word} in the night, it's {word}{number}\n" * 20
            for number in range(50)
            for word in ("love", "한국")
        ]
        expected = [songs.encode(text) for text in texts]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(songs.encode, texts)) == expected
            assert list(pool.map(songs.decode, expected)) == texts


class TestNumpy:
    @pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64", np.int32])
    def test_gives_the_ids_in_the_type_that_is_asked_for(self, songs: Tokenizer, dtype: str) -> None:
        ids = songs.encode_to_numpy("I love you", dtype=dtype)
        assert ids.dtype == np.dtype(dtype)
        assert ids.tolist() == songs.encode("I love you")

    @pytest.mark.parametrize("dtype", ["uint8", "float32", "int8"])
    def test_refuses_a_type_that_cannot_hold_the_ids(self, songs: Tokenizer, dtype: str) -> None:
        with pytest.raises(UsageError, match=f"dtype {dtype} cannot hold"):
            songs.encode_to_numpy("I love you", dtype=dtype)

    @pytest.mark.parametrize("dtype", ["uint16", "uint32"])
    @settings(max_examples=100, deadline=None)
    @given(text=awkward_text(), extra=st.integers(0, 3))
    def test_writes_into_an_array_that_is_given(
        self, songs: Tokenizer, dtype: str, text: str, extra: int
    ) -> None:
        for options in ({"disallowed_special": ()}, {"allowed_special": "all"}):
            expected = songs.encode(text, **options)
            out = np.full(len(expected) + extra, 7, dtype=dtype)
            ids = songs.encode_to_numpy(text, out=out, **options)
            assert ids.tolist() == expected
            assert np.shares_memory(ids, out) or not expected
            assert out[len(expected) :].tolist() == [7] * extra
            if expected:
                with pytest.raises(
                    UsageError,
                    match=f"the text has {len(expected)} tokens, out has room for {len(expected) - 1}",
                ):
                    songs.encode_to_numpy(text, out=out[: len(expected) - 1], **options)

    @pytest.mark.parametrize(
        ("out", "options", "sentence"),
        [
            (np.zeros(9, dtype="int64"), {}, "out has dtype int64 and dtype is int64; both must be uint16"),
            (np.zeros(9, dtype="uint16"), {"dtype": "uint32"}, "out has dtype uint16 and dtype is uint32"),
            (np.zeros(18, dtype="uint32")[::2], {}, "out must be a writable array of one axis without gaps"),
            (np.zeros((3, 3), dtype="uint32"), {}, "out must be a writable array of one axis"),
            ([0] * 9, {}, "out is a list; give a NumPy array"),
        ],
        ids=["type", "two types", "gaps", "axes", "list"],
    )  # fmt: skip
    def test_refuses_an_array_that_will_not_do(
        self, songs: Tokenizer, out: object, options: dict, sentence: str
    ) -> None:
        with pytest.raises(UsageError, match=sentence):
            songs.encode_to_numpy("I love you", out=out, **options)  # type: ignore[arg-type]

    def test_nothing_gives_an_empty_array_of_that_type(self, songs: Tokenizer) -> None:
        assert songs.encode_to_numpy("", dtype="uint16").shape == (0,)
        assert songs.encode_to_numpy("", dtype="uint16").dtype == np.uint16
        assert songs.decode(np.empty(0, dtype=np.uint16)) == songs.decode([]) == ""

    @pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32", "int64", "uint64"])
    def test_arrays_of_any_integer_decode(self, songs: Tokenizer, dtype: str) -> None:
        assert songs.decode(np.array(songs.encode("over and over"), dtype=dtype)[::1]) == "over and over"
        backwards = np.array(songs.encode("over and over"), dtype=dtype)[::-1]
        assert songs.decode_bytes(backwards) == b"".join(songs.decode_tokens_bytes(backwards))


class TestDecoding:
    @pytest.mark.parametrize(
        "wrong", [[5000], [-1], [2**33], [2**70], [3, 1000, 5000], ["x"], [1.5], [None]], ids=str
    )
    def test_an_unknown_id_is_a_key_error_that_names_it(self, songs: Tokenizer, wrong: list) -> None:
        for call in (songs.decode, songs.decode_bytes, songs.decode_tokens_bytes, songs.decode_with_offsets):
            with pytest.raises(KeyError) as caught:
                call(wrong)
            assert f"unknown token id {wrong[-1]!r}: the vocabulary 'songs' has the ids 0 to 1000" in str(
                caught.value
            )
            assert isinstance(caught.value, InputDataError)

    def test_offsets_are_tiktokens(self, songs: Tokenizer, tiktoken_songs: tiktoken.Encoding) -> None:
        for text in ("hello world", "a 😀 b", "한국어 text", "é", "", "👩‍👩‍👧"):
            ids = songs.encode(text)
            assert songs.decode_with_offsets(ids) == tiktoken_songs.decode_with_offsets(ids)

    def test_single_tokens_go_there_and_back(self, songs: Tokenizer) -> None:
        for token in (0, 220, 255, 256, 700, songs.eot_token):
            assert songs.encode_single_token(songs.decode_single_token_bytes(token)) == token
        with pytest.raises(UnknownTokenError, match="no token 'antidisestablishment'"):
            songs.encode_single_token("antidisestablishment")


class TestTokenizer:
    def test_pickles_and_copies(self, songs: Tokenizer) -> None:
        for clone in (pickle.loads(pickle.dumps(songs)), copy.deepcopy(songs)):
            assert clone == songs
            assert hash(clone) == hash(songs)
            assert clone.encode("I love you") == songs.encode("I love you")
        error = pickle.loads(pickle.dumps(DisallowedSpecialError("<x>", 3)))
        assert (error.token, error.position) == ("<x>", 3)

    def test_says_what_it_is(self, songs: Tokenizer) -> None:
        assert repr(songs) == "<Tokenizer 'songs': 1,001 ids>"
        assert songs.token_byte_values() == sorted(songs.mergeable_ranks)
        assert songs != "songs"

    def test_splits_and_merges_pieces_for_those_who_want_to_see(self, songs: Tokenizer) -> None:
        pieces = songs.split("It's  love")
        assert pieces == ["It", "'s", " ", " love"]
        assert [token for piece in pieces for token in songs.encode_piece(piece.encode())] == songs.encode(
            "It's  love"
        )

    def test_cannot_be_changed_through_what_it_shows(self, songs: Tokenizer) -> None:
        with pytest.raises(TypeError):
            songs.mergeable_ranks[b"new"] = 7  # type: ignore[index]
        with pytest.raises(TypeError):
            songs.special_tokens["new"] = 7  # type: ignore[index]

    @pytest.mark.parametrize(
        ("ranks", "special_tokens", "message"),
        [
            ({b"a": 0}, {}, "no byte-level vocabulary"),
            ({bytes([b]): b for b in range(256)} | {b"": 256}, {}, "no byte-level vocabulary"),
            ({bytes([b]): b for b in range(256)} | {b"ab": 7}, {}, "no byte-level vocabulary"),
            ({bytes([b]): b for b in range(256)} | {b"ab": -1}, {}, "no byte-level vocabulary"),
            ({bytes([b]): b for b in range(256)}, {"<s>": 255}, "which another token has"),
            ({bytes([b]): b for b in range(256)}, {"": 256}, "no text"),
        ],
    )  # fmt: skip
    def test_refuses_what_is_no_vocabulary(self, ranks: dict, special_tokens: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Tokenizer("bad", pat_str=GPT2, mergeable_ranks=ranks, special_tokens=special_tokens)
