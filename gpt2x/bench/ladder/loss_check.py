"""Whether a rung's loss still is that of the rung before, after the same steps on the same tokens. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2x.bench.ladder.rungs import Rung

MATCHES, CHANGES, DIFFERS = "matches", "changes", "differs"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a rung's run says about its result: the losses step by step, and the size of the model."""

    losses: Sequence[float]
    parameters: int
    vocab_size: int
    tokens_per_step: int


@dataclass(frozen=True, kw_only=True)
class LossCheck:
    """The loss of a rung beside that of the rung before."""

    verdict: str
    """matches; changes (as the rung says it does); differs (it must not, so the rung does not count)."""
    steps: int
    """How many steps both have made where the losses are compared."""
    loss: float
    before: float | None
    bound: float | None
    reason: str

    @property
    def counts(self) -> bool:
        """False for a rung that broke the result: no speed-up is claimed for it."""
        return self.verdict != DIFFERS


def check_loss(rung: Rung, after: Learned, before: Learned | None) -> LossCheck:
    """Compare the losses after the same number of steps on the same tokens."""
    if before is None:
        steps, loss, loss_before = len(after.losses), after.losses[-1], None
    else:
        steps = min(len(after.losses), len(before.losses))
        loss, loss_before = after.losses[steps - 1], before.losses[steps - 1]

    def verdict(word: str, reason: str, bound: float | None = None) -> LossCheck:
        return LossCheck(verdict=word, steps=steps, loss=loss, before=loss_before, bound=bound, reason=reason)

    if not all(map(math.isfinite, after.losses)):
        return verdict(DIFFERS, "the loss is not a finite number")
    if before is None:
        return verdict(MATCHES, "the reference")
    if rung.loss_bound is not None and after.tokens_per_step == before.tokens_per_step:
        distance = abs(loss - (loss_before or 0.0))
        if distance <= rung.loss_bound:
            word = CHANGES if rung.alters else MATCHES
            return verdict(word, rung.alters or f"within {rung.loss_bound:g} nats", rung.loss_bound)
        return verdict(
            DIFFERS,
            f"off by {distance:.3g} nats after {steps} steps, allowed {rung.loss_bound:g}",
            rung.loss_bound,
        )
    wrong = EXPECTATIONS[rung.expect or "still_learns"](after, before)
    return verdict(DIFFERS, wrong) if wrong else verdict(CHANGES, rung.alters or "more tokens a step")


def _fewer_parameters(after: Learned, before: Learned) -> str | None:
    if after.parameters < before.parameters:
        return None
    return f"{after.parameters} parameters, no fewer than before"


def _starts_at_uniform(after: Learned, before: Learned) -> str | None:
    uniform = math.log(after.vocab_size)
    if abs(after.losses[0] - uniform) < 0.5:
        return None
    return f"the first loss is {after.losses[0]:.2f}, not near ln(V) = {uniform:.2f}"


def _still_learns(after: Learned, before: Learned) -> str | None:
    """No higher than before by half a nat, at the last step that both have made."""
    steps = min(len(after.losses), len(before.losses))
    if after.losses[steps - 1] < before.losses[steps - 1] + 0.5:
        return None
    return f"the loss is {after.losses[steps - 1]:.2f} after {steps} steps, {before.losses[steps - 1]:.2f} before"


def _is_finite(after: Learned, before: Learned) -> str | None:
    """What `check_loss` has looked at already."""
    return None


EXPECTATIONS: dict[str, Callable[[Learned, Learned], str | None]] = {
    "fewer_parameters": _fewer_parameters,
    "starts_at_uniform": _starts_at_uniform,
    "still_learns": _still_learns,
    "is_finite": _is_finite,
}
"""What a rung that alters the result has to show instead of an equal loss: the reason why it fails, or None."""
