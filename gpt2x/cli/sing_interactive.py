"""`gpt2x sing` at a terminal, without a topic: it asks for one, sings, and asks what to sing next.

Answers are lines: a letter or a word, then Enter. What was typed is read as bytes, since a terminal can send any.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2x.cli.sing_song import Singer, Song, page_of
from gpt2x.console import clean, emit, say
from gpt2x.errors import Gpt2xError, OutputError, quoted

if TYPE_CHECKING:
    from gpt2x.generate.song_settings import SongSettings

TOPIC = "What shall I sing about? "
OFFERS = "[a]gain, [l]onger, another [m]ood, [k]eep, [n]ew topic, [q]uit? "
CHOICES = ("again", "longer", "mood", "keep", "new", "quit")
"""No two begin with the same letter."""

Ask = Callable[[str], str | None]
"""Shows a question and gives the answer, None at the end of input."""


def ask(question: str) -> str | None:
    """Ask on the terminal; None at the end of input (Ctrl-D).

    Raises:
        KeyboardInterrupt: Ctrl-C.

    """
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        line = sys.stdin.buffer.readline()
    except KeyboardInterrupt:
        say()  # what follows stands on a line of its own
        raise
    if not line:
        say()
        return None
    return line.decode(sys.stdin.encoding or "utf-8", "replace").strip()


def converse(singer: Singer, settings: SongSettings, seed: int, ask: Ask = ask) -> None:
    """Sing until the listener has heard enough.

    Args:
        singer: the model.
        settings: of the first song, whose topic is asked for.
        seed: of the first song.
        ask: how the listener is asked.

    """
    try:
        _Conversation(singer, settings, seed, ask).run()
    except EOFError:
        return


class _Conversation:
    """What was sung last, and what the listener wants next."""

    def __init__(self, singer: Singer, settings: SongSettings, seed: int, ask: Ask) -> None:
        self.singer, self.settings, self.seed, self._ask = singer, settings, seed, ask
        self.usual = settings.request.min_lines, settings.request.max_lines, settings.max_tokens
        self.song: Song = {}
        self.kept = False

    def run(self) -> None:
        """Ask and sing, until "quit".

        Raises:
            EOFError: the input ended.

        """
        actions = {
            "again": self._again,
            "longer": self._longer,
            "mood": self._mood,
            "keep": self._keep,
            "new": self._new,
        }
        self._new("")
        while True:
            name, rest = self._choice()
            if name == "quit":
                return
            try:
                actions[name](rest)
            except (
                Gpt2xError
            ) as error:  # a mood that is none, a folder that is full: nothing that was sung is lost
                if isinstance(error, OutputError) and name != "keep":
                    raise
                say(str(error))

    def _answer(self, question: str) -> str:
        answer = self._ask(question)
        if answer is None:
            raise EOFError
        return answer

    def _choice(self) -> tuple[str, str]:
        """What to do, and what was said with it: "mood sad" is one answer."""
        while True:
            answer = self._answer(OFFERS)
            word, _, rest = answer.partition(" ")
            found = [name for name in CHOICES if word and name.startswith(word.lower())]
            if found:
                return found[0], rest.strip()
            if answer:
                say(f"{quoted(answer)} is none of these; type a letter or a word, then Enter")

    def _sing(self) -> None:
        self.song = self.singer.sing(self.settings, self.seed)
        self.seed = self.song["seed"]  # another one where songs are drawn until they copy little
        self.kept = False
        emit("")

    def _again(self, _: str) -> None:
        """The same with another seed."""
        from gpt2x.generate.song_settings import next_seed

        self.seed = next_seed(self.seed)
        self._sing()

    def _longer(self, _: str) -> None:
        """The same seed, with more lines."""
        sung = [line for line in self.song["text"].split("\n") if line.strip() and not line.startswith("[")]
        self.settings = self.settings.longer_than(len(sung))
        self._sing()

    def _mood(self, mood: str) -> None:
        """The same topic and seed in another mood; an empty answer leaves it to the model."""
        from gpt2x.generate.song_settings import MOODS, one_word

        mood = mood or self._answer(f"Which mood ({', '.join(MOODS[:8])} …)? ")
        self.settings = self.settings.asking(mood=one_word("mood", mood))
        self._sing()

    def _new(self, topic: str) -> None:
        """Another topic, in the usual length."""
        from gpt2x.generate.song_settings import plain_topic

        while True:
            try:
                topic = plain_topic(topic or self._answer(TOPIC))
                break
            except Gpt2xError as error:
                say(str(error))
                topic = ""
        min_lines, max_lines, max_tokens = self.usual
        self.settings = dataclasses.replace(
            self.settings.asking(topic=topic, min_lines=min_lines, max_lines=max_lines), max_tokens=max_tokens
        )
        self._sing()

    def _keep(self, _: str) -> None:
        """Save the song into a new file of this folder, and say how to have it sung again."""
        if self.kept:
            say("it is kept already")
            return
        name = keep(self.song, Path())
        self.kept = True
        say(f"kept in {name}; again by: {self.settings.command(self.seed, *self.singer.options)}")


def keep(song: Song, folder: Path) -> Path:
    """Write a song into a file that was not there, named by title and seed.

    Raises:
        OutputError: it cannot be written.

    """
    from gpt2x.paths import atomic_write

    stem = re.sub(r"[^\w]+", "-", clean(song["title"]).lower()).strip("-_")[:40] or "song"
    for number in range(1, 1000):
        path = folder / f"{stem}-{song['seed']}{f'-{number}' if number > 1 else ''}.txt"
        if not path.exists():
            with atomic_write(path, text=True) as file:
                file.write(page_of(song))
            return path
    raise OutputError(f"there are a thousand songs like {path}; keep this one in another folder")
