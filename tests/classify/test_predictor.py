"""Answering without scikit-learn gives what the estimator gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt2x.classify import load
from gpt2x.classify.base import TextClassifier
from gpt2x.classify.predictor import open_predictor
from gpt2x.errors import UsageError

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
