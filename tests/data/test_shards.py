"""Documents become two streams of tokens, in the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.data import shards
from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import cache_dir


class ByteTokenizer:
    """A stand-in: ids are the UTF-8 bytes, 256 is <|endoftext|>."""

    n_vocab = 257
    eot_token = 256
    pat_str = "."

    def encode_ordinary_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode_single_token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b"<|endoftext|>"


DOCUMENTS = [f"song number {i}" for i in range(40)]


@given(st.permutations(DOCUMENTS))
def test_the_split_does_not_depend_on_the_order_of_documents(documents: list[str]) -> None:
    train, validation = shards.split_documents(documents, 0.1)
    expected_train, expected_validation = shards.split_documents(DOCUMENTS, 0.1)
    assert sorted(train) == sorted(expected_train)
    assert sorted(validation) == sorted(expected_validation)


def test_a_document_that_occurs_twice_never_stands_on_both_sides() -> None:
    train, validation = shards.split_documents(DOCUMENTS * 2, 0.25)
    assert not set(train) & set(validation)
    assert len(validation) == 20


def test_adding_a_document_moves_hardly_any_other() -> None:
    before = set(shards.split_documents(DOCUMENTS, 0.25)[1])
    after = set(shards.split_documents([*DOCUMENTS, "one more"], 0.25)[1])
    assert len(before ^ after) <= 2


def test_both_sides_get_at_least_one_document() -> None:
    assert [len(part) for part in shards.split_documents(["a", "b"], 0.01)] == [1, 1]
    assert [len(part) for part in shards.split_documents(["a", "b"], 0.99)] == [1, 1]
    with pytest.raises(InputDataError, match="1 different document cannot be split"):
        shards.split_documents(["a", "a"], 0.1)
    with pytest.raises(UsageError, match="validation share of 1"):
        shards.split_documents(["a", "b"], 1)


def test_each_document_begins_with_the_end_of_text_token() -> None:
    stream = shards.to_stream(["ab", "c"], ByteTokenizer())  # type: ignore[arg-type]
    assert stream.tolist() == [256, 97, 98, 256, 99]
    assert stream.dtype == np.uint16


def test_large_vocabularies_are_stored_in_four_bytes() -> None:
    tokenizer = ByteTokenizer()
    tokenizer.n_vocab = 1 << 17
    assert shards.to_stream(["a"], tokenizer).dtype == np.uint32  # type: ignore[arg-type]


def make(path: Path, calls: list[str]) -> shards.TokenStreams:
    def documents() -> list[str]:
        calls.append("read")
        return path.read_text(encoding="utf-8").splitlines()

    return shards.cached(path, documents, ByteTokenizer(), 0.1)  # type: ignore[arg-type]


def test_the_streams_are_built_once_and_then_mapped_from_the_cache(tmp_path: Path) -> None:
    path, calls = tmp_path / "songs.txt", list[str]()
    path.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    first, second = make(path, calls), make(path, calls)
    assert calls == ["read"]
    assert isinstance(second.train, np.memmap)
    np.testing.assert_array_equal(first.train, second.train)
    assert (second.num_train_documents, second.num_validation_documents) == (36, 4)
    path.write_text("\n".join(DOCUMENTS[:-1]), encoding="utf-8")
    make(path, calls)
    assert calls == ["read", "read"], "another content must be another entry in the cache"


def test_a_damaged_cache_is_built_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "songs.txt", list[str]()
    path.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    expected = make(path, calls).train.copy()
    for file in (cache_dir() / "tokens").rglob("train.npy"):
        file.write_bytes(file.read_bytes()[:50])
    np.testing.assert_array_equal(make(path, calls).train, expected)
    assert calls == ["read", "read"]


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "songs.txt"
    path.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    monkeypatch.setenv("GPT2X_CACHE", str(path))  # a file where a folder is needed
    with pytest.raises(UsageError, match=f"GPT2X_CACHE is {path}, which is no folder"):
        make(path, [])
