"""All listeners' songs from one thread: each in turn gets its next piece.

The model uses all the cores that it may for one token. Two songs at once on two threads would have their cores wait for
one another at every step, so one thread writes them all, a piece of each in turn: fair, and as fast as one after the
other. A listener takes pieces from a queue of its own; one that goes away is forgotten at its next turn.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpt2x.errors import Gpt2xError
from gpt2x.generate.engine import Engine, TextStream
from gpt2x.generate.song_settings import SongSettings

MAX_SONGS = 4
"""So many are written at the same time; whoever asks for another has to wait."""


class Busy(Gpt2xError):
    """There are as many songs as can be written at the same time."""


class Stopped(Gpt2xError):
    """The server ends."""


@dataclass(slots=True, eq=False)
class Performance(Iterator[str]):
    """One song on its way to one listener; iterating waits for its pieces and raises what ended it early."""

    settings: SongSettings
    seed: int
    stream: TextStream | None = None
    left: bool = False
    _pieces: queue.SimpleQueue[str | BaseException | None] = field(default_factory=queue.SimpleQueue)

    def __next__(self) -> str:
        piece = self._pieces.get()
        if piece is None:
            raise StopIteration
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def leave(self) -> None:
        """The listener goes; nothing more is written."""
        self.left = True


class Singers:
    """The thread that writes.

    Args:
        engine: the model.

    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._songs: deque[Performance] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="gpt2x-singer", daemon=True)
        self._thread.start()

    def sing(self, settings: SongSettings, seed: int) -> Performance:
        """Begin a song.

        Raises:
            Busy: there are too many.
            Stopped: `stop` was called.

        """
        song = Performance(settings, seed)
        with self._changed:
            if self._stopping:
                raise Stopped("the singer stops; start it again")
            if sum(not other.left for other in self._songs) >= MAX_SONGS:
                raise Busy(f"{MAX_SONGS} songs are being written already; wait until one ends")
            self._songs.append(song)
            self._changed.notify()
        return song

    def stop(self) -> None:
        """End all songs, and the thread after the piece that it writes now."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (song := self._next_song()) is not None:
            done = song.left or self._write_a_piece(song)
            with self._changed:
                self._songs.rotate(-1)
                if done:
                    self._songs.remove(song)
        for song in self._songs:
            song._pieces.put(Stopped("the singer was stopped; start it again"))

    def _next_song(self) -> Performance | None:
        with self._changed:
            self._changed.wait_for(lambda: self._songs or self._stopping)
            return None if self._stopping else self._songs[0]

    def _write_a_piece(self, song: Performance) -> bool:
        """Whether the song is over."""
        try:
            if song.stream is None:
                song.stream = song.settings.sing(self._engine, song.seed)
            piece = next(song.stream, None)
        except Exception as error:  # the listener hears of it; the others' songs go on
            song._pieces.put(error)
            return True
        song._pieces.put(piece)
        return piece is None
