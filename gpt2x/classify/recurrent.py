"""What `RNNClassifier` and `GPT2LSTMClassifier` share around the network: settings, fitting, predicting, keeping."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt2x.classify.base import TextClassifier, check_positive, draw_seed
from gpt2x.classify.kinds import KINDS
from gpt2x.classify.neural import (
    CELLS,
    Plan,
    Ragged,
    SequenceNet,
    one_thread_if_small,
    predict_logits,
    seeded,
    train_network,
)
from gpt2x.errors import UsageError
from gpt2x.model.device import pick_device

PREDICT_ROWS = 8192
"""Texts that are predicted at a time: bounds the memory that their features take."""


class RecurrentClassifier(TextClassifier):
    """A classifier that reads a text from left to right.

    A subclass says how texts become rows (`_prepare` once, `_rows` each time) and what to keep beside the network.

    Attributes:
        net_: the trained `SequenceNet`.
        history_: one record an epoch: epoch, train_loss, validation_loss, validation_accuracy, seconds.

    """

    net_: SequenceNet
    history_: list[dict[str, float]]

    # Hyperparameters that both have; each class documents and sets its own.
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    hidden: int
    bidirectional: bool
    dropout: float
    token_dropout: float
    max_tokens: int
    lowercase: bool
    validation_fraction: float
    patience: int
    device: str
    verbose: bool
    random_state: Any

    def _fit(self, texts: list[str], y: np.ndarray, num_classes: int) -> None:
        self._check()
        device, seed = pick_device(self.device), draw_seed(self.random_state)
        self._prepare(self._cased(texts), device)
        plan = Plan(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            validation_fraction=self.validation_fraction,
            patience=self.patience,
            seed=seed,
            verbose=self.verbose,
        )
        with self._rows(self._cased(texts)) as rows, seeded(seed, device):
            net = self._make_net(num_classes).to(device)
            if net.embedding is None:
                net.standardise(rows.values)
            with one_thread_if_small(net):
                self.history_ = train_network(net, rows, y, plan, KINDS[self.kind].title)
        self.net_ = net

    def _proba(self, texts: list[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(texts), PREDICT_ROWS):
            chosen = self._cased(texts[start : start + PREDICT_ROWS])
            with self._rows(chosen) as rows, one_thread_if_small(self.net_):
                parts.append(predict_logits(self.net_, rows, self.batch_size).double().softmax(dim=1))
        return torch.cat(parts).numpy()

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.net_.parameters())

    def _state(self, folder: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.net_.state_dict().items()}
        return arrays, {"history": self.history_}

    def _restore(
        self, folder: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], num_classes: int
    ) -> None:
        self._check()
        with torch.device("meta"):  # shapes only: the weights come from the file
            net = self._make_net(num_classes)
        net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, assign=True)
        self.net_ = net.to(pick_device(self.device)).eval()
        self.history_ = list(state["history"])

    def _check(self) -> None:
        check_positive(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            hidden=self.hidden,
            max_tokens=self.max_tokens,
            patience=self.patience,
        )
        for name in ("dropout", "token_dropout", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} = {getattr(self, name)} cannot work; give a share from 0 to below 1"
                )
        if self._cell() not in CELLS:
            raise UsageError(f"cell = {self._cell()!r} is unknown; give one of {', '.join(CELLS)}")

    def _make_net(self, num_classes: int) -> SequenceNet:
        num_tokens, features = self._input_size()
        return SequenceNet(
            num_classes=num_classes,
            num_tokens=num_tokens,
            features=features,
            hidden=self.hidden,
            cell=self._cell(),
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            token_dropout=self.token_dropout,
        )

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

    def _cell(self) -> str:
        raise NotImplementedError
