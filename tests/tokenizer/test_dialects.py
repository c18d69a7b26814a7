"""Regular expressions of other engines: what `regex` is given has the matches that Rust and Oniguruma find."""

from __future__ import annotations

import pytest
import regex
import tiktoken
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from gpt2x.errors import UsageError
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.dialects import neutral, reads_alike
from gpt2x.tokenizer.engines import Dialect
from gpt2x.tokenizer.splitting import ISOLATED, REMOVED, Splitter, Step

RUST, ONIGURUMA = Dialect.RUST, Dialect.ONIGURUMA

# Letters with their other cases, what \w is not sure of, line ends, what a set has a meaning for.
TEXT = st.text([*"aAbBsSſkK1½² \n\r\t-]_.'!éÉ中あß", "\u0301", "\u200d", "\u3000"], max_size=8)

ATOMS = st.sampled_from(
    [
        *"abs1 ._!'é中]}",
        "x{",
        r"\.",
        r"\s",
        r"\S",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\h",
        r"\p{L}",
        r"\P{Lu}",
        r"\p{^N}",
        *[r"\p{Han}", r"\n", r"\x41", r"\u4e2d", r"\x{e9}", r"\-", r"\_", "(?i:s)", "(?i:'[sk]|l)"],
    ]
)
MEMBERS = st.sampled_from(
    [
        *"abs1 é中.'|()*&_",
        r"\s",
        r"\S",
        r"\d",
        r"\w",
        r"\W",
        r"\p{L}",
        r"\P{N}",
        r"\n",
        "a-z",
        r"\x41-\x43",
        r"\]",
        *[r"\-", r"\h", "[bc]", "[^a]", r"[^\s]"],
    ]
)
ANCHORS = st.sampled_from(
    [
        "^",
        "$",
        r"\b",
        r"\B",
        r"\A",
        r"\z",
        r"\Z",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        r"(?!\S)",
        r"(?<=[ab])",
    ]
)
QUANTIFIERS = st.sampled_from(
    [q + mark for q in ("*", "+", "?", "{2}", "{1,2}", "{1,}", "{,2}") for mark in ("", "?", "+")]
)


@st.composite
def sets(draw: st.DrawFn) -> str:
    unions = draw(st.lists(st.lists(MEMBERS, min_size=1, max_size=3).map("".join), min_size=1, max_size=2))
    return "[" + draw(st.sampled_from(["", "^"])) + "&&".join(unions) + draw(st.sampled_from(["", "-"])) + "]"


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    branches = st.lists(inner, min_size=1, max_size=3).map("|".join)
    openings = st.sampled_from(["(", "(?:", "(?>", "(?i:", "(?=", "(?!", "(?<n>"])
    return (
        st.builds("{}{})".format, openings, branches)
        | st.builds("{}{}".format, inner, QUANTIFIERS)
        | st.builds("{}{}".format, inner, inner)
    )


REGEXES = st.recursive(ATOMS | ATOMS | sets() | ANCHORS, grown, max_leaves=8)


def oniguruma_pieces(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    return [text[start:end] for _, (start, end) in split.pre_tokenize_str(text)]


def rust_pieces(pattern: str, text: str) -> list[str]:
    """What tiktoken cuts: with each part of the text a token, each piece is one."""
    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            ranks.setdefault(text[start:end].encode(), len(ranks))
    encoding = tiktoken.Encoding("pieces", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return [token.decode() for token in encoding.decode_tokens_bytes(encoding.encode_ordinary(text))]


def check_oniguruma(pattern: str, text: str) -> None:
    assert Splitter([Step(pattern, ONIGURUMA, ISOLATED)]).split(text) == oniguruma_pieces(pattern, text)


def check_rust(pattern: str, text: str) -> None:
    assert Splitter([Step(pattern, RUST, REMOVED, invert=True)]).split(text) == rust_pieces(pattern, text)


# What Python's `regex` by itself refuses, or finds other matches for than one of the two.
DIFFERENT = [
    ("a{1,3}+b?", "aaaab"),
    ("a{2}?", "aaaa"),
    ("a{2}+", "aaaaa"),
    ("a++b|aab", "aab"),
    ("a$|.", "a\na"),
    ("^a|.", "a\na\n"),
    ("^|.", "a\n"),
    ("b$", "ab\n"),
    (r"b\z", "ab\n"),
    (r"\Ab|.", "bb"),
    (r"\h+", "xyz af09"),
    ("[a[bc]d]+", "abcd[]x"),
    (" ?[^(\\s|[.,!?…。，、।۔،])]+", "well, (he) said… no|yes"),
    ("[a-c&&[b-z]]+", "abcd"),
    (r"[^\W\d_]+", "aé1_½²"),
    (r"\w+", "a½b²c\u0301_1 1"),
    (r"[\w]+", "a½b²c\u0301_1 1"),
    (r"\b.", "a½ b"),
    ("(?i:'s|k)", "'s 'S 'ſ K \u212a k"),
    ("(?i)a|b", "aAbB"),
    (r"\p{^L}+", "a12b"),
    ("(?<name>a)b", "ab ab"),
    ("|a", "aab"),
    ("a*", "baac"),
    ("a*?", "baac"),
    (r"\u4e2d|\x{6587}", "中文"),
    ("x{|y}", "x{y}"),
    ("]", "a]b"),
]


class TestSameMatches:
    @pytest.mark.parametrize(("pattern", "text"), DIFFERENT)
    def test_as_oniguruma(self, pattern: str, text: str) -> None:
        check_oniguruma(pattern, text)

    @pytest.mark.parametrize(
        ("pattern", "text"), [case for case in DIFFERENT if "*" not in case[0] and case[0][0] not in "|^"]
    )
    def test_as_rust(self, pattern: str, text: str) -> None:
        check_rust(pattern, text)

    @settings(max_examples=400, deadline=None)
    @given(pattern=REGEXES, texts=st.lists(TEXT, min_size=4, max_size=4))
    def test_as_oniguruma_on_random_patterns(self, pattern: str, texts: list[str]) -> None:
        try:
            spelled = neutral(pattern, ONIGURUMA)
            tokenizers.Regex(pattern)
        except Exception:
            assume(False)
        for text in texts:
            check_oniguruma(pattern, text)
            assert oniguruma_pieces(spelled, text) == oniguruma_pieces(pattern, text), "the neutral spelling"

    @settings(max_examples=200, deadline=None)
    @given(
        pattern=REGEXES.filter(lambda pattern: "(?i)" not in pattern),
        texts=st.lists(TEXT, min_size=2, max_size=2),
    )
    def test_as_rust_on_random_patterns(self, pattern: str, texts: list[str]) -> None:
        try:
            compiled = regex.compile(neutral(pattern, RUST), regex.V1)
        except UsageError:
            assume(False)
        # tiktoken panics at empty matches.
        assume(all(match.group() for text in texts for match in compiled.finditer(text)))
        try:
            expected = [rust_pieces(pattern, text) for text in texts]
        except ValueError:
            assume(False)
        for text, pieces in zip(texts, expected, strict=True):
            assert Splitter([Step(pattern, RUST, REMOVED, invert=True)]).split(text) == pieces

    @pytest.mark.parametrize(
        "pattern", [r"\s", r"\S", r"\d", r"\w", r"[\w]", r"\p{L}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{Han}"]
    )
    def test_classes_have_the_characters_of_unicode_16(self, pattern: str) -> None:
        """But for those that are new since, which `regex` knows and the others do not."""
        some = [chr(code) for code in [*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x10000)]]
        known = regex.compile(r"[\p{Cn}]")
        text = "".join(character for character in some if not known.match(character))
        ours = "".join(Splitter([Step(pattern, ONIGURUMA, REMOVED, invert=True)]).split(text))
        split = pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
        theirs = "".join(text[start:end] for _, (start, end) in split.pre_tokenize_str(text))
        assert set(theirs) <= set(ours)
        assert len(ours) - len(theirs) < 250

    def test_well_known_patterns_mean_the_same_to_all(self) -> None:
        assert all(
            map(reads_alike, (patterns.O200K, patterns.LLAMA3, patterns.QWEN2, *patterns.DEEPSEEK_SPLITS))
        )
        assert not reads_alike(patterns.CL100K)


class TestRefused:
    @pytest.mark.parametrize(
        ("pattern", "reason"),
        [
            ("(", "a group that is not closed at character 0"),
            ("a)", r"a \) that closes nothing at character 1"),
            ("[a", "an end too early at character 2"),
            ("a\\", "an end too early"),
            ("*a", "a quantifier on nothing at character 0"),
            ("a**", "a quantifier on a quantifier"),
            ("^*", "a quantifier on something that has no length"),
            ("(?=a)+", "a quantifier on something that has no length"),
            (r"(a)\1", r"the escape '\\\\1' at character 3"),
            (r"\R", r"the escape '\\\\R'"),
            (r"\X", r"the escape '\\\\X'"),
            (r"\K", r"the escape '\\\\K'"),
            (r"a\Gb", r"the escape '\\\\G' at character 1"),
            ("(?R)", r"the group '\(\?R\)'"),
            ("(?(1)a|b)", r"the group '\(\?\(1'"),
            ("(?#comment)", r"the group '\(\?#c'"),
            ("(?m:.)", r"the group '\(\?m:'"),
            ("a(?i)b", r"the group '\(\?i\)'"),
            ("[[:alpha:]]", r"\[: in a set"),
            ("[a--b]", "-- in a set"),
            ("[]a]", "a ] that comes first"),
            ("[a-b-c]", "a - that is neither first nor last"),
            (r"[\d-x]", "a range from a class|a - that is neither"),
            (r"[^\s\S]", "a set of nothing"),
            (r"\p{Klingon}", "the property 'Klingon'"),
            (r"\p{Punct}", "the property 'Punct'"),
            (r"(?i:\p{Lu})", "a property where case is ignored"),
            ("(?i:é)", "a letter beyond ASCII where case is ignored"),
            ("a{2000}", "a quantifier that is not between 0 and 1000"),
            ("a{3,1}", "smaller number first"),
            ("(?:(?:(?:a{1000}){1000}){1000})", "repetitions of repetitions"),
            ("(?:" * 40 + "a" + "+)+" * 40, "repetitions of repetitions"),
            ("(" * 60 + ")" * 60, "groups more than 50 deep"),
            ("[" * 60 + "a" + "]" * 60, "sets more than 50 deep"),
            ("a" * 20_001, "has 20,001 characters"),
            ("a\ud800", "a lone surrogate at character 1"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("dialect", Dialect)
    def test_what_may_mean_something_else_is_refused_with_its_place(
        self, pattern: str, reason: str, dialect: Dialect
    ) -> None:
        with pytest.raises(UsageError, match=reason) as caught:
            neutral(pattern, dialect)
        assert len(str(caught.value)) < 320

    @pytest.mark.parametrize(
        ("pattern", "dialect"),
        [
            (r"\Z", RUST),
            (r"\<a", RUST),
            ("a{,2}", RUST),
            (r"\pL", ONIGURUMA),
            ("(?i:ss)", ONIGURUMA),
            ("(?i:of(?:fi|a))", ONIGURUMA),
        ],
    )
    def test_what_only_one_engine_has_is_refused_for_the_other(self, pattern: str, dialect: Dialect) -> None:
        with pytest.raises(UsageError, match="does not take for a regular expression of"):
            neutral(pattern, dialect)
