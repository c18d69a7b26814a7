"""The hyperparameters that the command line can set, as one table: name, type, meaning, and each model's default.

Flags, their help and the settings of ``--config`` follow from it. What a value may be stands in the classes (`rules`),
which are imported only when something is trained; a test holds the table to them. Loads no scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpt2x.classify.kinds import get_kind
from gpt2x.errors import UsageError


@dataclass(frozen=True, slots=True)
class Dial:
    """One hyperparameter of some models, by the name that it has in Python."""

    name: str
    type: type
    help: str
    defaults: Mapping[str, Any]
    """Of each model that has it."""
    flag_name: str = ""
    """The flag's, where it is another."""
    metavar: str = ""

    @property
    def flag(self) -> str:
        """As it is given: ``--min-count``."""
        return "--" + (self.flag_name or self.name.replace("_", "-"))

    def described(self) -> str:
        """Its help, with the models that have it and their defaults."""
        by_default: dict[Any, list[str]] = {}
        for model, default in self.defaults.items():
            by_default.setdefault(default, []).append(model)
        parts = [
            ", ".join(models) + ("" if default is None else f": {default}")
            for default, models in by_default.items()
        ]
        return f"{self.help} [{'; '.join(parts)}]"


DIALS = tuple(
    Dial(*row)
    for row in (
        ("alpha", float, "What is added to each count.", {"nb": 0.1}),
        (
            "min_count", int, "Leave out features that are in fewer training texts.",
            {"nb": 1, "hashed-nb": 2, "linear": 2, "tfidf": 2, "rnn": 2},
        ),
        ("ngrams", int, "Longest run of words that is a feature.", {"tfidf": 2}),
        ("bits", int, "Features are hashed to 2^N numbers.", {"hashed-nb": 22, "linear": 22}),
        ("mixing", float, "Share of the language of all classes.", {"hashed-nb": 0.2}),
        ("C", float, "Inverse strength of the L2 penalty.", {"tfidf": 20.0}),
        ("idf_power", float, "How much more rare features weigh.", {"linear": 0.5}),
        (
            "epochs", int, "Passes over the training texts; of rnn and gpt2-lstm at most.",
            {"linear": 2, "tfidf": 15, "rnn": 5, "gpt2-lstm": 6},
        ),
        (
            "learning_rate", float, "Learning rate (of the first pass).",
            {"linear": 0.3, "rnn": 2e-3, "gpt2-lstm": 4e-3}, "lr",
        ),
        ("decay", float, "What the learning rate is multiplied by after each pass.", {"linear": 0.6}),
        (
            "dropout", float, "Share of features left out at random in training.",
            {"linear": 0.3, "rnn": 0.4, "gpt2-lstm": 0.3},
        ),
        (
            "head_dropout", float, "Share of a text's vector left out at random in training.",
            {"rnn": 0.5, "gpt2-lstm": 0.3},
        ),
        ("token_dropout", float, "Share of tokens left out at random in training.", {"rnn": 0.3, "gpt2-lstm": 0.1}),
        (
            "label_smoothing", float, "Share of the target that all classes get alike.",
            {"rnn": 0.1, "gpt2-lstm": 0.0},
        ),
        ("weight_decay", float, "Weight decay of AdamW.", {"rnn": 0.01, "gpt2-lstm": 0.01}),
        (
            "batch_size", int, "Texts a step. By default 32; of more than 32,000 texts a thousandth, 128 at most.",
            {"rnn": None, "gpt2-lstm": None},
        ),
        (
            "precision", str, "What is computed in while training: float32, bf16, or auto (bf16 on a CPU that has it).",
            {"rnn": "auto", "gpt2-lstm": "auto"},
        ),
        ("cell", str, "Recurrent cell: rnn, gru or lstm.", {"rnn": "gru"}),
        ("embedding", int, "Width of the embeddings.", {"rnn": 192}),
        ("hidden", int, "Width of the hidden state.", {"rnn": 192, "gpt2-lstm": 256}),
        ("max_tokens", int, "Read no more tokens of a text.", {"rnn": 256, "gpt2-lstm": 256}),
        ("patience", int, "Passes without a better validation loss before it ends.", {"rnn": 2, "gpt2-lstm": 2}),
        (
            "class_weight", str, "'balanced': each class weighs alike in training.",
            {"nb": None, "hashed-nb": None, "linear": None, "tfidf": None, "rnn": None, "gpt2-lstm": None},
        ),
        (
            "objective", str, "'accuracy', or 'macro' for macro-F1, which helps small classes.",
            dict.fromkeys(("nb", "hashed-nb", "linear", "rnn", "gpt2-lstm"), "accuracy"),
        ),
        (
            "tokenizer", str,
            "'gpt2', the path of a vocabulary, or 'learn' (from the training texts). By default GPT-2's if its "
            "vocabulary is here, else learned.",
            {"rnn": None}, "", "NAME|PATH",
        ),
        (
            "gpt2", str,
            "Where the embeddings come from: a Hugging Face GPT-2 folder, a run, or 'pretrain' (a small GPT reads the "
            "training texts first). By default the newest run, else the model that ships.",
            {"gpt2-lstm": None}, "", "FOLDER|RUN|pretrain",
        ),
    )
)  # fmt: skip


def check_belong(names: Iterable[str], models: Iterable[str]) -> None:
    """Refuse a dial that none of the chosen models has.

    Args:
        names: of the dials that were given.
        models: names of the chosen models.

    Raises:
        UsageError: one has no such model; the sentence says which have it.

    """
    given, models = set(names), list(models)
    for dial in DIALS:
        if dial.name in given and not any(model in dial.defaults for model in models):
            *others, last = dial.defaults
            owners = f"{', '.join(others)} and {last}" if others else last
            chosen = f"{', '.join(models)} {'does' if len(models) == 1 else 'do'} not"
            raise UsageError(f"{dial.flag} is for {owners}; {chosen} have it: leave it out, or choose {last}")


def dials_of(model: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are dials of this model."""
    return {dial.name: values[dial.name] for dial in DIALS if dial.name in values and model in dial.defaults}


def check_values(model: str, values: Mapping[str, Any]) -> None:
    """Refuse a value that can never work, by its flag; imports the model's class.

    Raises:
        UsageError: it cannot.

    """
    from gpt2x.classify.loading import load_class

    own = dials_of(model, values)
    if own:
        rules = load_class(get_kind(model)).rules
        for dial in DIALS:
            if dial.name in own and dial.name in rules:
                rules[dial.name].check(dial.flag, own[dial.name])
