"""What has been written so far, in the shapes that penalties need, so that a token costs the same at any length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class History:
    """The ids of a text: how often each occurred, and what followed each run of them.

    Everything is kept up to date by `append`; nothing is counted anew for the next token.

    Args:
        prompt: ids that were given. Only the repetition penalty and n-grams look at them.
        num_ids: size of the vocabulary, V; other ids are remembered but never penalised.

    """

    def __init__(self, prompt: Sequence[int], num_ids: int) -> None:
        self.ids: list[int] = []
        self.occurs = torch.zeros(num_ids, dtype=torch.bool)
        """(V,): whether an id occurs in the text, the prompt included."""
        self.counts = torch.zeros(num_ids)
        """(V,): how often an id was written after the prompt."""
        self._followers: dict[tuple[int, ...], set[int]] = {}
        self._n = 0
        for token in prompt:
            self._remember(token)

    def append(self, token: int) -> None:
        """Count a token that was written."""
        self._remember(token)
        if token < len(self.counts):
            self.counts[token] += 1

    def extend(self, tokens: Iterable[int]) -> None:
        """`append` each."""
        for token in tokens:
            self.append(token)

    def take_back(self, count: int) -> None:
        """Forget the last `count` tokens, which were written and not given."""
        taken = self.ids[len(self.ids) - count :]
        del self.ids[len(self.ids) - count :]
        still = set(self.ids)
        for token in taken:
            if token < len(self.counts):
                self.counts[token] -= 1
                self.occurs[token] = token in still
        self._n = 0  # the runs are gathered anew when they are next asked for

    def would_repeat(self, n: int) -> Tensor:
        """The ids that would make the last n tokens a run that the text already has; (K,) of int64, sorted."""
        if n != self._n:
            self._n, self._followers = n, {}
            for end in range(n, len(self.ids) + 1):
                self._follow(end)
        ids = (
            self._followers.get(tuple(self.ids[len(self.ids) - n + 1 :]), set())
            if len(self.ids) >= n
            else set()
        )
        return torch.tensor(sorted(i for i in ids if i < len(self.counts)), dtype=torch.int64)

    def _remember(self, token: int) -> None:
        self.ids.append(token)
        if token < len(self.occurs):
            self.occurs[token] = True
        if self._n and len(self.ids) >= self._n:
            self._follow(len(self.ids))

    def _follow(self, end: int) -> None:
        *before, last = self.ids[end - self._n : end]
        self._followers.setdefault(tuple(before), set()).add(last)
