"""The classifiers among scikit-learn's own tools, one after the other."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gpt2x.classify import HashedBayes, HashedLinear, NaiveBayes, RNNClassifier, TfidfLinear, load
from gpt2x.classify.base import TextClassifier
from gpt2x.classify.calibration import UNCHANGED
from gpt2x.errors import InputDataError, UsageError
from tests.classify.conftest import make_corpus

Corpus = tuple[list[str], list[str]]
QUICK = ["nb", "hashed-nb", "linear", "tfidf"]
WEIGHTED = [NaiveBayes, HashedBayes, HashedLinear, TfidfLinear]


@pytest.fixture
def quick(make: Any) -> Any:
    """The kinds that learn in no time."""
    if make.kind not in QUICK:
        pytest.skip("takes long, and shares the surface")
    return make


def test_scores_and_log_probabilities_follow_the_probabilities(
    fitted: TextClassifier, unseen: Corpus
) -> None:
    shares = fitted.predict_proba(unseen[0])
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(unseen[0])), shares, rtol=1e-9)
    scores = fitted.decision_function(unseen[0])
    assert scores.shape == shares.shape
    assert fitted.classes_[scores.argmax(axis=1)].tolist() == fitted.predict(unseen[0]).tolist()
    assert is_classifier(fitted)


def test_with_two_classes_there_is_one_score_a_text(quick: Any, corpus: Corpus, unseen: Corpus) -> None:
    model = quick().fit(corpus[0], [label == "sport" for label in corpus[1]])
    scores = model.decision_function(unseen[0])
    assert scores.shape == (len(unseen[0]),)
    assert (scores > 0).tolist() == model.predict(unseen[0]).tolist()


def test_a_generator_is_a_random_state(quick: Any, corpus: Corpus, unseen: Corpus) -> None:
    models = [quick(random_state=np.random.default_rng(seed)).fit(*corpus) for seed in (3, 3)]
    first, second = (model.predict_proba(unseen[0]) for model in models)
    assert first.tolist() == second.tolist()


def with_rows_that_do_not_count(num_texts: int) -> tuple[list[str], list[str], np.ndarray]:
    """Texts, labels and weights; every second text has a wrong label, words of its own, and no weight."""
    texts, labels = make_corpus(num_texts)
    wrong = np.arange(num_texts) % 2 == 1
    names = sorted(set(labels))
    texts = [f"odd{i % 5} {text}" if wrong[i] else text for i, text in enumerate(texts)]
    labels = [names[(names.index(label) + 1) % 3] if wrong[i] else label for i, label in enumerate(labels)]
    return texts, labels, np.where(wrong, 0.0, 1.0 + np.arange(num_texts) % 3)


@pytest.mark.parametrize("objective", ["accuracy", "macro"])
@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_weight_of_none_is_like_no_text(kind: type[Any], objective: str) -> None:
    if objective == "macro" and kind is TfidfLinear:
        pytest.skip("is not made for macro-F1")
    dials = {"random_state": 0, "min_count": 2} | (
        {"objective": objective} if kind is not TfidfLinear else {}
    )
    texts, labels, weights = with_rows_that_do_not_count(4200)
    counted = np.flatnonzero(weights)
    own, own_labels = [texts[i] for i in counted], [labels[i] for i in counted]
    without = kind(**dials).fit(own, own_labels, sample_weight=weights[counted])
    weighted = kind(**dials).fit(texts, labels, sample_weight=weights)
    unseen = [*make_corpus(60, seed=5)[0], "odd1 odd2"]
    assert weighted.confidence_ == without.confidence_ != UNCHANGED
    np.testing.assert_array_equal(weighted.predict_proba(unseen), without.predict_proba(unseen))
    assert weighted.knows(["odd1"]).tolist() == without.knows(["odd1"]).tolist()
    np.testing.assert_array_equal(weighted.held_back_.rows, counted[without.held_back_.rows])
    balanced = [
        kind(**dials, class_weight="balanced").fit(*rows)
        for rows in ((own, own_labels), (texts, labels, (weights > 0).astype(int)))
    ]
    np.testing.assert_array_equal(*(model.predict_proba(unseen) for model in balanced))


def test_the_rnn_learns_nothing_of_a_text_without_weight() -> None:
    texts, labels, weights = with_rows_that_do_not_count(240)
    counted = np.flatnonzero(weights)
    make = functools.partial(
        RNNClassifier, tokenizer="learn", embedding=8, hidden=8, epochs=1, device="cpu", random_state=0
    )
    without = make().fit([texts[i] for i in counted], [labels[i] for i in counted], weights[counted])
    weighted = make().fit(texts, labels, weights)
    assert weighted.describe() == without.describe()
    np.testing.assert_array_equal(weighted.predict_proba(texts), without.predict_proba(texts))


@pytest.mark.parametrize("objective", ["accuracy", "macro"])
@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_class_without_weight_is_known_and_never_named(
    kind: type[Any], objective: str, tmp_path: Path
) -> None:
    texts, labels = make_corpus(4200)
    own = {"objective": objective} if kind is not TfidfLinear else {}
    model = kind(random_state=0, class_weight={"sport": 0}, **own).fit(texts, labels)
    counted = [i for i, label in enumerate(labels) if label != "sport"]
    assert set(model.held_back_.rows.tolist()) < set(counted)
    assert model.classes_.tolist() == ["money", "sport", "weather"]
    assert "sport" not in model.predict(texts[:300]).tolist()
    model.save(tmp_path / "kept")
    np.testing.assert_allclose(
        load(tmp_path / "kept").predict_proba(texts[:9]), model.predict_proba(texts[:9]), rtol=1e-6
    )
    one = kind(random_state=0, class_weight={"sport": 0, "money": 0}, **own).fit(texts[:300], labels[:300])
    assert set(one.predict(texts[:30])) == {"weather"}


@pytest.mark.parametrize(
    ("class_weight", "weight", "sentence"),
    [
        ({"a": 0, "b": 0}, 1.0, "is 0 for every text"),
        ({"a": 0}, [0.0, 1.0, 0.0, 0.0], None),
        ({"b": 0}, [0.0, 1.0, 0.0, 0.0], "is 0 for every text"),
        ({"a": 1e-30, "b": 1e-30}, 1e-20, "is 0 for every text"),
        ({"a": 1e30}, 1e30, "comes to 3e\\+60 for all texts together, and may be 1e\\+18 at most"),
        (None, 1e39, "comes to 4e\\+39 for all texts together, and may be 1e\\+18 at most"),
        (None, 1e300, "comes to 4e\\+300 for all texts"),
        (None, 1e-50, "too small for a float32"),
    ],
)
def test_weights_under_which_nothing_can_be_learned_are_one_sentence(
    make: Any, class_weight: Any, weight: Any, sentence: str | None
) -> None:
    texts, labels, weights = ["rain", "goal", "rain", "rain"], ["a", "b", "a", "a"], np.ones(4) * weight
    if sentence is None:
        dials = {"min_count": 1} if make.kind not in ("nb", "gpt2-lstm") else {}
        model = make(class_weight=class_weight, **dials).fit(texts, labels, sample_weight=weights)
        assert model.predict(["rain"]).tolist() == ["b"]
        return
    with pytest.raises(InputDataError, match=sentence):
        make(class_weight=class_weight).fit(texts, labels, sample_weight=weights)
    if hasattr(make(), "partial_fit"):
        with pytest.raises(InputDataError, match=sentence):
            make(class_weight=class_weight).partial_fit(texts, labels, ["a", "b"], weights)


def test_macro_takes_half_of_the_shares_where_too_few_texts_are_held_back(make: Any) -> None:
    if make.kind == "tfidf":
        pytest.skip("is not made for macro-F1")
    texts, labels = ["rain"] * 60, ["often"] * 48 + ["seldom"] * 12
    dials = {"epochs": 1} if make.kind in ("rnn", "gpt2-lstm", "linear") else {}
    plain, macro = (
        make(objective=objective, **dials).fit(texts, labels).decision_function(["rain"])[0]
        for objective in ("accuracy", "macro")
    )
    assert macro - plain == pytest.approx(0.5 * np.log(48 / 12), rel=1e-3)


@pytest.mark.parametrize("kind", WEIGHTED)
def test_class_weights_are_weights_of_the_texts_of_a_class(kind: type[Any], tmp_path: Path) -> None:
    texts, labels = make_corpus(120)
    own = {"sport": 5.0, "money": 0.5, "a class that is not here": 3.0}
    by_class = kind(random_state=0, class_weight=own).fit(texts, labels)
    by_text = kind(random_state=0).fit(texts, labels, sample_weight=[own.get(label, 1.0) for label in labels])
    unseen = make_corpus(30, seed=5)[0]
    np.testing.assert_allclose(by_class.predict_proba(unseen), by_text.predict_proba(unseen), rtol=1e-6)
    plain = kind(random_state=0).fit(texts, labels)
    column = by_class.classes_.tolist().index("sport")
    assert by_class.predict_proba(["today"])[0, column] > plain.predict_proba(["today"])[0, column]
    by_class.save(tmp_path / "kept")
    np.testing.assert_allclose(
        load(tmp_path / "kept").predict_proba(unseen), by_class.predict_proba(unseen), rtol=1e-6
    )
    balanced = clone(by_class).set_params(class_weight="balanced").fit(texts, labels)
    assert balanced.score(texts, labels) > 0.9
    for wrong in ("even", {"sport": -1}, {"sport": float("nan")}, [1, 2]):
        with pytest.raises(UsageError, match="class_weight"):
            kind(class_weight=wrong).fit(texts, labels)


def test_sample_weights_go_through_cross_validation(corpus: Corpus) -> None:
    weights = {"sample_weight": np.ones(len(corpus[0]))}
    for kind in WEIGHTED:
        scores = cross_val_score(
            kind(random_state=0), np.array(corpus[0], object), corpus[1], cv=2, params=weights
        )
        assert scores.min() > 0.7


@pytest.mark.parametrize("labels", ["bool", "float", "int8"])
def test_labels_may_be_truth_values_and_whole_floats(quick: Any, corpus: Corpus, labels: str) -> None:
    numbers = {"weather": 0, "sport": 1, "money": 1 if labels == "bool" else 2}
    y = np.array([numbers[label] for label in corpus[1]]).astype(labels)
    model = quick().fit(corpus[0], y)
    assert model.classes_.tolist() == sorted({int(one) for one in y})
    assert model.score(corpus[0], y) > 0.8


def test_a_pipeline_is_searched_over(quick: Any, corpus: Corpus) -> None:
    shout = FunctionTransformer(lambda texts: [text.upper() for text in texts])
    pipeline = make_pipeline(shout, quick())
    name = pipeline.steps[1][0]
    search = GridSearchCV(pipeline, {f"{name}__random_state": [0, 1]}, cv=2).fit(*corpus)
    assert search.best_score_ > 0.7
    assert clone(search.best_estimator_).get_params()[f"{name}__random_state"] in (0, 1)


def test_bagging_takes_a_column_of_texts(quick: Any, corpus: Corpus) -> None:
    column = np.array(corpus[0], object)[:, None]
    bag = BaggingClassifier(quick(), n_estimators=3, max_samples=0.8, random_state=0).fit(column, corpus[1])
    assert bag.score(column, corpus[1]) > 0.8


@pytest.mark.parametrize(
    "around",
    [
        lambda make: CalibratedClassifierCV(make(), cv=2),
        lambda make: VotingClassifier([("a", make()), ("b", make(random_state=1))], voting="soft"),
        lambda make: StackingClassifier([("a", make()), ("b", make(random_state=1))], cv=2),
    ],
    ids=["calibration", "voting", "stacking"],
)
def test_ensembles_take_it(quick: Any, corpus: Corpus, unseen: Corpus, around: Any) -> None:
    for labels, truth in (
        (corpus[1], unseen[1]),
        ([label == "sport" for label in corpus[1]], [label == "sport" for label in unseen[1]]),
    ):
        assert around(quick).fit(corpus[0], labels).score(unseen[0], truth) > 0.7
