"""Document classifiers in scikit-learn's shape: naive Bayes, two linear ones, an RNN, and an LSTM over GPT-2.

>>> from gpt2x.classify import NaiveBayes
>>> model = NaiveBayes().fit(["rain and wind", "goal and match", "wind and snow"], ["weather", "sport", "weather"])
>>> print(*model.predict(["a windy day of wind and rain", "the match had one goal"]))
weather sport

Each has ``fit(texts, labels)``, ``predict``, ``predict_proba``, ``score``, sorted ``classes_``, and keeps itself in a
folder of JSON and safetensors (``save``, `load`). `compare` runs them side by side on one split. Nothing heavy is
imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2x.classify.base import TextClassifier
    from gpt2x.classify.comparison import compare
    from gpt2x.classify.gpt2_lstm import GPT2LSTMClassifier
    from gpt2x.classify.hashed import HashedLinear
    from gpt2x.classify.hashed_bayes import HashedBayes
    from gpt2x.classify.linear import TfidfLinear
    from gpt2x.classify.loading import load
    from gpt2x.classify.naive_bayes import NaiveBayes
    from gpt2x.classify.report import ComparisonReport, ModelResult
    from gpt2x.classify.rnn import RNNClassifier

__all__ = [
    "ComparisonReport",
    "GPT2LSTMClassifier",
    "HashedBayes",
    "HashedLinear",
    "ModelResult",
    "NaiveBayes",
    "RNNClassifier",
    "TextClassifier",
    "TfidfLinear",
    "compare",
    "load",
]

_HOMES = {
    "ComparisonReport": "report",
    "GPT2LSTMClassifier": "gpt2_lstm",
    "HashedBayes": "hashed_bayes",
    "HashedLinear": "hashed",
    "ModelResult": "report",
    "NaiveBayes": "naive_bayes",
    "RNNClassifier": "rnn",
    "TextClassifier": "base",
    "TfidfLinear": "linear",
    "compare": "comparison",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
