"""Sessions: after every change the ids are those of the whole text, and little is encoded again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.tokenizer import DisallowedSpecialError, Session, Tokenizer, patterns, session

from .strategies import any_text

END = "<|endoftext|>"
SPECIALS = [END, "<|", "|><|", "aa", "a ", " \n", "漢字"]
"""Some begin with, end with, or overlap others, or hold a place at which the pattern could be cut."""
ADDED = ["|>", "aaa", "\n\n", "é ß"]

TEXT = any_text() | st.lists(st.sampled_from([*SPECIALS, *ADDED, "a", " ", "x", "\n"]), max_size=12).map(
    "".join
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), TEXT), min_size=1, max_size=6)


@pytest.fixture(params=[1, 40])
def _block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks as short as they can be, so that borders are everywhere, and longer ones."""
    monkeypatch.setattr(session, "BLOCK_BYTES", request.param)


@pytest.fixture(scope="module", params=patterns.BY_NAME)
def plain(request: pytest.FixtureRequest, songs: Tokenizer) -> Tokenizer:
    """A vocabulary with special tokens, under each pattern."""
    return Tokenizer(
        request.param,
        pat_str=patterns.named(request.param),
        mergeable_ranks=songs.mergeable_ranks,
        special_tokens={text: songs.n_vocab + i for i, text in enumerate(SPECIALS)},
    )


@pytest.fixture(scope="module")
def adding(plain: Tokenizer) -> Tokenizer:
    """The same with added tokens."""
    return Tokenizer(
        "adding",
        pat_str=plain.pat_str,
        mergeable_ranks=plain.mergeable_ranks,
        special_tokens=plain.special_tokens,
        added_tokens={text: plain.n_vocab + i for i, text in enumerate(ADDED)},
    )


def applied(text: str, changes: list[tuple[float, float, str]]) -> Iterator[tuple[int, int, str, str]]:
    """Start, end and text of each change, and the whole text after it."""
    for one, other, new in changes:
        start, end = sorted(round(part * len(text)) for part in (one, other))
        text = text[:start] + new + text[end:]
        yield start, end, new, text


def encoded_or_refused(call: Callable[..., Any], *arguments: Any, **policy: Any) -> Any:
    """What a call gives, or the special token that it refuses and the place of that."""
    try:
        return call(*arguments, **policy)
    except DisallowedSpecialError as refusal:
        return refusal.token, refusal.position


def started(tokenizer: Tokenizer, text: str, policy: dict[str, Any]) -> tuple[Session, str]:
    """A session with that text, or an empty one where it is refused; and its text."""
    made = encoded_or_refused(tokenizer.session, text, **policy)
    return (made, text) if isinstance(made, Session) else (tokenizer.session(**policy), "")


def check(tokenizer: Tokenizer, text: str, changes: list[tuple[float, float, str]], **policy: Any) -> None:
    """The session, the ids that its changes describe, and encoding anew agree; so do their refusals."""
    changing, text = started(tokenizer, text, policy)
    followed = changing.ids
    for start, end, new, after in applied(text, changes):
        expected = encoded_or_refused(tokenizer.encode, after, **policy)
        if not isinstance(expected, list):
            assert encoded_or_refused(changing.edit, start, end, new) == expected
            return
        change = changing.edit(start, end, new)
        followed[change.start : change.end] = change.ids
        assert changing.text == after
        assert changing.ids == expected
        assert followed == expected
        assert (changing.num_characters, len(changing)) == (len(after), len(expected))


@pytest.mark.usefixtures("_block_bytes")
class TestEveryChange:
    @settings(max_examples=40, deadline=None)
    @given(text=TEXT, changes=CHANGES)
    def test_gives_the_ids_of_the_whole_text(
        self, plain: Tokenizer, text: str, changes: list[tuple[float, float, str]]
    ) -> None:
        check(plain, text, changes, disallowed_special=())

    @settings(max_examples=40, deadline=None)
    @given(text=TEXT, changes=CHANGES)
    def test_with_special_and_added_tokens(
        self, adding: Tokenizer, text: str, changes: list[tuple[float, float, str]]
    ) -> None:
        check(adding, text, changes, allowed_special="all")

    @settings(max_examples=40, deadline=None)
    @given(text=TEXT, changes=CHANGES)
    def test_refuses_what_encode_refuses_and_stays_as_it_was(
        self, adding: Tokenizer, text: str, changes: list[tuple[float, float, str]]
    ) -> None:
        check(adding, text, changes, allowed_special={"aa"}, disallowed_special={"a ", "|><|", END})

    def test_one_character_at_a_time(self, adding: Tokenizer) -> None:
        """Typed, and taken away again from the middle."""
        text = f"It's aaaa 漢字's  \n\n 12345 é ß{END} <|><|a \r\n/x"
        changes = [(1.0, 1.0, character) for character in text]
        check(adding, "", changes, allowed_special="all")
        removals = [(0.5, (len(text) // 2 + 1) / len(text), "") for _ in text]
        check(adding, text, removals, allowed_special="all")


@pytest.mark.filterwarnings("ignore:the core does not know the pattern:RuntimeWarning")
@settings(max_examples=30, deadline=None)
@given(text=TEXT, changes=CHANGES)
def test_a_pattern_that_is_not_built_in_gives_the_same(
    songs: Tokenizer, text: str, changes: list[tuple[float, float, str]]
) -> None:
    regex = r"[a-z]+| ?\S|\s+(?!\S)|\s"
    own = Tokenizer("own", pat_str=regex, mergeable_ranks=songs.mergeable_ranks, special_tokens={})
    check(own, text, changes)


def words(count: int) -> str:
    chance = random.Random(5)
    return " ".join(chance.choice(["love", "you", "don't", "12345", "사랑", "it's,"]) for _ in range(count))


class TestCost:
    def test_only_blocks_around_a_change_are_encoded(
        self, songs: Tokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changing = songs.session(words(50_000))
        encoded: list[int] = []
        encode = Session._encode

        def counted(self: Session, text: str) -> Any:
            encoded.append(len(text))
            return encode(self, text)

        monkeypatch.setattr(Session, "_encode", counted)
        middle = changing.num_characters // 2
        changing.append(words(20))
        changing.edit(middle, middle + 10, words(20))
        changing.edit(0, 5, "")
        assert max(encoded) < 4 * session.BLOCK_BYTES
        assert changing.ids == songs.encode(changing.text)

    def test_a_change_tells_which_ids_are_still_right(self, songs: Tokenizer) -> None:
        changing = songs.session(words(5000))
        before = changing.ids
        change = changing.edit(10_000, 10_001, "")
        assert before[: change.start] == changing.ids[: change.start]
        assert before[change.end :] == changing.ids[change.start + len(change.ids) :]
        assert len(change.ids) + change.end - change.start < 20


class TestSession:
    def test_begins_with_nothing_or_a_text(self, songs: Tokenizer) -> None:
        assert (songs.session().ids, songs.session().text, len(songs.session())) == ([], "", 0)
        assert repr(songs.session("I love you")) == "<Session: 10 characters, 3 ids>"

    def test_an_edit_without_effect_changes_nothing(self, songs: Tokenizer) -> None:
        changing = songs.session("I love you")
        for start, end, text in [(0, 10, "I love you"), (5, 5, ""), (2, 6, "love")]:
            change = changing.edit(start, end, text)
            assert (change.start, change.ids) == (change.end, [])
        assert changing.ids == songs.encode("I love you")

    def test_what_is_taken_out_can_be_everything(self, songs: Tokenizer) -> None:
        changing = songs.session(words(3000))
        assert changing.edit(0, changing.num_characters, "").ids == []
        assert (changing.ids, changing.text) == ([], "")
        assert changing.append("love").ids == songs.encode("love")

    def test_a_refused_token_that_two_texts_make_together_is_told_with_its_place(
        self, songs: Tokenizer
    ) -> None:
        text = words(3000) + " <|endof"
        changing = songs.session(text)
        with pytest.raises(DisallowedSpecialError, match=f"at character {len(text) - 7}:"):
            changing.append("text|>")
        assert changing.text == text
        changing.append("song|>")
        assert changing.ids == songs.encode(text + "song|>")

    def test_a_copy_goes_its_own_way(self, songs: Tokenizer) -> None:
        changing = songs.session(words(3000))
        other = changing.copy()
        changing.append("!")
        other.edit(0, 4, "")
        for one in (changing, other):
            assert one.ids == songs.encode(one.text)
        assert changing.num_characters == other.num_characters + 5

    def test_the_ids_belong_to_whoever_asked(self, songs: Tokenizer) -> None:
        changing = songs.session("I love you")
        changing.ids.clear()
        changing.append("!").ids.clear()
        assert changing.ids == songs.encode("I love you!")

    @pytest.mark.parametrize("text", ["\ud83d", "a\ud83d\ude00"])
    def test_half_a_character_is_refused(self, songs: Tokenizer, text: str) -> None:
        sentence = rf"text has the surrogate '\\ud83d', half a character, at character {len(text) // 2}"
        changing = songs.session("love")
        for use in (changing.append, songs.session, lambda text: changing.edit(1, 2, text)):
            with pytest.raises(UsageError, match=sentence):
                use(text)
        assert changing.text == "love"

    @pytest.mark.parametrize(("start", "end"), [(3, 2), (0, 5), (5, 5), (-1, 2), (0, -1)])
    def test_a_place_outside_the_text_is_refused(self, songs: Tokenizer, start: int, end: int) -> None:
        with pytest.raises(UsageError, match=r"(start|end) is -?\d"):
            songs.session("love").edit(start, end, "")

    def test_values_of_a_wrong_type_are_type_errors(self, songs: Tokenizer) -> None:
        changing = songs.session("love")
        for arguments in [("a", 1, ""), (0, 1.5, ""), (0, 1, b"")]:
            with pytest.raises(TypeError):
                changing.edit(*arguments)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="allowed_special"):
            songs.session("love", allowed_special="<|endoftext|>")  # type: ignore[arg-type]
