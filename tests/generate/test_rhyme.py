from __future__ import annotations

import pytest

from gpt2x.generate.rhyme import Rhymes, packaged_rhymes


@pytest.mark.parametrize(
    ("one", "other", "rhymes"),
    [
        ("night", "light", True),
        ("Night", "write", True),
        ("night", "night", False),
        ("running", "runnin'", False),
        ("singin'", "bringing", True),
        ("heart", "hat", False),
        ("again", "pen", True),
        ("again", "rain", True),
        ("yesterday", "say", True),
        ("flooring", "boring", True),
        ("xqzzy", "fizzy", False),
    ],
)
def test_words_rhyme_that_sound_alike_from_the_stressed_vowel_on(one: str, other: str, rhymes: bool) -> None:
    table = packaged_rhymes()
    assert table.rhyme(one, other) is rhymes
    assert table.rhyme(other, one) is rhymes


def test_the_table_knows_the_words_of_songs_and_no_others() -> None:
    table = packaged_rhymes()
    assert all(map(table.knows, ["love", "mother's", "dancin'", "don’t"]))
    assert not any(map(table.knows, ["", "lorest", "gleebrose"]))


def test_a_word_with_two_pronunciations_rhymes_with_both() -> None:
    table = Rhymes("IY D\tread need\nEH D\tread bed")
    assert table.rhyme("read", "need")
    assert table.rhyme("bed", "read")
    assert not table.rhyme("bed", "need")


def test_the_words_that_rhyme_are_those_of_which_it_is_said() -> None:
    table = packaged_rhymes()
    found = table.rhymes_of("Singing")
    assert {"bringing", "ringing"} <= set(found)
    assert "singing" not in found
    assert all(table.rhyme("singing", other) for other in found)
    assert table.rhymes_of("gleebrose") == []
