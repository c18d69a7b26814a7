"""Streaming: whole characters as soon as they are there, and in the end the same text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.tokenizer import StreamDecoder, Tokenizer, UnknownTokenError, train

from .strategies import any_text, awkward_bytes


@pytest.fixture(scope="module")
def single_bytes() -> Tokenizer:
    """Every token is one byte: the worst case for characters."""
    return train(["x"], 257)


@settings(max_examples=200, deadline=None)
@given(text=any_text())
def test_no_part_of_a_character_is_ever_given_out(single_bytes: Tokenizer, text: str) -> None:
    decoder = StreamDecoder(single_bytes)
    parts = [decoder.feed(token) for token in single_bytes.encode_ordinary(text)]
    assert "".join(parts) == text
    assert "".join(parts).count("\ufffd") == text.count("\ufffd")
    assert decoder.flush() == ""


@settings(max_examples=200, deadline=None)
@given(data=awkward_bytes())
def test_any_bytes_stream_to_what_decode_gives(songs: Tokenizer, data: bytes) -> None:
    ids = songs.encode_bytes(data)
    decoder = StreamDecoder(songs)
    assert "".join(map(decoder.feed, ids)) + decoder.flush() == songs.decode(ids)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 1000), max_size=60))
def test_any_ids_stream_to_what_decode_gives(songs: Tokenizer, ids: list[int]) -> None:
    decoder = StreamDecoder(songs)
    assert "".join(map(decoder.feed, ids)) + decoder.flush() == songs.decode(ids)


def test_a_broken_byte_is_replaced_as_soon_as_it_cannot_become_a_character(single_bytes: Tokenizer) -> None:
    decoder = StreamDecoder(single_bytes)
    feed = [decoder.feed(single_bytes.encode_single_token(bytes([byte]))) for byte in b"\xf0\x9fa\xffb"]
    assert feed == ["", "", "\ufffda", "\ufffd", "b"]


def test_what_is_still_open_at_the_end_is_replaced_once(single_bytes: Tokenizer) -> None:
    decoder = StreamDecoder(single_bytes)
    assert [decoder.feed(token) for token in single_bytes.encode_bytes(b"\xf0\x9f\x98")] == ["", "", ""]
    assert decoder.flush() == "\ufffd"
    assert decoder.flush() == ""
    assert decoder.feed(single_bytes.encode("a")[0]) == "a"


def test_an_unknown_id_is_named_and_loses_nothing(single_bytes: Tokenizer) -> None:
    decoder = StreamDecoder(single_bytes)
    first, second = single_bytes.encode("é")
    assert decoder.feed(first) == ""
    with pytest.raises(UnknownTokenError, match="unknown token id 9999"):
        decoder.feed(9999)
    assert decoder.feed(second) == "é"


def test_special_tokens_stream_as_their_text(songs: Tokenizer) -> None:
    assert StreamDecoder(songs).feed(songs.eot_token) == "<|endoftext|>"
