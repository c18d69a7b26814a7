"""Naive Bayes and the linear classifier: by hand, sparse, and blind to what they did not learn from."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from gpt2x.classify import NaiveBayes, TfidfLinear
from gpt2x.errors import InputDataError


def test_naive_bayes_is_the_formula_worked_by_hand() -> None:
    # Manning, Raghavan, Schütze, Introduction to Information Retrieval, example 13.1: China or not, Laplace smoothing.
    texts = [
        "Chinese Beijing Chinese",
        "Chinese Chinese Shanghai",
        "Chinese Macao",
        "Tokyo Japan Chinese",
    ]
    model = NaiveBayes(alpha=1).fit(texts, ["yes", "yes", "yes", "no"])
    yes = 3 / 4 * (3 / 7) ** 3 * (1 / 14) ** 2
    no = 1 / 4 * (2 / 9) ** 3 * (2 / 9) ** 2
    shares = model.predict_proba(["Chinese Chinese Chinese Tokyo Japan"])[0]
    np.testing.assert_allclose(shares, [no / (yes + no), yes / (yes + no)], rtol=1e-5)


@pytest.mark.parametrize("model", [NaiveBayes(), TfidfLinear(n_jobs=1, min_count=1)], ids=["nb", "tfidf"])
def test_words_that_only_stand_in_the_test_texts_are_unknown(model: NaiveBayes | TfidfLinear) -> None:
    model.fit(["rain wind", "goal match", "rain snow", "goal team"], ["w", "s", "w", "s"])
    words = set(model.vectorizer_.get_feature_names_out())
    plain = model.predict_proba(["rain"])
    np.testing.assert_array_equal(model.predict_proba(["rain zebra quantum"]), plain)
    assert set(model.vectorizer_.get_feature_names_out()) == words
    assert not words & {"zebra", "quantum"}


def test_document_frequencies_come_from_the_training_texts_alone() -> None:
    texts, labels = ["rain wind", "goal match", "rain snow", "goal team"], ["w", "s", "w", "s"]
    model = TfidfLinear(n_jobs=1, min_count=1, ngrams=1, random_state=0).fit(texts, labels)
    before = model.vectorizer_.idf_.copy()
    model.predict(["rain"] * 1000)
    np.testing.assert_array_equal(model.vectorizer_.idf_, before)
    rain = model.vectorizer_.vocabulary_["rain"]
    assert before[rain] == pytest.approx(np.log((1 + 4) / (1 + 2)) + 1)


@pytest.mark.parametrize("model", [NaiveBayes(), TfidfLinear(n_jobs=1, min_count=1)], ids=["nb", "tfidf"])
def test_features_are_never_made_dense(
    model: NaiveBayes | TfidfLinear, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a sparse matrix was made dense")

    for method in ("toarray", "todense"):
        monkeypatch.setattr(scipy.sparse.csr_matrix, method, refuse)
    model.fit(["rain wind", "goal match", "rain snow", "goal team"], ["w", "s", "w", "s"]).predict(["rain"])


def test_upper_and_lower_case_are_one_word() -> None:
    model = NaiveBayes().fit(["Rain WIND", "goal match"], ["w", "s"])
    assert model.predict(["RAIN", "Goal"]).tolist() == ["w", "s"]


def test_the_linear_classifier_does_not_depend_on_the_number_of_threads() -> None:
    texts = [f"w{i % 7} v{i % 5} u{i % 3}" for i in range(60)]
    labels = [i % 5 for i in range(60)]
    one, two = (TfidfLinear(n_jobs=n, random_state=0).fit(texts, labels) for n in (1, 2))
    np.testing.assert_array_equal(one.weights_, two.weights_)


def test_texts_without_a_word_are_one_clear_error() -> None:
    with pytest.raises(InputDataError, match="no word is in 1 or more"):
        NaiveBayes().fit(["", "!"], ["a", "b"])
    with pytest.raises(InputDataError, match="smaller min_count"):
        TfidfLinear().fit(["one", "two"], ["a", "b"])


def test_a_text_that_all_classes_refuse_still_has_probabilities() -> None:
    model = TfidfLinear(n_jobs=1, min_count=1).fit(["rain", "goal"], ["w", "s"])
    model.intercepts_ = np.full(2, -1e4, dtype=np.float32)
    np.testing.assert_allclose(model.predict_proba(["rain"]), [[0.5, 0.5]])
