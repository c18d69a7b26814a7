from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from gpt2x.generate.originality import OverlapIndex

words = st.lists(st.sampled_from(["rain", "love", "you", "me", "and", "the"]), max_size=25).map(" ".join)


def longest_by_hand(text: str, corpus: list[str]) -> int:
    mine = text.split()
    best = 0
    for song in corpus:
        padded = f" {song} "
        for start in range(len(mine)):
            for end in range(start + best + 1, len(mine) + 1):
                if f" {' '.join(mine[start:end])} " not in padded:
                    break
                best = end - start
    return best if best >= 3 else 0


@given(text=words, corpus=st.lists(words, max_size=5))
def test_the_longest_run_is_found_and_never_goes_from_one_song_into_the_next(
    text: str, corpus: list[str]
) -> None:
    index = OverlapIndex([(str(number), song) for number, song in enumerate(corpus)])
    run = index.longest_shared_run(text)
    assert run.words == longest_by_hand(text, corpus)
    if run.words:
        assert len(run.text.split()) == run.words
        assert f" {run.text} " in f" {text} "
        assert f" {run.text} " in f" {corpus[int(run.title)]} "
        assert run.share == run.words / len(text.split())


def test_case_punctuation_and_line_ends_do_not_hide_a_copy() -> None:
    index = OverlapIndex([("Storm", "It's RAINING,\nagain! on you’re house"), ("Sun", "nothing here at all")])
    run = index.longest_shared_run("oh — it’s raining again, on\n\nyou're   HOUSE tonight")
    assert (run.words, run.title) == (6, "Storm")
    assert run.text == "it’s raining again, on you're HOUSE"
    assert '6 words ("it’s raining again, on you\'re HOUSE") with "Storm"' in str(run)


def test_markers_are_no_words() -> None:
    index = OverlapIndex([("Rain", "[Verse 1]\nI walk\n[Chorus]\nalone in")])
    run = index.longest_shared_run("[Verse 1]\nI walk alone")
    assert (run.words, run.text) == (3, "I walk alone")


@given(text=st.text())
def test_any_text_shares_all_its_words_with_itself(text: str) -> None:
    run = OverlapIndex([("same", text)]).longest_shared_run(text)
    assert run.share in (0.0, 1.0)


def test_a_song_of_the_corpus_is_wholly_copied() -> None:
    song = "we were young and the night was long and the night was young"
    run = OverlapIndex([("Night", song)]).longest_shared_run(song)
    assert (run.share, run.title) == (1.0, "Night")


def test_an_original_an_empty_text_and_an_empty_corpus_share_nothing() -> None:
    index = OverlapIndex([("Rain", "I walk alone in the rain")])
    for text in ("", "??", "a b", "he walks alone with the rain"):
        run = index.longest_shared_run(text)
        assert (run.words, run.share, run.title) == (0, 0.0, "")
        assert re.match("no 3 words", str(run))
    assert OverlapIndex([]).longest_shared_run("I walk alone").words == 0
    assert OverlapIndex([("Empty", "")]).longest_shared_run("I walk alone").words == 0
