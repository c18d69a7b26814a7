"""`partial_fit`: texts that come in parts are counted as if they had come together."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from gpt2x import classify
from gpt2x.classify import HashedBayes, NaiveBayes
from gpt2x.errors import InputDataError, UsageError

MODELS = [NaiveBayes(min_count=2), HashedBayes(bits=12, n_jobs=1, random_state=0)]
IDS = ["nb", "hashed-nb"]


def make_texts(num_texts: int = 90) -> tuple[list[str], list[str]]:
    """Texts of three classes, whose words overlap; new words come until the end."""
    rng = np.random.default_rng(3)
    labels = ["rain", "sport", "food"] * (num_texts // 3)
    words = {"rain": "wet wind snow", "sport": "goal match team", "food": "soup bread salt"}
    texts = []
    for i, label in enumerate(labels):
        own = rng.choice([*words[label].split(), "the", "a", f"word{i // 4}"], size=6)
        texts.append(" ".join(own).capitalize() + "\x1fIt is " + str(own[0]))
    return texts, labels


def learn_in_parts(model: Any, parts: list[slice], **weights: Any) -> Any:
    texts, labels = make_texts()
    for part in parts:
        own = {name: values[part] for name, values in weights.items()}
        model.partial_fit(texts[part], labels[part], classes=["food", "rain", "sport"], **own)
    return model


@pytest.mark.parametrize("parts", [[0, 90], [0, 1, 2, 50, 90]], ids=["one", "many"])
@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_parts_give_the_weights_of_all_texts_together(model: Any, parts: list[int]) -> None:
    texts, labels = make_texts()
    weights = np.tile([1.0, 2.0, 3.0, 1.0, 0.0], 18)
    cuts = [slice(start, end) for start, end in itertools.pairwise(parts)]
    whole = clone(model).fit(texts, labels, sample_weight=weights)
    # The first part alone may hold no word twice, which min_count refuses; the counts stay.
    incremental = clone(model).set_params(min_count=1)
    for cut in cuts[:-1]:
        incremental.partial_fit(texts[cut], labels[cut], ["sport", "rain", "food"], weights[cut])
    incremental.set_params(min_count=model.min_count)
    incremental.partial_fit(texts[cuts[-1]], labels[cuts[-1]], ["food", "rain", "sport"], weights[cuts[-1]])
    np.testing.assert_array_equal(incremental.weights_, whole.weights_)
    np.testing.assert_array_equal(incremental.classes_, whole.classes_)
    np.testing.assert_allclose(incremental.predict_proba(texts), whole.predict_proba(texts), rtol=1e-5)
    assert incremental.describe() == whole.describe()
    unknown = [f"xq{i}zy" for i in range(200)]  # of which a crowded table knows some
    assert incremental.knows(unknown + texts).tolist() == whole.knows(unknown + texts).tolist()
    if isinstance(model, HashedBayes):
        np.testing.assert_array_equal(incremental.groups_, whole.groups_)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_a_class_without_a_text_yet_is_never_named(model: Any, tmp_path: Path) -> None:
    model = clone(model)
    model.partial_fit(["rain and rain", "rain"], ["wet", "wet"], classes=["dry", "odd", "wet"])
    shares = model.partial_fit(["sun and sun", "sun"], ["dry", "dry"]).predict_proba(["sun", "rain", "else"])
    assert (shares[:, 1] == 0).all()
    assert shares.argmax(axis=1)[:2].tolist() == [0, 2]
    model.save(tmp_path / "kept")
    np.testing.assert_array_equal(classify.load(tmp_path / "kept").predict_proba(["sun"]), shares[:1])


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_what_holds_no_counts_cannot_be_continued(model: Any, tmp_path: Path) -> None:
    texts, labels = make_texts()
    fitted = clone(model).fit(texts, labels)
    with pytest.raises(UsageError, match="learned by fit or loaded from a folder and holds no counts"):
        fitted.partial_fit(texts, labels)
    learn_in_parts(clone(model), [slice(0, 90)]).save(tmp_path / "kept")
    with pytest.raises(UsageError, match="learned by fit or loaded from a folder and holds no counts"):
        classify.load(tmp_path / "kept").partial_fit(texts, labels)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_fit_forgets_what_came_in_parts(model: Any) -> None:
    texts, labels = make_texts()
    again = learn_in_parts(clone(model), [slice(0, 30)]).fit(texts, labels)
    np.testing.assert_array_equal(again.weights_, clone(model).fit(texts, labels).weights_)


@pytest.mark.parametrize(
    ("change", "arguments", "error", "sentence"),
    [
        ({}, {}, UsageError, "the first call of partial_fit needs classes"),
        ({}, {"classes": ["rain"]}, InputDataError, "classes has 1 label"),
        ({}, {"classes": ["rain", "sport"]}, InputDataError, "'food' is none of the classes"),
        (
            {"class_weight": "balanced"},
            {"classes": ["rain", "sport", "food"]},
            UsageError,
            "needs all texts at once",
        ),
        (
            {"objective": "macro"},
            {"classes": ["rain", "sport", "food"]},
            UsageError,
            "needs all texts at once",
        ),
    ],
)
@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_what_cannot_come_in_parts_is_refused_in_one_sentence(
    model: Any, change: dict[str, Any], arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    texts, labels = make_texts()
    with pytest.raises(error, match=sentence):
        clone(model).set_params(**change).partial_fit(texts, labels, **arguments)


def test_other_classes_later_are_refused() -> None:
    model = learn_in_parts(NaiveBayes(), [slice(0, 30)])
    with pytest.raises(UsageError, match="not those of the first call"):
        model.partial_fit(["rain"], ["rain"], classes=["rain", "sport"])


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_a_first_part_without_weights_keeps_its_classes_with_its_counts(model: Any) -> None:
    texts, labels = make_texts()
    model = clone(model).set_params(min_count=50)
    with pytest.raises(InputDataError, match="in 50 or more of the texts so far"):
        model.partial_fit(texts[:30], labels[:30], classes=["rain", "sport", "food"])
    for others in (["a", "b", "c"], ["rain", "sport"], ["rain", "sport", "food", "more"]):
        with pytest.raises(UsageError, match="not those of the first call"):
            model.partial_fit(texts[30:], labels[30:], classes=others)
    model.set_params(min_count=2).partial_fit(texts[30:], labels[30:])
    whole = learn_in_parts(clone(model), [slice(0, 90)])
    np.testing.assert_array_equal(model.weights_, whole.weights_)


@pytest.mark.parametrize("at", ["_as_read", "counting", "_estimate"])
@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_an_interrupted_part_counts_no_text(model: Any, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = learn_in_parts(clone(model), [slice(0, 45)])

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def interrupt_last(*values: Any, **options: Any) -> np.ndarray:
        calls.append(1)
        return interrupt() if len(calls) == (2 if model.kind == "nb" else 1) else bincount(*values, **options)

    calls: list[int] = []
    bincount = np.bincount
    with monkeypatch.context() as patch:
        if at == "counting":
            patch.setattr(np, "bincount", interrupt_last)  # the last step of counting
        else:
            patch.setattr(model, at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            learn_in_parts(model, [slice(45, 90)])
    again = learn_in_parts(model, [slice(45, 90)])
    whole = learn_in_parts(clone(model), [slice(0, 90)])
    np.testing.assert_array_equal(again.weights_, whole.weights_)
    np.testing.assert_array_equal(again.predict_proba(["rain"]), whole.predict_proba(["rain"]))
