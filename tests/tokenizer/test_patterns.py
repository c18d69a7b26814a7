"""The patterns the core splits by itself, piece for piece as tiktoken; and any other one: slower, never silently."""

from __future__ import annotations

import itertools
import random
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x import _bpe
from gpt2x.errors import UsageError
from gpt2x.tokenizer import Tokenizer, patterns, reference
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.comparing import Side

from .conftest import as_tiktoken
from .strategies import any_text, awkward_bytes, awkward_text
from .test_corpora import MULTILINGUAL, documents

NAMES = list(patterns.BY_NAME)

UNKNOWN = r"\p{L}+(?:'\p{L}+)?|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""No pattern that anybody uses, but one that matches everything."""

# One or two characters of each kind that a pattern tells apart: letters in upper case, lower case and without, one that
# a contraction ends with, a mark, a number, white space with and without a newline, punctuation.
KINDS = ["A", "a", "s", "中", "\u0301", "1", " ", "\n", "!", "/", "'"]
EVERY_KIND = [*KINDS, "\u01c5", "ʰ", "\u0903", "²", "\r", "\t", "\u3000", "ſ", "L", "\U0001f600", "\u200b"]
# What deepseek's three patterns tell apart besides: kana with a mark, punctuation and what is not assigned among them,
# the last Chinese character that counts and the first that does not, controls, punctuation beyond ASCII.
DEEPSEEK_KINDS = [
    *"Aa中あ1 \n!$'",
    "・",
    "\u3099",
    "\u3097",
    "\u0301",
    "龥",
    "龦",
    "\x01",
    "\u200b",
    "。",
    "\u3000",
]

CONTRACTIONS = [
    "'" + "".join(letters)
    for contraction in ("sſSK", "d", "m", "t", "ll", "ve", "re")
    for letters in (
        [*contraction]
        if "s" in contraction
        else itertools.product(*zip(contraction, contraction.upper(), strict=True))
    )
] + ["'D", "'M", "'T", "'lv", "'rs", "'v", "'", "’s"]


def with_pattern(tokenizer: Tokenizer, pat_str: str, name: str = "other") -> Tokenizer:
    patterns._splitter.cache_clear()
    return Tokenizer(
        name,
        pat_str=pat_str,
        mergeable_ranks=tokenizer.mergeable_ranks,
        special_tokens=tokenizer.special_tokens,
    )


def tiktoken_pieces(pat_str: str, texts: Sequence[str], candidates: Iterable[str]) -> list[list[str]]:
    """The pieces tiktoken cuts each text into: where a piece is a token, it is never taken apart, and so it shows.

    `candidates` are the pieces that become tokens. With every part of the texts among them, the answer is exact.
    """
    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    for candidate in candidates:
        ranks.setdefault(candidate.encode(), len(ranks))
    oracle = tiktoken.Encoding("pieces", pat_str=pat_str, mergeable_ranks=ranks, special_tokens={})
    tokens = list(ranks)
    return [
        [tokens[rank].decode(errors="backslashreplace") for rank in ids]
        for ids in oracle.encode_ordinary_batch(list(texts), num_threads=2)
    ]


def parts(text: str) -> Iterable[str]:
    """Every stretch of a text."""
    return (text[start:end] for start, end in itertools.combinations(range(len(text) + 1), 2))


@pytest.fixture(scope="module", params=NAMES)
def native(request: pytest.FixtureRequest, songs: Tokenizer) -> Tokenizer:
    """A tokenizer for each of the patterns that the core knows; its name is the pattern's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return with_pattern(songs, patterns.named(request.param), request.param)


@pytest.fixture(scope="module")
def tiktoken_native(native: Tokenizer) -> tiktoken.Encoding:
    return as_tiktoken(native)


@pytest.fixture(scope="module")
def other(songs: Tokenizer) -> Tokenizer:
    with pytest.warns(RuntimeWarning, match="does not know the pattern"):
        return with_pattern(songs, UNKNOWN)


@pytest.fixture(scope="module")
def tiktoken_other(other: Tokenizer) -> tiktoken.Encoding:
    return as_tiktoken(other)


def check_pieces(native: Tokenizer, texts: Sequence[str]) -> None:
    """Core, readable reference and tiktoken cut each of some short texts into the same pieces."""
    candidates = {part for text in texts for part in parts(text)}
    expected = tiktoken_pieces(native.pat_str, texts, candidates)
    for text, pieces in zip(texts, expected, strict=True):
        assert native.split(text) == pieces, repr(text)
        assert reference.split(text, native.name) == pieces, repr(text)


class TestNames:
    def test_the_core_knows_every_name(self) -> None:
        assert set(patterns.NATIVE.values()) == set(patterns.BY_NAME) == set(_bpe.patterns)
        assert set(patterns.HUGGING_FACE_NATIVE.values()) == set(patterns.BY_NAME)
        assert set(reference.SPLITTERS) == set(patterns.BY_NAME)
        assert all(patterns.NATIVE[patterns.named(name)] == name for name in NAMES)

    def test_patterns_are_spelled_as_in_tiktoken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        public = pytest.importorskip("tiktoken_ext.openai_public")
        monkeypatch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: {})
        assert public.r50k_base()["pat_str"] == patterns.named("gpt2")
        assert public.cl100k_base()["pat_str"] == patterns.named("cl100k")
        assert public.o200k_base()["pat_str"] == patterns.named("o200k")

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(UsageError, match="unknown pattern 'klingon'; known: gpt2, cl100k, o200k, llama3"):
            patterns.named("klingon")


class TestNative:
    @pytest.mark.parametrize("spelling", patterns.NATIVE)
    def test_every_spelling_splits_as_tiktoken_does_by_it(self, songs: Tokenizer, spelling: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tokenizer = with_pattern(songs, spelling)
        texts = ["".join(text) for length in (1, 2, 3) for text in itertools.product(KINDS, repeat=length)]
        expected = tiktoken_pieces(spelling, texts, texts)
        assert [tokenizer.split(text) for text in texts] == expected

    def test_every_text_of_up_to_four_characters(self, native: Tokenizer) -> None:
        for length in range(5):
            check_pieces(native, ["".join(text) for text in itertools.product(KINDS, repeat=length)])

    def test_every_text_of_three_characters_of_more_kinds(self, native: Tokenizer) -> None:
        check_pieces(native, ["".join(text) for text in itertools.product(EVERY_KIND, repeat=3)])

    def test_every_text_of_three_characters_that_deepseek_tells_apart(self, native: Tokenizer) -> None:
        check_pieces(native, ["".join(text) for text in itertools.product(DEEPSEEK_KINDS, repeat=3)])

    @pytest.mark.long
    def test_every_text_of_five_characters(self, native: Tokenizer) -> None:
        check_pieces(native, ["".join(text) for text in itertools.product(KINDS, repeat=5)])

    def test_regex_finds_the_same_pieces(self, native: Tokenizer) -> None:
        """`gpt2x bpe diff NAME NAME@regex` shows nothing but what Unicode has changed."""
        by_regex = Side(native.name, native, has_vocabulary=False, by_regex=True).core
        for characters in (KINDS, DEEPSEEK_KINDS):
            for text in map("".join, itertools.product(characters, repeat=3)):
                assert by_regex.split(text) == native._core.split(text), repr(text)

    def test_llama3_is_cl100k_but_for_the_end_of_a_text(self) -> None:
        """So one may not be taken for the other, though their spellings are much alike."""
        assert reference.split("end\n  ", "llama3") == ["end", "\n", "  "]
        assert reference.split("end\n  ", "cl100k") == ["end", "\n  "]

    def test_contractions_in_every_case_and_place(self, native: Tokenizer) -> None:
        around = itertools.product(
            ["", "a", "A", "中", "1", "!", "'", " ", "\n"], CONTRACTIONS, ["", "a", "s", "'", " "]
        )
        check_pieces(native, ["".join(text) for text in around])

    def test_every_white_space_character(self, native: Tokenizer) -> None:
        near = [*reference.WHITE_SPACE, *"\x1c\x1d\x1e\x1f\u180e\u200b\u2060\ufeff"]
        shapes = [
            "a{0}b",
            "a{0}{0}b",
            "a{0}{0}",
            "a{0} b",
            "a {0}b",
            "{0}1",
            "!{0}!",
            "a\n{0}b",
            "a{0}\n{0}b",
            "a{0}\n",
            "{0}",
        ]
        check_pieces(native, [shape.format(character) for shape in shapes for character in near])

    def test_every_mixture_of_newlines_and_blanks(self, native: Tokenizer) -> None:
        runs = ["".join(run) for length in range(6) for run in itertools.product("\r\n ", repeat=length)]
        check_pieces(
            native,
            [before + run + after for before in ("a", "!") for run in runs for after in ("b", "/", "")],
        )

    def test_numbers_in_groups_of_three(self, native: Tokenizer) -> None:
        digits = [*"0१９½Ⅷ", "\U0001d7ce"]
        runs = [digit * length for digit in digits for length in range(1, 9)] + ["1" + "".join(digits) + "1"]
        check_pieces(
            native,
            [before + run + after for before in ("", " ", "a") for run in runs for after in ("", "a", " ")],
        )

    @pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.long)])
    def test_every_code_point_alone_and_between_letters(self, native: Tokenizer, step: int) -> None:
        """All of the scripts with case and marks, and each `step`-th of the planes that hold little else than one kind.

        Tokens are all pairs of bytes, those first that begin or end with a byte which stands beside the character
        here; so in a piece they are made, across a boundary they are not, and the ids tell where the boundaries are.
        """
        beside = b"aA!"
        pairs = sorted(
            (bytes(pair) for pair in itertools.product(range(256), repeat=2)),
            key=lambda pair: (pair[0] not in beside, pair[1] not in beside),
        )
        ranks = {token: rank for rank, token in enumerate([*SINGLE_BYTES, *pairs])}
        ours = Tokenizer("pairs", pat_str=native.pat_str, mergeable_ranks=ranks, special_tokens={})
        oracle = as_tiktoken(ours)
        dense = [*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7A0, 0xD800), *range(0xF900, 0x13000)]
        dense += [
            *range(0x16000, 0x17000),
            *range(0x1AFF0, 0x1B200),
            *range(0x1BC00, 0x1FC00),
            *range(0xE0000, 0xE0200),
        ]
        codes = sorted({*dense, *(code for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000)})
        for start in range(0, len(codes), 512):
            some = [chr(code) for code in codes[start : start + 512]]
            text = "".join(f"\n{c}\n{c}Aa\n{c}aA\na{c}a\nA{c}A\n!!{c}!!\n1{c}1" for c in some)
            assert ours.encode_ordinary(text) == oracle.encode_ordinary(text), (
                f"U+{ord(some[0]):04X} and after"
            )

    def test_special_cases_wherever_they_stand(self, native: Tokenizer) -> None:
        """No offset in a text is different, as one could be in a core that looks at 64 bytes at once."""
        special = [
            "'s",
            "'LL",
            "'ſ",
            "aB",
            "\u0301A",
            "中A",
            "\u3000x",
            "  ",
            "\r\n",
            " \n ",
            "!\n/\r",
            "1234",
            "²",
        ]
        for filler in ("a", "中", " ", "\n", "1", "!"):
            for offset in range(131):
                text = "".join(filler * (offset if i == 0 else 3) + case for i, case in enumerate(special))
                assert native.split(text) == reference.split(text, native.name)

    @settings(max_examples=300, deadline=None)
    @given(text=awkward_text() | any_text() | st.text("".join(EVERY_KIND + DEEPSEEK_KINDS), max_size=40))
    def test_the_core_splits_as_the_reference_does(self, native: Tokenizer, text: str) -> None:
        pieces = reference.split(text, native.name)
        assert native.split(text) == pieces
        assert "".join(pieces) == text

    @settings(max_examples=150, deadline=None)
    @given(
        text=st.text("".join(EVERY_KIND + DEEPSEEK_KINDS), max_size=25)
        | any_text().map(lambda text: text[:25])
    )
    def test_random_texts_have_tiktokens_pieces(self, native: Tokenizer, text: str) -> None:
        check_pieces(native, [text])

    @settings(max_examples=150, deadline=None)
    @given(text=awkward_text())
    def test_random_texts_have_tiktokens_ids(
        self, native: Tokenizer, tiktoken_native: tiktoken.Encoding, text: str
    ) -> None:
        ids = tiktoken_native.encode_ordinary(text)
        assert native.encode_ordinary(text) == ids
        assert native.count(text, disallowed_special=()) == len(ids)
        assert reference.encode(text, native.mergeable_ranks, native.name) == ids

    @settings(max_examples=150, deadline=None)
    @given(data=awkward_bytes())
    def test_any_bytes_have_tiktokens_ids(
        self, native: Tokenizer, tiktoken_native: tiktoken.Encoding, data: bytes
    ) -> None:
        expected = tiktoken_native._encode_bytes(data)
        assert native.encode_bytes(data) == expected
        assert reference.encode_bytes(data, native.mergeable_ranks, native.name) == expected

    @pytest.mark.parametrize(
        "run", [" ", "\r\n", "a", "A", "中", "\u0301", "1", "!", "/", " \n", "\n ", "'s", "A\u0301"]
    )
    def test_long_runs_of_one_kind(self, native: Tokenizer, run: str) -> None:
        """Of a size at which splitting that is quadratic in it would not end; they end as short runs do."""
        for before, after in (("", ""), ("", "x"), ("x", "1")):
            short, long = (before + run * length + after for length in (60, 600_000))
            pieces = native.split(long)
            assert "".join(pieces) == long
            assert pieces[-1][-20:] == reference.split(short, native.name)[-1][-20:]

    def test_counts_of_pieces_do_not_depend_on_threads(self, native: Tokenizer) -> None:
        lines = [
            "It's 12345 o'clock;\n//and",
            "CamelCase\r\n\r\n  next!\n",
            "中文。\n日本語\n",
            "x\n\n",
            "!\n/\n",
            "\t",
        ]
        text = "".join(random.Random(1).choices(lines, k=200_000)).encode()
        alone, together = _bpe.PieceCounter(native.name), _bpe.PieceCounter(native.name)
        alone.add(text)
        together.add(text, num_threads=4)
        assert together.items() == alone.items()


class TestRealText:
    """By pieces: tokens are all that the core cuts, and all that it would have cut had it missed a boundary."""

    @staticmethod
    def check(native: Tokenizer, texts: list[str]) -> None:
        split = [native.split(text) for text in texts]
        joined = (left + right for pieces in split for left, right in itertools.pairwise(pieces))
        candidates = itertools.chain(itertools.chain.from_iterable(split), joined)
        for text, pieces, expected in zip(
            texts, split, tiktoken_pieces(native.pat_str, texts, candidates), strict=True
        ):
            assert pieces == expected, f"in {text[:60]!r}…"

    def test_source_code(self, native: Tokenizer) -> None:
        sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::4]
        assert sources
        self.check(native, [path.read_text(encoding="utf-8") for path in sources])

    @pytest.mark.parametrize("name", [MULTILINGUAL, "lyrics/lyrics_45k.csv.xz", "news/ag_news_test.csv.xz"])
    def test_corpora(self, native: Tokenizer, shared_data: Callable[[str], Path], name: str) -> None:
        step = 40 if name == MULTILINGUAL else 1
        texts = list(itertools.islice(documents(shared_data(name)), 0, 700 * step, step))
        self.check(native, [*texts, "\n".join(texts)])

    @pytest.mark.parametrize("name", ["text/bts_wikipedia.txt", "text/tinyshakespeare.txt"])
    def test_books(self, native: Tokenizer, shared_data: Callable[[str], Path], name: str) -> None:
        self.check(native, [shared_data(name).read_text(encoding="utf-8")])


class TestUnknown:
    """Splitting by a pattern that the core does not know."""

    def test_says_once_that_it_is_slow(self, songs: Tokenizer) -> None:
        patterns._splitter.cache_clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                Tokenizer("w", pat_str=r"\w+|\W", mergeable_ranks=songs.mergeable_ranks, special_tokens={})
        assert [str(warning.message).split(";")[0] for warning in caught] == [
            r"the core does not know the pattern '\\w+|\\W'"
        ]
        assert caught[0].filename == __file__, "the warning points at the caller"

    @settings(max_examples=150, deadline=None)
    @given(text=awkward_text().filter(lambda text: not set(text) & set("\U00010d4a\U0001e5d0")))
    def test_encodes_as_tiktoken_does(
        self, other: Tokenizer, tiktoken_other: tiktoken.Encoding, text: str
    ) -> None:
        ids = tiktoken_other.encode_ordinary(text)
        assert other.encode_ordinary(text) == ids
        assert other.encode_ordinary_batch([text, "x"])[0] == ids
        assert other.encode_to_numpy(text, disallowed_special=()).tolist() == ids
        assert other.count(text, disallowed_special=()) == len(ids)
        assert other.decode(ids) == text

    @settings(max_examples=100, deadline=None)
    @given(data=awkward_bytes())
    def test_takes_any_bytes(self, other: Tokenizer, tiktoken_other: tiktoken.Encoding, data: bytes) -> None:
        assert other.encode_bytes(data) == tiktoken_other._encode_bytes(data)
        assert other.decode_bytes(other.encode_bytes(data)) == data

    def test_what_is_no_regular_expression_is_refused(self, songs: Tokenizer) -> None:
        with pytest.raises(
            UsageError, match=r"the pattern '\(' has a group that is not closed at character 0"
        ):
            with_pattern(songs, "(")
