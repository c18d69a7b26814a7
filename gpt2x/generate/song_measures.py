"""How good the songs of a model are, as far as that can be counted: the same topics and seeds, and medians over them.

One song tells little, since another seed is another song. What the measures say and what they do not:
docs/benchmarks/songs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from gpt2x.generate.engine import Engine
from gpt2x.generate.lyrics import SONG_SAMPLING, SongRequest
from gpt2x.generate.originality import Copied, copied_spans
from gpt2x.generate.overlap_index import SongIndex
from gpt2x.generate.report import SongReport, report
from gpt2x.generate.rhyme import packaged_rhymes
from gpt2x.generate.sampling import SamplingConfig
from gpt2x.generate.song_settings import SongSettings, words_of_song

TOPICS = (
    *(
        "ex-girlfriend",
        "rain",
        "my mother",
        "night shift",
        "the sea",
        "pizza",
        "my dog",
        "divorce",
        "first snow",
    ),
    *("the bus", "money", "insomnia", "wedding", "grandfather", "my phone", "summer", "moving out", "robot"),
    *("the train", "forgiveness"),
)
"""What people ask for, from the plain to the odd; chosen before any model was measured with them."""


@dataclass(frozen=True, slots=True)
class SungSong:
    """A song and what was counted of it.

    Attributes:
        topic: what was asked for.
        seed: of the song.
        text: without the title.
        report: its lines and words.
        ended: it ended before the tokens did.
        copied: what it shares with the songs of the training; None where they were not compared.
        fluency: bits a word, as a judge says that had no part in it; None without one.

    """

    topic: str
    seed: int
    text: str
    report: SongReport
    ended: bool
    copied: Copied | None
    fluency: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``, without the text."""
        copied = None if self.copied is None else self.copied.longest
        return {
            "topic": self.topic,
            "seed": self.seed,
            **self.report.to_dict(),
            "ended": self.ended,
            "copied": copied,
            "fluency": self.fluency,
        }


def sing_all(
    engine: Engine,
    topics: Iterable[str],
    seeds: Iterable[int],
    *,
    index: SongIndex | None = None,
    sampling: SamplingConfig = SONG_SAMPLING,
    judge: Callable[[str], float] | None = None,
) -> Iterator[SungSong]:
    """Write a song for each topic and seed, as `gpt2x sing TOPIC --seed N` does with the same settings, and count.

    `judge` says how fluent a song is, as `gpt2x.generate.fluency.fluency` does.

    Raises:
        UsageError: a topic is empty.

    """
    seeds = tuple(seeds)
    for topic in topics:
        settings = SongSettings(request=SongRequest(topic=topic), sampling=sampling)
        for seed in seeds:
            stream = settings.sing(engine, seed)
            text = words_of_song("".join(stream), topic)
            yield SungSong(
                topic,
                seed,
                text,
                report(text, packaged_rhymes(), topic),
                stream.num_tokens < settings.max_tokens,
                None if index is None else copied_spans(text, index, at_most=1),
                None if judge is None else judge(text),
            )


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of many songs.

    Attributes:
        name: for ``--json``.
        label: for people.
        value: of one song.
        format: how the figure is shown.
        over: what is made of the values.

    """

    name: str
    label: str
    value: Callable[[SungSong], float | None]
    format: str
    over: Callable[[Sequence[float]], float] = median

    def of(self, songs: Sequence[SungSong]) -> float | None:
        """The figure; None where some song has no value."""
        values = [value for song in songs if (value := self.value(song)) is not None]
        return float(self.over(values)) if values and len(values) == len(songs) else None

    def show(self, figure: float | None) -> str:
        """The figure for people."""
        return "unknown" if figure is None else format(figure, self.format)


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _copied(song: SungSong) -> float | None:
    return None if song.copied is None else song.copied.longest


MEASURES = (
    Measure("rhymed", "lines that rhyme within 4 lines of their stanza", lambda s: s.report.rhymed, ".2f"),
    Measure("unknown", "words that are in no dictionary", lambda s: s.report.unknown, ".1%"),
    Measure("repeated", "lines that repeat", lambda s: s.report.repeated, ".0%"),
    Measure("distinct_2", "different pairs among the first 200 words", lambda s: s.report.distinct_2, ".2f"),
    Measure("has_topic", "the topic is named (share of songs)", lambda s: s.report.has_topic, ".0%", _share),
    Measure("ended", "the song ends by itself (share of songs)", lambda s: s.ended, ".0%", _share),
    Measure("lines", "sung lines", lambda s: s.report.lines, ".0f"),
    Measure("fluency", "log2 of a word's probability (pocketsphinx)", lambda s: s.fluency, ".1f"),
    Measure("copied", "words of the longest copied span", _copied, ".0f"),
    Measure("copied_most", "the same, of the song that copies most", _copied, ".0f", max),
)
"""Medians over the songs unless the label says otherwise."""


def measured(songs: Sequence[SungSong]) -> dict[str, float | None]:
    """All figures of some songs, by name."""
    return {measure.name: measure.of(songs) for measure in MEASURES}
