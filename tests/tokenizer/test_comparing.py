"""What differs between two vocabularies or patterns, against plain counting in Python."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import UsageError
from gpt2x.tokenizer import Tokenizer, comparing, patterns, reference, train
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.comparing import Side, compare, compare_on_text, compare_vocabularies

from .strategies import awkward_text

TEXT = "She sells sea shells on the sea shore; the shells she sells are sea shells, I'm sure. 한국 1234\n" * 3


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return train([TEXT], 270, name="small")


@pytest.fixture(scope="module")
def large() -> Tokenizer:
    return train([TEXT], 290, name="large")


def side(tokenizer: Tokenizer) -> Side:
    return Side(tokenizer.name, tokenizer, has_vocabulary=True, by_regex=False)


def cuts(parts: list[bytes]) -> set[int]:
    return set(accumulate(map(len, parts)))


def different_stretches(parts_a: list[bytes], parts_b: list[bytes]) -> int:
    """How many stretches between places where both cut are cut inside by any."""
    both, any_side = cuts(parts_a) & cuts(parts_b), cuts(parts_a) | cuts(parts_b)
    ends = sorted(both)
    return sum(
        any(start < place < end for place in any_side) for start, end in zip([0, *ends], ends, strict=False)
    )


class TestOnText:
    @settings(max_examples=60, deadline=None)
    @given(text=awkward_text() | st.just(TEXT))
    def test_differences_are_those_of_the_tokens(self, small: Tokenizer, large: Tokenizer, text: str) -> None:
        found = compare_on_text(side(small), side(large), text.encode())
        tokens_a, tokens_b = (one.decode_tokens_bytes(one.encode_ordinary(text)) for one in (small, large))
        assert (found["a"], found["b"]) == (len(tokens_a), len(tokens_b))
        assert found["different"] == different_stretches(tokens_a, tokens_b)
        assert found["pieces"] is None

    @pytest.mark.parametrize(("a", "b"), [("gpt2", "cl100k"), ("gpt2", "o200k"), ("cl100k", "o200k")])
    @settings(max_examples=40, deadline=None)
    @given(text=awkward_text())
    def test_patterns_alone_are_compared_by_their_pieces(self, a: str, b: str, text: str) -> None:
        found = compare_on_text(Side.parse(f"pattern:{a}"), Side.parse(f"pattern:{b}"), text.encode())
        pieces = [[piece.encode() for piece in reference.split(text, name)] for name in (a, b)]
        assert (found["a"], found["b"]) == (len(pieces[0]), len(pieces[1]))
        assert found["different"] == different_stretches(*pieces)

    def test_slices_change_nothing(
        self, small: Tokenizer, large: Tokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = train([TEXT], 280, pattern="o200k", name="other")
        whole = [compare_on_text(side(one), side(other), TEXT.encode()) for one in (small, large)]
        monkeypatch.setattr(comparing, "_SLICE_BYTES", 7)
        assert [compare_on_text(side(one), side(other), TEXT.encode()) for one in (small, large)] == whole

    def test_the_first_differences_come_with_their_context(self, small: Tokenizer, large: Tokenizer) -> None:
        found = compare_on_text(side(small), side(large), TEXT.encode(), limit=2)
        assert len(found["first"]) == 2
        first = found["first"][0]
        shown = first["before"] + first["text"] + first["after"]
        assert TEXT[first["offset"] - len(first["before"]) :].startswith(shown)
        for parts in (first["a"], first["b"]):
            assert "".join(part[1:-1] for part in parts) == first["text"]
        assert len(first["a"]) > len(first["b"])
        assert found["fewer_in_b"] > found["fewer_in_a"] == 0
        assert found["different_bytes"] > 0

    def test_the_same_is_the_same(self, small: Tokenizer) -> None:
        found = compare_on_text(side(small), side(small), TEXT.encode())
        assert (found["different"], found["different_bytes"], found["first"]) == (0, 0, [])
        assert compare_on_text(side(small), side(small), b"")["bytes_per_unit_a"] is None

    def test_another_unicode_version_splits_new_characters_differently(self, small: Tokenizer) -> None:
        # A letter that Unicode 17.0 added, so none in 16.0; and a text where the versions agree.
        regex = pytest.importorskip("regex")
        new_letter = "\U00016ea0"
        if not regex.match(r"\p{L}", new_letter):
            pytest.skip("the installed regex package follows Unicode 16.0 or older")
        by_regex = Side("small@regex", small, has_vocabulary=True, by_regex=True)
        found = compare_on_text(side(small), by_regex, f"a{new_letter}b".encode())
        assert found["pieces"]["different"] == 1
        assert (found["pieces"]["a"], found["pieces"]["b"]) == (3, 1)
        assert compare_on_text(side(small), by_regex, TEXT.encode())["pieces"]["different"] == 0
        assert by_regex.describe()["unicode"].startswith("that of regex 20")


class TestVocabularies:
    def test_one_that_begins_the_other(self, small: Tokenizer, large: Tokenizer) -> None:
        found = compare_vocabularies(small, large)
        assert (found["only_a"], found["only_b"], found["other_ids"]) == (0, 20, 0)
        assert found["first_only_b"][0]["id"] == 269
        merges = found["merges"]
        assert (merges["same_at_first"], merges["out_of_order"], merges["other_parts"]) == (13, 0, 0)
        assert merges["first_difference"]["a"] is None
        assert len(merges["first_difference"]["b"]) == 2

    def test_another_order_of_merges_is_found(self) -> None:
        # The same three tokens, "cd" first or last.
        a = train(["cd cd cd cd ab ab ab"], 260, special_tokens=(), name="a")
        b = train(["ab ab ab ab cd cd cd"], 260, special_tokens=(), name="b")
        found = compare_vocabularies(a, b)
        merges = found["merges"]
        assert found["only_a"] == found["only_b"] == 0
        assert merges["same_at_first"] == 0
        assert merges["out_of_order"] == 2
        assert {move["text"] for move in merges["farthest_moved"]} == {"'ab'", "'cd'", "' ab'", "' cd'"}

    def test_a_token_that_is_put_together_otherwise_is_found(self) -> None:
        ranks_a = {token: rank for rank, token in enumerate([*SINGLE_BYTES, b"ab", b"abc"])}
        ranks_b = {token: rank for rank, token in enumerate([*SINGLE_BYTES, b"bc", b"abc"])}
        one, other = (
            Tokenizer(name, pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens={})
            for name, ranks in (("a", ranks_a), ("b", ranks_b))
        )
        assert compare_vocabularies(one, other)["merges"]["other_parts"] == 1

    def test_special_tokens_are_compared_by_name(self, small: Tokenizer) -> None:
        other = train([TEXT], 270, special_tokens=("<s>",))
        found = compare_vocabularies(small, other)["special_tokens"]
        assert found == {"only_a": ["<|endoftext|>"], "only_b": ["<s>"]}


def test_only_two_of_a_kind_can_be_compared(small: Tokenizer) -> None:
    with pytest.raises(UsageError, match="a vocabulary and a pattern; compare two of a kind"):
        compare(side(small), Side.parse("pattern:gpt2"), b"text")
    with pytest.raises(UsageError, match="two patterns differ only on a text; give one"):
        compare(Side.parse("pattern:gpt2"), Side.parse("pattern:o200k"))
    with pytest.raises(UsageError, match="unknown pattern 'latin'"):
        Side.parse("pattern:latin")
