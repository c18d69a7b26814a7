"""Documents become two streams of tokens, in the cache."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2x.data import shards
from gpt2x.data.files import content_digest
from gpt2x.data.store import DocumentStore
from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import cache_dir
from gpt2x.tokenizer import Tokenizer, train


class ByteTokenizer:
    """A stand-in: ids are the UTF-8 bytes, 256 is <|endoftext|>."""

    n_vocab = 257
    eot_token = 256
    pat_str = "."

    def encode_ordinary_batch_to_numpy(self, texts: list[str], *, dtype: str) -> list[npt.NDArray[Any]]:
        return [np.array(list(text.encode()), dtype) for text in texts]

    def decode_single_token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b"<|endoftext|>"


DOCUMENTS = [f"song number {i}" for i in range(40)]


def split(documents: list[str], share: float, tmp: Path) -> tuple[list[str], list[str]]:
    """The two sides of some documents."""
    store = DocumentStore(documents, tmp)
    chosen = shards.is_validation(store.hashes, share)
    return [text.decode() for text in store.read(~chosen)], [text.decode() for text in store.read(chosen)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(documents=st.permutations(DOCUMENTS))
def test_the_split_does_not_depend_on_the_order_of_documents(tmp_path: Path, documents: list[str]) -> None:
    train, validation = split(documents, 0.1, tmp_path / "store")
    expected_train, expected_validation = split(DOCUMENTS, 0.1, tmp_path / "store")
    assert sorted(train) == sorted(expected_train)
    assert sorted(validation) == sorted(expected_validation)
    assert train == [text for text in documents if text in set(train)], "each side keeps the order"


def test_the_split_is_by_the_hashes_of_seed_and_text(tmp_path: Path) -> None:
    hashes = {text: hashlib.blake2b(f"0:{text}".encode(), digest_size=8).digest() for text in DOCUMENTS}
    smallest = sorted(DOCUMENTS, key=lambda text: hashes[text])[:4]
    assert sorted(split(DOCUMENTS, 0.1, tmp_path / "store")[1]) == sorted(smallest)


def test_a_document_that_occurs_twice_never_stands_on_both_sides(tmp_path: Path) -> None:
    train, validation = split(DOCUMENTS * 2, 0.25, tmp_path / "store")
    assert not set(train) & set(validation)
    assert len(validation) == 20


def test_adding_a_document_moves_hardly_any_other(tmp_path: Path) -> None:
    before = set(split(DOCUMENTS, 0.25, tmp_path / "store")[1])
    after = set(split([*DOCUMENTS, "one more"], 0.25, tmp_path / "store")[1])
    assert len(before ^ after) <= 2


def test_both_sides_get_at_least_one_document(tmp_path: Path) -> None:
    assert [len(part) for part in split(["a", "b"], 0.01, tmp_path / "store")] == [1, 1]
    assert [len(part) for part in split(["a", "b"], 0.99, tmp_path / "store")] == [1, 1]
    with pytest.raises(InputDataError, match="1 different document cannot be split"):
        split(["a", "a"], 0.1, tmp_path / "store")
    with pytest.raises(InputDataError, match="0 different documents cannot be split"):
        split([], 0.1, tmp_path / "store")
    with pytest.raises(UsageError, match="validation share of 1"):
        split(["a", "b"], 1, tmp_path / "store")


def test_each_document_begins_with_the_end_of_text_token() -> None:
    file = io.BytesIO()
    assert shards.write_stream([b"ab", b"c"], ByteTokenizer(), file) == 5  # type: ignore[arg-type]
    assert np.frombuffer(file.getvalue(), "<u2").tolist() == [256, 97, 98, 256, 99]


def test_large_vocabularies_are_stored_in_four_bytes() -> None:
    assert shards.token_dtype(1 << 16) == np.uint16
    assert shards.token_dtype((1 << 16) + 1) == np.uint32


@pytest.mark.parametrize("at_once", [1, 30, 1000, shards.ENCODE_BYTES])
def test_how_much_is_encoded_at_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    texts = ["low lower lowest", "", "a 愛 " * 50, "lone \ud800 surrogate", "<|endoftext|> is text"]
    tokenizer = train(texts[:3], 300, allow_fewer=True)
    expected = [token for text in texts for token in (tokenizer.eot_token, *tokenizer.encode_ordinary(text))]
    monkeypatch.setattr(shards, "ENCODE_BYTES", at_once)
    file = io.BytesIO()
    store = DocumentStore(texts, tmp_path / "store")
    documents = store.read(np.ones(len(store), bool))
    assert shards.write_stream(documents, tokenizer, file) == len(expected)
    assert np.frombuffer(file.getvalue(), "<u2").tolist() == expected


def make(path: Path, calls: list[str]) -> shards.TokenStreams:
    def documents() -> list[str]:
        calls.append("read")
        return path.read_text(encoding="utf-8").splitlines()

    source = shards.Source(digest=content_digest(path), kind="lines", documents=documents)
    return shards.prepared(source, ByteTokenizer(), 0.1)[1]  # type: ignore[arg-type]


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
    for file in (cache_dir() / "tokens").rglob("train.bin"):
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


def learn(documents: list[str], calls: list[str]) -> tuple[Tokenizer, shards.TokenStreams]:
    def read() -> list[str]:
        calls.append("read")
        return documents

    return shards.prepared(shards.Source(digest="1", kind="lines", documents=read), 280, 0.1)


def test_a_learned_vocabulary_is_kept_with_the_tokens(tmp_path: Path) -> None:
    calls: list[str] = []
    (first, streams), (second, again) = learn(DOCUMENTS, calls), learn(DOCUMENTS, calls)
    assert calls == ["read"]
    assert shards.vocabulary_digest(first) == shards.vocabulary_digest(second)
    np.testing.assert_array_equal(streams.train, again.train)
    training, _ = split(DOCUMENTS, 0.1, tmp_path / "store")
    expected = train(training, 280, special_tokens=("<|endoftext|>",), allow_fewer=True)
    assert shards.vocabulary_digest(first) == shards.vocabulary_digest(expected)
    text = first.decode(streams.train.tolist())
    assert text.split("<|endoftext|>")[1:] == training


def test_a_vocabulary_that_is_given_later_finds_the_same_tokens() -> None:
    calls: list[str] = []
    tokenizer, _ = learn(DOCUMENTS, calls)
    source = shards.Source(digest="1", kind="lines", documents=lambda: pytest.fail("read again"))
    shards.prepared(source, tokenizer, 0.1)


def test_what_a_killed_process_left_is_removed_and_another_process_is_waited_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = cache_dir() / "tokens"
    left = place / ".gpt2x.abc.partial"
    left.mkdir(parents=True)
    (left / "documents").write_bytes(b"half")
    code = (
        "import fcntl, time\n"
        f"lock = open({str(place / '.lock')!r}, 'wb'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(0.5)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        learn(DOCUMENTS, [])
        assert holder.wait() == 0
    assert "waiting for it to finish" in capfd.readouterr().err
    assert not list(place.glob(".*.partial"))


def test_documents_that_cannot_be_read_leave_nothing_behind() -> None:
    def broken() -> Iterator[str]:
        yield "fine"
        raise InputDataError("songs.csv is broken")

    with pytest.raises(InputDataError, match="is broken"):
        shards.prepared(shards.Source(digest="2", kind="lines", documents=broken), 280, 0.1)
    assert [path.name for path in (cache_dir() / "tokens").iterdir()] == [".lock"]
