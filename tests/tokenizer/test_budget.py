"""Budgets: how many tokens up to a limit, and the longest beginning that fits, without reading what is behind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Tokenizer, budget

from .strategies import any_text

END = "<|endoftext|>"
PARTS = [END, "oh", "oh ", "\n ", "a", "漢字", "\ud83d", "\ude00"]
TEXT = any_text() | st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


@pytest.fixture(params=[3, 20, budget.STRETCH_CHARACTERS])
def _stretch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches so short that every text has several, and as they are."""
    monkeypatch.setattr(budget, "STRETCH_CHARACTERS", request.param)


@pytest.fixture(scope="module")
def marked(songs: Tokenizer) -> Tokenizer:
    """A vocabulary with special and added tokens that overlap, and hold places to cut."""
    return Tokenizer(
        "marked",
        pat_str=songs.pat_str,
        mergeable_ranks=songs.mergeable_ranks,
        special_tokens={END: 1000, "oh ": 1001, "h \n": 1002},
        added_tokens={"\n ": 1003, "aa": 1004},
    )


@pytest.mark.usefixtures("_stretch")
class TestUpTo:
    @settings(max_examples=60, deadline=None)
    @given(text=TEXT, limit=st.integers(0, 40))
    def test_the_count_is_that_of_the_whole_text_or_one_more_than_the_limit(
        self, marked: Tokenizer, text: str, limit: int
    ) -> None:
        count = marked.count(text, allowed_special="all")
        assert marked.count_up_to(text, limit, allowed_special="all") == min(count, limit + 1)

    @settings(max_examples=60, deadline=None)
    @given(text=TEXT, limit=st.integers(0, 40))
    def test_the_longest_beginning_that_fits_is_encoded(
        self, songs: Tokenizer, text: str, limit: int
    ) -> None:
        """Longest of those that end inside no special token (and between two characters)."""
        ids, covered = songs.encode_up_to(text, limit, allowed_special="all")
        assert ids == songs.encode(text[:covered], allowed_special="all")
        assert len(ids) <= limit
        inside = {
            start + i for start in range(len(text)) for i in range(1, len(END)) if text.startswith(END, start)
        }
        inside |= {
            i for i in range(1, len(text)) if "\ud800" <= text[i - 1] < "\udc00" <= text[i] <= "\udfff"
        }
        ends = [end for end in range(covered + 1, len(text) + 1) if end not in inside]
        assert all(songs.count(text[:end], allowed_special="all") > limit for end in ends)

    @settings(max_examples=60, deadline=None)
    @given(text=TEXT, limit=st.integers(0, 40))
    def test_with_added_tokens_too(self, marked: Tokenizer, text: str, limit: int) -> None:
        ids, covered = marked.encode_up_to(text, limit, allowed_special="all")
        assert ids == marked.encode(text[:covered], allowed_special="all")
        assert len(ids) <= limit
        assert (covered == len(text)) == (marked.count(text, allowed_special="all") <= limit)

    def test_special_tokens_are_refused_where_the_text_is_read(self, songs: Tokenizer) -> None:
        text = f"oh oh {END}"
        for use in (songs.count_up_to, songs.encode_up_to):
            with pytest.raises(DisallowedSpecialError, match="at character 6:"):
                use(text, 100)
        assert songs.count_up_to(text, 100, disallowed_special=()) == songs.count(text, disallowed_special=())


@pytest.mark.parametrize("unit", ["oh, oh, I love you\n", "漢字\n", "😀😀 ", END, "a"])
@pytest.mark.parametrize("limit", [0, 1, 1000, 9000])
def test_of_a_long_text_is_the_same_as_of_its_beginning(songs: Tokenizer, unit: str, limit: int) -> None:
    text = unit * 20_000
    assert songs.count_up_to(text, limit, allowed_special="all") == limit + 1
    ids, covered = songs.encode_up_to(text, limit, allowed_special="all")
    assert ids == songs.encode(text[:covered], allowed_special="all")
    assert limit - 4 <= len(ids) <= limit


def test_what_is_behind_the_limit_is_not_looked_at(songs: Tokenizer) -> None:
    text = "oh, oh, I love you\n" * 10_000 + END
    assert songs.count_up_to(text, 1000) == 1001
    assert len(songs.encode_up_to(text, 1000).ids) == 1000


def test_the_text_goes_on_behind_the_characters_that_are_covered(songs: Tokenizer) -> None:
    text = "\ud83d\ude00 I love you \ud83d, don't you" * 20
    parts = []
    while text:
        fitted = songs.encode_up_to(text, 7)
        parts.append(text[: fitted.num_characters])
        assert songs.encode(parts[-1]) == fitted.ids
        text = text[fitted.num_characters :]
    assert all(songs.count(part) <= 7 for part in parts)
    assert "".join(parts) == "\ud83d\ude00 I love you \ud83d, don't you" * 20


def test_of_nothing_is_nothing(songs: Tokenizer) -> None:
    assert (songs.count_up_to("", 0), songs.encode_up_to("", 0)) == (0, ([], 0))
    assert (songs.count_up_to("oh", 0), songs.encode_up_to("oh", 0)) == (1, ([], 0))


@pytest.mark.filterwarnings("ignore:the core does not know the pattern:RuntimeWarning")
def test_a_pattern_that_drops_text_can_be_counted_but_not_fitted(songs: Tokenizer) -> None:
    own = Tokenizer("own", pat_str="[a-z]+", mergeable_ranks=songs.mergeable_ranks, special_tokens={})
    assert own.count_up_to("oh, oh, oh", 2) == 3
    with pytest.raises(UsageError, match="the pattern drops what it does not match"):
        own.encode_up_to("oh, oh, oh", 2)


def test_refuses_a_limit_that_is_none(songs: Tokenizer) -> None:
    for use in (songs.count_up_to, songs.encode_up_to):
        with pytest.raises(UsageError, match="limit is -1; give 0 or more"):
            use("love", -1)
        with pytest.raises(TypeError, match="limit is a float"):
            use("love", 1.5)
