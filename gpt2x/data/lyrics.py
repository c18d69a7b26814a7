"""Songs from csv files.

The format is the Spotify Million Song Dataset's: a header with the columns artist, song, link and text, in any
order, and our own fifth, tags, which tells what a song is about, its mood and its form; any others are ignored. What a
model learns of a song is one document: its title, a line for each tag, an empty line, the words.

The reader is strict (`tables`), because a quote that is never closed would otherwise swallow the rest of the file in
silence and leave a smaller data set that still "works".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpt2x.console import say
from gpt2x.data.tables import check_distinct, check_width, csv_rows, read_rows_text
from gpt2x.errors import InputDataError
from gpt2x.paths import assets_dir

COLUMNS = ("artist", "song", "link", "text")
TAGS = ("topic", "mood", "form")
"""What the column tags can hold, in the order in which a document shows it."""
FORMS = ("verse-chorus", "ballad", "free")


@dataclass(frozen=True, slots=True)
class Tags:
    """What a song is, for whoever asks for one; each part may be missing.

    Attributes:
        topics: words or short phrases that tell what it is about.
        mood: one word.
        form: one of `FORMS`, or a word of the file's own.

    """

    topics: tuple[str, ...] = ()
    mood: str = ""
    form: str = ""

    @classmethod
    def parse(cls, text: str) -> Tags:
        """Read a cell such as ``topic: rain, home; mood: calm; form: ballad``; other keys are passed over.

        >>> Tags.parse("topic: rain, home; form: ballad")
        Tags(topics=('rain', 'home'), mood='', form='ballad')
        """
        parts = {
            key.strip().lower(): " ".join(value.split())
            for key, colon, value in (part.partition(":") for part in text.split(";"))
            if colon
        }
        topics = tuple(topic.strip() for topic in parts.get("topic", "").split(",") if topic.strip())
        return cls(topics, parts.get("mood", ""), parts.get("form", ""))

    def lines(self) -> list[str]:
        """A line for each part that is there, as a document shows it.

        >>> Tags(("rain", "home"), "", "ballad").lines()
        ['topic: rain, home', 'form: ballad']
        """
        values = (", ".join(self.topics), self.mood, self.form)
        return [f"{tag}: {value}" for tag, value in zip(TAGS, values, strict=True) if value]


@dataclass(frozen=True, slots=True)
class Song:
    """One song; `text` has ``\\n`` line ends and no blanks at line ends, and is never empty."""

    artist: str
    song: str
    link: str
    text: str
    tags: Tags = field(default_factory=Tags)


def packaged_songs() -> Path:
    """The csv file of songs that were written for gpt2x and ship with it."""
    return assets_dir() / "songs.csv"


def read_songs(path: str | os.PathLike[str] | None = None) -> list[Song]:
    """Read all songs of a csv file (``.csv``, ``.csv.xz``, ``.csv.gz``), of cells of any length.

    Fields may be separated by commas, semicolons, tabs or bars.

    Args:
        path: the file; None reads the packaged songs.

    Returns:
        The songs in the order of the file; those without text are skipped, and their number is said on stderr.

    Raises:
        InputDataError: the file is missing, empty, not UTF-8, has no ``text`` column or two, a broken row, or no song.

    """
    path = packaged_songs() if path is None else Path(path)
    text = read_rows_text(path)
    if not text.strip():
        raise InputDataError(
            f"{path} is empty; give a csv file with a header and the columns {', '.join(COLUMNS)}"
        )
    songs: list[Song] = []
    num_empty = 0
    for row in _rows(text, path):
        song = Song(
            artist=row.get("artist", "").strip(),
            song=row.get("song", "").strip(),
            link=row.get("link", "").strip(),
            text=tidy(row["text"]),
            tags=Tags.parse(row.get("tags", "")),
        )
        if song.text:
            songs.append(song)
        else:
            num_empty += 1
    if not songs:
        raise InputDataError(f"{path} holds no song with text; each row needs words in its text column")
    if num_empty:
        say(f"{path}: skipped {num_empty} of {len(songs) + num_empty} songs, which have no text")
    return songs


def song_document(song: Song) -> str:
    r"""The text that a model learns for one song: the title, its tags, an empty line, the words.

    A title alone, or with tags, is therefore a prompt to which the model answers with a song.

    >>> song_document(Song("Ann", "Rain", "", "It falls\non me"))
    'Rain\n\nIt falls\non me'
    >>> song_document(Song("Ann", "Rain", "", "It falls", Tags(("rain",), "calm", "free")))
    'Rain\ntopic: rain\nmood: calm\nform: free\n\nIt falls'
    """
    head = "\n".join([song.song, *song.tags.lines()]).strip()
    return f"{head}\n\n{song.text}" if head else song.text


def tidy(text: str) -> str:
    r"""Line ends as ``\n``, no blanks at line ends, no more than one empty line in a row, nothing around it all.

    The Spotify csv ends each line with two blanks and each song with several empty lines; a model would spend
    its strength on those.

    >>> tidy("One  \r\n\r\n\r\n\r\nTwo \n")
    'One\n\nTwo'
    """
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(kept).strip()


def _rows(text: str, path: Path) -> Iterator[dict[str, str]]:
    """Each row as {column: cell}; errors name the line it starts on."""
    (_, head), *rows = csv_rows(text, path, lambda cells: "text" in _names(cells))
    columns = _names(head)
    if "text" not in columns:
        found = ", ".join(cell.strip()[:20] for cell in head[:6])
        raise InputDataError(
            f"{path} has no column called text: its first line names {found}; give a csv file whose header has "
            f"the columns {', '.join(COLUMNS)}"
        )
    check_distinct(columns, (*COLUMNS, "tags"), path)
    for row in rows:
        check_width(row, len(columns), path)
        yield dict(zip(columns, row[1], strict=True))


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]
