"""A recurrent network over BPE tokens, learned from nothing but the training texts.

Tokens are GPT-2's where its vocabulary is on this machine, else a vocabulary learned from the training texts. Only the
tokens that occur in the training texts get a row of the embedding; row 0 stands for all others, and is learned too,
because `token_dropout` hides tokens behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt2x.classify.hyperparameters import Flag, Name, OneOf, Whole
from gpt2x.classify.inputs import without_fields
from gpt2x.classify.neural import CELLS, Ragged
from gpt2x.classify.recurrent import RecurrentClassifier, check_fingerprint, fingerprint
from gpt2x.classify.saved import check_array, one_of
from gpt2x.data.fields import FIELD_SEPARATOR
from gpt2x.errors import MissingComponentError

if TYPE_CHECKING:
    import torch

    from gpt2x.tokenizer import Tokenizer

LEARN = "learn"
"""The value of `tokenizer` that asks for a vocabulary learned from the training texts."""

LEARNED_SIZE = 8192
"""How many tokens such a vocabulary has at most."""

NUM_SHAPES = 4
"""In how many ways a token may be written: see `token_shapes`."""

PLAIN, FIELDS = 1, 2
"""How texts are read: as one field, or with a token between fields. The number is saved with a classifier."""


class TokenizerRule(Name):
    """None, "learn", a name or path, or a `Tokenizer`."""

    wanted = "None, 'learn', a name, a path or a gpt2x.tokenizer.Tokenizer"

    def allows(self, value: Any) -> bool:  # noqa: D102
        from gpt2x.tokenizer import Tokenizer

        return isinstance(value, Tokenizer) or super().allows(value)


class RNNClassifier(RecurrentClassifier):
    """Embedding, bidirectional GRU, mean and maximum over time, linear layer.

    Args:
        tokenizer: None (GPT-2's if its vocabulary is here, else "learn"), "learn" (from the training texts), a name or
            path for `Tokenizer.load`, or a `Tokenizer`.
        cell: ``rnn`` (tanh), ``gru`` or ``lstm``.
        embedding: features of a token.
        hidden: features of each direction.
        bidirectional: also read backwards.
        min_count: tokens that occur less often in the training texts count as unknown.
        max_tokens: longer texts are cut.
        lowercase: lower-case the texts first, in training and in use alike.
        shapes: also read how a token is written (`token_shapes`), beside the token itself; a text is then another one
            when it is typed in another case.
        epochs: passes over the training texts at most; training ends when `patience` epochs have not lowered the loss
            on the validation slice, and the best epoch is kept.
        batch_size: texts in a step; None: as `texts_a_step` says.
        learning_rate: AdamW's, after a short warm-up; falls to a tenth by the last epoch.
        weight_decay: AdamW's.
        dropout: share of the embedding's features hidden in training, the same ones throughout a text.
        head_dropout: share of the features before the last layer hidden in training.
        token_dropout: share of tokens hidden in training.
        label_smoothing: share of each target that goes to all classes alike, in training.
        objective: ``accuracy``, or ``macro`` for macro-F1: part of the classes' log share is taken from their scores.
            It is added to the bias of the last layer when training is over.
        class_weight: what each label's texts count in training, by label; "balanced": each class weighs alike, as in
            scikit-learn; None: all texts count 1.
        validation_fraction: the slice of the training texts that decides when to stop.
        patience: epochs without progress before training ends.
        precision: what the recurrent layers compute in while training: "float32", "bf16", or "auto", which is bf16 on a
            CPU that has instructions for it. Weights, and what is predicted, are float32.
        device: auto, cpu, cuda or cuda:N.
        verbose: show progress on stderr.
        random_state: seed of weights, order, dropout and validation slice; the same seed gives the same classifier on
            a CPU.

    Attributes:
        tokenizer_: the `Tokenizer` in use.
        token_ids_: sorted ids that have a row of their own in the embedding; id ``token_ids_[i]`` has row i + 1.

    """

    kind = "rnn"
    rules = MappingProxyType(
        {
            **RecurrentClassifier.rules,
            "tokenizer": TokenizerRule(),
            "cell": OneOf(tuple(CELLS)),
            "embedding": Whole(1, 2**14),
            "min_count": Whole(1, 10**9),
            "shapes": Flag(),
        }
    )

    reads_fields = True
    state_before_version_4 = MappingProxyType({"reading": PLAIN})

    tokenizer_: Tokenizer
    token_ids_: np.ndarray
    reading_: int

    def __init__(
        self,
        *,
        tokenizer: Any = None,
        cell: str = "gru",
        embedding: int = 192,
        hidden: int = 192,
        bidirectional: bool = True,
        min_count: int = 2,
        max_tokens: int = 256,
        lowercase: bool = True,
        shapes: bool = False,
        epochs: int = 5,
        batch_size: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        dropout: float = 0.4,
        head_dropout: float = 0.5,
        token_dropout: float = 0.3,
        label_smoothing: float = 0.1,
        objective: str = "accuracy",
        class_weight: Any = None,
        validation_fraction: float = 0.05,
        patience: int = 2,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.cell = cell
        self.embedding = embedding
        self.hidden = hidden
        self.bidirectional = bidirectional
        self.min_count = min_count
        self.max_tokens = max_tokens
        self.lowercase = lowercase
        self.shapes = shapes
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.head_dropout = head_dropout
        self.token_dropout = token_dropout
        self.label_smoothing = label_smoothing
        self.objective = objective
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def describe(self) -> str:
        """Which tokens it reads."""
        return f"{len(self.token_ids_):,} {self.tokenizer_.name} tokens"

    def _prepare(self, texts: list[str], device: torch.device) -> None:
        self.reading_ = FIELDS
        texts = self._separated(texts)
        self.tokenizer_ = find_tokenizer(self.tokenizer, self._lowered(texts))
        ids, counts = np.unique(self._encode(texts).values, return_counts=True)
        self.token_ids_ = ids[counts >= self.min_count].astype(np.int64)

    @contextmanager
    def _rows(self, texts: list[str]) -> Iterator[Ragged]:
        texts = self._separated(texts)
        encoded = self._encode(texts)
        rows = np.zeros_like(encoded.values)
        if len(self.token_ids_):
            place = np.searchsorted(self.token_ids_, encoded.values).clip(max=len(self.token_ids_) - 1)
            rows = np.where(self.token_ids_[place] == encoded.values, place + 1, 0)
        if self._num_shapes():
            rows = rows * NUM_SHAPES + token_shapes(texts, encoded, self.tokenizer_)
        yield Ragged(rows, encoded.offsets)

    def _cased(self, texts: list[str]) -> list[str]:
        return texts  # how a token is written is told apart, before the texts are lower-cased

    def _lowered(self, texts: list[str]) -> list[str]:
        return super()._cased(texts)

    def _separated(self, texts: list[str]) -> list[str]:
        """The texts with a token of its own between fields, or with a blank, as folders of old were trained."""
        if self.reading_ == PLAIN:
            return without_fields(texts)
        # The blank behind it lets the next word be the token that it is within a field.
        return [text.replace(FIELD_SEPARATOR, f"{FIELD_SEPARATOR} ") for text in texts]

    def _encode(self, texts: list[str]) -> Ragged:
        """Ids of the tokenizer; a text without a token is one unknown token (-1)."""
        found = self.tokenizer_.encode_ordinary_batch(self._lowered(texts))
        return Ragged.of([ids[: int(self.max_tokens)] or [-1] for ids in found])

    def _num_shapes(self) -> int:
        return NUM_SHAPES if self.shapes else 0

    def _input_size(self) -> tuple[int, int]:
        return len(self.token_ids_) + 1, int(self.embedding)

    def _cell(self) -> str:
        return self.cell

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        self.tokenizer_.save(folder)
        arrays, state = super()._state(folder)
        own = {"tokenizer": fingerprint(self.tokenizer_), "reading": self.reading_}
        return {**arrays, "token_ids": self.token_ids_}, {**state, **own}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        from gpt2x.tokenizer import Tokenizer

        self.reading_ = one_of(state, "reading", (PLAIN, FIELDS))
        if ("shapes.weight" in arrays) != bool(self.shapes):
            raise ValueError("shapes is not what its weights were trained for")
        self.tokenizer_ = Tokenizer.load(folder)
        check_fingerprint(self.tokenizer_, state)
        ids = check_array(arrays, "token_ids", None, np.int64)
        # -1 stands for a text without a token.
        if ids.ndim != 1 or (np.diff(ids) <= 0).any() or (len(ids) and not -1 <= ids[0] <= ids[-1]):
            raise ValueError("token_ids are not sorted, each once")
        if len(ids) and ids[-1] >= self.tokenizer_.n_vocab:
            raise ValueError("its tokenizer is another's")
        self.token_ids_ = ids
        rest = {name: array for name, array in arrays.items() if name != "token_ids"}
        super()._restore(folder, rest, state, num_classes)


def token_shapes(texts: list[str], lowered: Ragged, tokenizer: Tokenizer) -> np.ndarray:
    """How each token of the lower-cased texts is written in the texts: (S,).

    0: without a letter from a to z; 1: in small letters; 2: with small and capital letters, or as one capital; 3: in
    capital letters. A text whose length in UTF-8 changes when it is lower-cased counts as written in small letters.

    Args:
        texts: N texts as they are written.
        lowered: ids of the texts in lower case, or of their beginnings; -1 stands for no token.
        tokenizer: whose ids these are.

    """
    raw = [text.encode("utf-8", "replace") for text in texts]
    small = [text.lower().encode("utf-8", "replace") for text in texts]
    raw = [own if len(own) == len(low) else low for own, low in zip(raw, small, strict=True)]
    known, place = np.unique(lowered.values, return_inverse=True)
    values = iter(tokenizer.decode_tokens_bytes(known[known >= 0].tolist()))
    sizes = np.array([len(next(values)) if token >= 0 else 0 for token in known.tolist()], np.int64)[place]
    ends = np.cumsum(sizes)
    starts = ends - sizes
    # Where token starts are counted from the first token of all, they are moved to the start of their own text.
    text_starts = np.cumsum([0] + [len(own) for own in raw[:-1]])
    first = starts[np.minimum(lowered.offsets[:-1], len(starts) - 1)]
    moved = np.repeat(text_starts - first, lowered.lengths)
    letters = np.frombuffer(b"".join(raw) or b" ", np.uint8)
    upper = (letters >= ord("A")) & (letters <= ord("Z"))
    lower = (letters >= ord("a")) & (letters <= ord("z"))
    num_upper, num_lower = (np.concatenate([[0], np.cumsum(mask)]) for mask in (upper, lower))
    limit = len(letters)
    start, end = np.minimum(starts + moved, limit), np.minimum(ends + moved, limit)
    big, little = num_upper[end] - num_upper[start], num_lower[end] - num_lower[start]
    return np.select([big + little == 0, big == 0, (little == 0) & (big > 1)], [0, 1, 3], 2)


def find_tokenizer(wanted: Any, texts: list[str]) -> Tokenizer:
    """The tokenizer that `wanted` stands for: see `RNNClassifier`. Never downloads unless it is asked for by name.

    Raises:
        InputDataError: a path holds none.
        UsageError: an unknown name.

    """
    from gpt2x.tokenizer import Tokenizer, get, registry, train

    if wanted is None:
        try:
            return get("gpt2", path=registry.find(download=False).path)
        except MissingComponentError:
            wanted = LEARN
    if wanted == LEARN:
        return train(texts, LEARNED_SIZE, min_frequency=2, allow_fewer=True, name="learned")
    return Tokenizer.load(wanted) if isinstance(wanted, str | os.PathLike) else wanted
