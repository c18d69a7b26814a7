"""A contender: what a benchmark measures beside others of its kind. `interleave` says when it is measured.

A benchmark subclasses `Contender` once: how a round is made (by a request to a worker process, or a function that is
called here), and where its figures go. Knows no benchmark and loads no torch.
"""

from __future__ import annotations

import statistics
from typing import Any

from gpt2x.bench.effort import Effort
from gpt2x.bench.process import WorkerFailed


class Contender:
    """One of those that are measured in turn.

    Args:
        name: what results call it.
        title: what people call it.

    """

    def __init__(self, name: str, title: str = "") -> None:
        self.name, self.title = name, title or name
        self.reason = ""
        """Why it is measured no more; empty while it takes part."""
        self.seconds: list[float] = []
        """What each of its rounds took, as `keep` counts it; rounds of warm-up are not among them."""

    def start(self) -> None:
        """Get ready to be measured: start a worker, build, compile.

        Raises:
            WorkerFailed: that cannot be; the contender is dropped.

        """

    def measure(self) -> Any:
        """Make one round, and return what `keep` takes.

        Raises:
            WorkerFailed: it failed; the contender is dropped, and what it has so far stays.

        """
        raise NotImplementedError

    def keep(self, measured: Any) -> float:
        """Put what `measure` returned into the results; the seconds that count as its time."""
        raise NotImplementedError

    def warmed_up(self, measured: Any) -> None:
        """See what `measure` returned in a round of warm-up; most have no use for it."""

    def is_due(self, effort: Effort) -> bool:
        """Whether it takes part in the next round: until its share of the time is used up."""
        is_sampled = len(self.seconds) >= effort.min_samples
        return not is_sampled or sum(self.seconds) + self.expected_s() <= effort.share_s

    def expected_s(self) -> float:
        """How long its next round will most likely take, in seconds; 0 before the first."""
        return statistics.median(self.seconds) if self.seconds else 0.0

    def drop(self, reason: WorkerFailed) -> None:
        """Take part no more, for this reason."""
        self.reason = str(reason)
        self.close()

    def close(self) -> None:
        """End its worker and free what it holds; may be called more than once."""
