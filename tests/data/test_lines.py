from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.data.lines import EndWordFilter, last_word, with_end_words, without_end_words
from gpt2x.data.lyrics import Song, read_songs, song_document


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('I said, "Don\'t go!"', "go"),
        ("rock 'n' roll —", "roll"),
        ("(haul away)", "away"),
        ("1999", ""),
        ("", ""),
    ],
)
def test_the_last_word_of_a_line_is_found_behind_punctuation(line: str, word: str) -> None:
    assert last_word(line) == word


@pytest.mark.parametrize(
    ("line", "planned"),
    [
        ("all the Night!", " night|all the Night!"),
        ("[Chorus]", "[Chorus]"),
        ("", ""),
        ("...", "..."),
        ("this|that", " that|this/that"),
        ("1 | 2", "1 / 2"),
    ],
)
def test_a_sung_line_comes_after_its_last_word(line: str, planned: str) -> None:
    assert with_end_words(line) == planned


def test_the_packaged_songs_come_back_as_they_were() -> None:
    for song in read_songs():
        assert without_end_words(song_document(song, end_words=True)) == song_document(song)


@given(st.text(alphabet="ab|[] \n'", max_size=60), st.lists(st.integers(1, 7), max_size=30))
def test_plans_disappear_however_the_text_is_cut(text: str, cuts: list[int]) -> None:
    planned = with_end_words(text)
    pieces, start = [], 0
    for length in (*cuts, len(planned)):
        pieces.append(planned[start : start + length])
        start += length
    lines = EndWordFilter()
    shown = "".join(map(lines.feed, pieces)) + lines.flush()
    assert shown == text.replace("|", "/")


def test_a_line_leaves_as_soon_as_its_plan_is_read() -> None:
    lines = EndWordFilter()
    assert [lines.feed(piece) for piece in (" go", "|I ", "will go", "\n", " so|")] == [
        "",
        "I ",
        "will go",
        "\n",
        "",
    ]


def test_a_document_with_end_words_keeps_its_head() -> None:
    document = song_document(Song("Ann", "Rain", "", "[Verse]\nIt falls"), end_words=True)
    assert document == "Rain\n\n[Verse]\n falls|It falls"
