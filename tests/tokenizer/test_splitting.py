"""Patterns that are not built in: Hugging Face's pre-tokenizers step for step, tiktoken's outcome, and a time limit."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.errors import InputDataError, UsageError
from gpt2x.tokenizer import Tokenizer, patterns, splitting, train
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.comparing import Side, compare

from .conftest import as_tiktoken

pytestmark = pytest.mark.filterwarnings("ignore:the core does not know the pattern:RuntimeWarning")

HOSTILE = "(a|aa)+$|[^a]"
TEXT = st.text(
    [*"theca ,.7!\n\t1½²'-_Sſ", "中", "あ", "・", "。", "\u0301", "\u3000", "\u200b", "\U0001f600"],
    max_size=16,
)

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(regex: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*pre_tokenizers: Any, **byte_level: Any) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [*pre_tokenizers, BYTE_LEVEL | byte_level]}


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    """A vocabulary with few merges, so that where a piece ends shows in the ids."""
    return train(["the cat, the hat; 7! 77 the"], 264, special_tokens=())


@pytest.fixture
def from_json(small: Tokenizer, tmp_path: Path) -> Callable[[Any], Tokenizer]:
    """Loads the vocabulary with another pre-tokenizer, from a `tokenizer.json`."""

    def load(pre_tokenizer: Any) -> Tokenizer:
        small.save(tmp_path / "small")
        path = tmp_path / "small" / "tokenizer.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(data | {"pre_tokenizer": pre_tokenizer}), encoding="utf-8")
        return Tokenizer.load(path)

    return load


def theirs(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def their_pieces(tokenizer: tokenizers.Tokenizer, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


REGEXES = ["[a-z]+", r"\s", r"\p{N}{1,2}", "a|", "(?<=t)h|e$", " ?[^\\s\\p{L}]+|\\s+(?!\\S)", "^.", "th|t"]

SEQUENCES = [
    sequence(split(r"\p{N}"), split("[a-z]+")),
    sequence(split("[a-z]+", "Removed"), split(r"\s+(?!\S)", "Contiguous")),
    sequence(split(r"\s", "MergedWithNext"), split("^ |c$")),
    sequence({"type": "Digits", "individual_digits": True}, use_regex=True),
    sequence({"type": "Digits", "individual_digits": False}, split("t", "MergedWithPrevious")),
    sequence({"type": "WhitespaceSplit"}),
    sequence({"type": "Whitespace"}),
    sequence({"type": "CharDelimiterSplit", "delimiter": "."}),
    sequence(
        {"type": "Split", "pattern": {"String": "."}, "behavior": "Removed", "invert": True}, split("x")
    ),
    sequence(
        {"type": "Sequence", "pretokenizers": [split("the"), {"type": "Sequence", "pretokenizers": []}]}
    ),
    sequence(split(r"[\p{L}\p{M}]+|[^\p{L}\p{M}]"), use_regex=True),
]


class TestHuggingFace:
    def test_what_a_pattern_misses_is_kept(
        self, from_json: Callable[[Any], Tokenizer], tmp_path: Path
    ) -> None:
        loaded = from_json(sequence(split("[a-z]+")))
        assert loaded.split("the cat, 7!") == ["the", " ", "cat", ", 7!"]
        assert loaded.decode(loaded.encode("the cat, 7!")) == "the cat, 7!"
        assert loaded.encode("the cat, 7!") == theirs(tmp_path / "small").encode("the cat, 7!").ids

    @pytest.mark.parametrize("regex", REGEXES)
    @pytest.mark.parametrize("invert", [False, True])
    @pytest.mark.parametrize("behavior", splitting.BEHAVIORS)
    def test_every_behavior_is_theirs(
        self, from_json: Callable[[Any], Tokenizer], tmp_path: Path, regex: str, behavior: str, invert: bool
    ) -> None:
        loaded = from_json(sequence(split(regex, behavior, invert=invert)))
        peer = theirs(tmp_path / "small")
        for text in ["", "the cat, 7!", "  the  cat ", "77, 7\n\n7 the", "a.b.", "tthh", " ", "é1中 。\n"]:
            assert loaded.split(text) == their_pieces(peer, text), repr(text)
            assert loaded.encode(text) == peer.encode(text).ids

    @pytest.mark.parametrize("pre_tokenizer", SEQUENCES)
    def test_every_sequence_is_theirs_and_saved_as_it_was(
        self, from_json: Callable[[Any], Tokenizer], tmp_path: Path, pre_tokenizer: dict[str, Any]
    ) -> None:
        loaded = from_json(pre_tokenizer)
        peer = theirs(tmp_path / "small")
        loaded.save(tmp_path / "saved")
        saved = theirs(tmp_path / "saved")
        assert Tokenizer.load(tmp_path / "saved") == loaded

        @settings(max_examples=60, deadline=None)
        @given(text=TEXT)
        def check(text: str) -> None:
            assert loaded.split(text) == their_pieces(peer, text) == their_pieces(saved, text)
            assert loaded.encode(text) == peer.encode(text).ids

        check()

    @pytest.mark.parametrize("name", patterns.BY_NAME)
    def test_well_known_patterns_are_saved_with_the_same_pieces_and_read_natively(
        self, name: str, tmp_path: Path
    ) -> None:
        trained = train(
            ["It's the cat, 123 中文 the CAT's あ・x\n"] * 3, 266, special_tokens=(), pattern=name, name=name
        )
        trained.save(tmp_path / name)
        loaded, peer = Tokenizer.load(tmp_path / name / "tokenizer.json"), theirs(tmp_path / name)
        assert (loaded.pat_str, Tokenizer.load(tmp_path / name)) == (patterns.named(name), trained)
        assert patterns.route(loaded.pat_str) == f"native ({name})"

        @settings(max_examples=200, deadline=None)
        @given(text=TEXT)
        def check(text: str) -> None:
            assert loaded.split(text) == their_pieces(peer, text)
            assert loaded.encode(text) == peer.encode(text).ids

        check()

    @pytest.mark.parametrize(
        ("splits", "name"),
        [
            ([patterns.LLAMA3], "llama3"),
            ([patterns.QWEN2], "qwen2"),
            ([patterns.O200K], "o200k"),
            ([patterns.GPT2_ORIGINAL], "gpt2"),
            ([r"\p{N}{1,3}", r"[一-龥\u3040-\u309f\u30a0-\u30ff]+", patterns.DEEPSEEK_SPLITS[2]], "deepseek"),
            ([r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", patterns.DEEPSEEK_SPLITS[2]], "deepseek"),
        ],
    )
    def test_published_spellings_are_native(
        self, from_json: Callable[[Any], Tokenizer], splits: list[str], name: str
    ) -> None:
        assert from_json(sequence(*map(split, splits))).pat_str == patterns.named(name)

    def test_what_oniguruma_reads_otherwise_is_not_taken_for_native(
        self, from_json: Callable[[Any], Tokenizer], tmp_path: Path
    ) -> None:
        """tiktoken's own spelling of cl100k: ``{1,3}+`` is one group or several there."""
        loaded = from_json(sequence(split(patterns.CL100K)))
        assert (
            loaded.split("12345678") == ["12345678"] == their_pieces(theirs(tmp_path / "small"), "12345678")
        )


MALFORMED = [
    (5, "5 is no pre-tokenizer"),
    ([], r"\[\] is no pre-tokenizer"),
    ({}, r"\{\} is no pre-tokenizer"),
    ({"type": 5}, "is no pre-tokenizer"),
    ({"type": "Sequence"}, "pretokenizers = None, which is to be a list"),
    ({"type": "Sequence", "pretokenizers": 5}, "pretokenizers = 5, which is to be a list"),
    ({"type": "Sequence", "pretokenizers": []}, r"to end in a ByteLevel, and has \[\]"),
    ({"type": "Sequence", "pretokenizers": [5]}, "5 is no pre-tokenizer"),
    ({"type": "Sequence", "pretokenizers": [BYTE_LEVEL] * 99}, "more than 20 pre-tokenizers in a row"),
    (sequence(), "does not split text at all"),
    (sequence(BYTE_LEVEL), "the pre-tokenizer 'ByteLevel' is not known here"),
    (sequence(split("a"), use_regex=5), "use_regex = 5, which is to be true or false"),
    (sequence(split("a"), add_prefix_space=5), "add_prefix_space"),
    (sequence({"type": "Split"}), "a Split has|the pre-tokenizer Split has behavior = None"),
    (sequence(split("a") | {"behavior": "Sideways"}), "the behavior 'Sideways'; known: Removed, Isolated"),
    (sequence(split("a") | {"behavior": 5}), "behavior = 5, which is to be a str"),
    (sequence(split("a") | {"invert": "no"}), "invert = 'no', which is to be a bool"),
    (sequence(split("a") | {"pattern": "a"}), "a Split has the pattern 'a'"),
    (sequence(split("a") | {"pattern": {"Regex": 5}}), "a Split has the pattern {'Regex': 5}"),
    (sequence(split("a") | {"pattern": {"Glob": "a"}}), "a Split has the pattern {'Glob': 'a'}"),
    (sequence(split("a") | {"pattern": {"String": ""}}), "a Split has the pattern {'String': ''}"),
    (sequence(split("\ud800")), "a lone surrogate at character 0"),
    (sequence(split("(")), "a group that is not closed at character 0"),
    (sequence(split("(?R)")), "which this tokenizer does not take for a regular expression of Oniguruma"),
    (sequence({"type": "Digits"}), "individual_digits = None, which is to be a bool"),
    (sequence({"type": "CharDelimiterSplit", "delimiter": "ab"}), "delimiter 'ab'; it is to be one character"),
    (sequence({"type": "Punctuation", "behavior": "Isolated"}), "an older version of Unicode"),
    (sequence({"type": "Metaspace"}), "the pre-tokenizer 'Metaspace' is not known here"),
    (sequence({"type": "x" * 10**5}), "is not known here"),
]  # fmt: skip


class TestMalformed:
    @pytest.mark.parametrize(("pre_tokenizer", "reason"), MALFORMED)
    def test_a_pre_tokenizer_that_cannot_be_used_is_refused_in_a_sentence(
        self, from_json: Callable[[Any], Tokenizer], pre_tokenizer: Any, reason: str
    ) -> None:
        with pytest.raises(InputDataError, match=reason) as caught:
            from_json(pre_tokenizer)
        sentence = str(caught.value)
        assert "tokenizer.json has a pre_tokenizer that cannot be used: " in sentence
        assert len(sentence) < 600
        assert "\n" not in sentence


class TestTiktoken:
    @pytest.mark.parametrize("pat_str", ["[a-z]+", r"\s", r"a$|\p{L}", r"[ct]at\b", "(?i:t|s)h"])
    def test_a_pattern_given_directly_drops_what_it_misses(
        self, small: Tokenizer, tmp_path: Path, pat_str: str
    ) -> None:
        """And is saved so that others drop it, too."""
        own = Tokenizer("own", pat_str=pat_str, mergeable_ranks=small.mergeable_ranks, special_tokens={})
        own.save(tmp_path / "own")
        peer, saved, again = as_tiktoken(own), theirs(tmp_path / "own"), Tokenizer.load(tmp_path / "own")
        assert Tokenizer.load(tmp_path / "own" / "vocab.tiktoken").pat_str == pat_str
        for text in ["the cat, 7!", "a\na\n", "The ſh cat", "", " \n", "catat at"]:
            ids = peer.encode_ordinary(text)
            assert own.encode(text) == again.encode(text) == saved.encode(text).ids == ids, repr(text)

    def test_where_tokens_are_is_not_told_if_text_is_dropped(self, small: Tokenizer) -> None:
        own = Tokenizer("own", pat_str="[a-z]+", mergeable_ranks=small.mergeable_ranks, special_tokens={})
        for use in (
            own.encode_with_offsets,
            lambda text: own.chunk(text, 2),
            lambda text: own.truncate(text, 2),
        ):
            with pytest.raises(UsageError, match="the tokens have 6 of the text's 11 bytes"):
                use("the cat, 7!")
        side = Side("own", own, has_vocabulary=True, by_regex=False)
        with pytest.raises(UsageError, match="the pattern drops what it does not match"):
            compare(side, side, b"the cat, 7!")


class TestTimeLimit:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(splitting, "BASE_SECONDS", 0.1)

    def test_a_hostile_pattern_ends_with_its_name_and_the_place(
        self, from_json: Callable[[Any], Tokenizer]
    ) -> None:
        loaded = from_json(sequence(split(r"\d"), split(HOSTILE)))
        text = "b1bb" + "a" * 200 + "b"
        expected = re.escape(
            f"the pattern {HOSTILE!r} takes too long at character 4 of 205: it was stopped after 0.1"
        )
        for use in (
            loaded.encode,
            loaded.split,
            loaded.count,
            loaded.encode_to_numpy,
            lambda text: loaded.encode_batch([text]),
            lambda text: loaded.encode_bytes(text.encode() + b"\xff"),
        ):
            with pytest.raises(InputDataError, match=expected):
                use(text)

    def test_also_where_a_file_is_read(self, from_json: Callable[[Any], Tokenizer], tmp_path: Path) -> None:
        loaded = from_json(sequence(split(HOSTILE)))
        (tmp_path / "text.txt").write_text("a" * 200 + "b", encoding="utf-8")
        with pytest.raises(InputDataError, match="takes too long at character 0 of 201"):
            loaded.encode_file(tmp_path / "text.txt", tmp_path / "ids.bin")
        assert not (tmp_path / "ids.bin").exists()

    def test_and_where_a_text_is_compared(self, small: Tokenizer) -> None:
        own = Tokenizer("own", pat_str=HOSTILE, mergeable_ranks=small.mergeable_ranks, special_tokens={})
        sides = (
            Side("own@regex", own, has_vocabulary=True, by_regex=True),
            Side("small", small, True, by_regex=False),
        )
        with pytest.raises(InputDataError, match="takes too long"):
            compare(*sides, b"a" * 200 + b"b")

    def test_it_grows_with_the_text(self) -> None:
        assert (
            splitting.Deadline("a" * 2_000_000).budget == 0.1 + 2 * splitting.SECONDS_PER_MILLION_CHARACTERS
        )

    def test_it_holds_for_a_row_of_steps_as_a_whole(self, from_json: Callable[[Any], Tokenizer]) -> None:
        loaded = from_json(sequence(split("b", "MergedWithPrevious"), split(HOSTILE)))
        with pytest.raises(InputDataError, match="takes too long"):
            loaded.encode(("a" * 30 + "b") * 200)

    def test_ctrl_c_ends_it(
        self, from_json: Callable[[Any], Tokenizer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(splitting, "BASE_SECONDS", 30.0)
        loaded = from_json(sequence(split(HOSTILE)))
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            loaded.encode("a" * 200 + "b")
        timer.join()

    def test_built_in_patterns_have_none(self) -> None:
        ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
        plain = Tokenizer("plain", pat_str=patterns.LLAMA3, mergeable_ranks=ranks, special_tokens={})
        assert len(plain.encode("a" * 10**6)) == 10**6
