"""Every hyperparameter of every classifier: stored as it is given, and refused in one sentence by `fit`."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from gpt2x import classify
from gpt2x.classify import NaiveBayes, RNNClassifier, TfidfLinear
from gpt2x.classify.hyperparameters import Flag, Seed, Threads
from gpt2x.classify.kinds import KINDS
from gpt2x.classify.loading import load_class
from gpt2x.errors import InputDataError, UsageError

TEXTS, LABELS = ["rain and wind", "goal and match"] * 4, ["w", "s"] * 4
NESTED: list[Any] = []
for _ in range(5000):
    NESTED = [NESTED]

WRONG: dict[str, Any] = {
    "a word": "x",
    "a long word": "x" * 10**6,
    "an empty word": "",
    "NUL": "a\0b",
    "a list": [1],
    "deeply nested": NESTED,
    "an object": object(),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "negative": -3,
    "beyond all bounds": 10**400,
    "a huge float": 1e308,
    "True": True,
    "None": None,
    "an array": np.array([1, 2]),
    "a fraction": Fraction(1, 3),
    "zero": 0,
    "a half": 0.5,
}
DIALS = [(name, dial) for name, kind in KINDS.items() for dial in load_class(kind)._get_param_names()]


def test_every_hyperparameter_has_a_rule() -> None:
    for kind in KINDS.values():
        cls = load_class(kind)
        assert set(cls.rules) == set(cls._get_param_names()), kind.name


@pytest.mark.parametrize(("name", "dial"), DIALS, ids=[f"{name}-{dial}" for name, dial in DIALS])
def test_a_value_that_can_never_work_is_one_sentence_at_fit(name: str, dial: str) -> None:
    cls = load_class(KINDS[name])
    refused = 0
    for value in WRONG.values():
        model = cls(**{dial: value})
        assert model.get_params()[dial] is value, "__init__ stores what it is given"
        if cls.rules[dial].allows(value):
            continue  # a seed of 0, a share of 0.5, a name "x"
        refused += 1
        with pytest.raises(UsageError, match=f"^{dial} = .* cannot work; give ") as caught:
            model.fit(TEXTS, LABELS)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250
    assert refused >= 10


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (NaiveBayes(alpha="x"), "alpha = 'x' cannot work; give a number from 1e-10 to 1e\\+09"),
        (NaiveBayes(alpha=0), "alpha = 0 cannot work"),
        (NaiveBayes(min_count=0.5), "min_count = 0.5 cannot work; give a whole number from 1 to"),
        (NaiveBayes(random_state=-1), "random_state = -1 cannot work; give None, a whole number"),
        (TfidfLinear(C=-1), "C = -1 cannot work"),
        (TfidfLinear(epochs=0), "epochs = 0 cannot work"),
        (TfidfLinear(n_jobs=0), "n_jobs = 0 cannot work; give -1 for all cores"),
        (RNNClassifier(cell="transformer"), "cell = 'transformer' cannot work; give one of rnn, gru, lstm"),
        (RNNClassifier(epochs=0), "epochs = 0 cannot work"),
        (RNNClassifier(dropout=1.0), "dropout = 1.0 cannot work; give a share"),
        (RNNClassifier(device="tpu"), "device = 'tpu' cannot work; give auto, cpu, cuda or cuda:N"),
        (RNNClassifier(lowercase=1), "lowercase = 1 cannot work; give True or False"),
        (RNNClassifier(tokenizer=5), "tokenizer = 5 cannot work; give None, 'learn', a name, a path"),
    ],
)
def test_the_sentence_names_value_and_range(model: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        model.fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    "model",
    [
        NaiveBayes(alpha=1e-10),
        NaiveBayes(alpha=1e9),
        TfidfLinear(C=1e-6, min_count=1),
        TfidfLinear(C=1e9, min_count=1),
        TfidfLinear(ngrams=16, min_count=1, n_jobs=-2, random_state=2**32 - 1),
        TfidfLinear(n_jobs=None, min_count=1, random_state=np.random.RandomState(0)),
        RNNClassifier(
            tokenizer="learn", hidden=4, embedding=4, epochs=1, learning_rate=1e-12, batch_size=65536
        ),
        RNNClassifier(tokenizer="learn", hidden=4, embedding=4, epochs=1, max_tokens=10**6, weight_decay=100),
    ],
    ids=lambda model: re.sub(r"\s+|at 0x\w+", " ", str(model)),
)
def test_the_ends_of_the_ranges_work(model: Any) -> None:
    assert np.isfinite(clone(model).fit(TEXTS, LABELS).predict_proba(TEXTS)).all()


def test_numpy_numbers_are_numbers_and_come_back_from_a_folder(tmp_path: Path) -> None:
    models = [
        NaiveBayes(alpha=np.float32(0.5), min_count=np.int64(1), random_state=np.int64(3)),
        TfidfLinear(C=np.float64(2), ngrams=np.int8(1), min_count=np.int64(1), n_jobs=np.int64(1)),
        RNNClassifier(
            tokenizer="learn",
            hidden=np.int64(4),
            embedding=np.int32(4),
            epochs=np.int64(1),
            max_tokens=np.int64(3),
            lowercase=np.bool_(False),
            bidirectional=np.bool_(True),
            dropout=np.float32(0.1),
        ),
    ]
    for i, model in enumerate(models):
        model.fit(TEXTS, LABELS).save(tmp_path / str(i))
        again = classify.load(tmp_path / str(i))
        np.testing.assert_allclose(again.predict_proba(TEXTS), model.predict_proba(TEXTS), rtol=1e-5)
        left_out = {"device", "tokenizer", "random_state"}
        for name, value in model.get_params().items():
            assert name in left_out or again.get_params()[name] == value


def test_what_rules_allow_does_not_depend_on_the_type_of_number() -> None:
    assert Flag().allows(np.bool_(True))
    assert not Flag().allows(1)
    assert Seed().allows(np.uint32(2**32 - 1))
    assert not Seed().allows(2**32)
    assert not Threads().allows(257)


def test_a_network_that_does_not_fit_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes"
        )

    monkeypatch.setattr("gpt2x.classify.recurrent.SequenceNet", refuse)
    with pytest.raises(UsageError, match="hidden = 16384 .* does not fit into the memory"):
        RNNClassifier(tokenizer="learn", hidden=2**14, epochs=1).fit(TEXTS, LABELS)


def test_more_weights_than_memory_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda _: 10)
    with pytest.raises(InputDataError, match="need about .* GiB of memory"):
        NaiveBayes().fit(TEXTS, LABELS)
