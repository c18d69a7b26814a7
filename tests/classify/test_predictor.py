"""Answering without scikit-learn gives what the estimator gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gpt2x.classify import load
from gpt2x.classify.base import TextClassifier
from gpt2x.classify.features import NUMBER_MASK, features_of
from gpt2x.classify.predictor import FEW_TEXTS, open_predictor
from gpt2x.classify.saved import ARRAYS
from gpt2x.errors import InputDataError, UsageError

ODD = [
    "",
    "zzxqy",
    "Rain RAIN rain goal",
    "caf\u0065\u0301 don\u2019t",
    "a\x1fb rain",
    "wind\x1fgoal bank",
    "\ud800 x",
]


def test_a_predictor_gives_the_probabilities_of_the_estimator(
    fitted: TextClassifier, unseen: Any, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    texts = [*unseen[0], *ODD[: -1 if fitted.kind in {"rnn", "gpt2-lstm"} else None]]
    shares, known = open_predictor(tmp_path / "kept").answer(texts)
    estimator = load(tmp_path / "kept")
    np.testing.assert_allclose(shares, estimator.predict_proba(texts), rtol=1e-4, atol=1e-6)
    assert known.tolist() == estimator.knows(texts).tolist()


def test_a_predictor_names_the_words_that_the_estimator_names(
    fitted: TextClassifier, unseen: Any, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    predictor = open_predictor(tmp_path / "kept")
    if fitted.kind in {"rnn", "gpt2-lstm"}:
        with pytest.raises(UsageError, match="cannot name the words"):
            predictor.explain("rain", 0)
        return
    for text in unseen[0][:10]:
        own, other = predictor.explain(text, 1), fitted.explain(text, fitted.classes_[1])
        assert dict(own) == pytest.approx(dict(other), rel=1e-3, abs=1e-5)


def test_no_text_has_no_answer(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    shares, known = open_predictor(tmp_path / "kept").answer([])
    assert (shares.shape, known.shape) == ((0, 3), (0,))


HASHED = pytest.mark.parametrize("make", ["linear", "hashed-nb"], indirect=True)


@HASHED
def test_a_few_texts_get_the_answers_of_many_to_the_last_bit(
    fitted: TextClassifier, unseen: Any, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    texts = [*unseen[0], *ODD]
    few, many = open_predictor(tmp_path / "kept"), open_predictor(tmp_path / "kept")
    shares, known = few.answer(texts)
    all_shares, all_known = many.answer(texts * 3)
    np.testing.assert_array_equal(shares, all_shares[: len(texts)])
    assert known.tolist() == all_known[: len(texts)].tolist()
    raw = "\n".join(unseen[0]).encode()
    np.testing.assert_array_equal(few.answer_lines(raw)[0], many.answer_lines(raw)[0])
    assert few.explain("rain and goal", 1) == many.explain("rain and goal", 1)


@HASHED
def test_a_text_reads_its_own_weights_and_texts_after_many_read_nothing(
    fitted: TextClassifier, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "kept")
    file = tmp_path / "kept" / ARRAYS
    predictor = open_predictor(tmp_path / "kept")
    expected = predictor.answer(["rain and wind"])[0]
    predictor.answer(["goal"] * (FEW_TEXTS + 1))
    os.truncate(file, 0)
    np.testing.assert_array_equal(predictor.answer(["rain and wind"])[0], expected)


@HASHED
def test_weights_that_are_no_numbers_answer_nothing(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    file = tmp_path / "kept" / ARRAYS
    arrays = safetensors.numpy.load_file(file)
    expected = open_predictor(tmp_path / "kept").answer(["rain"])[0]
    for number in (np.nan, np.inf, -np.inf):
        spoiled = arrays["weights"].copy()
        spoiled[:, 0] = number
        file.write_bytes(safetensors.numpy.save({**arrays, "weights": spoiled}))
        with pytest.raises(InputDataError, match="NaN or infinite"):
            open_predictor(tmp_path / "kept").answer(["rain"])
    untouched = arrays["weights"].copy()
    codes = {feature.code & NUMBER_MASK for feature in features_of("rain", fitted.bits)}
    untouched[~np.isin(arrays["numbers"], list(codes))] = np.nan
    file.write_bytes(safetensors.numpy.save({**arrays, "weights": untouched}))
    predictor = open_predictor(tmp_path / "kept")
    np.testing.assert_array_equal(predictor.answer(["rain"])[0], expected)
    with pytest.raises(InputDataError, match="NaN or infinite"):
        predictor.answer(["rain"] * (FEW_TEXTS + 1))


@HASHED
def test_a_file_that_is_cut_while_it_is_used_is_one_sentence(fitted: TextClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "kept")
    predictor = open_predictor(tmp_path / "kept")
    os.truncate(tmp_path / "kept" / ARRAYS, 100)
    for texts in (["rain"], ["rain"] * (FEW_TEXTS + 1)):
        with pytest.raises(InputDataError, match=r"damaged \(the file ends too soon\)"):
            predictor.answer(texts)
