"""Songs from csv files.

The format is the Spotify Million Song Dataset's: a header with the columns artist, song, link and text, in any
order, and a fifth that may be missing, tags, which says what a song is about, its mood and its form; any others are
ignored. The reader is strict (`tables`), because a quote that is never closed would otherwise swallow the rest of the
file in silence and leave a smaller data set that still "works".

A model learns a song as one document: `song_prompt`, then the words. Whoever wants a song from the model begins with
the same `song_prompt`, so that what is asked is what was learned.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpt2x.console import say
from gpt2x.data.lines import with_end_words
from gpt2x.data.tables import cell_text, check_distinct, check_width, table_rows
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import assets_dir

COLUMNS = ("artist", "song", "link", "text")

TAGS = ("topic", "mood", "form")
"""What the column tags can hold, in the order in which a document shows it."""

FORMS = ("verse-chorus", "ballad", "free")
"""What a form can be."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a song is about and how it is; each part may be missing.

    Lower case and single blanks are made when one is built, so that tags of a file and of a request are alike.

    Attributes:
        topics: words or short phrases that tell what it is about.
        mood: a word.
        form: one of `FORMS`.

    Raises:
        UsageError: another form.

    >>> Tags(("Letting  go",), "Wistful").lines()
    ['topic: letting go', 'mood: wistful']
    """

    topics: tuple[str, ...] = ()
    mood: str = ""
    form: str = ""

    def __post_init__(self) -> None:
        topics = (_plain(topic) for topic in self.topics)
        object.__setattr__(self, "topics", tuple(topic for topic in topics if topic))
        object.__setattr__(self, "mood", _plain(self.mood))
        object.__setattr__(self, "form", _plain(self.form))
        if self.form and self.form not in FORMS:
            raise UsageError(f"form {quoted(self.form)} is unknown; choose one of {', '.join(FORMS)}")

    @classmethod
    def parse(cls, text: str) -> Tags:
        """Read a cell of the column tags: ``topic: rain, letting go; mood: wistful; form: ballad``.

        Raises:
            UsageError: a part without a colon, with another name, or named twice; an unknown form.

        >>> Tags.parse("topic: rain, letting go; form: ballad")
        Tags(topics=('rain', 'letting go'), mood='', form='ballad')
        """
        parts: dict[str, str] = {}
        for part in filter(str.strip, text.split(";")):
            name, colon, value = part.partition(":")
            name = _plain(name)
            if not colon or name not in TAGS:
                raise UsageError(f"{quoted(part.strip())} is no tag; write topic: …; mood: …; form: …")
            if name in parts:
                raise UsageError(f"the tag {name} stands twice; leave one out")
            parts[name] = value
        return cls(tuple(parts.get("topic", "").split(",")), parts.get("mood", ""), parts.get("form", ""))

    def lines(self) -> list[str]:
        """A line for each part that is there, as a document shows it.

        >>> Tags(("rain", "home"), "", "ballad").lines()
        ['topic: rain, home', 'form: ballad']
        """
        values = (", ".join(self.topics), self.mood, self.form)
        return [f"{tag}: {value}" for tag, value in zip(TAGS, values, strict=True) if value]


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


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
    """All songs of a file, in a list; see `iterate_songs`.

    Raises:
        InputDataError: as `iterate_songs`.

    """
    return list(iterate_songs(path))


def iterate_songs(path: str | os.PathLike[str] | None = None, *, talks: bool = True) -> Iterator[Song]:
    """Read the songs of a table one after the other, in memory for a few of them.

    Args:
        path: a csv file (fields separated by commas, semicolons, tabs or bars), also packed (``.xz``, ``.gz``,
            ``.zip``), or a ``.parquet`` file; None reads the packaged songs.
        talks: say on stderr what was left out.

    Yields:
        The songs in the order of the file; those without text are skipped, and tags that cannot be read are left out.
        How many of either is said at the end.

    Raises:
        InputDataError: the file is missing, damaged, empty, not UTF-8, has no ``text`` column or one of `COLUMNS` or
            ``tags`` twice, a broken row, or no song.

    """
    path = packaged_songs() if path is None else Path(path)
    counts = _Counts()
    for line, row in _rows(path):
        song = Song(
            artist=row.get("artist", "").strip(),
            song=row.get("song", "").strip(),
            link=row.get("link", "").strip(),
            text=tidy(row["text"]),
            tags=counts.read_tags(row.get("tags", ""), line),
        )
        counts.num_songs += 1
        if song.text:
            yield song
        else:
            counts.num_empty += 1
    if counts.num_songs == counts.num_empty:
        raise InputDataError(f"{path} holds no song with text; each row needs words in its text column")
    if talks:
        counts.report(path)


@dataclass(slots=True)
class _Counts:
    """What was left out of a file."""

    num_songs: int = 0
    num_empty: int = 0
    num_bad_tags: int = 0
    first_bad: str = ""

    def read_tags(self, text: str, line: int) -> Tags:
        """The tags of a song; none where they cannot be read, which is counted: a song is worth more than its tags."""
        try:
            return Tags.parse(text)
        except UsageError as error:
            self.first_bad = (
                self.first_bad or f"the first stand in the row that starts on line {line}: {error}"
            )
            self.num_bad_tags += 1
            return Tags()

    def report(self, path: Path) -> None:
        if self.num_empty:
            say(f"{path}: skipped {self.num_empty} of {self.num_songs} songs, which have no text")
        if self.num_bad_tags:
            say(
                f"{path}: ignored the tags of {self.num_bad_tags} of {self.num_songs} songs; {self.first_bad}"
            )


def song_prompt(title: str, tags: Tags | None = None) -> str:
    r"""The beginning of a song's document, up to where the words start: title, tags, an empty line.

    Args:
        title: the first line; "" leaves it out.
        tags: a line for each that is there; those of the song, or of a request for one.

    >>> song_prompt("Rain", Tags(("rain", "home"), "wistful", "ballad"))
    'Rain\ntopic: rain, home\nmood: wistful\nform: ballad\n\n'
    """
    head = [*filter(None, [title]), *(tags.lines() if tags else ())]
    return "\n".join(head) + "\n\n" if head else ""


def song_document(song: Song, *, end_words: bool = False) -> str:
    r"""The text that a model learns for one song: `song_prompt`, then the words.

    Args:
        song: what is learned.
        end_words: before each line comes the word that it ends with, so that a model can plan its rhymes.

    >>> song_document(Song("Ann", "Rain", "", "It falls\non me"))
    'Rain\n\nIt falls\non me'
    >>> song_document(Song("Ann", "Rain", "", "It falls", Tags(mood="calm")))
    'Rain\nmood: calm\n\nIt falls'
    """
    return song_prompt(song.song, song.tags) + (with_end_words(song.text) if end_words else song.text)


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


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line that each row starts on and its {column: cell}; errors name the line."""
    remedy = f"give a file whose header has the columns {', '.join(COLUMNS)}"
    rows = table_rows(path, lambda cells: "text" in _names(cells), remedy)
    _, head = next(rows)
    columns = _names(head)
    if "text" not in columns:
        found = ", ".join(cell.strip()[:20] for cell in head[:6])
        raise InputDataError(f"{path} has no column called text: its first line names {found}; {remedy}")
    check_distinct(columns, (*COLUMNS, "tags"), path)
    read = [(name, i) for i, name in enumerate(columns) if name in (*COLUMNS, "tags")]
    for row in rows:
        check_width(row, len(columns), path)
        yield row[0], {name: cell_text(row, i, columns, path) for name, i in read}


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]
