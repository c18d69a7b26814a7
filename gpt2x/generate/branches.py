"""Several continuations of one text, so that the best of them can be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from gpt2x.model.kv_cache import KVCache


class ReadsRows(Protocol):
    """A model that reads one token of each of several texts."""

    def read_rows(self, ids: Tensor, cache: KVCache) -> Tensor:
        """(B,) -> (B, V)."""


class Branches:
    """Continuations of one text that are read together, a token of each at a time: a step of four takes as long as two.

    A product of few rows reads each weight once for all of them, and reading is what a step waits for.

    Args:
        model: reads.
        cache: a fork of the text's, a row for each continuation.
        logits: (B, V), what the model says of the next token of each.

    Attributes:
        logits: the same, of the tokens after those that were appended.

    """

    def __init__(self, model: ReadsRows, cache: KVCache, logits: torch.Tensor) -> None:
        self._model, self._cache, self.logits = model, cache, logits

    @property
    def is_full(self) -> bool:
        """Whether no further token fits."""
        return self._cache.length >= self._cache.max_length

    def append(self, tokens: Sequence[int], rows: Sequence[int]) -> None:
        """Go on with these rows alone, each with its token; they are numbered anew."""
        if len(rows) < len(self.logits):
            self._cache.keep_rows(torch.tensor(rows))
        self.logits = self._model.read_rows(torch.tensor(tokens), self._cache)
