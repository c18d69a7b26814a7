from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.data.lines import words_of
from gpt2x.generate.song_words import SongWords, WordGuard, is_of_songs, packaged_words

WORDS = SongWords(common=["a", "ab", "day", "going"], others=["abba", "don't"])


@pytest.mark.parametrize(
    "word", ["Day", "day's", "day'll", "goin'", "don't", "DON'T", "don’t", "day'", "愛", "été"]
)
def test_words_with_endings_and_of_other_scripts_are_words(word: str) -> None:
    assert WORDS.knows(word)


@pytest.mark.parametrize("word", ["dayly", "abb", "zzz", "day'x", "'"])
def test_what_is_in_no_list_is_no_word(word: str) -> None:
    assert not WORDS.knows(word)


def test_a_topic_brings_its_own_words() -> None:
    assert WORDS.with_words(["Zzz’s"]).knows("zzz's")
    assert not WORDS.with_words(["Zzz"]).is_common("zzz")


@given(
    st.lists(
        st.sampled_from(["a", "b", "ab", "ba", " ", " a", " d", "ay", "!", "\n", "'", "s", "on't", " 7"])
    )
)
def test_a_line_of_allowed_tokens_has_only_words_and_no_other_line_has(tokens: list[str]) -> None:
    """The guard against its definition: each word before the last is known, and the last one still can be."""
    guard, line = WordGuard(WORDS), ""
    for token in tokens:
        words = words_of(line + token)
        is_open = bool(words) and (line + token).endswith(words[-1])
        finished = words[:-1] if is_open else words
        expected = all(map(WORDS.knows, finished)) and (not is_open or WORDS.begins(words[-1]))
        assert guard.allows(line, token) == expected, (line, token)
        if expected:
            line += token


def test_every_beginning_of_a_word_can_go_on() -> None:
    assert all(
        WORDS.begins(word[:end]) for word in ("abba", "don't", "day's") for end in range(1, len(word) + 1)
    )
    assert not WORDS.begins("abbb")


def test_a_vocabulary_of_another_language_is_told_from_that_of_songs() -> None:
    class Vocabulary:
        def __init__(self, text: str) -> None:
            self.tokens = [f" {word}".encode() for word in text.split()]
            self.n_vocab = len(self.tokens) + 1

        def decode_single_token_bytes(self, token: int) -> bytes:
            if token == len(self.tokens):
                raise KeyError(token)
            return self.tokens[token]

    def is_english(text: str) -> Any:
        return is_of_songs(Vocabulary(text), packaged_words())

    assert is_english("night window coffee raining dance")
    assert not is_english("nuit fenetre cafetiere pleuvoir danse")
    assert not is_english("la le un"), "too short to tell"


def test_the_packaged_words_are_what_songs_use() -> None:
    words = packaged_words()
    assert all(map(words.is_common, ["night", "rain", "heart", "kitchen"]))
    assert all(words.knows(word) and not words.is_common(word) for word in ["megaphone"])
    assert not any(map(words.knows, ["parrotest", "gees", "maese"]))
    assert re.fullmatch(r"[a-z' ]+", " ".join(sorted(words._known)))
