"""What `RNNClassifier` and `GPT2LSTMClassifier` share around the network: settings, fitting, predicting, keeping."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt2x.classify.base import TextClassifier, draw_seed
from gpt2x.classify.calibration import OBJECTIVES
from gpt2x.classify.hyperparameters import Device, Flag, Number, OneOf, Share, Whole
from gpt2x.classify.kinds import KINDS
from gpt2x.classify.neural import (
    PRECISIONS,
    Plan,
    Ragged,
    SequenceNet,
    computes_in_bf16,
    one_thread_if_small,
    predict_logits,
    seeded,
    texts_a_step,
    train_network,
    validation_split,
)
from gpt2x.classify.saved import check_array, check_complete
from gpt2x.classify.weighting import ClassWeight, WeightedClassifier, log_shares
from gpt2x.errors import UsageError
from gpt2x.model.device import pick_device, shapes_only

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

PREDICT_ROWS = 8192
"""Texts that are predicted at a time: bounds the memory that their features take."""


UNSAID = object()
"""Stands where folders of format 1 say nothing."""


class RecurrentClassifier(WeightedClassifier):
    """A classifier that reads a text from left to right.

    A subclass says how texts become rows (`_prepare` once, `_rows` each time) and what to keep beside the network.

    Attributes:
        net_: the trained `SequenceNet`.
        history_: one record an epoch: epoch, train_loss, validation_loss, validation_accuracy, seconds.

    """

    rules = MappingProxyType(
        {
            **TextClassifier.rules,
            "epochs": Whole(1, 10**6),
            "batch_size": Whole(1, 2**16, or_none=True),
            "learning_rate": Number(1e-12, 1e3),
            "weight_decay": Number(0, 100),
            "hidden": Whole(1, 2**14),
            "bidirectional": Flag(),
            "dropout": Share(),
            "head_dropout": Share(),
            "token_dropout": Share(),
            "label_smoothing": Share(),
            "objective": OneOf(OBJECTIVES),
            "class_weight": ClassWeight(),
            "max_tokens": Whole(1, 10**6),
            "lowercase": Flag(),
            "validation_fraction": Share(),
            "patience": Whole(1, 10**6),
            "precision": OneOf(PRECISIONS),
            "device": Device(),
            "verbose": Flag(),
        }
    )

    state_of_version_1 = MappingProxyType({**TextClassifier.state_of_version_1, "tokenizer": UNSAID})

    net_: SequenceNet
    history_: list[dict[str, float]]

    # Hyperparameters that both have; each class documents and sets its own.
    epochs: int
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    hidden: int
    bidirectional: bool
    dropout: float
    head_dropout: float
    token_dropout: float
    label_smoothing: float
    objective: str
    max_tokens: int
    lowercase: bool
    validation_fraction: float
    patience: int
    precision: str
    device: str
    verbose: bool
    random_state: Any

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        device, seed, weights = pick_device(self.device), draw_seed(self.random_state), self._row_weights
        self._prepare(self._cased(texts), device)
        plan = Plan(
            epochs=int(self.epochs),
            batch_size=texts_a_step(len(texts)) if self.batch_size is None else int(self.batch_size),
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            label_smoothing=float(self.label_smoothing),
            validation_fraction=float(self.validation_fraction),
            patience=int(self.patience),
            seed=seed,
            verbose=bool(self.verbose),
        )
        with self._rows(self._cased(texts)) as rows, seeded(seed, device):
            net = self._make_net(num_classes, device)
            if net.embedding is None:
                net.standardise(rows.values)
            net.trains_in_bf16 = computes_in_bf16(self.precision, device)
            with one_thread_if_small(net):
                self.history_ = train_network(net, rows, y, plan, KINDS[self.kind].title, row_weights=weights)
                _, held = validation_split(y, weights, plan, np.random.default_rng(seed))
                logits = predict_logits(net, rows, held).double().numpy()
                log_prior = log_shares(y, num_classes, weights)
                strength = self._use_held_back(held, logits, y[held], log_prior, _softmax)
        if strength:
            with torch.no_grad():
                net.head.bias.sub_(torch.from_numpy(strength * log_prior).to(net.head.bias.device))
        self.net_ = net

    def _proba(self, texts: list[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(texts), PREDICT_ROWS):
            chosen = self._cased(texts[start : start + PREDICT_ROWS])
            with self._rows(chosen) as rows, one_thread_if_small(self.net_):
                parts.append(predict_logits(self.net_, rows).double().softmax(dim=1))
        return torch.cat(parts).numpy()

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.net_.parameters())

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.net_.state_dict().items()}
        return arrays, {"text_form": self.text_form_, "history": self.history_}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        check_complete(state, {"history": list})
        self.history_ = [_checked_record(record) for record in state["history"]]
        with shapes_only():  # the weights come from the file
            net = self._make_net(num_classes, torch.device("meta"))
        for name in arrays:
            check_array(arrays, name, None)
        net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, assign=True)
        self.net_ = net.to(pick_device(self.device)).eval()

    def _make_net(self, num_classes: int, device: torch.device) -> SequenceNet:
        num_tokens, features = self._input_size()
        try:
            return SequenceNet(
                num_classes=num_classes,
                num_tokens=num_tokens,
                features=features,
                hidden=int(self.hidden),
                cell=self._cell(),
                bidirectional=bool(self.bidirectional),
                dropout=float(self.dropout),
                head_dropout=float(self.head_dropout),
                token_dropout=float(self.token_dropout),
                num_shapes=self._num_shapes(),
            ).to(device)
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower():
                raise
            raise UsageError(
                f"a network of hidden = {self.hidden} over {features:,} features does not fit into the memory here; "
                "give a smaller one"
            ) from error

    def _cased(self, texts: list[str]) -> list[str]:
        return [text.lower() for text in texts] if self.lowercase else texts

    # -- what a kind fills in -----------------------------------------------------------------------------------

    def _prepare(self, texts: list[str], device: torch.device) -> None:
        """Learn from the training texts what `_rows` needs."""
        raise NotImplementedError

    def _rows(self, texts: list[str]) -> AbstractContextManager[Ragged]:
        """The texts as rows of at least one position each, for the length of a block."""
        raise NotImplementedError

    def _input_size(self) -> tuple[int | None, int]:
        """(rows of the embedding, or None for features; E)."""
        raise NotImplementedError

    def _num_shapes(self) -> int:
        """In how many ways a token may be written that the rows tell apart (`SequenceNet`)."""
        return 0

    def _cell(self) -> str:
        raise NotImplementedError


def _softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def _checked_record(record: Any) -> dict[str, float]:
    """What one epoch of the history says.

    Raises:
        ValueError: not numbers by name.

    """
    if not isinstance(record, dict) or not all(type(value) in (int, float) for value in record.values()):
        raise ValueError("the history holds something else than numbers by name")
    return record


def fingerprint(tokenizer: Tokenizer) -> dict[str, str]:
    """What a header says of a tokenizer, to know it again."""
    return {"pattern": tokenizer.pat_str, "sha256": tokenizer.vocabulary.fingerprint}


def check_fingerprint(tokenizer: Tokenizer, state: Mapping[str, Any]) -> None:
    """Refuse a tokenizer that is not the one of the header (folders of format 1 do not say which it is).

    Raises:
        ValueError: it is another.

    """
    if state.get("tokenizer") not in (UNSAID, fingerprint(tokenizer)):
        raise ValueError("its tokenizer is not the one that it was trained with")
