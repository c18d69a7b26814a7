"""Data sets known by name."""

from __future__ import annotations

import builtins
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gpt2x.data import sources
from gpt2x.errors import InputDataError, MissingComponentError, OutputError, UsageError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


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
def test_without_a_network_a_download_says_what_else_to_do(name: str) -> None:
    with pytest.raises(
        MissingComponentError, match=r"cannot download .* \(no network in tests\); check the network, or"
    ):
        sources.get(sources.find_data_set(name))


def test_without_the_client_a_download_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_kagglehub(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "kagglehub":
            raise ModuleNotFoundError("No module named 'kagglehub'", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_kagglehub)
    with pytest.raises(MissingComponentError, match=r"needs kagglehub: pip install gpt2x\[data\]"):
        sources.get(sources.find_data_set("spotify"))


def test_a_download_with_another_digest_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changed").write_bytes(b"something else")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: (tmp_path / "changed").open("rb"))
    shakespeare = sources.find_data_set("tiny-shakespeare")
    with pytest.raises(InputDataError, match="has changed: its sha256 is"):
        sources.get(shakespeare)
    assert sources.locate(shakespeare) is None


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
