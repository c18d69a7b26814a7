"""Wrong types: a TypeError with one sentence, as in tiktoken, whichever method they reach."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken

from gpt2x.errors import Gpt2xError, UsageError
from gpt2x.tokenizer import Tokenizer
from gpt2x.tokenizer.arguments import ArgumentTypeError
from gpt2x.tokenizer.patterns import GPT2

BYTES = {bytes([byte]): byte for byte in range(256)}
NO_TEXT = [None, 5, 1.5, b"x", ["a"], {"a": 1}, object(), np.array([1.5])]
NO_IDS = [
    None,
    5,
    1.5,
    "12",
    b"12",
    object(),
    [1.5],
    [None],
    ["1"],
    [b"1"],
    [[1]],
    [True],
    [1, 2.0],
    {"a": 1},
]
NO_IDS += [np.array([1.5]), np.array([True]), np.array([[1]]), np.array("a")]


def one_sentence(call: Callable[[], object]) -> str:
    with pytest.raises(TypeError) as caught:
        call()
    assert isinstance(caught.value, Gpt2xError)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


@pytest.mark.parametrize("wrong", NO_TEXT, ids=lambda wrong: repr(wrong).split(" at 0x")[0])
@pytest.mark.parametrize(
    "method",
    [
        "encode",
        "encode_ordinary",
        "encode_to_numpy",
        "encode_with_offsets",
        "count",
        "split",
        "truncate",
        "chunk",
    ],
)
def test_a_text_is_a_str(songs: Tokenizer, method: str, wrong: Any) -> None:
    more = (3,) if method in ("truncate", "chunk") else ()
    assert one_sentence(lambda: getattr(songs, method)(wrong, *more)).startswith("text is a")


@pytest.mark.parametrize(
    "method",
    ["encode_batch", "encode_ordinary_batch", "encode_ordinary_batch_to_numpy", "count_ordinary_batch"],
)
def test_a_batch_is_of_texts(songs: Tokenizer, method: str) -> None:
    call = getattr(songs, method)
    for wrong in (None, 5, 1.5, object()):
        assert one_sentence(lambda wrong=wrong: call(wrong)).startswith("text is a")
    for wrong in ([None], ["a", 5], [b"a"], [["a"]], b"a"):
        assert one_sentence(lambda wrong=wrong: call(wrong)).startswith("text[")
    assert len(call(iter(["a", "b"]))) == 2


@pytest.mark.parametrize("wrong", NO_IDS, ids=lambda wrong: repr(wrong).split(" at 0x")[0])
@pytest.mark.parametrize("method", ["decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"])
def test_ids_are_whole_numbers_in_a_list(songs: Tokenizer, method: str, wrong: Any) -> None:
    one_sentence(lambda: getattr(songs, method)(wrong))
    batch = {"decode": songs.decode_batch, "decode_bytes": songs.decode_bytes_batch}.get(method)
    if batch:
        one_sentence(lambda: batch([[1], wrong]))


@pytest.mark.parametrize(
    "wrong",
    [None, 1.5, "1", b"1", [1], True, np.array([1.5]), object()],
    ids=lambda wrong: repr(wrong).split(" at 0x")[0],
)
def test_one_id_is_a_whole_number(songs: Tokenizer, wrong: Any) -> None:
    one_sentence(lambda: songs.decode_single_token_bytes(wrong))
    one_sentence(lambda: songs.is_special_token(wrong))


@pytest.mark.parametrize(
    "unknown", [-1, 1001, 2**70, -(10**400), np.int64(-5)], ids=lambda value: repr(value)[:20]
)
def test_a_number_that_is_no_id_is_a_key_error(songs: Tokenizer, unknown: Any) -> None:
    for call in (songs.decode, songs.decode_bytes, songs.decode_tokens_bytes):
        with pytest.raises(KeyError) as caught:
            call([3, unknown])
        assert not isinstance(caught.value, TypeError)
        assert len(str(caught.value)) < 200


def test_numbers_of_numpy_are_whole_numbers(songs: Tokenizer) -> None:
    assert songs.decode([np.int64(65), np.uint8(66)]) == songs.decode([65, 66])
    assert songs.decode_single_token_bytes(np.int32(65)) == songs.decode_single_token_bytes(65)
    assert songs.truncate("one two three", np.int64(1)) == songs.truncate("one two three", 1)


@pytest.mark.parametrize(
    "wrong", [None, 5, 1.5, ["a"], object()], ids=lambda wrong: repr(wrong).split(" at 0x")[0]
)
def test_a_token_is_a_str_or_bytes(songs: Tokenizer, wrong: Any) -> None:
    one_sentence(lambda: songs.encode_single_token(wrong))
    one_sentence(lambda: songs.encode_piece(wrong))
    one_sentence(lambda: songs.encode_bytes(wrong))


def test_a_token_of_half_a_character_is_unknown(songs: Tokenizer) -> None:
    with pytest.raises(KeyError, match="has no token"):
        songs.encode_single_token("\ud83d")


@pytest.mark.parametrize(
    "wrong", [5, 1.5, "<|endoftext|>", b"all", [5], [None]], ids=lambda wrong: repr(wrong).split(" at 0x")[0]
)
def test_special_tokens_are_named_in_a_set(songs: Tokenizer, tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "text").write_text("a", encoding="utf-8")
    for name in ("allowed_special", "disallowed_special"):
        for call in (songs.encode, songs.count, songs.encode_to_numpy, songs.encode_with_offsets):
            assert name in one_sentence(lambda call=call, name=name: call("a", **{name: wrong}))
        assert name in one_sentence(lambda name=name: songs.encode_batch(["a"], **{name: wrong}))
        assert name in one_sentence(
            lambda name=name: songs.encode_file(tmp_path / "text", tmp_path / "ids", **{name: wrong})
        )
    one_sentence(lambda: songs.encode("a", allowed_special=None))  # type: ignore[arg-type]


def test_nothing_is_refused_where_none_is_given_as_in_tiktoken(
    songs: Tokenizer, tiktoken_songs: tiktoken.Encoding
) -> None:
    text = "<|endoftext|>"
    none: Any = None
    assert songs.encode(text, disallowed_special=none) == tiktoken_songs.encode(text, disallowed_special=none)


@pytest.mark.parametrize(
    "wrong", [0, -1, 1.5, "2", True, [1]], ids=lambda wrong: repr(wrong).split(" at 0x")[0]
)
def test_threads_are_a_number_from_1_on(songs: Tokenizer, tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "text").write_text("a", encoding="utf-8")
    kind = UsageError if type(wrong) is int else ArgumentTypeError
    calls: list[Callable[[], object]] = [
        lambda: songs.encode_batch(["a"], num_threads=wrong),
        lambda: songs.encode_ordinary_batch(["a"], num_threads=wrong),
        lambda: songs.encode_ordinary_batch_to_numpy(["a"], num_threads=wrong),
        lambda: songs.count_ordinary_batch(["a"], num_threads=wrong),
        lambda: songs.encode_file(tmp_path / "text", tmp_path / "ids", num_threads=wrong),
        lambda: songs.decode_batch([[1]], num_threads=wrong),
        lambda: songs.decode_bytes_batch([[1]], num_threads=wrong),
    ]
    for call in calls:
        with pytest.raises(kind, match="num_threads is"):
            call()
    assert songs.encode_batch(["a"], num_threads=2**70) == songs.encode_batch(["a"])


def test_sizes_and_options_are_checked(songs: Tokenizer, tmp_path: Path) -> None:
    for wrong in (None, 1.5, "3", True):
        one_sentence(lambda wrong=wrong: songs.truncate("abc", wrong))
        one_sentence(lambda wrong=wrong: songs.chunk("abc", wrong))
        one_sentence(lambda wrong=wrong: songs.chunk("abc", 9, wrong))
    one_sentence(lambda: songs.encode_to_numpy("a", dtype="no such type"))
    one_sentence(lambda: songs.encode_to_numpy("a", out=[0] * 9))  # type: ignore[arg-type]
    one_sentence(lambda: songs.decode([65], errors=5))  # type: ignore[arg-type]
    for errors in ("no such way", "a\0b"):
        with pytest.raises(UsageError, match="errors is"):
            songs.decode_bytes([65]) and songs.decode([255], errors=errors)
    for wrong in (None, 5, b"x", ["a"]):
        for call in (Tokenizer.load, songs.save, lambda path: songs.encode_file(path, tmp_path / "ids")):
            one_sentence(lambda call=call, wrong=wrong: call(wrong))
        one_sentence(lambda wrong=wrong: Tokenizer.from_pretrained(wrong))
    with pytest.raises(UsageError, match="NUL"):
        Tokenizer.load("a\0b")


@pytest.mark.parametrize(
    "parts",
    [
        {"special_tokens": None},
        {"special_tokens": ["<e>"]},
        {"special_tokens": {5: 300}},
        {"special_tokens": {"<e>": "300"}},
        {"special_tokens": {"<e>": 1.5}},
        {"special_tokens": {"<e>": True}},
        {"special_tokens": {"<e>": -1}},
        {"special_tokens": {"<e>": 10**30}},
        {"special_tokens": {"": 300}},
        {"special_tokens": {"\ud83d": 300}},
        {"special_tokens": {"<e>": 97}},
        {"added_tokens": {"\ud83d": 300}},
        {"added_tokens": {"<e>": 97}},
        {"added_tokens": [1]},
        {"mergeable_ranks": None},
        {"mergeable_ranks": 5},
        {"mergeable_ranks": BYTES | {"ab": 300}},
        {"mergeable_ranks": BYTES | {b"ab": "x"}},
        {"mergeable_ranks": BYTES | {b"ab": 1.5}},
        {"mergeable_ranks": BYTES | {b"ab": 10**30}},
        {"pat_str": None},
        {"pat_str": b"x"},
        {"name": 5},
    ],
    ids=lambda parts: repr(parts)[:60],
)
def test_a_tokenizer_is_not_built_of_anything_else(parts: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"name": "x", "pat_str": GPT2, "mergeable_ranks": BYTES, "special_tokens": {}}
    with pytest.raises(UsageError) as caught:
        Tokenizer(**whole | parts)
    assert len(str(caught.value)) < 400


def test_errors_survive_pickling(songs: Tokenizer) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        songs.encode(5)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (
        ArgumentTypeError,
        "text is an int (5); give a str (encode_bytes takes bytes)",
    )
