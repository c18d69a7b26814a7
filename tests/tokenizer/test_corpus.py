"""A corpus counts the same whatever way its text comes: in files, windows, shards or files of counts."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x import _bpe
from gpt2x.errors import InputDataError, OutputError, UsageError
from gpt2x.tokenizer import Corpus, counts, reference, training
from gpt2x.tokenizer.corpus import BinaryFileError
from gpt2x.tokenizer.utf8 import NotUtf8Error

from .fuzz_files import with_right_checksum
from .strategies import awkward_bytes, awkward_text

PATTERNS = ["gpt2", "cl100k", "o200k"]
TEXT = "노래 하나.\n\n  and another one\u3000\nit's 2 of 3!\r\n"


def count_file(path: Path, window_bytes: int = 1000, **settings: object) -> list[tuple[bytes, int]]:
    corpus = Corpus(**settings)  # type: ignore[arg-type]
    corpus.add_file(path, window_bytes=window_bytes)
    return corpus.items()


def count_text(*texts: str | bytes, **settings: object) -> list[tuple[bytes, int]]:
    corpus = Corpus(**settings)  # type: ignore[arg-type]
    for text in texts:
        corpus.add_text(text)
    return corpus.items()


class TestFiles:
    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("window_bytes", [100, 150, 1000])
    @settings(max_examples=40, deadline=None)
    @given(texts=st.lists(awkward_text(), max_size=8), split_lines=st.booleans())
    def test_windows_have_the_pieces_of_the_whole(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        pattern: str,
        window_bytes: int,
        texts: list[str],
        split_lines: bool,
    ) -> None:
        text = "".join(texts)
        path = tmp_path_factory.getbasetemp() / "windows.txt"
        path.write_bytes(text.encode())
        documents = io.StringIO(text, newline="\n") if split_lines else [text]
        expected = Counter(
            piece.encode() for document in documents for piece in reference.split(document, pattern)
        )
        found = count_file(path, window_bytes, pattern=pattern, split_lines=split_lines)
        assert dict(found) == expected

    def test_large_files_are_really_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "lines.txt"
        path.write_text(TEXT * 1000, encoding="utf-8", newline="")
        parts = [bytes(part) for part in Corpus().read_parts(path, window_bytes=1000)]
        assert b"".join(parts) == path.read_bytes()
        assert len(parts) > 50
        assert max(map(len, parts)) <= 1000

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_a_text_without_any_break_is_one_part(self, tmp_path: Path, pattern: str) -> None:
        path = tmp_path / "one.txt"
        path.write_text("ab" * 50_000, encoding="utf-8")
        assert count_file(path, 1000, pattern=pattern) == [(b"ab" * 50_000, 1)]

    def test_packed_files_and_pipes_count_as_their_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = (TEXT * 200).encode()
        expected = count_text(data)
        (tmp_path / "a.txt").write_bytes(data)
        (tmp_path / "a.txt.xz").write_bytes(lzma.compress(data))
        (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
        for name in ("a.txt", "a.txt.xz", "a.txt.gz"):
            assert count_file(tmp_path / name) == expected
        read_end, write_end = os.pipe()
        os.write(write_end, data)
        os.close(write_end)
        with os.fdopen(read_end, encoding="utf-8") as pipe:
            monkeypatch.setattr(sys, "stdin", pipe)
            assert count_file(Path("-")) == expected

    def test_progress_adds_up_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(TEXT.encode() * 100)
        seen: list[int] = []
        Corpus().add_file(tmp_path / "a.txt", seen.append, window_bytes=1000)
        assert len(seen) > 2
        assert sum(seen) == (tmp_path / "a.txt").stat().st_size

    @pytest.mark.parametrize("resize", [0, 3000])
    def test_a_file_that_shrinks_while_it_is_read_is_one_sentence(self, tmp_path: Path, resize: int) -> None:
        path = tmp_path / "log.txt"
        path.write_bytes(b"some words\n" * 1000)
        parts = Corpus().read_parts(path, window_bytes=2000)
        next(parts)
        os.truncate(path, resize)
        with pytest.raises(
            InputDataError, match=r"log\.txt became shorter while it was read \(from 11,000 to"
        ):
            list(parts)

    def test_a_file_that_grows_is_read_to_its_new_end(self, tmp_path: Path) -> None:
        path = tmp_path / "log.txt"
        path.write_bytes(b"some words\n" * 1000)
        corpus = Corpus()
        parts = corpus.read_parts(path, window_bytes=2000)
        size = len(next(parts))
        with path.open("ab") as file:
            file.write(b"more")
        assert size + sum(map(len, parts)) == 11_004


class TestNotUtf8:
    @pytest.mark.parametrize("window_bytes", [64, 1000, 1 << 20])
    def test_is_refused_with_file_and_offset(self, tmp_path: Path, window_bytes: int) -> None:
        path = tmp_path / "latin.txt"
        path.write_bytes(b"word " * 5000 + "café".encode("latin-1") + b" more" * 5000)
        with pytest.raises(NotUtf8Error, match=r"latin\.txt is not UTF-8 text: byte 0xe9 at offset 25003"):
            count_file(path, window_bytes)

    def test_a_binary_file_is_called_one(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
        with pytest.raises(
            BinaryFileError, match=r"picture\.png looks like a binary file: byte 0x89 at offset 0"
        ):
            count_file(path)

    @settings(max_examples=60, deadline=None)
    @given(data=st.lists(awkward_bytes(), max_size=6).map(b"".join), window_bytes=st.integers(70, 200))
    def test_can_be_replaced_as_python_does(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, window_bytes: int
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "broken.txt"
        path.write_bytes(data)
        expected = count_text(data.decode("utf-8", "replace"))
        assert count_file(path, window_bytes, errors="replace") == expected

    @pytest.mark.parametrize("end", [b"\xf0\x9f\x98", b"\xe2\x82", b"\xc3"])
    def test_a_character_that_is_cut_off_at_the_end_is_none(self, tmp_path: Path, end: bytes) -> None:
        path = tmp_path / "cut.txt"
        path.write_bytes(b"love" + end)
        with pytest.raises(NotUtf8Error, match="at offset 4"):
            count_file(path)


class TestLimit:
    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100, 999, 1000, 1001, 2500])
    def test_no_more_is_counted_and_no_character_cut(self, tmp_path: Path, limit: int) -> None:
        data = (TEXT * 100).encode()
        (tmp_path / "a.txt").write_bytes(data)
        expected = data[:limit].decode("utf-8", "ignore")
        corpus = Corpus(limit_bytes=limit)
        corpus.add_file(tmp_path / "a.txt", window_bytes=1000)
        assert corpus.items() == count_text(expected)
        assert corpus.is_full
        corpus.add_file(tmp_path / "missing.txt")
        corpus.add_text("no more")
        assert corpus.items() == count_text(expected)
        assert count_text(data.decode(), limit_bytes=limit) == count_text(expected)

    def test_holds_for_all_files_together(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_bytes(b"one two three\n")
        corpus = Corpus(limit_bytes=20)
        for name in "ab":
            corpus.add_file(tmp_path / name)
        assert corpus.items() == count_text("one two three\n", "one tw")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "latin"}, "unknown pattern 'latin'"),
        ({"errors": "ignore"}, "errors is 'ignore'; take 'strict' or 'replace'"),
        ({"limit_bytes": 0}, "limit_bytes is 0; give 1 or more"),
        ({"num_threads": -1}, "num_threads is -1; give 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Corpus(**settings)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------------
# Files of counts


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    corpus = Corpus()
    corpus.add_text(TEXT * 50)
    corpus.save_counts(tmp_path / "text.counts")
    return tmp_path / "text.counts"


class TestCounts:
    @pytest.mark.parametrize("pattern", PATTERNS)
    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    def test_of_shards_in_any_order_give_what_the_whole_gives(
        self, tmp_path_factory: pytest.TempPathFactory, pattern: str, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.mktemp("shards")
        texts = data.draw(st.lists(awkward_text(), min_size=1, max_size=6))
        texts.append(TEXT)
        paths = []
        for number, text in enumerate(texts):
            shard = Corpus(pattern)
            shard.add_text(text)
            shard.save_counts(folder / f"{number}.counts")
            paths.append(folder / f"{number}.counts")
        merged, whole = Corpus(pattern), Corpus(pattern)
        for path in data.draw(st.permutations(paths)):
            merged.add_counts(path)
        for text in texts:
            whole.add_text(text)
        assert merged.items() == whole.items()
        assert training.learn(merged, 40) == training.learn(whole, 40)
        merged.save_counts(folder / "merged.counts")
        whole.save_counts(folder / "whole.counts")
        assert (folder / "merged.counts").read_bytes() == (folder / "whole.counts").read_bytes()

    def test_are_lines_that_anyone_can_read(self, saved: Path) -> None:
        import base64
        import hashlib

        lines = saved.read_bytes().splitlines(keepends=True)
        header, end = json.loads(lines[0]), json.loads(lines[-1])
        assert header == {
            "format": "gpt2x piece counts",
            "version": 1,
            "pattern": "gpt2",
            "unicode_version": "16.0.0",
            "split_lines": False,
        }
        assert end["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        pieces = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines[1:-1]}
        assert pieces == Counter(piece.encode() for piece in reference.split(TEXT * 50))
        assert end["unique_pieces"] == len(pieces)
        assert end["pieces"] == sum(pieces.values())
        assert end["bytes"] == len((TEXT * 50).encode())

    def test_hold_counts_of_64_bits(self, tmp_path: Path) -> None:
        corpus = Corpus()
        corpus.counter.add_counts([(b"ab", 2**60)])
        corpus.save_counts(tmp_path / "huge.counts")
        again = Corpus()
        again.add_counts(tmp_path / "huge.counts")
        again.add_counts(tmp_path / "huge.counts")
        assert again.items() == [(b"ab", 2**61)]
        again.add_counts(tmp_path / "huge.counts")
        with pytest.raises(InputDataError, match="fewer than 2\\^63 can be counted"):
            again.add_counts(tmp_path / "huge.counts")

    def test_may_be_packed(self, saved: Path) -> None:
        packed = saved.with_suffix(".counts.xz")
        packed.write_bytes(lzma.compress(saved.read_bytes()))
        corpus = Corpus()
        corpus.add_counts(packed)
        assert corpus.items() == count_text(TEXT * 50)

    def test_of_nothing_are_a_file_all_the_same(self, tmp_path: Path) -> None:
        Corpus().save_counts(tmp_path / "empty.counts")
        corpus = Corpus()
        corpus.add_counts(tmp_path / "empty.counts")
        assert corpus.num_pieces == 0

    def test_that_do_not_fit_are_refused_and_nothing_is_added(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusals: list[tuple[Corpus, str]] = [
            (Corpus("o200k"), "was counted with the pattern 'gpt2', not 'o200k'"),
            (Corpus(split_lines=True), "was counted by whole files, the others were not"),
        ]
        for corpus, message in refusals:
            with pytest.raises(InputDataError, match=message):
                corpus.add_counts(saved)
            assert corpus.num_pieces == 0
        monkeypatch.setattr(_bpe, "unicode_version", "99.0.0")
        with pytest.raises(
            InputDataError, match=r"by Unicode '16\.0\.0', and this gpt2x splits by 99\.0\.0; count"
        ):
            Corpus().add_counts(saved)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("bytes", "1e400"),
            ("pieces", "-1"),
            ("unique_pieces", "null"),
            ("bytes", "true"),
            ("bytes", "[" * 5000),
        ],
    )
    def test_an_end_that_says_no_number_is_refused_by_name(self, saved: Path, name: str, value: str) -> None:
        changed = re.sub(rf'"{name}": \d+', f'"{name}": {value}', saved.read_text(encoding="utf-8"))
        saved.write_text(changed, encoding="utf-8")
        with pytest.raises(
            InputDataError, match=f"{name} = .* a whole number, 0 or more|is damaged or cut off"
        ):
            Corpus().add_counts(saved)

    @pytest.mark.parametrize(
        "line", [b"YQ== 9223372036854775807", b"YQ== " + b"9" * 30, b"YQ== -1", b"YQ 1", b" 1"]
    )
    def test_a_line_that_cannot_be_is_refused_though_the_checksum_is_right(
        self, saved: Path, line: bytes
    ) -> None:
        header, *_, end = saved.read_bytes().splitlines(keepends=True)
        lines = header + line + b"\n"
        saved.write_bytes(with_right_checksum(lines + end))
        corpus = Corpus()
        with pytest.raises(
            InputDataError, match=r"has the damaged line|has more than the [\d,]+ bytes of pieces"
        ):
            corpus.add_counts(saved)
        assert corpus.num_pieces == 0

    def test_that_are_damaged_anywhere_are_refused_and_nothing_is_added(self, saved: Path) -> None:
        whole = saved.read_bytes()
        for place in range(0, len(whole), 7):
            for damaged in (whole[:place], whole[:place] + b"!" + whole[place + 1 :]):
                saved.write_bytes(damaged)
                corpus = Corpus()
                with pytest.raises(InputDataError, match=r"text\.counts (is|holds|has|was)"):
                    corpus.add_counts(saved)
                assert corpus.num_pieces == 0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda data: data.replace(b'"version": 1', b'"version": 2'),
                "is of version 2, and this gpt2x reads 1",
            ),
            (lambda data: b"", "holds no counts of pieces; make such a file with `gpt2x bpe count-pieces`"),
            (lambda data: b"just text\n", "holds no counts of pieces"),
        ],
    )
    def test_that_are_none_are_refused(
        self, saved: Path, change: Callable[[bytes], bytes], message: str
    ) -> None:
        saved.write_bytes(change(saved.read_bytes()))
        with pytest.raises(InputDataError, match=message):
            counts.read_summary(saved)

    def test_without_an_end_are_refused_at_once(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counts, "_LONGEST_LINE", 1 << 20)
        saved.write_bytes(saved.read_bytes() + bytes(4 << 20))
        with pytest.raises(InputDataError, match="has a line without end; count again"):
            counts.read_summary(saved)
        if Path("/dev/zero").is_char_device():
            with pytest.raises(
                InputDataError, match="/dev/zero is no regular file, and counts are read twice"
            ):
                Corpus().add_counts("/dev/zero")

    def test_are_not_taken_for_text(self, saved: Path) -> None:
        with pytest.raises(
            InputDataError, match=r"text\.counts holds counts of pieces, no text; pass --counts"
        ):
            Corpus().add_file(saved)

    def test_appear_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        corpus = Corpus()
        corpus.add_text(TEXT)

        def no_space(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", no_space)
        with pytest.raises(OutputError, match="No space left on device"):
            corpus.save_counts(tmp_path / "out" / "x.counts")
        assert list((tmp_path / "out").iterdir()) == []
