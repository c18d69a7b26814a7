"""What `gpt2x sing` does for each song, on the command line and in its interactive mode: write, print, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.cli.typewriter import Typewriter
from gpt2x.console import emit_piece, is_terminal, say
from gpt2x.errors import Gpt2xError, InputDataError

if TYPE_CHECKING:
    from gpt2x.generate.engine import Engine, TextStream
    from gpt2x.generate.originality import Copied
    from gpt2x.generate.overlap_index import SongIndex
    from gpt2x.generate.song_settings import SongSettings

Song = dict[str, Any]
"""As ``--json`` prints it; the shape is documented in docs/reference/sing.md."""

DRAWS = 20
"""How often a song is drawn until it copies little enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Singer:
    """A model that is loaded, and what is wanted of each of its songs.

    Attributes:
        engine: writes.
        folder: where its model came from.
        options: of the command line, that chose the model: what repeats a song needs them too.
        index: songs to compare with; None does not compare.
        not_compared: why there is no index, for the score.
        max_copied: a song with more words in a row of one of these songs is drawn anew, with the next seed.
        score: tell rhymes, repeats and unknown words, settings, and the line that repeats the song.
        printing: print each song as it comes.
        typewriter: in a terminal, at the pace of a typist.

    """

    engine: Engine
    folder: Path
    options: Sequence[str] = ()
    index: SongIndex | None = None
    not_compared: str = ""
    max_copied: int | None = None
    score: bool = False
    printing: bool = True
    typewriter: bool = False

    def sing(self, settings: SongSettings, seed: int, *, announced: bool = False) -> Song:
        """Write one song, printed as it comes, and its report on stderr.

        Args:
            settings: what it depends on.
            seed: of the song.
            announced: `announce` has printed the title already.

        Raises:
            Gpt2xError: no draw copied so little as `max_copied` asks for.

        """
        if self.max_copied is None:
            return self._reported(*self._draw(settings, seed, self._printer(), announced), settings)
        song, copied = self._draw_an_original(settings, seed, self.max_copied)
        show = self._printer()
        for line in page_of(song).splitlines(keepends=True):
            show(line)
        return self._reported(song, copied, settings)

    def _draw_an_original(
        self, settings: SongSettings, seed: int, max_copied: int
    ) -> tuple[Song, Copied | None]:
        """Draw with this seed, the next and so on, until a song copies no more words in a row than it may."""
        from gpt2x.generate.song_settings import next_seed

        last = first = seed
        for _ in range(DRAWS):
            song, copied = self._draw(settings, seed, _show_nothing)
            if copied is None or copied.longest <= max_copied:
                return song, copied
            say(f"seed {seed} copies {copied.spans[0]}; drawn anew")
            last, seed = seed, next_seed(seed)
        raise Gpt2xError(
            f"{DRAWS} songs copied more than {max_copied} words in a row, seeds {first} to {last}; give a larger "
            "--max-copied, a higher --temperature or another --seed"
        )

    def _draw(
        self, settings: SongSettings, seed: int, show: Callable[[str], None], announced: bool = False
    ) -> tuple[Song, Copied | None]:
        """Write one song, shown as it comes, and compare it."""
        from gpt2x.generate.originality import copied_spans
        from gpt2x.generate.song_request import title_of
        from gpt2x.generate.song_settings import words_of_song

        topic = settings.request.topic
        if not announced:
            say(f"{self.folder}, seed {seed}")
        stream = settings.sing(self.engine, seed)
        title = next(stream) if announced else ""
        text = title + _collect(stream, show)
        song: Song = {
            "topic": topic,
            "title": title_of(topic),
            "text": words_of_song(text, topic),
            "seed": seed,
            "tokens": stream.num_tokens,
            "run": str(self.folder),
            "tokens_per_second": round(stream.num_tokens / max(stream.seconds, 1e-9), 1),
        }
        return song, None if self.index is None else copied_spans(song["text"], self.index)

    def _reported(self, song: Song, copied: Copied | None, settings: SongSettings) -> Song:
        """The song with its report, which is said too."""
        if not self.score:
            if copied is not None:
                say(f"copied: {copied}")
                song["copied"] = copied.to_dict()
            return song
        from gpt2x.generate.report import report
        from gpt2x.generate.rhyme import packaged_rhymes

        counted = report(song["text"], packaged_rhymes(), song["topic"])
        command = settings.command(song["seed"], *self.options)
        song |= {
            "score": counted.to_dict(),
            "copied": None if copied is None else copied.to_dict(),
            "settings": settings.to_dict(),
            "command": command,
        }
        lines = {
            "counted": str(counted),
            "copied": f"not compared: {self.not_compared}" if copied is None else str(copied),
            "settings": settings.in_words(),
            "again": command,
        }
        for name, line in lines.items():
            say(f"{name:<10} {line}")
        return song

    def _printer(self) -> Callable[[str], None]:
        if not self.printing:
            return _show_nothing
        return Typewriter(emit_piece) if self.typewriter and is_terminal(sys.stdout) else emit_piece


def announce(folder: Path, settings: SongSettings, seed: int) -> bool:
    """Print the title of a song before torch and the model are loaded, which takes longer than the first line.

    Returns:
        Whether it was printed: of the model that ships alone. Another may be damaged, and then no song begins.

    """
    from gpt2x.generate.song_request import title_of
    from gpt2x.model.runs import packaged_model

    if folder.resolve() != packaged_model().resolve():
        return False
    say(f"the lyric writer that ships with gpt2x, seed {seed}")
    emit_piece(f"{title_of(settings.request.topic)}\n\n")
    return True


def load_engine(folder: Path, device: str, weights: str | None) -> Engine:
    """Load the model of a folder, ready to write text.

    Raises:
        InputDataError: there is no tokenizer beside it.

    """
    from gpt2x.generate.engine import Engine
    from gpt2x.model.device import pick_device
    from gpt2x.model.folder import load_folder

    model, tokenizer = load_folder(folder, device=pick_device(device))
    if tokenizer is None:
        raise InputDataError(f"{folder} holds a model without a tokenizer; put its tokenizer.json beside it")
    return Engine(model, tokenizer, weights=weights)


def page_of(song: Song) -> str:
    """A song as it stands in a file: the title, an empty line, the words."""
    return f"{song['title']}\n\n{song['text']}\n"


def write_songs(out: Path, songs: Sequence[Song]) -> None:
    """Write songs into a file, in place of what was there.

    Raises:
        OutputError: it cannot be written.

    """
    from gpt2x.paths import atomic_write

    with atomic_write(out, text=True) as file:
        file.write("\n\n".join(map(page_of, songs)))
    say(f"written to {out}")


def find_songs(folder: Path, data: Path | None, *, must: bool) -> tuple[SongIndex | None, str]:
    """The songs with which those of a run are compared: of a file, else those of its training; and why there are none.

    Raises:
        InputDataError: there are none, and they `must` be.

    """
    from gpt2x.generate.training_songs import index_of_file, index_of_run

    try:
        return index_of_run(folder) if data is None else index_of_file(data), ""
    except InputDataError as error:
        if must:
            raise
        return None, str(error)


def _collect(stream: TextStream, show: Callable[[str], None]) -> str:
    """Take the pieces as they come, show them at once, and give the whole."""
    pieces = []
    try:
        for piece in stream:
            pieces.append(piece)
            show(piece)
    except KeyboardInterrupt:
        show("\n")
        raise
    show("\n")
    return "".join(pieces)


def _show_nothing(piece: str) -> None:
    """For a song that is not printed, or not yet."""
