"""Songs from csv files: what is read, and what is refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2x.data.lyrics import Song, read_songs, song_document, tidy
from gpt2x.errors import InputDataError

SONGS = 'artist,song,link,text\nAnn,Rain,/a,"It falls,\non me"\nBo,Sun,/b,It shines\n'


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_song_may_span_lines_and_hold_commas(tmp_path: Path) -> None:
    songs = read_songs(write(tmp_path / "songs.csv", SONGS))
    assert songs == [Song("Ann", "Rain", "/a", "It falls,\non me"), Song("Bo", "Sun", "/b", "It shines")]


def test_columns_may_stand_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "songs.csv", "year,Text,song\n1999,la la,Tune\n")
    assert read_songs(path) == [Song("", "Tune", "", "la la")]


@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_packed_files_are_read_as_they_are(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = write(tmp_path / f"songs.csv{suffix}", pack(SONGS.encode()))
    assert [song.song for song in read_songs(path)] == ["Rain", "Sun"]


def test_a_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    path = write(tmp_path / "songs.csv", b"\xef\xbb\xbf" + SONGS.replace("\n", "\r\n").encode())
    assert read_songs(path)[0] == Song("Ann", "Rain", "/a", "It falls,\non me")


def test_songs_without_text_are_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "songs.csv", SONGS + "Cy,Silence,/c,  \n\nDi,Nothing,/d,\n")
    assert len(read_songs(path)) == 2
    assert "skipped 2 of 4 songs" in capsys.readouterr().err


def test_a_document_is_the_title_an_empty_line_and_the_words() -> None:
    assert song_document(Song("Ann", "Rain", "", "It falls\non me")) == "Rain\n\nIt falls\non me"


def test_tidy_text_has_no_blanks_at_line_ends_and_no_runs_of_empty_lines() -> None:
    assert tidy("\n\nLook at her  \r\n  \r\n\r\n\r\nface \n\n") == "Look at her\n\nface"


@given(st.text(alphabet=" \n\r\tab", max_size=40))
def test_tidying_twice_changes_nothing_more(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    texts=st.lists(st.text(min_size=1, max_size=60).filter(lambda t: tidy(t) and "\x00" not in t), min_size=1)
)
def test_whatever_the_csv_module_writes_is_read_back(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "songs.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["song", "text"])
        writer.writerows(["t", text] for text in texts)
    expected = [tidy(text.encode("utf-8", "replace").decode()) for text in texts]
    assert [song.text for song in read_songs(path)] == expected


def test_a_song_may_be_longer_than_the_csv_modules_limit_which_stays_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (song,) = read_songs(write(tmp_path / "songs.csv", "song,text\nA," + "la " * 50_000 + "la\n"))
    assert len(song.text) == 150_002
    assert csv.field_size_limit() == before
    with pytest.raises(InputDataError, match="never closed"):
        read_songs(write(tmp_path / "broken.csv", 'song,text\nA,"' + "la " * 50_000))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_fields_may_be_separated_by_something_else_than_commas_which_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], separator: str, name: str
) -> None:
    content = "artist,song,text\n".replace(",", separator) + f'Ann{separator}Rain{separator}"one, two"\n'
    assert read_songs(write(tmp_path / "songs.csv", content)) == [Song("Ann", "Rain", "", "one, two")]
    assert f"separated by {name}" in capsys.readouterr().err


BAD_FILES = {
    "missing": (None, "No such file"),
    "empty": (b"", "is empty"),
    "only blanks": (b"\n \n", "is empty"),
    "no text column": (b"artist,song,lyrics\nA,B,C\n", "no column called text"),
    "no songs": (b"artist,song,link,text\n", "no song with text"),
    "not UTF-8": (b"song,text\nA,caf\xe9\n", "byte 0xe9 at offset 15"),
    "unclosed quote": (
        b'song,text\nA,fine\nB,"never ends\nand on\n',
        "a quote is never closed in the row that starts on line 3",
    ),
    "row too short": (b"artist,song,text\nA,B,C\nD,E\n", "the row that starts on line 3 has 2 fields"),
    "row too long": (b"song,text\nA,one, two\n", "the row that starts on line 2 has 3 fields"),
    "junk after a quote": (b'song,text\nA,"B"C\n', "in the row that starts on line 2"),
    "text twice": (b"song,text,Text\nA,B,C\n", "names the column 'text' 2 times"),
    "UTF-16": ("song,text\nA,B\n".encode("utf-16"), "is UTF-16 and not UTF-8"),
    "UTF-16 without a mark": ("song,text\nA,B\n".encode("utf-16-le"), "NUL character on line 1"),
    "an empty cell": (b'""\n', "nothing but empty rows"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputDataError) as caught:
        read_songs(path)
    assert reason in str(caught.value)
    assert "bad.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xfd7zXZ\x00broken", lzma.compress(SONGS.encode())[:-20]])
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputDataError, match="cannot unpack"):
        read_songs(write(tmp_path / "songs.csv.xz", content))


def test_the_packaged_songs_are_many_and_have_titles_and_verses() -> None:
    songs = read_songs()
    assert len(songs) >= 120
    assert all(song.song and song.artist and len(song.text.splitlines()) >= 8 for song in songs)
    assert len({song.song for song in songs}) == len(songs)


def test_real_lyrics_are_read_whole(shared_data: Callable[[str], Path]) -> None:
    songs = read_songs(shared_data("lyrics/spotify_millsongdata_2893.csv.xz"))
    assert len(songs) == 2893
    assert songs[0].artist == "ABBA"
    assert not any("  \n" in song.text for song in songs)
