"""What a listener asks for, made fit to be sung: the command line, the interactive mode and the local page share it.

Words that come from outside are cleaned here, before they become part of a song: whatever could steer a terminal is
replaced in the topic itself, so that it reaches neither the screen nor a pipe, a file or a page.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpt2x.console import clean
from gpt2x.errors import UsageError, quoted
from gpt2x.generate.sampling_config import SamplingConfig
from gpt2x.generate.song_request import MAX_LINES, MIN_LINES, SONG_SAMPLING, SongRequest, title_of

if TYPE_CHECKING:
    from gpt2x.generate.engine import Engine, TextStream

MOODS = (
    *("funny", "tender", "playful", "romantic", "wistful", "happy", "calm", "sad", "nostalgic", "hopeful"),
    *("lonely", "proud", "defiant", "restless", "bitter", "spooky", "grateful", "angry"),
)
"""The moods of the packaged songs, the most frequent first. Any other word may be asked for."""

MAX_TOKENS = 900
"""The longest song, in tokens, unless more lines are asked for than fit."""

TOPIC_CHARACTERS, WORD_CHARACTERS = 200, 40
LONGEST_LINES = 200
"""`longer` goes no further."""

_TOKENS_A_LINE = 16
"""Room for a line, its label's and the empty line's share included: the packaged model needs 10 on average."""

_SEEDS = 2**63


def plain_topic(text: str) -> str:
    """A topic on one line, in which control characters and lone surrogates have become U+FFFD.

    Raises:
        UsageError: it is empty or longer than 200 characters.

    >>> plain_topic(" rain \\x1b[2J\\n")
    'rain \ufffd[2J'
    """
    topic = " ".join(clean(text).split())
    if len(topic) > TOPIC_CHARACTERS:
        raise UsageError(
            f"the topic {quoted(topic)} has {len(topic)} characters; give at most {TOPIC_CHARACTERS}"
        )
    title_of(topic)  # refuses an empty one
    return topic


def one_word(name: str, value: str) -> str:
    """A mood or a form, which fits into one line of a song's head.

    Args:
        name: how the listener calls it, for the error.
        value: "" leaves it to the model.

    Raises:
        UsageError: it has control characters or more than 40 characters.

    """
    word = " ".join(value.split())
    if not word.isprintable() or len(word) > WORD_CHARACTERS:
        raise UsageError(f"{name} {quoted(value)} is no mood or form; give one word")
    return word.lower()


def next_seed(seed: int) -> int:
    """The seed of the next song; after the largest comes 0."""
    return (seed + 1) % _SEEDS


def words_of_song(text: str, topic: str) -> str:
    """A song as `sing` streams it, without the title that it begins with."""
    return text.removeprefix(title_of(topic)).strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class SongSettings:
    """All that a song depends on, but for the model and the seed.

    Attributes:
        request: topic, mood, form and lengths.
        sampling: how a token is chosen.
        max_tokens: the longest song.
        stop: texts before which it ends.

    """

    request: SongRequest
    sampling: SamplingConfig = field(default=SONG_SAMPLING)
    max_tokens: int = MAX_TOKENS
    stop: tuple[str, ...] = ()

    def sing(self, engine: Engine, seed: int) -> TextStream:
        """The song, piece by piece, the title first."""
        from gpt2x.generate.lyrics import sing  # loads torch, which settings do not need

        return sing(
            engine,
            self.request,
            max_tokens=self.max_tokens,
            sampling=self.sampling,
            seed=seed,
            stop_strings=self.stop,
        )

    def asking(self, **changes: Any) -> SongSettings:
        """The same with other fields of the request."""
        return dataclasses.replace(self, request=dataclasses.replace(self.request, **changes))

    def with_lines(self, lines: int) -> SongSettings:
        """The same, ending with the stanza that reaches so many lines; there are tokens enough for them."""
        changed = self.asking(min_lines=min(self.request.min_lines, lines), max_lines=lines)
        return dataclasses.replace(changed, max_tokens=max(self.max_tokens, lines * _TOKENS_A_LINE))

    def longer_than(self, lines: int) -> SongSettings:
        """The same, for a song that goes on where one of so many lines ended.

        Raises:
            UsageError: it is as long as it gets.

        """
        at_least = lines + max(4, lines // 2)
        if at_least > LONGEST_LINES:
            raise UsageError(
                f"the song has {lines} lines and gets no longer; ask for another, or give --lines"
            )
        return self.with_lines(at_least + 8).asking(min_lines=at_least)

    def command(self, seed: int, *more: str) -> str:
        """The line that writes the same song again, with the same model.

        Args:
            seed: of the song.
            more: options that do not belong to the song, such as ``--run``.

        >>> SongSettings(request=SongRequest(topic="my ex", mood="sad")).command(7)
        "gpt2x sing 'my ex' --mood sad --seed 7"
        """
        changed = (word for option in self._changed_options() for word in option)
        words = ["gpt2x", "sing", *changed, "--seed", str(seed), *more]
        topic = self.request.topic
        if topic.startswith("-"):
            return shlex.join([*words, "--", topic])
        return shlex.join([*words[:2], topic, *words[2:]])

    def to_dict(self) -> dict[str, Any]:
        """All that can be chosen, by name, for ``--json``; the topic and the seed stand elsewhere."""
        request, sampling = dataclasses.asdict(self.request), dataclasses.asdict(self.sampling)
        del request["topic"], sampling["logit_bias"]
        return {**request, **sampling, "max_tokens": self.max_tokens, "stop": list(self.stop)}

    def in_words(self) -> str:
        """What a song depends on, for a person: what is usual, and what else was chosen.

        >>> SongSettings(request=SongRequest(topic="rain", mood="sad")).in_words()
        "mood sad, the model's form, 8 to 32 lines, 12 drafts, best of 6, temperature 0.6, top-p 0.95, min-p 0.05"
        """
        request, sampling = self.request, self.sampling
        words = [
            f"mood {request.mood}" if request.mood else "the model's mood",
            f"form {request.form}" if request.form else "the model's form",
            f"{request.min_lines} to {request.max_lines} lines",
            f"{request.candidates} drafts",
            f"best of {request.best_of}",
            f"temperature {sampling.temperature:g}",
            f"top-p {sampling.top_p:g}",
            f"min-p {sampling.min_p:g}",
        ]
        told = (
            "--mood",
            "--form",
            "--lines",
            "--min-lines",
            "--drafts",
            "--best-of",
            "--temperature",
            "--top-p",
            "--min-p",
        )
        more = [shlex.join(option) for option in self._changed_options() if option[0] not in told]
        return ", ".join([*words, *more])

    def _changed_options(self) -> Iterator[tuple[str, ...]]:
        """The options that are not as usual, each with its value."""
        request, usual = self.request, SongRequest(topic="x")
        values: dict[str, tuple[Any, Any]] = {
            "--mood": (request.mood, ""),
            "--form": (request.form, ""),
            "--lines": (request.max_lines, MAX_LINES),
            "--min-lines": (request.min_lines, min(MIN_LINES, request.max_lines)),
            "--drafts": (request.candidates, usual.candidates),
            "--best-of": (request.best_of, usual.best_of),
            "--max-tokens": (self.max_tokens, MAX_TOKENS),
        }
        for option in dataclasses.fields(SamplingConfig):
            if option.name != "logit_bias":  # which no option can say
                name = "--" + option.name.replace("_", "-")
                values[name] = getattr(self.sampling, option.name), getattr(SONG_SAMPLING, option.name)
        for name, (value, usual) in values.items():
            if value != usual:
                yield (name, str(value))
        if not request.returning_chorus:
            yield ("--no-chorus",)
        if not request.only_words:
            yield ("--any-words",)
        for text in self.stop:
            yield ("--stop", text)
