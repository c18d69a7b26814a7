"""Plain text as documents: files, folders, JSON lines."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from gpt2x.data import text
from gpt2x.data.files import content_digest
from gpt2x.data.text import text_documents
from gpt2x.errors import InputDataError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_is_cut_where_it_says_end_of_text(tmp_path: Path) -> None:
    path = write(
        tmp_path / "tales.txt", "One.\n<|endoftext|>\nTwo.\n\nStill two. <|endoftext|><|endoftext|>Three."
    )
    assert list(text_documents(path)) == ["One.\n", "Two.\n\nStill two. ", "Three."]


def test_a_file_without_separator_is_cut_into_passages_at_empty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PASSAGE", 20)
    content = "".join(f"Speaker {i}:\nSays something.\n\n" for i in range(30)) + "an end without a line end"
    passages = list(text_documents(write(tmp_path / "play.txt", content)))
    assert "".join(passages) == content
    assert len(passages) == 31
    assert all(passage.endswith("\n\n") for passage in passages[:-1])


def test_text_without_empty_lines_is_cut_at_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PASSAGE", 20)
    content = "".join(f"line number {i}\n" for i in range(30))
    passages = list(text_documents(write(tmp_path / "log.txt", content)))
    assert "".join(passages) == content
    assert len(passages) == 10


def test_json_lines_give_their_text(tmp_path: Path) -> None:
    rows = [{"text": "one\ntwo", "id": 1}, {"text": "  "}, {"text": "愛"}]
    packed = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    assert list(text_documents(write(tmp_path / "rows.jsonl.gz", packed))) == ["one\ntwo", "愛"]


@pytest.mark.parametrize("line", ['{"txt": "x"}', "[1]", "nonsense", '"text"', "[" * 5000])
def test_a_line_that_is_no_object_with_text_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "rows.jsonl", '{"text": "fine"}\n' + line + "\n")
    with pytest.raises(InputDataError, match='line 2 is no JSON object with a field "text"'):
        list(text_documents(path))


def test_a_field_text_that_is_no_string_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match='field "text" on line 1 is no string: 3'):
        list(text_documents(write(tmp_path / "rows.jsonl", '{"text": 3}\n')))


def test_in_a_folder_each_file_is_a_document(tmp_path: Path) -> None:
    write(tmp_path / "b" / "two.txt", "Two.\n\nStill two.")
    write(tmp_path / "a.md", "One.")
    write(tmp_path / "c.jsonl", '{"text": "Three."}\n{"text": "Four."}\n')
    write(tmp_path / "picture.png", b"\x89PNG")
    write(tmp_path / ".hidden.txt", "not this")
    assert list(text_documents(tmp_path)) == ["One.", "Two.\n\nStill two.", "Three.", "Four."]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "holds no text"),
        ("blank.jsonl", b"\n\n", "holds no text"),
        ("latin.txt", b"caf\xe9", "byte 0xe9 at offset 3"),
        ("cut.txt.xz", b"\xfd7zXZ\x00broken", "cannot unpack"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(InputDataError, match=reason):
        list(text_documents(write(tmp_path / name, content)))


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "picture.png", b"\x89PNG")
    with pytest.raises(
        InputDataError, match=r"holds no file of text; its files should end with one of \.txt"
    ):
        list(text_documents(tmp_path))


def test_the_digest_of_a_folder_changes_with_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.txt", "one")
    before = content_digest(tmp_path / "x")
    assert content_digest(tmp_path / "x") == before
    (tmp_path / "x" / "a.txt").rename(tmp_path / "x" / "b.txt")
    renamed = content_digest(tmp_path / "x")
    write(tmp_path / "x" / "b.txt", "two")
    assert len({before, renamed, content_digest(tmp_path / "x")}) == 3


def test_a_packed_file_has_the_digest_of_its_content_also_when_it_is_remembered(tmp_path: Path) -> None:
    plain = content_digest(write(tmp_path / "a.txt", "some words"))
    packed = write(tmp_path / "a.txt.gz", gzip.compress(b"some words"))
    assert [content_digest(packed), content_digest(packed)] == [plain, plain]
    write(packed, gzip.compress(b"other words"))
    assert content_digest(packed) != plain


@pytest.mark.parametrize("content", ["One.\n<|endoftext|>\nTwo.\n" * 20_000, "no mark of an end\n\n" * 9000])
def test_a_pipe_gives_the_documents_of_the_file(tmp_path: Path, content: str) -> None:
    whole = list(text_documents(write(tmp_path / "tales.txt", content)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(content,), daemon=True)
    writer.start()
    assert list(text_documents(pipe)) == whole
    writer.join()
