"""The comparison: one split for all, honest numbers, and a row that says why for what cannot run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2x.classify import ComparisonReport, ModelResult, NaiveBayes, TfidfLinear, compare
from gpt2x.classify import report as reports
from gpt2x.classify.chart import write_charts
from gpt2x.classify.kinds import get_kind, get_kinds
from gpt2x.classify.metrics import confusion_matrix, macro_f1, mcnemar, per_class, wilson_interval
from gpt2x.data.news import NewsData
from gpt2x.errors import InputDataError, MissingComponentError, UsageError

Corpus = tuple[list[str], list[str]]
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def quick_report(corpus: Corpus) -> ComparisonReport:
    return compare(corpus, ["nb", "tfidf"], settings={"tfidf": {"n_jobs": 1}}, source="toy")


def test_every_classifier_gets_the_same_training_and_test_texts(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[str]]] = {"fit": [], "predict": []}
    for cls in (NaiveBayes, TfidfLinear):
        fit, predict = cls.fit, cls.predict_proba
        monkeypatch.setattr(cls, "fit", lambda s, t, y, fit=fit: seen["fit"].append(list(t)) or fit(s, t, y))
        monkeypatch.setattr(
            cls,
            "predict_proba",
            lambda s, t, predict=predict: seen["predict"].append(list(t)) or predict(s, t),
        )
    compare(corpus, ["nb", "tfidf"])
    assert seen["fit"][0] == seen["fit"][1]
    assert seen["predict"][0] == seen["predict"][1]
    assert len(seen["fit"][0]) + len(seen["predict"][0]) == len(corpus[0])
    assert sorted(seen["fit"][0] + seen["predict"][0]) == sorted(corpus[0])


def test_no_word_that_is_only_in_the_test_part_reaches_a_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{i} {'rain' if i % 2 else 'goal'}" for i in range(100)]
    labels = ["w" if i % 2 else "s" for i in range(100)]
    fitted: list[NaiveBayes] = []
    fit = NaiveBayes.fit
    monkeypatch.setattr(NaiveBayes, "fit", lambda s, t, y: fitted.append(s) or fit(s, t, y))
    report = compare((texts, labels), ["nb"])
    words = set(fitted[0].vectorizer_.get_feature_names_out())
    assert len(words) == report.train_rows + 2, (
        "one word of its own from each training text, and the two common ones"
    )


def test_the_seed_decides_the_split(corpus: Corpus, quick_report: ComparisonReport) -> None:
    again = compare(corpus, ["nb"])
    assert again.models[0].confusion == quick_report.models[0].confusion
    other = compare(corpus, ["nb"], random_state=2)
    assert other.models[0].confusion != again.models[0].confusion


def test_a_fifth_of_each_class_is_tested(corpus: Corpus, quick_report: ComparisonReport) -> None:
    there = np.array(quick_report.models[0].confusion).sum(axis=1)
    counts = [corpus[1].count(label) for label in quick_report.classes]
    assert np.abs(there - 0.2 * np.array(counts)).max() <= 1
    assert quick_report.classes == sorted(set(corpus[1]))


def test_the_numbers_follow_from_the_confusion_matrix(quick_report: ComparisonReport) -> None:
    for result in quick_report.models:
        matrix = np.array(result.confusion)
        assert matrix.sum() == quick_report.test_rows
        assert result.accuracy == matrix.trace() / matrix.sum()
        assert result.accuracy_low < result.accuracy <= result.accuracy_high
        assert result.macro_f1 == pytest.approx(macro_f1(matrix))
        assert result.parameters > 0
        assert result.train_seconds > 0
        assert result.predict_texts_per_second > 0


def test_news_data_and_plain_lists_are_both_welcome(corpus: Corpus, quick_report: ComparisonReport) -> None:
    report = compare(NewsData(*corpus), ["nb"])
    assert report.models[0].confusion == quick_report.models[0].confusion


def test_one_that_cannot_run_says_why_and_the_others_go_on(corpus: Corpus) -> None:
    rows: list[str] = []
    report = compare(
        corpus,
        ["gpt2-lstm", "tfidf", "nb"],
        settings={"tfidf": {"no_such_option": 1}, "gpt2-lstm": {"gpt2": "nowhere"}},
        on_result=lambda result: rows.append(result.name),
    )
    assert rows == ["gpt2-lstm", "tfidf", "nb"]
    lstm, tfidf, bayes = report.models
    assert not lstm.ok
    assert "there is no run 'nowhere'" in lstm.reason
    assert lstm.accuracy is None
    assert "no_such_option" in tfidf.reason
    assert bayes.ok
    assert report.best is bayes


def test_ctrl_c_ends_the_whole_comparison(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NaiveBayes, "_fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compare(corpus, ["nb", "tfidf"])


def test_all_six_run_on_one_split(corpus: Corpus, gpt2_folder: Path) -> None:
    small = {"epochs": 1, "hidden": 8, "device": "cpu"}
    settings: dict[str, Any] = {
        "rnn": {**small, "tokenizer": "learn", "embedding": 8},
        "gpt2-lstm": {**small, "gpt2": str(gpt2_folder)},
        "tfidf": {"n_jobs": 1},
    }
    report = compare(corpus, settings=settings)
    assert [result.name for result in report.models] == [
        "nb",
        "hashed-nb",
        "linear",
        "tfidf",
        "rnn",
        "gpt2-lstm",
    ]
    assert all(result.ok for result in report.models), [result.reason for result in report.models]
    assert report.models[5].frozen_parameters > 0
    assert len(report.models[4].history) == 1


def test_rare_classes_are_named_or_left_out(corpus: Corpus) -> None:
    data = ([*corpus[0], "a lone text", "another"], [*corpus[1], "lone", "alone"])
    with pytest.raises(InputDataError, match=r"the classes 'alone', 'lone' have only 1 text.*--min-rows 2"):
        compare(data, ["nb"])
    report = compare(data, ["nb"], min_rows=2)
    assert report.classes == sorted(set(corpus[1]))


def test_bad_data_is_refused_before_anything_is_learned(corpus: Corpus) -> None:
    with pytest.raises(InputDataError, match="at least two classes"):
        compare((corpus[0], ["a"] * len(corpus[0])), ["nb"])
    with pytest.raises(InputDataError, match="300 texts and 2 labels"):
        compare((corpus[0], ["a", "b"]), ["nb"])
    with pytest.raises(InputDataError, match="no class has 9999 texts"):
        compare(corpus, ["nb"], min_rows=9999)
    with pytest.raises(InputDataError, match="no text"):
        compare(([], []), ["nb"])
    for name, values in {
        "test_fraction": (1.0, 0, "x", float("nan"), True, None),
        "random_state": (-1, 2**32, "x", 1.0, True, None),
        "min_rows": (0, 2.5, "x", True, 10**400),
    }.items():
        for value in values:
            with pytest.raises(UsageError, match=f"{name} = .* cannot work; give "):
                compare(corpus, ["nb"], **{name: value})
    for data in (5, corpus[0], "ab", {"texts": corpus[0], "labels": corpus[1]}):
        with pytest.raises(UsageError, match="give a pair of lists"):
            compare(data, ["nb"])  # type: ignore[arg-type]


def test_more_classes_than_a_table_can_show_are_refused() -> None:
    texts = [f"word{i}" for i in range(10_002)]
    with pytest.raises(InputDataError, match=r"5,001 classes in 10,002 texts .* 5,000 at most"):
        compare((texts, [i // 2 for i in range(10_002)]), ["nb"])


def test_a_long_label_is_quoted_in_short(corpus: Corpus) -> None:
    data = ([*corpus[0], "a", "b"], [*corpus[1], "x" * 900, "y" * 900])
    with pytest.raises(InputDataError, match="have only 1 text") as caught:
        compare(data, ["nb"])
    assert len(str(caught.value)) < 400


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'tfidf'"):
        get_kind("tf-idf")
    with pytest.raises(UsageError, match="did you mean 'gpt2-lstm'"):
        get_kind("GPT2LSTM")
    with pytest.raises(UsageError, match="known: nb, hashed-nb, linear, tfidf, rnn, gpt2-lstm"):
        get_kind("zzz")
    with pytest.raises(UsageError, match="no classifier is named"):
        get_kinds([" ", ""])
    assert [kind.name for kind in get_kinds(["rnn", " nb", "rnn"])] == ["rnn", "nb"]
    assert [kind.name for kind in get_kinds("rnn,nb")] == ["rnn", "nb"]
    with pytest.raises(UsageError, match="there is no classifier 'xxx") as caught:
        get_kind("x" * 10**6)
    assert len(str(caught.value)) < 200


def test_texts_that_stand_on_both_sides_are_counted() -> None:
    report = compare((["rain"] * 50 + ["goal"] * 50, ["w"] * 50 + ["s"] * 50), ["nb"])
    assert report.test_texts_in_training == report.test_rows == 20


# -- report -----------------------------------------------------------------------------------------------------------


def test_the_json_has_the_documented_keys_and_comes_back(quick_report: ComparisonReport) -> None:
    values = json.loads(json.dumps(quick_report.to_dict(), allow_nan=False))
    assert list(values) == [
        "source", "rows", "train_rows", "test_rows", "seed", "classes", "majority_accuracy",
        "test_texts_in_training", "best", "environment", "split", "abstain", "models",
    ]  # fmt: skip
    assert list(values["models"][0]) == [
        "name", "title", "reason", "note", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "parameters",
        "frozen_parameters", "train_seconds", "predict_texts_per_second", "p_versus_best", "settings", "history",
        "confusion", "calibration_error", "sure_share", "sure_accuracy", "cpu_seconds",
        "peak_memory_bytes", "p_versus_next", "examples", "peer", "predict_seconds",
    ]  # fmt: skip
    assert ComparisonReport.from_dict(values).to_dict() == values


def test_rows_line_up_under_their_heads(quick_report: ComparisonReport) -> None:
    head, rule = reports.table_head().splitlines()
    for result in quick_report.models:
        row = reports.table_row(result)
        for i, mark in enumerate(rule):
            if mark == " ":
                assert row[i : i + 1] in (" ", ""), f"column {i} of {row!r}"
    assert head.index("top-1") > 0


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_and_the_summary_fit_a_terminal(quick_report: ComparisonReport, width: int) -> None:
    rows = [reports.table_row(result, width) for result in quick_report.models]
    text = "\n".join([reports.table_head(width), *rows, reports.summary(quick_report, width=width)])
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for result in quick_report.models:
        assert f"{result.accuracy:.2%}" in words
        for word in f"({result.note})".split():
            assert word in words, "notes are whole, below their row"
    assert ("parameters" in words) == (width == 120)


def test_the_summary_names_the_best_and_its_commonest_mistakes() -> None:
    def result(name: str, accuracy: float, p: float | None) -> ModelResult:
        confusion = [[8, 2, 0], [0, 10, 0], [1, 0, 9]]
        return ModelResult(name=name, title=name, accuracy=accuracy, p_versus_best=p, confusion=confusion)

    report = ComparisonReport(
        classes=["a", "b", "c"],
        train_rows=100,
        test_rows=30,
        seed=1,
        majority_accuracy=0.4,
        test_texts_in_training=0,
    )
    assert reports.summary(report) == "No classifier ran."
    report.models = [result("first", 0.9, None), result("second", 0.89, 0.6), result("third", 0.5, 0.001)]
    text = reports.summary(report)
    assert "A tie: first, 90.00% of 30 test texts, and second cannot be told apart (McNemar" in text
    assert "Best" not in text, "a tie has no winner"
    assert "a taken for b: 2 of 10" in text
    assert text.index("a taken for b") < text.index("c taken for a")
    report.models[1].p_versus_best = 0.01
    assert "better than each other one beyond chance" in reports.summary(report)


def test_charts_are_drawn_for_what_ran(quick_report: ComparisonReport, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = ComparisonReport.from_dict(quick_report.to_dict())
    report.models.append(ModelResult(name="rnn", title="RNN", reason="not today"))
    paths = write_charts(report, tmp_path / "out")
    assert [path.name for path in paths] == ["accuracy.png", "confusion-nb.png", "confusion-tfidf.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)


def test_without_matplotlib_the_remedy_is_named(
    quick_report: ComparisonReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingComponentError, match=r"gpt2x\[plots\]"):
        write_charts(quick_report, tmp_path)


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_the_wilson_interval_is_that_of_the_literature() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for total in range(1, 60):
        for correct in range(total + 1):
            low, high = wilson_interval(correct, total)
            assert 0 <= low <= correct / total <= high <= 1


@given(LABELS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_scores_equal_scikit_learns(truth: list[int], random: Any) -> None:
    predicted = [random.choice([0, 1, 2, 3]) for _ in truth]
    matrix = confusion_matrix(np.array(truth), np.array(predicted), 4)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(truth, predicted, labels=range(4)))
    theirs = sklearn.metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(4), zero_division=0
    )
    for mine, expected in zip(per_class(matrix), theirs[:3], strict=True):
        np.testing.assert_allclose(mine, expected)
    expected_f1 = sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(matrix) == pytest.approx(expected_f1)


def test_mcnemar_is_symmetric_and_sees_only_disagreement() -> None:
    a, b = np.array([1, 1, 1, 0, 0, 1, 1], bool), np.array([1, 0, 0, 0, 1, 0, 0], bool)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(2 * (1 + 5) / 2**5)
    assert mcnemar(np.tile(a, 1), np.tile(a, 1)) == 1.0


# -- real data --------------------------------------------------------------------------------------------------------


def test_on_real_news_the_simple_classifiers_do_what_they_should(shared_data: Any) -> None:
    from gpt2x.data.news import read_news

    data = read_news(shared_data("news/ag_news_train10k.csv.xz"), 4000)
    report = compare(data, ["nb", "tfidf"])
    assert report.classes == ["Business", "Sci/Tech", "Sports", "World"]
    assert all(result.accuracy > 0.82 for result in report.models)


def test_the_rnn_learns_real_news(shared_data: Any) -> None:
    from gpt2x.data.news import read_news

    data = read_news(shared_data("news/ag_news_train10k.csv.xz"), 1500)
    settings = {
        "rnn": {
            "tokenizer": "learn",
            "embedding": 64,
            "hidden": 32,
            "max_tokens": 40,
            "epochs": 8,
            "token_dropout": 0.2,
        }
    }
    report = compare(data, ["rnn"], settings=settings)
    assert report.models[0].accuracy > 0.6


# -- splits, test data, confidence ------------------------------------------------------------------------------------


def test_the_playground_split_is_scikit_learns(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.model_selection import train_test_split

    seen: list[list[str]] = []
    predict = NaiveBayes.predict_proba
    monkeypatch.setattr(NaiveBayes, "predict_proba", lambda s, t: seen.append(list(t)) or predict(s, t))
    report = compare(corpus, ["nb"], split="playground", split_seed=7, random_state=3)
    assert seen[0] == train_test_split(corpus[0], test_size=0.2, random_state=7)[1]
    assert report.split == "playground"
    with pytest.raises(UsageError, match="split = 'odd' cannot work; give one of stratified, playground"):
        compare(corpus, ["nb"], split="odd")


def test_test_data_are_tested_on_and_not_learned_from(corpus: Corpus) -> None:
    extra = (["rain and snow", "a goal", "a word of its own"], ["weather", "sport", "sport"])
    report = compare(corpus, ["nb"], test_data=extra)
    assert (report.train_rows, report.test_rows, report.split) == (300, 3, "file")
    assert report.models[0].accuracy >= 2 / 3
    with pytest.raises(InputDataError, match="the test data has the label 'arts'"):
        compare(corpus, ["nb"], test_data=(["x"], ["arts"]))


def test_confidence_is_reported_and_a_blend_of_few_texts_is_the_mean(corpus: Corpus) -> None:
    report = compare(corpus, ["nb", "hashed-nb", "linear"], abstain=0.8, blend=True)
    assert [model.name for model in report.models] == ["nb", "hashed-nb", "linear", "blend"]
    for model in report.models:
        assert 0 <= model.calibration_error < 0.5
        assert 0 < model.sure_share <= 1
        assert model.sure_accuracy >= model.accuracy
    assert report.models[-1].accuracy >= min(model.accuracy for model in report.models[:-1])
    assert report.models[-1].note == "mean of nb, hashed-nb, linear"
    assert "Where a label has a probability of 0.8 or more:" in reports.summary(report)
