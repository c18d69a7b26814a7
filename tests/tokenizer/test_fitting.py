"""Texts that fit: beginnings and chunks of at most so many tokens, and where each token is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Tokenizer, train
from gpt2x.tokenizer.fitting import UNBROKEN_BYTES

from .strategies import any_text, awkward_text

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def single_bytes() -> Tokenizer:
    """Every token is one byte: a character may be four."""
    return train(["x"], 257)


class TestTruncate:
    @settings(max_examples=300, deadline=None)
    @given(text=any_text(), n=st.integers(0, 60))
    def test_gives_the_longest_beginning_that_fits(self, songs: Tokenizer, text: str, n: int) -> None:
        fits = [end for end in range(len(text) + 1) if len(songs.encode_ordinary(text[:end])) <= n]
        assert songs.truncate(text, n) == text[: max(fits)]

    @settings(max_examples=100, deadline=None)
    @given(text=any_text(), n=st.integers(0, 60))
    def test_never_ends_inside_a_character(self, single_bytes: Tokenizer, text: str, n: int) -> None:
        cut = single_bytes.truncate(text, n)
        assert text.startswith(cut)
        assert len(cut.encode()) <= n
        assert cut == text or len(text[: len(cut) + 1].encode()) > n

    @pytest.mark.parametrize("unit", ["a", "love", " ", "\n \n", "😀", "!?", "l'l'", "  x"])
    @pytest.mark.parametrize("n", [1, 2, 7, 60])
    def test_holds_where_there_is_no_place_to_cut(self, songs: Tokenizer, unit: str, n: int) -> None:
        text = unit * (3 * UNBROKEN_BYTES // len(unit.encode()))
        cut = songs.truncate(text, n)
        assert text.startswith(cut)
        assert len(songs.encode_ordinary(cut)) <= n < len(songs.encode_ordinary(text[: len(cut) + 1]))

    def test_of_a_long_text_is_the_same_as_of_its_beginning(self, songs: Tokenizer) -> None:
        song = "I love you, don't you know it's over?\n\n[Chorus]  oh, oh 사랑 😀\n"
        cut = songs.truncate(song * 20_000, 1000)
        assert cut == songs.truncate(song * 100, 1000)
        assert songs.count(cut) <= 1000 < songs.count((song * 100)[: len(cut) + 1])

    @pytest.mark.parametrize("n", range(440, 465))
    def test_looks_as_far_as_it_must(self, n: int) -> None:
        """With tokens so long that n of them reach beyond what is looked at first, or end near its end."""
        word = " responsibilities"
        long = train([word * 50], 271, special_tokens=())
        assert long.encode(word * 3) == [270] * 3
        assert long.truncate(word * 2000, n) == word * n

    def test_leaves_alone_what_fits(self, songs: Tokenizer) -> None:
        assert songs.truncate("I love you", 1000) == "I love you"
        assert songs.truncate("", 0) == songs.truncate("", 5) == songs.truncate("I love you", 0) == ""

    def test_takes_special_tokens_as_plain_text_and_surrogates_as_encode_does(self, songs: Tokenizer) -> None:
        assert songs.truncate(END, 100) == END
        assert songs.truncate("\ud83d\ude00", 100) == "😀"

    def test_refuses_less_than_nothing(self, songs: Tokenizer) -> None:
        with pytest.raises(UsageError, match="n is -1; give 0 or more"):
            songs.truncate("love", -1)


class TestChunk:
    @settings(max_examples=200, deadline=None)
    @given(text=any_text(), n=st.integers(8, 40))
    def test_chunks_fit_and_are_the_text_when_joined(self, songs: Tokenizer, text: str, n: int) -> None:
        chunks = songs.chunk(text, n)
        assert "".join(chunks) == text
        assert all(0 < songs.count(chunk, disallowed_special=()) <= n for chunk in chunks)

    @settings(max_examples=200, deadline=None)
    @given(
        text=st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: "".join(dict.fromkeys(text))),
        size=st.integers(8, 40),
        data=st.data(),
    )
    def test_chunks_overlap_by_at_most_so_many_tokens(
        self, songs: Tokenizer, text: str, size: int, data: st.DataObject
    ) -> None:
        """In a text in which no character occurs twice, so that it is clear where a chunk is from."""
        overlap = data.draw(st.integers(0, size - 1))
        covered, last = 0, ""
        for chunk in songs.chunk(text, size, overlap):
            start = text.index(chunk)
            assert start <= covered < start + len(chunk), "no gap, and something new"
            tail = songs.decode_bytes(songs.encode(last)[-overlap:] if overlap else [])
            assert tail.endswith(text[start:covered].encode())
            assert songs.count(chunk) <= size
            covered, last = start + len(chunk), chunk
        assert covered == len(text)

    def test_the_overlap_is_the_last_tokens_of_the_chunk_before(self, songs: Tokenizer) -> None:
        words = [f"word{number}" for number in range(300)]
        chunks = songs.chunk(" ".join(words), 50, 10)
        for before, after in itertools.pairwise(chunks):
            tail = songs.decode(songs.encode(before)[-10:])
            assert after.startswith(tail)
            assert not before.endswith(after[: len(tail) + 1])

    def test_of_nothing_is_nothing(self, songs: Tokenizer) -> None:
        assert songs.chunk("", 5) == []

    def test_takes_linear_time_on_a_text_without_a_break(self, songs: Tokenizer) -> None:
        text = "a" * 300_000
        assert "".join(songs.chunk(text, 100)) == text

    def test_a_character_may_be_too_much(self, single_bytes: Tokenizer) -> None:
        with pytest.raises(UsageError, match=r"the character '😀' has 4 tokens, .* take n = 4 or more"):
            single_bytes.chunk("a😀", 3)
        assert single_bytes.chunk("a😀", 4) == ["a", "😀"]

    @pytest.mark.parametrize(
        ("n", "overlap", "sentence"),
        [
            (5, 5, "overlap is 5 and n is 5: the overlap must be smaller than a chunk"),
            (5, 9, "overlap is 9 and n is 5"),
            (0, 0, "overlap is 0 and n is 0"),
            (-1, 0, "n is -1; give 0 or more"),
            (5, -1, "overlap is -1; give 0 or more"),
        ],
    )
    def test_refuses_what_cannot_be(self, songs: Tokenizer, n: int, overlap: int, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            songs.chunk("love", n, overlap)


class TestOffsets:
    @settings(max_examples=200, deadline=None)
    @given(text=awkward_text())
    def test_of_bytes_cut_the_text_into_its_tokens(self, songs: Tokenizer, text: str) -> None:
        ids, offsets = songs.encode_with_offsets(text, "bytes", allowed_special="all")
        assert ids == songs.encode(text, allowed_special="all")
        data = text.encode()
        assert [data[start:end] for start, end in offsets] == songs.decode_tokens_bytes(ids)

    @settings(max_examples=200, deadline=None)
    @given(text=any_text())
    def test_of_characters_are_the_least_that_holds_the_token(self, songs: Tokenizer, text: str) -> None:
        ids, offsets = songs.encode_with_offsets(text, allowed_special="all")
        tokens = songs.decode_tokens_bytes(ids)
        for token, (start, end) in zip(tokens, offsets, strict=True):
            assert token in text[start:end].encode()
            assert token not in text[start + 1 : end].encode() or text[start] in text[start + 1 : end]
            assert token not in text[start : end - 1].encode() or text[end - 1] in text[start : end - 1]
        assert [start for start, _ in offsets] == songs.decode_with_offsets(ids)[1]

    def test_the_tokens_of_one_character_share_it(self, single_bytes: Tokenizer) -> None:
        assert single_bytes.encode_with_offsets("a😀")[1] == [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2)]

    def test_of_nothing_are_none(self, songs: Tokenizer) -> None:
        assert songs.encode_with_offsets("") == songs.encode_with_offsets("", "bytes") == ([], [])

    def test_special_tokens_are_refused_unless_allowed(self, songs: Tokenizer) -> None:
        with pytest.raises(DisallowedSpecialError):
            songs.encode_with_offsets(f"a{END}")
        assert songs.encode_with_offsets(f"é{END}", allowed_special="all")[1][-1] == (1, 14)

    def test_an_unknown_unit_is_named(self, songs: Tokenizer) -> None:
        with pytest.raises(UsageError, match="unit is 'words'; take 'bytes' or 'characters'"):
            songs.encode_with_offsets("a", "words")  # type: ignore[arg-type]
