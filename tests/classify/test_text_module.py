"""gpt2x._text does what its readable definitions in Python do: features.py and softmax_reference.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x import _text
from gpt2x.classify import softmax_reference
from gpt2x.classify.features import GROUP_SHIFT, GROUPS, NUMBER_MASK, features_of, split_tokens, to_bytes
from tests.classify.conftest import make_corpus

TEXTS = st.text(
    st.one_of(
        st.sampled_from("aBc dE'’ \x1f\t.!“—é·日\ud800\u2028\xa0\xc2<>"),
        st.characters(),
        st.characters(max_codepoint=127),
    ),
    max_size=60,
)
GOLDEN = Path(__file__).parent.parent / "golden" / "text_features.tsv"
WORDS = [
    "",
    "Don't PANIC: it's 42 degrees",
    "One field\x1fand another\x1f",
    "« Déjà vu » — “so”",
    "''a'b'",
    "\x1f\x1f",
]


def test_the_golden_file_is_that_of_the_definition() -> None:
    """The C++ tests read it, too."""
    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    assert len(lines) > 20
    for line in lines:
        cased, lowered, codes = line.split("\t")
        text = bytes.fromhex(cased).decode("utf-8", "surrogatepass")
        assert to_bytes(text.lower()).hex() == lowered
        expected = sorted({feature.code for feature in features_of(text, 22)})
        assert [int(code) for code in codes.split()] == expected, repr(text)


def rows_of(texts: list[str], bits: int = 18, threads: int = 1) -> _text.FeatureRows:
    return _text.FeatureRows(
        [to_bytes(text) for text in texts], [to_bytes(text.lower()) for text in texts], bits, threads
    )


def check_features(texts: list[str], bits: int) -> None:
    rows = rows_of(texts, bits)
    for i, text in enumerate(texts):
        expected = sorted({feature.code for feature in features_of(text, bits)})
        assert rows.row(i).tolist() == expected, text


@pytest.mark.parametrize("bits", [1, 8, 22, 24])
def test_features_are_those_of_the_definition(bits: int) -> None:
    check_features([*WORDS, *make_corpus(20)[0]], bits)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_features_of_any_text_are_those_of_the_definition(texts: list[str]) -> None:
    check_features(texts, 20)


def test_words_keep_their_apostrophes_and_marks_stand_alone() -> None:
    tokens = [token.decode() for token in split_tokens("Don't “quote” me—it's 'so' café…".encode())]
    assert tokens == ["Don't", "“", "quote", "”", "me", "—", "it's", "'", "so", "'", "café", "…"]


def test_each_group_is_there_and_fields_are_told_apart() -> None:
    one, other = (set(rows_of([text]).row(0).tolist()) for text in ("rain\x1fgoal won", "goal won\x1frain"))
    assert {code >> GROUP_SHIFT for code in one} == set(range(len(GROUPS)))
    apart = {GROUPS[code >> GROUP_SHIFT] for code in one ^ other}
    assert apart == {"field word", "field pair", "style"}


def test_the_number_of_threads_changes_nothing() -> None:
    texts = make_corpus(5000)[0]
    one, four = rows_of(texts), rows_of(texts, threads=4)
    assert one.num_features == four.num_features
    assert all((one.row(i) == four.row(i)).all() for i in range(0, 5000, 7))


def model_for(rows: _text.FeatureRows, stride: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (zero), random idf, and columns of the features that are in two rows or more."""
    counts = rows.document_counts(np.arange(len(rows)))
    kept = np.flatnonzero(counts >= 2)
    columns = np.full(len(counts), -1, np.int32)
    columns[kept] = np.arange(len(kept))
    idf = np.random.default_rng(1).uniform(0.5, 2, len(kept)).astype(np.float32)
    return np.zeros((len(kept), stride), np.float32), idf, columns


@pytest.mark.parametrize("num_classes", [2, 16, 17, 40])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_learning_takes_the_steps_of_the_reference(num_classes: int, dropout: float) -> None:
    texts = make_corpus(60)[0]
    rng = np.random.default_rng(num_classes)
    rows = rows_of(texts, bits=12)  # few numbers: features share them
    weights, idf, columns = model_for(rows, stride=-(-num_classes // 16) * 16)
    rows.keep(columns)
    squares = np.zeros(len(idf), np.float32)
    truth = rng.integers(num_classes, size=len(texts)).astype(np.int32)
    row_weights = rng.uniform(0.1, 2, len(texts)).astype(np.float32)
    order = np.concatenate([rng.permutation(len(texts)), rng.permutation(len(texts))])
    same = {"learning_rate": 0.3, "dropout": dropout, "seed": 2**63 + 5}
    loss = _text.learn(rows, order, truth, row_weights, weights, idf, num_classes, squares, *same.values())
    expected, expected_squares = np.zeros((len(idf), num_classes)), np.zeros(len(idf))
    listed = [rows.row(i).astype(np.int64) for i in range(len(rows))]
    expected_loss = softmax_reference.learn(
        listed, order.tolist(), truth=truth, row_weights=row_weights, weights=expected, idf=idf,
        squares=expected_squares, **same,
    )  # fmt: skip
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_allclose(weights[:, :num_classes], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(squares, expected_squares, rtol=1e-4, atol=1e-8)
    assert not weights[:, num_classes:].any(), "padding stays zero"


def test_document_counts_are_of_the_given_rows() -> None:
    rows = rows_of(["a", "a b", "b"], bits=16)
    counts = rows.document_counts(np.array([0, 2]))
    assert counts.sum() == len(rows.row(0)) + len(rows.row(2))
    assert (counts[rows.row(0) & NUMBER_MASK] >= 1).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="bits"):
        _text.FeatureRows([b"a"], [b"a"], 25)
    with pytest.raises(ValueError, match="lowered"):
        _text.FeatureRows([b"a"], [], 8)
    with pytest.raises((TypeError, RuntimeError)):
        _text.FeatureRows(["a"], ["a"], 8)  # type: ignore[list-item]
    rows = rows_of(["a b", "b a", "a a"], bits=8)
    weights, idf, columns = model_for(rows)
    for row in (-1, 3):
        with pytest.raises(ValueError, match="row number"):
            rows.row(row)
        with pytest.raises(ValueError, match="row number"):
            rows.document_counts(np.array([row]))
    with pytest.raises(ValueError, match="columns"):
        rows.keep(columns[:-1])
    rows.keep(columns)
    with pytest.raises(ValueError, match="already"):
        rows.keep(columns)

    def learn(**changes: Any) -> None:
        given = {
            "rows": rows, "order": np.arange(3), "truth": np.zeros(3, np.int32), "row_weights": np.ones(3, np.float32),
            "weights": weights, "idf": idf, "classes": 3, "squares": np.zeros(len(idf), np.float32),
            "learning_rate": 0.1, "dropout": 0.0, "seed": 1,
        }  # fmt: skip
        _text.learn(**{**given, **changes})

    learn()
    for changes in (
        {"order": np.array([3])},
        {"truth": np.full(3, 3, np.int32)},
        {"truth": np.zeros(2, np.int32)},
        {"row_weights": np.ones(2, np.float32)},
        {"weights": weights[:-1]},
        {"classes": 17},
        {"classes": 0},
        {"squares": np.zeros(len(idf) + 1, np.float32)},
        {"dropout": 1.0},
    ):
        with pytest.raises(ValueError, match=".+"):
            learn(**changes)
    with pytest.raises(TypeError):
        learn(weights=weights.astype(np.float64))


def test_class_counts_are_the_sums_of_the_weights_of_the_rows() -> None:
    texts, labels = make_corpus(40)
    truth = np.array([sorted(set(labels)).index(label) for label in labels], np.int32)
    weights = np.arange(40, dtype=np.float32) / 8
    rows, part = rows_of(texts, bits=10), np.arange(0, 40, 3)
    counts = np.zeros((1 << 10, 3), np.float32)
    rows.class_counts(part, truth, weights, counts)
    expected = np.zeros_like(counts)
    for i in part:
        np.add.at(expected, (rows.row(i) & NUMBER_MASK, truth[i]), weights[i])
    np.testing.assert_array_equal(counts, expected)
    for wrong in (weights[:-1], np.ones(41, np.float32)):
        with pytest.raises(ValueError, match="weight a row"):
            rows.class_counts(part, truth, wrong, counts)
