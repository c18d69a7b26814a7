"""Which weights of a run are the best so far, and when no better ones are to be expected (early stopping)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Best:
    """The lowest validation loss so far; a part of the state of a run.

    >>> best = Best()
    >>> [best.update(loss, step) for step, loss in ((10, 3.0), (20, 2.5), (30, 2.7))]
    [True, True, False]
    >>> best.step, best.stale, best.is_hopeless(patience=1)
    (20, 1, True)
    """

    loss: float = math.inf
    """In nats a token."""
    step: int | None = None
    """After which step it was measured; None before the first validation."""
    stale: int = 0
    """Validations since then, none of which was better."""

    def update(self, loss: float, step: int) -> bool:
        """Take a validation loss; True if it is the lowest so far (NaN never is)."""
        if loss < self.loss:
            self.loss, self.step, self.stale = loss, step, 0
            return True
        self.stale += 1
        return False

    def is_hopeless(self, patience: int) -> bool:
        """True when `patience` validations in a row were no better; never with a patience of 0.

        Prechelt 1998, "Early Stopping - But When?", criterion UP.
        """
        return 0 < patience <= self.stale

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint's ``state.json``."""
        return {
            "loss": self.loss if self.step is not None else None,
            "step": self.step,
            "stale": self.stale,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> Best:
        """What a checkpoint says; nothing is known of the best of a run that an earlier version began."""
        if not state or state.get("step") is None:
            return cls(stale=int(state["stale"]) if state else 0)
        return cls(float(state["loss"]), int(state["step"]), int(state["stale"]))
