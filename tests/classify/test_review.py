"""Labels that are likely wrong are found, and near-duplicates do not vouch for each other."""

from __future__ import annotations

import numpy as np
import pytest

from gpt2x.classify.review import group_near_duplicates, review, suggestions
from gpt2x.errors import InputDataError, UsageError
from tests.classify.conftest import make_corpus


def spoiled(num_texts: int = 400, every: int = 20) -> tuple[list[str], list[str], list[int], list[str]]:
    """Texts, labels of which some are turned, where, and the true ones."""
    texts, truth = make_corpus(num_texts)
    names = sorted(set(truth))
    turned = list(range(0, num_texts, every))
    labels = [
        names[(names.index(label) + 1) % 3] if i % every == 0 else label for i, label in enumerate(truth)
    ]
    return texts, labels, turned, truth


def test_turned_labels_are_found_with_the_true_one() -> None:
    texts, labels, turned, truth = spoiled()
    suspects = review(texts, labels)
    found = {row: one.suggestion for one in suspects for row in one.rows}
    hits = set(found) & set(turned)
    assert len(hits) >= 0.8 * len(turned)
    assert len(hits) >= 0.5 * len(found), "most that are listed are wrong indeed"
    assert sum(found[row] == truth[row] for row in hits) >= 0.9 * len(hits)
    gaps = [one.suggestion_probability - one.label_probability for one in suspects]
    assert gaps == sorted(gaps, reverse=True)
    assert review(texts, labels) == suspects, "the seed decides"


def test_copies_of_a_wrong_row_are_one_suspect_and_do_not_vouch_for_it() -> None:
    texts, labels, _, _ = spoiled(every=10**6)
    text = "rain storm wind snow cloud"
    copies = [text, "Snow, storm; rain WIND cloud!", text]
    suspects = review([*texts, *copies, text], [*labels, "sport", "sport", "sport", "weather"])
    (one,) = [one for one in suspects if len(texts) in one.rows]
    assert one.rows == [len(texts), len(texts) + 1, len(texts) + 2]
    assert (one.label, one.suggestion, one.other_labels) == ("sport", "weather", ["weather"])


def test_a_class_must_be_as_probable_as_it_is_for_its_own() -> None:
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.3, 0.7]])
    assert suggestions(np.array([0, 0, 1, 0, 1]), shares).tolist() == [0, 0, 1, 0, 1]


def test_texts_without_a_word_are_no_duplicates_of_each_other() -> None:
    assert group_near_duplicates(["!", "?", "", "!", "a b", "b a"]).tolist() == [0, 1, 2, 0, 3, 3]


def test_a_label_that_no_fold_could_learn_is_left_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels, turned, _ = spoiled()
    before = review(texts, labels)
    assert "cannot be judged" not in capsys.readouterr().err
    suspects = review([*texts, "rain storm wind", "Storm, wind, rain"], [*labels, "lone", "lone"])
    assert not {len(texts), len(texts) + 1} & {row for one in suspects for row in one.rows}
    assert len({row for one in suspects for row in one.rows} & set(turned)) >= 0.8 * len(turned)
    assert len(before) > 0
    assert "2 of 402 labels cannot be judged, such as 'lone'" in capsys.readouterr().err


def test_folds_that_leave_one_class_to_learn_from_are_no_error_of_the_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [f"rain {word}" for word in ["wind", "snow", "storm", "cloud", "frost", "sunny"]]
    with pytest.raises(InputDataError, match="all 6 texts have the label 'a'; a review needs at least two"):
        review(texts, ["a"] * 6)
    with pytest.raises(InputDataError, match="no label can be judged: outside of each fold"):
        review(["rain", "goal"], ["a", "b"], folds=2)
    assert all(one.label == "a" for one in review(texts, ["a"] * 5 + ["b"]))
    assert "of 6 labels cannot be judged" in capsys.readouterr().err


def test_what_cannot_be_reviewed_is_refused() -> None:
    with pytest.raises(InputDataError, match="there are 2 different texts; give at least 5"):
        review(["a", "b", "a"], ["x", "y", "x"])
    with pytest.raises(InputDataError, match="3 texts and 2 labels"):
        review(["a", "b", "c"], ["x", "y"])
    with pytest.raises(UsageError, match="1 folds leave nothing"):
        review(["a", "b", "c"], ["x", "y", "y"], folds=1)
