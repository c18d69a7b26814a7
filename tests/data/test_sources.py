"""Data sets known by name."""

from __future__ import annotations

import builtins
import dataclasses
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt2x.data import sources
from gpt2x.data.archives import write_rows
from gpt2x.data.news import read_news
from gpt2x.errors import InputDataError, MissingComponentError, OutputError, UsageError
from gpt2x.paths import read_bytes
from tests.conftest import Serve


def test_names_and_variables_are_unique() -> None:
    assert len({known.name for known in sources.DATA_SETS}) == len(sources.DATA_SETS)
    assert sources.find_data_set("ag-news-test").variable == "GPT2X_DATA_AG_NEWS_TEST"


def test_the_songs_are_always_here() -> None:
    assert sources.get(sources.find_data_set("songs")).name == "songs.csv"


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'spotify'"):
        sources.find_data_set("spotfy")


def test_a_variable_names_a_local_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.csv"
    monkeypatch.setenv("GPT2X_DATA_SPOTIFY", str(copy))
    spotify = sources.find_data_set("spotify")
    with pytest.raises(InputDataError, match="GPT2X_DATA_SPOTIFY names"):
        sources.locate(spotify)
    copy.write_text("text\nla\n", encoding="utf-8")
    assert sources.get(spotify) == copy


@pytest.mark.parametrize("name", ["tiny-shakespeare", "ag-news"])
def test_without_a_network_a_download_says_what_else_to_do(name: str, serve: Serve) -> None:
    serve(OSError("no network in tests"))
    with pytest.raises(
        MissingComponentError, match=r"cannot download .* \(no network in tests\); check the network, or"
    ):
        sources.get(sources.find_data_set(name))


@pytest.mark.parametrize("name", [known.name for known in sources.DATA_SETS if known.source != "package"])
def test_no_client_is_asked_where_downloads_are_forbidden(
    name: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(b"")
    for client in ("_from_kaggle", "_from_hugging_face"):
        monkeypatch.setattr(sources, client, lambda *_: pytest.fail("a client was asked"))
    monkeypatch.setenv("GPT2X_OFFLINE", "1")
    known = sources.find_data_set(name)
    with pytest.raises(
        MissingComponentError, match=f"forbidden by GPT2X_OFFLINE; .*local copy in {known.variable}"
    ):
        sources.get(known)
    assert asked == []


def test_every_download_has_a_limit_and_a_check() -> None:
    for known in sources.DATA_SETS[1:]:
        assert 0 < known.limit < 10**9
        assert (len(known.sha256) == 64 and known.size) or (known.columns and known.rows)
        assert known.sha256 or known.git_blob or not known.source.startswith("https:")


def test_the_checksum_of_20_newsgroups_is_the_one_that_scikit_learn_pins() -> None:
    from sklearn.datasets import _twenty_newsgroups as theirs

    for name in ("20newsgroups", "20newsgroups-test"):
        known = sources.find_data_set(name)
        assert known.source == theirs.ARCHIVE.url
        assert known.sha256 == theirs.ARCHIVE.checksum


def test_the_pinned_checksum_is_that_of_the_real_file(shared_data: Callable[[str], Path]) -> None:
    """The other sets are here in another packing, or not as a whole."""
    known = sources.find_data_set("ag-news-test")
    content = read_bytes(shared_data("news/ag_news_test.csv.xz"))
    assert (len(content), hashlib.sha256(content).hexdigest()) == (known.size, known.sha256)
    known = sources.find_data_set("tiny-shakespeare")
    content = read_bytes(shared_data("text/tinyshakespeare.txt"))
    assert (len(content), hashlib.sha256(content).hexdigest()) == (known.size, known.sha256)


def test_a_cache_that_cannot_be_written_is_found_before_anything_is_asked_for(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(b"")
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPT2X_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="GPT2X_CACHE is .*file, which is no folder"):
        sources.get(sources.find_data_set("tiny-shakespeare"))
    assert asked == []


def test_without_the_client_a_download_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_OFFLINE", "0")
    original = builtins.__import__

    def without_kagglehub(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "kagglehub":
            raise ModuleNotFoundError("No module named 'kagglehub'", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_kagglehub)
    with pytest.raises(MissingComponentError, match=r"needs kagglehub: pip install gpt2x\[data\]"):
        sources.get(sources.find_data_set("spotify"))


def test_a_download_with_another_digest_is_refused_and_not_kept(serve: Serve) -> None:
    shakespeare = sources.find_data_set("tiny-shakespeare")
    assert shakespeare.size is not None
    serve(b"x" * shakespeare.size)
    with pytest.raises(
        InputDataError, match="has changed: its sha256 is .* name it in GPT2X_DATA_TINY_SHAKESPEARE"
    ):
        sources.get(shakespeare)
    assert sources.locate(shakespeare) is None


SONGS = 'artist,song,link,text\r\nAnn,Rain,/r,"It falls\r\non me"\r\nBob,Sun,/s,It shines\r\n'
NEWS = '{"headline": "a", "short_description": "b", "category": "C"}\n' * 2


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("spotify", SONGS, None),
        ("spotify", SONGS + "Cy,Snow,/x,It melts\r\n", "it has 3 rows, not 2"),
        ("spotify", SONGS.replace("text", "lyrics", 1), "its rows have no text"),
        ("spotify", SONGS * 10, "more than the 200 that were expected"),
        ("spotify", "", "its rows have no artist"),
        ("huffpost", NEWS, None),
        ("huffpost", NEWS + "{}", "it has 3 rows, not 2"),
        ("huffpost", NEWS.replace("category", "kind"), "its rows have no category"),
        ("huffpost", "<html>\n</html>", "holds no JSON lines"),
        ("huffpost", "[1]\n[2]", "holds no JSON lines"),
    ],
)
def test_what_a_client_brings_is_checked_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, sentence: str | None
) -> None:
    monkeypatch.setenv("GPT2X_OFFLINE", "0")
    known = dataclasses.replace(sources.find_data_set(name), rows=2, limit=200)
    (tmp_path / known.file).write_bytes(content.encode())
    monkeypatch.setattr(sources, "_from_kaggle", lambda handle, file: tmp_path / file)
    if sentence is None:
        assert sources.get(known).read_bytes() == content.encode()
        return
    with pytest.raises(InputDataError, match=f"{sentence}.*; get the file elsewhere and name it in"):
        sources.get(known)
    assert sources.locate(known) is None


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources.find_file("songs").name == "songs.csv"
    Path("songs").write_text("mine", encoding="utf-8")
    assert sources.find_file("songs") == Path("songs")


@pytest.mark.parametrize("name", ["nowhere.csv", "folder/songs", "sogns"])
def test_what_is_neither_file_nor_name_is_input_data_that_is_missing(name: str) -> None:
    with pytest.raises(InputDataError, match=f"there is no file {name}"):
        sources.find_file(name)


def test_a_copy_goes_to_a_file_or_into_a_folder(tmp_path: Path) -> None:
    songs = sources.find_data_set("songs")
    assert sources.copy_to(songs, tmp_path) == tmp_path / "songs.csv"
    target = sources.copy_to(songs, tmp_path / "new" / "mine.csv")
    assert target.read_bytes() == (tmp_path / "songs.csv").read_bytes()
    with pytest.raises(OutputError, match="cannot write"):
        sources.copy_to(songs, target / "below-a-file")


def test_a_copy_is_written_through_to_what_is_no_file(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    (tmp_path / "link").symlink_to(f"/dev/fd/{write_end}")
    small = sources.DataSet("s", "text", "", "", "input.txt", "package")
    songs = tmp_path / "input.txt"
    songs.write_text("la", encoding="utf-8")
    os.environ[small.variable] = str(songs)
    try:
        sources.copy_to(small, tmp_path / "link")
    finally:
        del os.environ[small.variable]
        os.close(write_end)
    with os.fdopen(read_end) as file:
        assert file.read() == "la"
    assert (tmp_path / "link").is_symlink()


# -- what is made from an archive, and what git knows -------------------------------------------------------------


def make_archive(path: Path, files: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path.read_bytes()


MESSAGES = {
    "20news-bydate-train/sci.space/2": b"From: x\nSubject: y\n\nRockets\n\nfly.\n",
    "20news-bydate-train/sci.space/1": b"From: x\n\nCaf\xe9 on the moon\n",
    "20news-bydate-train/rec.autos/7": b"From: x\n\nBrakes.\n",
    "20news-bydate-test/rec.autos/8": b"From: x\n\nTyres.\n",
    "20news-bydate-train/../../escape": b"From: x\n\nNo.\n",
}


def small(name: str, archive: bytes, rows: int, monkeypatch: pytest.MonkeyPatch) -> sources.DataSet:
    """The record of a set, for a small archive in the place of the real one."""
    known = dataclasses.replace(
        sources.find_data_set(name), sha256=hashlib.sha256(archive).hexdigest(), rows=rows
    )
    monkeypatch.setattr(sources, "DATA_SETS", (known,))
    return known


def test_newsgroups_become_rows_and_both_halves_take_one_download(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", MESSAGES)
    asked = serve(archive)
    train = small("20newsgroups", archive, 3, monkeypatch)
    path = sources.get(train)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"category": "rec.autos", "text": "Brakes."},
        {"category": "sci.space", "text": "Café on the moon"},
        {"category": "sci.space", "text": "Rockets\n\nfly."},
    ]
    assert read_news(path).labels == ["rec.autos", "sci.space", "sci.space"]
    monkeypatch.undo()
    serve(archive)
    test = small("20newsgroups-test", archive, 1, monkeypatch)
    assert read_news(sources.get(test)).texts == ["Tyres."]
    assert len(asked) == 1


def test_an_archive_with_other_rows_is_refused(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_archive(tmp_path / "a.tar.gz", MESSAGES)
    serve(archive)
    known = small("20newsgroups", archive, 4, monkeypatch)
    with pytest.raises(InputDataError, match="it has 3 rows, not 4"):
        sources.get(known)
    assert sources.locate(known) is None
    damaged = archive[: len(archive) // 2]
    (tmp_path / "half.tar.gz").write_bytes(damaged)
    with pytest.raises(InputDataError, match="is the file complete"):
        write_rows(tmp_path / "half.tar.gz", "20news-bydate-train", tmp_path / "rows.jsonl")
    (tmp_path / "a.tar.gz").write_bytes(archive)
    with pytest.raises(InputDataError, match="has no folder 20news-18828"):
        write_rows(tmp_path / "a.tar.gz", "20news-18828", tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_file_that_git_calls_otherwise_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"category,text\ntech,phones\n"
    serve(content)
    bbc = sources.find_data_set("bbc")
    with pytest.raises(InputDataError, match="has changed: git calls its content .*, not b91753711"):
        sources.get(bbc)
    assert sources.locate(bbc) is None
    # `git hash-object` of the same bytes, computed by git itself.
    known = dataclasses.replace(bbc, git_blob="6c4ba69961aab4436bd1c194946e550a20edf737", rows=1)
    assert read_news(sources.get(known)).labels == ["tech"]
