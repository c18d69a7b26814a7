from __future__ import annotations

import pytest

from gpt2x.data.lyrics import read_songs
from gpt2x.generate.report import report
from gpt2x.generate.rhyme import Rhymes, packaged_rhymes

RHYMES = Rhymes("AY T\tnight light bright\nEY\tday say\nOW\tgo snow\nX\tall no so i we")


@pytest.mark.parametrize(
    ("text", "rhymed", "scheme"),
    [
        ("all night\nall day\nno light\nI say", 1.0, ("ABAB",)),
        ("all night\nno light\nall day\nwe go", 0.5, ("AABC",)),
        ("all night\nall night", 0.0, ("AA",)),
        ("all night\n\nno light", 0.0, ("A", "A")),
        ("[Verse]\nall night\nno light\n\n[Chorus]\nwe go", 2 / 3, ("AA", "A")),
        ("all night\nday\nday\nday\nday\nno light", 0.0, ("ABBBBA",)),
        ("", 0.0, ()),
        ("[Chorus]", 0.0, ()),
    ],
)
def test_rhymes_are_counted_within_reach_in_a_stanza(
    text: str, rhymed: float, scheme: tuple[str, ...]
) -> None:
    found = report(text, RHYMES)
    assert found.rhymed == pytest.approx(rhymed)
    assert found.scheme == scheme


def test_repeats_unknown_words_and_pairs_are_shares() -> None:
    found = report("all night\nall night\nzzz day\nall night", RHYMES)
    assert found.lines == 4
    assert found.repeated == 0.5
    assert found.unknown == 1 / 8
    assert found.distinct_2 == pytest.approx(5 / 7)


@pytest.mark.parametrize(
    ("topic", "sung", "named"),
    [
        ("the rain", "it rains", True),
        ("running", "I run away", False),
        ("dancing", "we danced", True),
        ("my ex", "my ex is here", True),
        ("the sea", "the boat", False),
        ("ex-girlfriend", "a girlfriend", True),
    ],
)
def test_a_topic_is_named_by_one_of_its_words_in_any_form(topic: str, sung: str, named: bool) -> None:
    assert report(sung, RHYMES, topic).has_topic is named


def test_songs_that_people_wrote_rhyme_and_are_words() -> None:
    table = packaged_rhymes()
    found = [report(song.text, table, song.song) for song in read_songs()]
    rhymed, unknown = (
        sorted(getattr(one, name) for one in found)[len(found) // 2] for name in ("rhymed", "unknown")
    )
    assert rhymed > 0.7
    assert unknown < 0.02
