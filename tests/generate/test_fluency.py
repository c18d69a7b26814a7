"""A judge of songs that had no part in them: trigrams of English, and what it says without them."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from gpt2x.data.lyrics import read_songs
from gpt2x.errors import MissingComponentError
from gpt2x.generate import fluency as judge

BIT = 6932
"""Steps of log 1.0001 in a bit."""


class Trigrams:
    """Knows how many words it was given, and one word not at all."""

    def prob(self, words: list[str]) -> int:
        return -(2**29) if words[0] == "qxz" else -BIT * len(words)


@pytest.fixture
def trigrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_trigrams", Trigrams)
    judge._bits.cache_clear()


@pytest.mark.usefixtures("trigrams")
def test_a_word_is_judged_by_the_two_before_it_and_each_line_begins_anew() -> None:
    assert judge.fluency("[Verse]\nI love\n\nYou") == pytest.approx(-(2 + 3 + 2) / 3, rel=1e-3)


@pytest.mark.usefixtures("trigrams")
def test_an_unknown_word_costs_twenty_bits_and_nothing_sung_is_as_bad() -> None:
    assert judge.fluency("qxz") == judge.fluency("[Chorus]\n") == judge.UNKNOWN_WORD


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *rest: Any) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find)
    judge._trigrams.cache_clear()
    judge._bits.cache_clear()
    with pytest.raises(MissingComponentError, match=r"pip install gpt2x\[judge\]"):
        judge.fluency("rain")


def test_it_asks_for_the_last_word_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Asked:
        def prob(self, words: list[str]) -> int:
            asked.append(words)
            return 0

    monkeypatch.setattr(judge, "_trigrams", Asked)
    judge._bits.cache_clear()
    judge.fluency("I love you")
    judge._bits.cache_clear()
    assert asked == [["i", "<s>"], ["love", "i", "<s>"], ["you", "love", "i"]]


def test_the_packaged_songs_are_english_to_it_and_their_words_backwards_are_not() -> None:
    pytest.importorskip(judge.PACKAGE)
    judge._trigrams.cache_clear()
    texts = [song.text for song in read_songs()[:20]]
    backwards = ["\n".join(" ".join(line.split()[::-1]) for line in text.split("\n")) for text in texts]
    assert sum(map(judge.fluency, texts)) / 20 > -9 > sum(map(judge.fluency, backwards)) / 20
