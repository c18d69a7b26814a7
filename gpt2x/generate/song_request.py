"""What a song is to be, checked, and its title. Loads no torch: a title stands on the screen while the model loads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpt2x.data.lyrics import Tags
from gpt2x.errors import UsageError
from gpt2x.generate.sampling_config import SamplingConfig

SONG_SAMPLING = SamplingConfig(temperature=0.6, top_p=0.95, min_p=0.05)
"""A song should surprise, and still hang together."""

MIN_LINES, MAX_LINES = 8, 32
"""Before so many sung lines a song does not end; after so many it ends with the stanza."""

_SMALL_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "but", "by", "for", "from", "if", "in", "into"}
    | {"nor", "of", "on", "or", "the", "to", "up", "vs", "with"}
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def title_of(topic: str) -> str:
    """A topic in the letters of a title; capitals that are there stay, small words stay small inside.

    Raises:
        UsageError: there is no topic.

    >>> title_of("ex-girlfriend"), title_of("rain in the city"), title_of("don't call ANNA")
    ('Ex-Girlfriend', 'Rain in the City', "Don't Call ANNA")
    """
    topic = " ".join(topic.split())
    if not topic:
        raise UsageError("the topic is empty; say what to sing about, as in: gpt2x sing rain")
    words = list(_WORD.finditer(topic))

    def write(match: re.Match[str]) -> str:
        word = match.group()
        inside = words[0].start() < match.start() < words[-1].start()
        return word if inside and word in _SMALL_WORDS else word[0].upper() + word[1:]

    return _WORD.sub(write, topic)


@dataclass(frozen=True, kw_only=True, slots=True)
class SongRequest:
    """What to write.

    Attributes:
        topic: what the song is about; its title is made of it.
        mood: one word; "" leaves it to the model.
        form: verse-chorus, ballad or free; "" leaves it to the model.
        min_lines: before so many sung lines it does not end.
        max_lines: after so many it ends with the stanza.
        returning_chorus: a chorus that is announced again comes back word for word.
        candidates: drafts of a line that should rhyme; 1 takes every line as it comes.
        best_of: where the model plans its lines, so many drafts of each are compared; 1 takes the first as planned.
        only_words: such a model writes no word that is none, if its vocabulary is one of English songs.
        hook: the chorus names the topic if no line has done so before, where the model plans its lines.

    """

    topic: str
    mood: str = ""
    form: str = ""
    min_lines: int = MIN_LINES
    max_lines: int = MAX_LINES
    returning_chorus: bool = True
    candidates: int = 12
    best_of: int = 6
    only_words: bool = True
    hook: bool = True

    def __post_init__(self) -> None:
        title_of(self.topic)
        Tags(mood=self.mood, form=self.form)  # refuses a form that there is not
        if not 0 <= self.min_lines <= self.max_lines or not self.max_lines:
            raise UsageError(
                f"min_lines = {self.min_lines} and max_lines = {self.max_lines} fit no song; give min_lines from 0 on "
                "and max_lines no smaller"
            )
        for name in ("candidates", "best_of"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} drafts no line; give at least 1")
