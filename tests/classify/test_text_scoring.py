"""gpt2x._text.Scorer gives what the readable definitions give, text by text and for raw lines of UTF-8."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x import _text
from gpt2x.classify import features, softmax_reference
from gpt2x.classify.features import GROUP_SHIFT, GROUPS, NUMBER_MASK, features_of
from gpt2x.classify.hashed_weights import ONES, HashedWeights
from gpt2x.classify.inputs import AS_IS, NFC, in_form, split_lines, with_fields
from gpt2x.process_memory import status_bytes
from tests.classify.conftest import make_corpus

BITS = 12  # few numbers: features share them
LINES = st.text(
    st.one_of(
        st.sampled_from("aBc dE'’‘ÀÞ×÷ßµª \x1f\t\r\n.!“—…é·日İ\u0301\u2028\xa0\x85\u2010\u2027\u2030Ⅷ"),
        st.characters(codec="utf-8"),
        st.characters(min_codepoint=0x80, max_codepoint=0x2FF),
    ),
    max_size=80,
)


def make_weights(
    num_classes: int = 3, *, extra: int = 0, has_idf: bool = True, threads: int = 1
) -> HashedWeights:
    """Weights of half of all numbers; `extra` columns behind the classes are never to be read."""
    rng = np.random.default_rng(num_classes)
    numbers = np.flatnonzero(rng.random(1 << BITS) < 0.5)
    weights = np.full((len(numbers), num_classes + extra), np.nan, np.float32)
    weights[:, :num_classes] = rng.normal(size=(len(numbers), num_classes))
    idf = rng.uniform(0.5, 2, len(numbers)).astype(np.float32) if has_idf else ONES
    groups = rng.choice(np.uint8([1, 32, 64, 97, 160]), len(numbers))  # few of words, few of letters
    return HashedWeights(
        bits=BITS, numbers=numbers, weights=weights, log_prior=np.zeros(num_classes, np.float32), idf=idf,
        groups=groups, prior_weight=0.0, threads=threads,
    )  # fmt: skip


def expected_answer(weights: HashedWeights, text: str) -> tuple[np.ndarray, bool]:
    """The score of a text and whether it has a known word, from the readable definitions."""
    codes = sorted({feature.code for feature in features_of(text, BITS)})
    columns = weights.columns[np.array(codes) & NUMBER_MASK]
    row = np.array(
        [
            code >> GROUP_SHIFT << GROUP_SHIFT | int(c)
            for code, c in zip(codes, columns, strict=True)
            if c >= 0
        ],
        int,
    )
    places, values = row & NUMBER_MASK, np.ones(len(row))
    if len(weights.idf) and len(row):
        places, values = softmax_reference.values_of(row, weights.idf)
    num_classes = len(weights.log_prior)
    words = row[row >> GROUP_SHIFT == 0] & NUMBER_MASK
    known = (weights.groups[words] & 1).any() or knows_letter(weights, text)
    return values @ weights.weights[places, :num_classes].astype(np.float64), bool(known)


def knows_letter(weights: HashedWeights, text: str) -> bool:
    """Whether a letter of a script without blanks has the number of one that was learned."""
    characters, letter_bit = GROUPS.index("characters"), 1 << len(GROUPS)
    letters = [letter.encode() for letter in re.findall(features.LETTER, text.lower())]
    codes = [features._feature(characters, features.hash_bytes(letter), (), BITS).code for letter in letters]
    columns = weights.columns[np.array(codes, int) & NUMBER_MASK]
    return bool((weights.groups[columns[columns >= 0]] & letter_bit).any())


def check(weights: HashedWeights, texts: Sequence[str], found: tuple[np.ndarray, np.ndarray]) -> None:
    scores, known = found
    assert scores.shape == (len(texts), len(weights.log_prior))
    for text, own, is_known in zip(texts, scores, known.tolist(), strict=True):
        expected, expected_known = expected_answer(weights, text)
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4, err_msg=repr(text))
        assert is_known == expected_known, repr(text)


@pytest.mark.parametrize("num_classes", [1, 2, 15, 16, 17, 42, 48, 70])
@pytest.mark.parametrize("extra", [0, 1, 22])
@pytest.mark.parametrize("has_idf", [True, False])
def test_scores_are_those_of_the_definition(num_classes: int, extra: int, has_idf: bool) -> None:
    weights = make_weights(num_classes, extra=extra, has_idf=has_idf)
    texts = [
        "",
        "Rain RAIN rain",
        *make_corpus(15)[0],
        *["天气", "今天下雨了。", "ありがとう", "𠀀𠀁", "한국"],
        "、。",
    ]
    check(weights, texts, weights.scores_and_known(texts))


def test_a_text_is_scored_alike_alone_among_others_and_by_any_number_of_threads() -> None:
    texts = make_corpus(700)[0]
    weights = make_weights()
    together = weights.scores(texts)
    np.testing.assert_array_equal(together, np.concatenate([weights.scores([text]) for text in texts]))
    for threads in (2, 5):
        np.testing.assert_array_equal(together, make_weights(threads=threads).scores(texts))


def test_long_texts_are_scored_as_they_are_alone() -> None:
    short = make_corpus(900)[0]
    texts = [" ".join(short[: len(short) if i % 300 == 7 else i % 20]) * 6 for i in range(900)]
    weights = make_weights()
    scores, known = weights.scores_and_known(texts)
    raw_scores, raw_known = weights.scores_of_lines("\n".join(texts).encode(), AS_IS, False)
    np.testing.assert_array_equal(raw_scores, scores)
    assert raw_known.tolist() == known.tolist()
    for i in (0, 6, 7, 8, 307, 607, 767, 768, 899):
        np.testing.assert_array_equal(weights.scores([texts[i]])[0], scores[i], err_msg=str(i))


LONG_TEXTS = {
    "many": "[b' '.join(b'word%d' % (i * j % 9973) for j in range(1000)) for i in range(768)]",  # 7 KB each
    "one of megabytes": "[b' '.join(b'word%d' % (j % 9973) for j in range(600_000))]",
}


@pytest.mark.skipif(status_bytes("VmHWM") is None, reason="the system does not tell a process's peak memory")
@pytest.mark.parametrize("texts", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_scoring_long_texts_takes_little_memory(texts: str) -> None:
    code = (
        "import numpy as np\nfrom gpt2x import _text\nfrom gpt2x.process_memory import peak_memory\n"
        f"texts = {texts}\n"
        "numbers = np.arange(1 << 12)\nones = np.ones((1 << 12, 1), np.float32)\n"
        "scorer = _text.Scorer(numbers, 12, ones, ones[:, 0], np.ones(1 << 12, np.uint8), 1)\n"
        "before = peak_memory()\nscorer.score(texts, texts)\n"
        "print(peak_memory() - before, sum(map(len, texts)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    grown, length = map(int, done.stdout.split())
    assert length > 4_500_000
    assert grown < 160e6, f"{grown:,} bytes for {length:,} bytes of text"


@pytest.mark.parametrize("form", [NFC, AS_IS])
@pytest.mark.parametrize("fields", [False, True])
@given(data=LINES)
def test_raw_lines_are_read_as_the_texts_that_they_are(data: str, form: str, fields: bool) -> None:
    weights, raw = make_weights(), data.encode()
    lines = split_lines(raw)
    texts = in_form(with_fields(lines) if fields else lines, form)
    scores, known = weights.scores_of_lines(raw, form, fields)
    alone, alone_known = weights.scores_and_known(texts)
    np.testing.assert_array_equal(scores, alone)
    assert known.tolist() == alone_known.tolist()


def test_common_lines_need_no_python_and_uncommon_ones_are_left() -> None:
    scorer = make_weights().scorer
    common = "Don’t panic: “ÉTÉ” — 5 × 3 …\r\n\nplain\ttext\n"
    uncommon = "e\u0301\nİstanbul\n日本\nend"
    *_, bounds, left = scorer.score_lines((common + uncommon).encode(), True, False)
    assert left.tolist() == [3, 4, 5]
    lines = [(common + uncommon).encode()[start:end].decode() for start, end in bounds.tolist()]
    assert lines == split_lines((common + uncommon).encode())


def test_bytes_that_are_no_utf8_are_left_and_never_read_beyond_the_end() -> None:
    data = b"\xe2\x80\n\xc3\n\xe2\n\xff\nfine\n\xe2\x80"
    assert make_weights().scorer.score_lines(data, True, False)[3].tolist() == [0, 1, 2, 3, 5]


def test_what_does_not_fit_is_refused() -> None:
    good = make_weights()
    given = {
        "numbers": good.numbers, "bits": BITS, "weights": good.weights, "idf": good.idf, "groups": good.groups,
        "classes": 3,
    }  # fmt: skip

    def scorer(**changes: Any) -> _text.Scorer:
        return _text.Scorer(**{**given, **changes})

    scorer()
    for changes in (
        {"bits": 25},
        {"bits": BITS - 1},
        {"classes": 0},
        {"classes": 4},
        {"numbers": good.numbers[::-1].copy()},
        {"numbers": good.numbers[:-1]},
        {"numbers": np.zeros_like(good.numbers)},
        {"numbers": good.numbers - 1 - good.numbers[0]},
        {"weights": good.weights[:-1]},
        {"weights": good.weights.ravel()},
        {"idf": good.idf[:-1]},
        {"groups": good.groups[:-1]},
        {"groups": good.groups[:0]},
    ):
        with pytest.raises(ValueError, match=".+"):
            scorer(**changes)
    with pytest.raises(TypeError):
        scorer(weights=good.weights.astype(np.float64))
    with pytest.raises(TypeError):
        scorer(groups=good.groups.astype(np.int64))
    with pytest.raises(ValueError, match="lowered"):
        scorer().score([b"a"], [])
