"""The classifiers among scikit-learn's own tools, one after the other."""

from __future__ import annotations

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

from gpt2x.classify import HashedBayes, HashedLinear, NaiveBayes, TfidfLinear, load
from gpt2x.classify.base import TextClassifier
from gpt2x.errors import UsageError
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


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_weight_of_none_is_like_no_text(kind: type[Any]) -> None:
    texts = ["rain wind", "goal match", "rain goal"] * 20
    labels = ["weather", "sport", "sport"] * 20
    weights = np.array([1, 1, 0] * 20)
    few = [i for i in range(60) if i % 3 < 2]
    without = kind(random_state=0).fit([texts[i] for i in few], [labels[i] for i in few])
    weighted = kind(random_state=0).fit(texts, labels, sample_weight=weights)
    assert weighted.predict(["rain wind", "goal"]).tolist() == ["weather", "sport"]
    ignored = abs(weighted.predict_proba(["rain"]) - without.predict_proba(["rain"])).max()
    heeded = abs(
        kind(random_state=0).fit(texts, labels).predict_proba(["rain"]) - without.predict_proba(["rain"])
    )
    assert ignored < heeded.max()


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
