"""Encoding files: the ids of the whole text, however small the windows are."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, OutputError, UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Tokenizer, files
from gpt2x.tokenizer.patterns import BY_NAME, GPT2
from gpt2x.tokenizer.utf8 import NotUtf8Error

from .strategies import any_text, awkward_bytes

END = "<|endoftext|>"
SONG = "I love you, don't you know it's over?\n\n[Chorus]  oh, oh 사랑 😀\n"


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few bytes, so that a short text has many."""
    monkeypatch.setattr(files, "WINDOW_BYTES", 7)
    monkeypatch.setattr(files, "_SEARCH_BYTES", 5)
    monkeypatch.setattr(files, "_MARGIN_BYTES", 4)
    monkeypatch.setattr(files, "_SHARE_BYTES", 3)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(SONG * 50, encoding="utf-8")
    return path


def encode(tokenizer: Tokenizer, data: bytes, **options: object) -> list[int]:
    """Encode as a file is encoded, without the file."""
    reader = tokenizer.text_reader(**options)  # type: ignore[arg-type]
    arrays = [ids for ids, _ in reader.encode(io.BytesIO(data), "a file", np.dtype("uint32"), 2)]
    ids = np.concatenate(arrays).tolist() if arrays else []
    assert reader.count(io.BytesIO(data), "a file", 2) == (len(ids), len(tokenizer.decode_bytes(ids)))
    return ids


@pytest.mark.usefixtures("small_windows")
class TestWindows:
    @settings(max_examples=300, deadline=None)
    @given(text=any_text())
    def test_change_no_id(self, songs: Tokenizer, text: str) -> None:
        expected = songs.encode_ordinary(text)
        assert encode(songs, text.encode(), disallowed_special=()) == expected

    @pytest.mark.parametrize("pat_str", BY_NAME.values(), ids=BY_NAME)
    @settings(max_examples=200, deadline=None)
    @given(text=any_text())
    def test_change_no_id_whatever_the_pattern(self, songs: Tokenizer, pat_str: str, text: str) -> None:
        other = Tokenizer("other", pat_str=pat_str, mergeable_ranks=songs.mergeable_ranks, special_tokens={})
        assert encode(other, text.encode()) == other.encode(text)

    @settings(max_examples=200, deadline=None)
    @given(
        parts=st.lists(
            st.sampled_from([END, "<|endo", "ftext|>", "<|", "a", " ", "\n", "love is", "😀", "<|end|>"]),
            max_size=30,
        )
    )
    def test_see_special_tokens_that_cross_their_borders(self, songs: Tokenizer, parts: list[str]) -> None:
        text = "".join(parts)
        two = Tokenizer(
            "two",
            pat_str=GPT2,
            mergeable_ranks=songs.mergeable_ranks,
            special_tokens={END: 1000, "<|endoftext|>a": 1001, "<|end|>": 1002},
        )
        for allowed in ("all", {"<|end|>"}, {END, "<|end|>"}):
            options = {"allowed_special": allowed, "disallowed_special": ()}
            assert encode(two, text.encode(), **options) == two.encode(text, **options)
        if END not in text:
            assert encode(songs, text.encode()) == songs.encode(text)
            return
        with pytest.raises(DisallowedSpecialError) as caught:
            encode(songs, text.encode())
        assert (caught.value.token, caught.value.unit) == (END, "byte")
        assert caught.value.position == text.encode().index(END.encode())

    @settings(max_examples=200, deadline=None)
    @given(data=awkward_bytes())
    def test_replace_or_name_what_is_no_utf8(self, songs: Tokenizer, data: bytes) -> None:
        replaced = data.decode("utf-8", "replace")
        ids = encode(songs, data, errors="replace", disallowed_special=())
        assert ids == songs.encode_ordinary(replaced)
        valid = len(data.decode("utf-8", "ignore").encode()) == len(data)
        if valid:
            assert encode(songs, data, disallowed_special=()) == ids
            return
        with pytest.raises(UnicodeDecodeError) as first:
            data.decode("utf-8")
        with pytest.raises(NotUtf8Error) as caught:
            encode(songs, data, disallowed_special=())
        assert (caught.value.byte, caught.value.offset) == (data[first.value.start], first.value.start)

    def test_grow_where_there_is_no_place_to_cut(self, songs: Tokenizer) -> None:
        assert encode(songs, b"a" * 5000) == songs.encode("a" * 5000)


class TestEncodeFile:
    @pytest.mark.parametrize("num_threads", [None, 1, 3])
    @pytest.mark.parametrize("dtype", ["uint16", "uint32"])
    def test_writes_the_ids_of_the_text(
        self, songs: Tokenizer, book: Path, num_threads: int | None, dtype: str
    ) -> None:
        out = book.parent / "new" / "book.bin"
        done = songs.encode_file(book, out, dtype=dtype, num_threads=num_threads)
        expected = songs.encode(SONG * 50)
        assert np.fromfile(out, dtype=np.dtype(dtype).newbyteorder("<")).tolist() == expected
        assert (done.tokens, done.bytes) == (len(expected), book.stat().st_size)
        assert done.seconds > 0
        assert list(out.parent.iterdir()) == [out]

    def test_unpacks_and_can_end_with_the_end_of_text(self, songs: Tokenizer, tmp_path: Path) -> None:
        packed = tmp_path / "book.gz"
        packed.write_bytes(gzip.compress(SONG.encode()))
        done = songs.encode_file(packed, tmp_path / "ids", append_eot=True)
        assert np.fromfile(tmp_path / "ids", dtype="<u2").tolist() == [*songs.encode(SONG), songs.eot_token]
        assert done.tokens == songs.count(SONG) + 1

    def test_of_an_empty_file_is_an_empty_file(self, songs: Tokenizer, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert songs.encode_file(tmp_path / "empty", tmp_path / "ids")[:2] == (0, 0)
        assert (tmp_path / "ids").read_bytes() == b""

    @pytest.mark.parametrize(
        ("data", "wrong"),
        [
            (b"caf\xe9 au lait", ({}, InputDataError, r"bad\.txt is not UTF-8 text: byte 0xe9 at offset 3")),
            (b"love \xe2\x82", ({}, InputDataError, r"bad\.txt is not UTF-8 text: byte 0xe2 at offset 5")),
            ("é<|endoftext|>".encode(), ({}, DisallowedSpecialError, r"bad\.txt holds .* at byte 2: pass allowed")),
            (b"a", ({"errors": "ignore"}, UsageError, "errors is 'ignore'; take 'strict' or 'replace'")),
            (b"a", ({"dtype": "int64"}, UsageError, "dtype is int64; a file of ids has uint16 or uint32")),
            (b"a", ({"dtype": "uint8"}, UsageError, "dtype uint8 cannot hold the ids of 'songs'")),
            (b"a", ({"num_threads": 0}, UsageError, "num_threads is 0; give 1 or more")),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong_and_leaves_what_was_there(
        self, songs: Tokenizer, tmp_path: Path, data: bytes, wrong: tuple[dict, type[Exception], str]
    ) -> None:
        options, error, sentence = wrong
        (tmp_path / "bad.txt").write_bytes(data)
        (tmp_path / "ids").write_bytes(b"before")
        with pytest.raises(error, match=sentence):
            songs.encode_file(tmp_path / "bad.txt", tmp_path / "ids", **options)
        assert (tmp_path / "ids").read_bytes() == b"before"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "ids"]

    def test_names_a_missing_file_and_a_place_that_is_none(
        self, songs: Tokenizer, book: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(InputDataError, match=r"cannot read .*missing\.txt"):
            songs.encode_file(tmp_path / "missing.txt", tmp_path / "ids")
        with pytest.raises(OutputError, match=r"cannot write .*book\.txt"):
            songs.encode_file(book, book / "ids")

    def test_needs_an_end_of_text_token_to_append_it(
        self, songs: Tokenizer, book: Path, tmp_path: Path
    ) -> None:
        plain = Tokenizer("plain", pat_str=GPT2, mergeable_ranks=songs.mergeable_ranks, special_tokens={})
        with pytest.raises(UsageError, match="'plain' has no special token"):
            plain.encode_file(book, tmp_path / "ids", append_eot=True)
