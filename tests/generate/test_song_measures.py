"""Figures over many songs."""

from __future__ import annotations

from gpt2x.generate.originality import Copied, Span
from gpt2x.generate.report import report
from gpt2x.generate.rhyme import Rhymes
from gpt2x.generate.song_measures import MEASURES, TOPICS, SungSong, measured

RHYMES = Rhymes("AY T\tnight light\nEY\tday say")


def song(text: str, *, copied: int | None, ended: bool = True) -> SungSong:
    spans = () if not copied else (Span(copied, "", ""),)
    return SungSong(
        topic="light",
        seed=1,
        text=text,
        report=report(text, RHYMES, "light"),
        ended=ended,
        copied=None if copied is None else Copied(spans, 9, 1),
    )


def test_medians_shares_and_the_largest_copy() -> None:
    songs = [
        song("night\nlight", copied=3),
        song("night\nday", copied=0, ended=False),
        song("day\nsay\nlight", copied=9),
        song("day\nsay\nday\nsay", copied=4),
    ]
    figures = measured(songs)
    assert list(figures) == [measure.name for measure in MEASURES]
    assert figures["rhymed"] == (2 / 3 + 1) / 2
    assert (figures["has_topic"], figures["ended"]) == (0.5, 0.75)
    assert (figures["copied"], figures["copied_most"], figures["lines"]) == (3.5, 9, 2.5)


def test_a_figure_that_some_song_lacks_is_none_and_shown_as_unknown() -> None:
    figures = measured([song("night", copied=None), song("day", copied=5)])
    assert figures["copied"] is None
    assert [m.show(figures[m.name]) for m in MEASURES][-2:] == ["unknown", "unknown"]


def test_the_topics_are_twenty_and_different() -> None:
    assert len(set(TOPICS)) == 20
