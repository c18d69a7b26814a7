"""Songs from csv files: what is read, and what is refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2x.data.lyrics import FORMS, Song, Tags, iterate_songs, read_songs, song_document, song_prompt, tidy
from gpt2x.errors import InputDataError, MissingComponentError, UsageError

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


TAGGED = (
    'song,text,tags\nRain,It falls,"topic: ex-girlfriend, Letting  go; mood: wistful; form: verse-chorus"\n'
)


def test_tags_stand_between_title_and_words(tmp_path: Path) -> None:
    (song,) = read_songs(write(tmp_path / "songs.csv", TAGGED))
    assert song.tags == Tags(("ex-girlfriend", "letting go"), "wistful", "verse-chorus")
    assert song_document(song) == (
        "Rain\ntopic: ex-girlfriend, letting go\nmood: wistful\nform: verse-chorus\n\nIt falls"
    )


@pytest.mark.parametrize(
    ("tags", "head"),
    [
        ("", "Rain\n\n"),
        (" ; ", "Rain\n\n"),
        ("mood: calm", "Rain\nmood: calm\n\n"),
        ("form: free; topic: sea", "Rain\ntopic: sea\nform: free\n\n"),
        ("topic: , ; mood:", "Rain\n\n"),
    ],
)
def test_a_tag_that_is_missing_has_no_line(tags: str, head: str) -> None:
    assert song_document(Song("", "Rain", "", "It falls", Tags.parse(tags))) == head + "It falls"
    assert song_prompt("Rain", Tags.parse(tags)) == head


words = st.text(st.characters(blacklist_characters=",;", blacklist_categories=["Cs", "Cc"]), max_size=12)


@given(
    title=st.text(max_size=10),
    topics=st.lists(words, max_size=3),
    mood=words,
    form=st.sampled_from(["", *FORMS]),
)
def test_what_is_asked_for_is_how_the_document_begins(
    title: str, topics: list[str], mood: str, form: str
) -> None:
    asked = Tags(tuple(topics), mood, form)
    cell = f"topic: {','.join(topics)}; mood: {mood}; form: {form}"
    assert Tags.parse(cell) == asked
    song = Song("", title, "", "words", Tags.parse(cell))
    assert song_document(song) == song_prompt(title, asked) + "words"


def test_an_unknown_form_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(
        UsageError, match="form 'sonnet' is unknown; choose one of verse-chorus, ballad, free"
    ):
        Tags(form="sonnet")


@pytest.mark.parametrize("tags", ["form: sonnet", "sad", "colour: blue", "mood: sad; mood: glad"])
def test_bad_tags_are_ignored_and_counted_and_the_first_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tags: str
) -> None:
    path = write(tmp_path / "songs.csv", f'{TAGGED}Sun,"It\nshines",{tags}\nMoon,It glows,{tags}\n')
    songs = read_songs(path)
    assert [song.tags == Tags() for song in songs] == [False, True, True]
    assert song_document(songs[1]) == "Sun\n\nIt\nshines"
    told = capsys.readouterr().err
    assert "ignored the tags of 2 of 3 songs; the first stand in the row that starts on line 3" in told


def test_songs_come_one_after_the_other_and_several_files_may_be_read_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path / "songs.csv", "song,text\n" + "".join(f"S{i},la {i}\n" for i in range(1000)))
    pairs = list(zip(iterate_songs(path), iterate_songs(path), strict=True))
    assert len(pairs) == 1000
    assert all(one == other for one, other in pairs)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_of_one_csv_file_is_unpacked(tmp_path: Path) -> None:
    packed = zipped(**{"songs/songs.csv": SONGS.encode(), "__MACOSX/songs/._songs.csv": b"?"})
    assert [song.song for song in read_songs(write(tmp_path / "songs.zip", packed))] == ["Rain", "Sun"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(a=b"song,text", b=b"song,text"), "holds 2 files: 'a', 'b'; unpack it"),
        (zipped(), "holds 0 files; unpack it"),
        (zipped(a=SONGS.encode() * 99)[:-40], "cannot unpack"),
        (b"song,text\nA,B\n", "cannot unpack"),
    ],
)
def test_a_zip_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(InputDataError, match=reason):
        read_songs(write(tmp_path / "songs.zip", content))


def test_a_parquet_file_is_read_like_a_csv_file(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "songs.parquet"
    columns = {
        "song": ["Rain", None],
        "text": ["It falls", "la"],
        "tags": ["mood: calm", None],
        "year": [1, 2],
    }
    parquet.write_table(pyarrow.table(columns), path)
    assert read_songs(path) == [Song("", "Rain", "", "It falls", Tags(mood="calm")), Song("", "", "", "la")]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputDataError, match="is the file complete"):
        read_songs(path)


def test_a_parquet_file_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingComponentError, match="pip install pyarrow"):
        read_songs(write(tmp_path / "songs.parquet", b"PAR1"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_where_a_file_is_cut_into_blocks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_end: str, block: int
) -> None:
    content = (SONGS + "Cé,\u2028Mün,/c,愛\n").replace("\n", line_end)
    expected = [*read_songs(write(tmp_path / "plain.csv", SONGS)), Song("Cé", "Mün", "/c", "愛")]

    def in_blocks(path: Path) -> Iterator[bytes]:
        whole = path.read_bytes()
        return (whole[i : i + block] for i in range(0, len(whole), block))

    monkeypatch.setattr("gpt2x.data.files.blocks_of", in_blocks)
    assert read_songs(write(tmp_path / "songs.csv", content)) == expected


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
    "tags twice": (b"song,text,tags,Tags\nA,B,,\n", "names the column 'tags' 2 times"),
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
