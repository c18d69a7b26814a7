"""What is copied: spans against a search by hand, the index in memory and on disk, and files that are damaged."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.errors import InputDataError
from gpt2x.generate import overlap_index
from gpt2x.generate.originality import copied_spans
from gpt2x.generate.overlap_index import SongIndex, write_index

words = st.lists(st.sampled_from(["rain", "love", "you", "me", "and", "the"]), max_size=25).map(" ".join)
SONGS = [("Storm", "It's RAINING,\nagain! on you’re house"), ("Sun", "nothing here at all, and nobody near")]


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
def test_the_longest_span_is_found_and_never_goes_from_one_song_into_the_next(
    text: str, corpus: list[str]
) -> None:
    index = SongIndex.of((str(number), song) for number, song in enumerate(corpus))
    copied = copied_spans(text, index)
    assert copied.longest == longest_by_hand(text, corpus)
    for span in copied.spans:
        assert len(span.text.split()) == span.words
        assert f" {span.text} " in f" {text} "
        assert f" {span.text} " in f" {corpus[int(span.title)]} "
    assert copied.share == copied.longest / max(1, len(text.split()))


def test_several_spans_are_named_the_longest_first_each_with_its_song_and_once() -> None:
    text = "nothing here at all\nla la it's raining again on\nnothing here at all"
    copied = copied_spans(text, SongIndex.of(SONGS))
    assert [(span.words, span.text, span.title) for span in copied.spans] == [
        (4, "nothing here at all", "Sun"),
        (4, "it's raining again on", "Storm"),
    ]
    assert copied.to_dict()["spans"][1]["title"] == copied.to_dict()["title"].replace("Sun", "Storm")
    assert copied_spans(text, SongIndex.of(SONGS), at_most=1).spans == copied.spans[:1]


def test_case_punctuation_and_line_ends_do_not_hide_a_copy() -> None:
    copied = copied_spans("oh — it’s raining again, on\n\nyou're   HOUSE tonight", SongIndex.of(SONGS))
    assert [(span.words, span.title) for span in copied.spans] == [(6, "Storm")]
    assert copied.spans[0].text == "it’s raining again, on you're HOUSE"
    assert (
        str(copied) == 'of 2 songs, 75% in a row: 6 words, "it’s raining again, on you\'re HOUSE", of "Storm"'
    )


def test_markers_are_no_words() -> None:
    index = SongIndex.of([("Rain", "[Verse 1]\nI walk\n[Chorus]\nalone in")])
    copied = copied_spans("[Verse 1]\nI walk alone", index)
    assert (copied.longest, copied.num_words) == (3, 3)


@given(text=st.text())
def test_any_text_shares_all_its_words_with_itself(text: str) -> None:
    assert copied_spans(text, SongIndex.of([("same", text)])).share in (0.0, 1.0)


def test_an_original_an_empty_text_and_an_empty_corpus_share_nothing() -> None:
    index = SongIndex.of([("Rain", "I walk alone in the rain")])
    for text in ("", "??", "a b", "he walks alone with the rain"):
        copied = copied_spans(text, index)
        assert (copied.longest, copied.share, copied.spans) == (0, 0.0, ())
        assert re.match("no 3 words in a row are in any of the 1 songs", str(copied))
    for empty in ([], [("Empty", "")]):
        assert copied_spans("I walk alone", SongIndex.of(empty)).longest == 0


def test_a_song_without_a_title_has_a_number() -> None:
    index = SongIndex.of([("", "one two three"), ("", ""), ("", "four five six seven")])
    assert [copied_spans(text, index).spans[0].title for text in ("one two three", "four five six")] == [
        "song 1",
        "song 3",
    ]


class TestFile:
    def test_it_is_the_same_however_many_songs_are_sorted_at_a_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = np.random.default_rng(0)
        songs = [
            (f"Song {n}", " ".join(map(str, generator.integers(0, 12, 60)))) for n in range(50)
        ]  # few different words, so that runs come many times
        write_index(tmp_path / "whole", songs, "d")
        monkeypatch.setattr(overlap_index, "_ENTRIES_AT_ONCE", 200)
        write_index(tmp_path / "pieces", iter(songs), "d")
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()
        index = SongIndex.open(tmp_path / "pieces")
        assert copied_spans(songs[31][1], index).spans[0].title == "Song 31"
        assert (index.num_words, index.num_songs, index.digest) == (3000, 50, "d")
        assert {path.name for path in tmp_path.iterdir()} == {"whole", "pieces"}

    def test_it_takes_eight_bytes_a_word(self, tmp_path: Path) -> None:
        words = " ".join(f"w{n % 5000}" for n in range(100_000))
        write_index(tmp_path / "index", [("Long", words)], "d")
        assert (tmp_path / "index").stat().st_size < 8 * 100_000 + 40_000

    def test_more_words_than_32_bits_can_number_are_numbered_with_64(self) -> None:
        assert overlap_index._entry(1 << 32)["place"] == np.dtype("<u4")
        assert overlap_index._entry((1 << 32) + 1)["place"] == np.dtype("<u8")

    @pytest.mark.parametrize("length", [0, 100, 5000, -1])
    def test_one_that_was_cut_is_one_sentence(self, tmp_path: Path, length: int) -> None:
        path = tmp_path / "index"
        write_index(path, SONGS, "d")
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InputDataError, match="remove it, and it is made again"):
            SongIndex.open(path)

    def test_another_file_or_none_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_bytes(b"[]" + bytes(9000))
        for name, reason in (("other", "no index of songs"), ("nothing", "cannot read")):
            with pytest.raises(InputDataError, match=reason):
                SongIndex.open(tmp_path / name)

    def test_a_source_that_fails_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "index"
        write_index(path, SONGS, "d")
        old = path.read_bytes()

        def broken() -> object:
            yield SONGS[0]
            raise InputDataError("row 7 is broken")

        with pytest.raises(InputDataError, match="row 7"):
            write_index(path, broken(), "e")  # type: ignore[arg-type]
        assert path.read_bytes() == old
        assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
