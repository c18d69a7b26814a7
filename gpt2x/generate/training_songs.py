"""The songs that a model was trained on, as an index to compare with: those of its run, never any others.

A run has its own index (`gpt2x.train` puts it there). One without, of an earlier version, is compared with its data if
they are where they were and what they were, by their digest. The model that ships was trained last on the songs that
ship. Whatever else there is, somebody has to say which songs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpt2x.data.files import content_digest
from gpt2x.data.lyrics import iterate_songs, packaged_songs
from gpt2x.data.sources import find_data_set, locate
from gpt2x.errors import Gpt2xError, InputDataError, OutputError
from gpt2x.generate.overlap_index import SongIndex, write_index
from gpt2x.model.runs import SONG_INDEX, TRAINER, data_of_run, packaged_model
from gpt2x.paths import cache_dir

_REMEDY = "give the songs with --data FILE"


def index_of_run(run: Path) -> SongIndex:
    """The songs of a run; those that were kept for validation are among them.

    Raises:
        InputDataError: neither its index nor its data can be found.

    """
    if run.resolve() == packaged_model().resolve():
        return index_of_file(packaged_songs())
    index = run / TRAINER / SONG_INDEX
    if index.exists():
        return SongIndex.open(index)
    file, digest = _data_file(run)
    return _index(file, digest)


def index_of_file(songs: Path) -> SongIndex:
    """The songs of a table; what was made of a file is found again in the cache, what comes through a pipe is not.

    Raises:
        InputDataError: it cannot be read.

    """
    return _index(songs, content_digest(songs)) if songs.is_file() else SongIndex.of(_titles_and_texts(songs))


def cached_index(songs: Path, digest: str) -> Path:
    """The file in the cache with the index of a table's songs; made if it is not there.

    Args:
        songs: the table.
        digest: of its content.

    Raises:
        InputDataError: the table cannot be read.
        OutputError: the cache cannot be written.

    """
    path = cache_dir() / "songs" / f"{digest}.index"
    try:
        if SongIndex.open(path).digest == digest:
            return path
    except InputDataError:
        pass  # it is not there, or damaged
    write_index(path, _titles_and_texts(songs), digest)
    return path


def _index(songs: Path, digest: str) -> SongIndex:
    try:
        return SongIndex.open(cached_index(songs, digest))
    except OutputError:  # a cache that takes nothing
        return SongIndex.of(_titles_and_texts(songs))


def _titles_and_texts(songs: Path) -> Iterator[tuple[str, str]]:
    return ((song.song, song.text) for song in iterate_songs(songs, talks=False))


def _data_file(run: Path) -> tuple[Path, str]:
    """Where the songs of a run are now, and their digest, which is that of the run.

    Raises:
        InputDataError: it is not known, they are not there or have changed, or it was not trained on songs.

    """
    known = data_of_run(run)
    if known.get("recipe") not in (None, "lyrics", "rhymed-lyrics"):
        raise InputDataError(f"{run} was not trained on songs (recipe {known['recipe']}); {_REMEDY}")
    digest = known.get("digest", "").rpartition(":")[2]
    name = known.get("name", "")
    if not digest or not name:
        raise InputDataError(f"{run} does not say which songs it was trained on; {_REMEDY}")
    changed = None
    for place in _places(known):
        if content_digest(place) == digest:
            return place, digest
        changed = changed or place
    if changed is not None:
        raise InputDataError(f"{changed} has changed since {run} was trained on it; {_REMEDY}")
    raise InputDataError(
        f"the songs that {run} was trained on ({known.get('file', name)}) are not there; {_REMEDY}"
    )


def _places(known: dict[str, str]) -> Iterator[Path]:
    """The files that may be the data: where they were, as the settings name them, a data set of that name."""
    yield from (place for key in ("file", "name") if key in known and (place := Path(known[key])).is_file())
    try:
        found = locate(find_data_set(known["name"]))
    except Gpt2xError:
        return
    if found is not None:
        yield found
