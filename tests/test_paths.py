"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import re
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt2x import paths
from gpt2x.errors import InputDataError, OutputError, UsageError


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


def write(path: Path | str, content: str = "new") -> None:
    with paths.atomic_write(path, text=True) as file:
        file.write(content)


def write_by_name(path: Path | str, content: str = "new") -> None:
    with paths.atomic_path(path) as temporary:
        temporary.write_text(content)


WAYS = pytest.mark.parametrize("way", [write, write_by_name], ids=["opened", "by its name"])
Way = Callable[..., None]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[list[bytes]]:
    """What comes out of a FIFO while the block runs, in a list of one."""
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(path.read_bytes()), daemon=True)
    reader.start()
    yield heard
    reader.join(timeout=10)


@WAYS
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, way: Way, mode: int) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    target.chmod(mode)
    way(target)
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    os.chown(target, 1234, 4321)
    write(target)
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 4321)


@WAYS
def test_a_symbolic_link_is_followed(tmp_path: Path, way: Way) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "target").write_text("old")
    (tmp_path / "middle").symlink_to("deep/target")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    (tmp_path / "dangling").symlink_to("not/yet/there")
    way(tmp_path / "link")
    way(tmp_path / "dangling")
    assert (tmp_path / "deep" / "target").read_text() == "new"
    assert (tmp_path / "not" / "yet" / "there").read_text() == "new"
    assert all((tmp_path / name).is_symlink() for name in ("link", "middle", "dangling"))


def test_a_relative_link_is_followed_from_a_linked_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``folder/..`` is not where the name says once ``folder`` is a link."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "folder").symlink_to("a/b")
    monkeypatch.chdir(tmp_path)
    write("folder/../file")
    (tmp_path / "a" / "b" / "link").symlink_to("../linked")
    write("folder/link")
    assert names_in(tmp_path / "a") == {"b", "file", "linked"}


def test_links_that_lead_in_a_circle_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="its symbolic links lead in a circle"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


@WAYS
def test_a_fifo_is_written_through(tmp_path: Path, way: Way) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to("fifo")
    for path in (fifo, tmp_path / "link"):
        with reading(fifo) as heard:
            way(path, "é\n")
        assert heard == ["é\n".encode()]
    assert fifo.is_fifo()
    assert names_in(tmp_path) == {"fifo", "link"}


@WAYS
def test_a_descriptor_is_written_through(way: Way) -> None:
    for name in ("/dev/fd", "/proc/self/fd"):
        if not Path(name).exists():
            pytest.skip(f"no {name} here")
        read_end, write_end = os.pipe()
        way(f"{name}/{write_end}")
        os.close(write_end)
        with os.fdopen(read_end) as file:
            assert file.read() == "new"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_a_descriptor_of_a_file_goes_on_where_it_is(tmp_path: Path) -> None:
    """As `>> file` of a shell and `-o /dev/stdout` need it: the file is neither replaced nor cut."""
    file = tmp_path / "file"
    file.write_text("old ")
    inode = file.stat().st_ino
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    (tmp_path / "link").symlink_to(f"/dev/fd/{descriptor}")
    write(tmp_path / "link")
    os.write(descriptor, b" last")
    os.close(descriptor)
    assert file.read_text() == "old new last"
    assert file.stat().st_ino == inode


@pytest.fixture
def device(tmp_path: Path) -> Callable[[int], Path]:
    def make(minor: int) -> Path:
        node = tmp_path / f"device-{minor}"
        try:
            os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            node.open("wb").close()
        except OSError as error:
            pytest.skip(f"device nodes cannot be made here: {error.strerror}")
        return node

    return make


@WAYS
def test_a_device_is_written_through_and_stays_a_device(
    tmp_path: Path, device: Callable[[int], Path], way: Way
) -> None:
    null, full = device(3), device(7)
    (tmp_path / "link").symlink_to(full)
    way(null)
    for path in (full, tmp_path / "link"):
        with pytest.raises(OutputError, match="No space left on device; choose another place or free"):
            way(path)
        with pytest.raises(OutputError, match="No space left on device"):
            way(path, "x" * 10**6)
    assert all(stat.S_ISCHR(node.lstat().st_mode) for node in (null, full))
    assert names_in(tmp_path) == {null.name, full.name, "link"}


def test_a_socket_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OutputError, match="cannot write socket: "):
            write("socket")
        assert Path("socket").is_socket()


@WAYS
def test_a_folder_is_no_file(tmp_path: Path, way: Way) -> None:
    for path in (tmp_path, f"{tmp_path}/", f"{tmp_path}/.", f"{tmp_path}/x/.."):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match="it is a folder; give the name of a file"):
            way(path)
    assert names_in(tmp_path) == {"x"}


def test_other_hard_links_keep_the_old_content(tmp_path: Path) -> None:
    """Whoever linked to a file, such as a backup, keeps what it held."""
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    write(tmp_path / "one")
    assert (tmp_path / "two").read_text() == "old"


@WAYS
@pytest.mark.parametrize("broken", ["mkstemp", "replace"])
def test_where_the_folder_allows_no_new_file_the_old_one_is_filled_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, broken: str
) -> None:
    """A folder without write permission, or a file that is mounted into a container by itself."""
    target = tmp_path / "here" / "file"
    target.parent.mkdir()
    target.write_text("a longer old text")
    inode = target.stat().st_ino
    make, replace = tempfile.mkstemp, Path.replace

    def mkstemp(*args: Any, **kwargs: Any) -> tuple[int, str]:
        if kwargs.get("dir") == target.parent:
            raise PermissionError(13, "Permission denied")
        return make(*args, **kwargs)

    def busy(self: Path, new: Path) -> Path:
        if new == target:
            raise OSError(16, "Device or resource busy")
        return replace(self, new)

    if broken == "mkstemp":
        monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(RuntimeError), paths.atomic_write(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert target.read_text() == "a longer old text"
    way(target)
    assert target.read_text() == "new"
    assert target.stat().st_ino == inode
    assert names_in(target.parent) == {"file"}


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write(tmp_path / ("é" * 127))
    with pytest.raises(OutputError, match="File name too long; choose a shorter name"):
        write(tmp_path / ("é" * 128))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/x", "{}/file is no folder; choose another place"),
        ("file/x/y", "{}/file is no folder; choose another place"),
        ("nul\0l", "a name holds no null character"),
    ],
)
def test_a_place_that_cannot_work_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=re.escape(reason.format(tmp_path))):
        write(f"{tmp_path}/{name}")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
@pytest.mark.parametrize("make", [write, lambda path: paths.atomic_folder(path).__enter__()])
def test_where_the_system_lets_nothing_be_made_the_sentence_says_so(make: Way) -> None:
    for name in ("/proc/x", "/proc/x/y"):
        with pytest.raises(OutputError, match=f"cannot write {name}: nothing can be made in /proc"):
            make(name)


def letters(folder: Path) -> set[str]:
    """What these tests take for theirs in a folder."""
    return {name for name in ("a", "b", "part/c") if (folder / name).exists()}


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for names in (("a", "part/c"), ("b",)):
        with paths.atomic_folder(target, letters) as folder:
            put(folder, *names)
    assert names_in(target) == {"b"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with paths.atomic_folder(target) as folder:
        put(folder, "a")
    with pytest.raises(RuntimeError), paths.atomic_folder(target, letters) as folder:
        put(folder, "half")
        raise RuntimeError
    assert names_in(target) == {"a"}
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("foreign", ["notes.txt", "part/notes.txt", "empty/", "link"])
def test_a_folder_with_a_foreign_entry_is_refused_and_the_entry_named(tmp_path: Path, foreign: str) -> None:
    target = tmp_path / "run"
    target.mkdir()
    put(target, "a", "part/c")
    if foreign.endswith("/"):
        (target / foreign).mkdir()
    elif foreign == "link":
        (target / foreign).symlink_to("a")
    else:
        put(target, foreign)
    sentence = f"run holds {foreign.rstrip('/')}, which is no part of an alphabet; choose another place"
    with (
        pytest.raises(OutputError, match=sentence),
        paths.atomic_folder(target, letters, "an alphabet"),
    ):
        pytest.fail("nothing is made for a folder that is refused")
    assert names_in(target) == {"a", "part", foreign.split("/", maxsplit=1)[0]}


def test_what_comes_into_a_folder_while_the_new_one_is_made_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    put(target, "a")
    with (
        pytest.raises(OutputError, match=r"holds notes\.txt"),
        paths.atomic_folder(target, letters) as folder,
    ):
        put(folder, "b")
        put(target, "notes.txt")
    assert names_in(target) == {"a", "notes.txt"}


def test_without_a_word_on_what_is_ours_only_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir(mode=0o750)
    with paths.atomic_folder(target) as folder:
        put(folder, "a")
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    with pytest.raises(OutputError, match="not an empty folder"), paths.atomic_folder(target):
        pass
    assert names_in(target) == {"a"}


def test_a_linked_folder_stays_a_link_and_keeps_its_mode(tmp_path: Path) -> None:
    real, link, dangling = (tmp_path / name for name in ("real", "link", "dangling"))
    real.mkdir(mode=0o750)
    link.symlink_to("real")
    dangling.symlink_to("new")
    for name in ("a", "b"):
        with paths.atomic_folder(link, letters) as folder:
            put(folder, name)
        assert link.is_symlink()
        assert names_in(real) == {name}
        assert stat.S_IMODE(real.stat().st_mode) == 0o750
    with paths.atomic_folder(dangling) as folder:
        put(folder, "a")
    assert dangling.is_symlink()
    assert names_in(tmp_path / "new") == {"a"}


def test_the_current_folder_is_filled_and_not_replaced_under_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    inode = here.stat().st_ino
    for name in ("a", "b"):
        with paths.atomic_folder(".", letters) as folder:
            put(folder, name)
        assert names_in(here) == {name}
    assert here.stat().st_ino == inode
    with pytest.raises(RuntimeError), paths.atomic_folder(".", letters):
        raise RuntimeError
    assert names_in(here) == {"b"}


@pytest.mark.parametrize("inside", [True, False])
def test_a_swap_that_fails_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    target = tmp_path / "run"
    target.mkdir()
    put(target, "a")
    if inside:
        monkeypatch.chdir(target)
    rename = Path.rename

    def fails_for_the_new(self: Path, new: Path) -> Path:
        if self.suffix == ".partial" or self.parent.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    with (
        pytest.raises(OutputError, match="Input/output error"),
        paths.atomic_folder(target, letters) as folder,
    ):
        put(folder, "b")
    assert names_in(target) == {"a"}
    assert names_in(tmp_path) == {"run"}


def test_foreign_files_can_be_kept_beside_new_ones(tmp_path: Path) -> None:
    target = tmp_path / "step"
    target.mkdir()
    put(target, "a", "notes.txt")
    with paths.atomic_folder(target, letters, keep_foreign=True) as folder:
        put(folder, "b")
    assert names_in(target) == {"b", "notes.txt"}
    paths.remove_ours(target, letters(target))
    assert names_in(target) == {"notes.txt"}
    paths.remove_ours(target, ["notes.txt"])
    assert not target.exists()


def test_what_is_no_folder_is_not_replaced_by_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "round").symlink_to("round")
    with (
        pytest.raises(OutputError, match="is there already and is no folder"),
        paths.atomic_folder(tmp_path / "file", letters),
    ):
        pass
    with pytest.raises(OutputError, match="lead in a circle"), paths.atomic_folder(tmp_path / "round"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


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


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_a_limit_holds_for_what_a_file_unpacks_to(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    path = tmp_path / f"text{suffix}"
    path.write_bytes(pack(b"x" * (3 << 20)))
    assert len(paths.read_bytes(path, limit=3 << 20)) == 3 << 20
    with pytest.raises(InputDataError, match=f"text{suffix} .* more than 2 MiB, the most that is read of it"):
        paths.read_text(path, limit=2 << 20)


def test_a_packed_file_that_unpacks_without_end_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths.reading, "UNPACKED_BYTES", 2 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(3 << 20)))
    with pytest.raises(InputDataError, match=r"bomb\.gz unpacks to more than 2 MiB"):
        paths.read_bytes(tmp_path / "bomb.gz")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom"])
@pytest.mark.parametrize("limit", [None, paths.VOCABULARY_BYTES, paths.CONFIG_BYTES])
def test_a_device_without_end_is_one_sentence(name: str, limit: int | None) -> None:
    if not Path(name).is_char_device():
        pytest.skip(f"no {name} here")
    with pytest.raises(InputDataError, match=f"{name} has more than 1 MiB, the most that is read of it"):
        paths.read_bytes(name, limit=limit)


def test_a_pipe_is_read_to_its_end_and_no_further_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths.reading, "PIPE_BYTES", 2 << 20)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def feed(size: int) -> None:
        with contextlib.suppress(BrokenPipeError), fifo.open("wb") as file:
            file.write(bytes(size))

    for size in (2 << 20, 3 << 20):
        writer = threading.Thread(target=feed, args=(size,), daemon=True)
        writer.start()
        if size == 2 << 20:
            assert len(paths.read_bytes(fifo)) == size
        else:
            with pytest.raises(InputDataError, match="fifo has more than 2 MiB"):
                paths.read_bytes(fifo)
        writer.join(timeout=10)
    with pytest.raises(InputDataError, match="fifo is no regular file"):
        paths.read_bytes(fifo, regular=True)


def test_a_file_that_does_not_fit_into_memory_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any, **__: Any) -> Iterator[bytes]:
        raise MemoryError
        yield b""

    monkeypatch.setattr(paths.reading, "read_blocks", no_memory)
    with pytest.raises(InputDataError, match="does not fit into memory; give a smaller file"):
        paths.read_text(tmp_path / "file")


@pytest.mark.parametrize("place", [paths.cache_dir, paths.data_home, paths.runs_dir])
def test_a_variable_must_name_what_is_or_can_become_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[], Path]
) -> None:
    variable = {"cache_dir": "GPT2X_CACHE", "data_home": "GPT2X_HOME", "runs_dir": "GPT2X_RUNS"}[
        place.__name__
    ]
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("new")
    for value in (tmp_path, tmp_path / "not" / "yet", tmp_path / "link", Path("relative")):
        monkeypatch.setenv(variable, str(value))
        assert place() == value
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(UsageError, match=f"{variable} is .*file, which is no folder; set it to a folder"):
        place()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match=f"{variable} is .*below, and .*file is no folder; set it to"):
        place()


def test_without_a_home_folder_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GPT2X_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match="this user has no home folder; set GPT2X_CACHE to a folder"):
        paths.cache_dir()


def test_a_place_is_tried_before_work_is_done_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.check_can_write(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPT2X_HOME", str(tmp_path / "file"))
    with pytest.raises(
        OutputError, match="file is no folder; set GPT2X_HOME to a folder that can be written"
    ):
        paths.check_can_write(tmp_path / "file" / "x")


def test_an_open_stream_is_read_to_its_end_and_no_further_than_its_kind_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt2x.paths.reading.PIPE_BYTES", 8)
    (tmp_path / "long").write_bytes(b"longer than a pipe")
    with (tmp_path / "long").open("rb") as file:
        assert paths.read_stream(file, "standard input") == b"longer than a pipe"
    assert paths.read_stream(io.BytesIO(b"8 bytes."), "standard input") == b"8 bytes."
    with pytest.raises(
        InputDataError, match="^standard input has more than 0 MiB, the most that is read of it"
    ):
        paths.read_stream(io.BytesIO(b"9 bytes.."), "standard input")
    with Path("/dev/zero").open("rb") as file, pytest.raises(InputDataError, match="more than 1 MiB"):
        paths.read_stream(file, "standard input")
