"""Token files of other projects: what each holds, which validate, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpt2x.data.batches import TokenBatches, fixed_blocks
from gpt2x.data.token_files import JoinedTokens, open_token_files, token_files_digest
from gpt2x.errors import InputDataError


def llm_c(ids: list[int], magic: int = 20240520, dtype: str = "<u2") -> bytes:
    """A file as llm.c's data scripts write it."""
    header = np.zeros(256, "<i4")
    header[:3] = magic, 1, len(ids)
    return header.tobytes() + np.array(ids, dtype).tobytes()


def every(tokens: object) -> list[int]:
    """All ids of a stream."""
    return tokens[np.arange(len(tokens))].tolist()  # type: ignore[arg-type,index,no-any-return]


def test_nanogpt_files_are_bare_uint16_and_val_validates(tmp_path: Path) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    np.arange(50, 60, dtype="<u2").tofile(tmp_path / "val.bin")
    for data in (tmp_path, tmp_path / "train.bin"):
        streams = open_token_files(data, 50257, 0.1)
        assert every(streams.train) == list(range(100))
        assert every(streams.validation) == list(range(50, 60))


def test_llm_c_files_have_a_header_and_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "fineweb_train_000002.bin").write_bytes(llm_c([4, 5]))
    (tmp_path / "fineweb_train_000001.bin").write_bytes(llm_c([1, 2, 3]))
    (tmp_path / "fineweb_val_000000.bin").write_bytes(llm_c([7, 8]))
    streams = open_token_files(tmp_path, 50257, 0.1)
    assert every(streams.train) == [1, 2, 3, 4, 5]
    assert every(streams.validation) == [7, 8]
    assert (streams.num_train_documents, streams.num_validation_documents) == (2, 1)


def test_four_bytes_are_read_where_the_header_or_the_vocabulary_says_so(tmp_path: Path) -> None:
    (tmp_path / "llama.bin").write_bytes(llm_c([100_000, 2, 3, 4], 20240801, "<u4"))
    assert every(open_token_files(tmp_path / "llama.bin", 128_256, 0.5).train) == [100_000, 2]
    np.array([100_000, 2, 3, 4], "<u4").tofile(tmp_path / "bare.bin")
    assert every(open_token_files(tmp_path / "bare.bin", 128_256, 0.5).validation) == [3, 4]


def test_without_a_file_for_it_the_end_of_the_stream_validates(tmp_path: Path) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    streams = open_token_files(tmp_path, 50257, 0.1)
    assert every(streams.train) == list(range(90))
    assert every(streams.validation) == list(range(90, 100))


@pytest.mark.parametrize("sizes", [[50], [1, 48, 1], [20, 30], [3] * 16 + [2]])
def test_batches_of_several_files_are_those_of_one_stream(sizes: list[int]) -> None:
    stream = np.random.RandomState(0).randint(0, 300, 50).astype(np.uint16)
    joined = JoinedTokens(np.split(stream, np.cumsum(sizes)[:-1]), [f"{n}" for n in range(len(sizes))], 300)
    one, several = TokenBatches(stream, 2, 4), TokenBatches(joined, 2, 4)  # type: ignore[arg-type]
    for _ in range(20):
        for expected, found in zip(next(one), next(several), strict=True):
            np.testing.assert_array_equal(expected, found)
    for expected, found in zip(fixed_blocks(stream, 4), fixed_blocks(joined, 4), strict=True):  # type: ignore[arg-type]
        np.testing.assert_array_equal(expected, found)


BAD = {
    "odd number of bytes": ("train.bin", b"123", "has 3 bytes, no multiple of 2"),
    "cut after the header": ("train.bin", llm_c([1, 2, 3])[:-1], "should hold 3 tokens and has 1029 bytes"),
    "empty": ("train.bin", b"", "holds no tokens"),
    "only validation": ("val.bin", b"12", "no .bin file to train on"),
    "other files": ("train.npy", b"12", "holds no .bin file"),
}


@pytest.mark.parametrize(("name", "content", "reason"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputDataError, match=reason):
        open_token_files(tmp_path, 50257, 0.1)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="cannot read"):
        open_token_files(tmp_path / "train.bin", 50257, 0.1)
    with pytest.raises(InputDataError, match="cannot read"):
        token_files_digest(tmp_path / "train.bin")


def test_a_token_that_the_vocabulary_does_not_have_is_refused_when_it_is_met(tmp_path: Path) -> None:
    np.array([1, 2, 3, 400], "<u2").tofile(tmp_path / "train.bin")
    train = open_token_files(tmp_path, 300, 0.5)
    assert every(train.train) == [1, 2]
    with pytest.raises(
        InputDataError, match=r"train\.bin holds the token 400, and the tokenizer has 300 tokens"
    ):
        every(train.validation)


def test_the_digest_changes_with_the_files(tmp_path: Path) -> None:
    np.arange(10, dtype="<u2").tofile(tmp_path / "train.bin")
    digests = {token_files_digest(tmp_path)}
    np.arange(1, 11, dtype="<u2").tofile(tmp_path / "train.bin")
    digests.add(token_files_digest(tmp_path))
    np.arange(10, dtype="<u2").tofile(tmp_path / "val.bin")
    digests.add(token_files_digest(tmp_path))
    assert len(digests) == 3
