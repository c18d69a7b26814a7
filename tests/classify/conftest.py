"""Tiny corpora and a tiny GPT-2 for the classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt2x.classify.base import TextClassifier
from gpt2x.classify.kinds import KINDS
from gpt2x.classify.loading import load_class

OWN_WORDS = {
    "weather": ["rain", "wind", "cloud", "snow", "storm", "sunny", "frost", "thunder"],
    "sport": ["goal", "match", "team", "coach", "score", "league", "penalty", "stadium"],
    "money": ["bank", "stock", "market", "price", "loan", "profit", "dollar", "budget"],
}
COMMON = [
    "the",
    "a",
    "of",
    "and",
    "in",
    "on",
    "today",
    "people",
    "say",
    "more",
    "first",
    "new",
    "old",
    "over",
]


def make_corpus(num_texts: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of 4 to 12 words, a third of which tell the class; classes come in no order."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(num_texts):
        label = str(rng.choice(list(OWN_WORDS)))
        words = [
            str(rng.choice(OWN_WORDS[label] if rng.random() < 0.35 else COMMON))
            for _ in range(rng.integers(4, 13))
        ]
        words[rng.integers(len(words))] = str(rng.choice(OWN_WORDS[label]))
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="session")
def corpus() -> tuple[list[str], list[str]]:
    return make_corpus(300)


@pytest.fixture(scope="session")
def unseen() -> tuple[list[str], list[str]]:
    return make_corpus(90, seed=1)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random GPT-2 with a tokenizer of its own, as a run folder."""
    import torch

    from gpt2x.model import GPT, GPTConfig, save_folder
    from gpt2x.tokenizer import train

    tokenizer = train(make_corpus(50)[0], 400, allow_fewer=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=tokenizer.n_vocab, block_size=32, n_layer=1, n_head=2, n_embd=32))
    folder = tmp_path_factory.mktemp("gpt2") / "tiny"
    save_folder(model, tokenizer, folder)
    return folder


QUICK: dict[str, dict[str, Any]] = {
    "nb": {},
    "hashed-nb": {"n_jobs": 2},
    "linear": {"n_jobs": 2},
    "tfidf": {"n_jobs": 1},
    "rnn": {
        "tokenizer": "learn",
        "embedding": 16,
        "hidden": 16,
        "epochs": 6,
        "learning_rate": 0.02,
        "device": "cpu",
    },
    "gpt2-lstm": {"hidden": 16, "epochs": 6, "learning_rate": 0.02, "device": "cpu"},
}


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest, gpt2_folder: Path) -> Any:
    """Makes a small classifier of each kind."""
    name = request.param

    def make_one(**changes: Any) -> TextClassifier:
        own = {"gpt2": str(gpt2_folder)} if name == "gpt2-lstm" else {}
        return load_class(KINDS[name])(**{"random_state": 0, **QUICK[name], **own, **changes})

    make_one.kind = name  # type: ignore[attr-defined]
    return make_one


_fitted: dict[str, TextClassifier] = {}


@pytest.fixture
def fitted(make: Any, corpus: tuple[list[str], list[str]]) -> TextClassifier:
    """One fitted classifier of each kind, made once."""
    if make.kind not in _fitted:
        _fitted[make.kind] = make().fit(*corpus)
    return _fitted[make.kind]
