"""Files appear whole or not at all."""

from __future__ import annotations

import gzip
import lzma
import stat
from pathlib import Path

import pytest

from gpt2x import paths
from gpt2x.errors import InputDataError, OutputError


def test_a_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with paths.atomic_write(target, text=True) as file:
        file.write("whole\n")
        assert not target.exists()
    assert target.read_text() == "whole\n"
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=["an error", "Ctrl-C"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), paths.atomic_write(target) as file:
        file.write(b"half of the new")
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_error_names_the_file_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OutputError, match="cannot write .*file/x: "),
        paths.atomic_write(tmp_path / "file" / "x"),
    ):
        pass


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left on device"), paths.atomic_write(tmp_path / "x"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with paths.atomic_write(tmp_path / "ours"):
        pass
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for name in ("a", "b"):
        with paths.atomic_folder(target) as folder:
            (folder / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with paths.atomic_folder(target) as folder:
        (folder / "a").write_text("a")
    with pytest.raises(RuntimeError), paths.atomic_folder(target) as folder:
        (folder / "half").write_text("b")
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_files_are_read_like_plain_ones(tmp_path: Path, suffix: str, pack: type) -> None:
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(pack("héllo\n".encode()))
    assert paths.read_text(path) == "héllo\n"


def test_reading_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="cannot read .*nowhere"):
        paths.read_text(tmp_path / "nowhere")
    with pytest.raises(InputDataError, match="is a folder"):
        paths.read_text(tmp_path)
    (tmp_path / "latin1").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InputDataError, match="byte 0xe9 at offset 3"):
        paths.read_text(tmp_path / "latin1")
    (tmp_path / "cut.xz").write_bytes(lzma.compress(b"x" * 1000)[:-20])
    with pytest.raises(InputDataError, match="cannot unpack"):
        paths.read_text(tmp_path / "cut.xz")
    (tmp_path / "no.gz").write_bytes(b"this is not gzip")
    with pytest.raises(InputDataError, match="cannot unpack"):
        paths.read_text(tmp_path / "no.gz")
