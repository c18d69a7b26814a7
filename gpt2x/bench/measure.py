"""The arithmetic of measuring: pure functions from samples to the figures that people see. Loads no torch.

Times are milliseconds (names end in ``_ms``), rates are for one second (``_per_second``); the one place where the two
meet is `tokens_per_second`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2x.bench.ladder import Rung

MS_PER_SECOND = 1000.0

LONG_STEP_S = 20.0
"""A step that takes longer needs no second one to be warm: what the first does more is lost in it."""

NOISY_SPREAD = 0.15
"""From this share of the median on, the middle half of the samples is called a noisy measurement."""

BUSY_SHARE = 0.1
"""From this share of the cores on, other programs are said to disturb the measurement."""

LOST_SHARE = 0.05
"""A rung for speed whose steps take longer than those below it by more than this does not pay."""

MATCHES, CHANGES, DIFFERS = "matches", "changes", "differs"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles of some samples."""

    median: float
    q1: float
    q3: float
    count: int

    @property
    def relative(self) -> float:
        """The interquartile range as a share of the median."""
        return (self.q3 - self.q1) / self.median if self.median else 0.0


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles: neither moves when one sample in four is disturbed.

    >>> spread([1.0, 2.0, 3.0, 4.0, 100.0])
    Spread(median=3.0, q1=2.0, q3=4.0, count=5)
    """
    if len(samples) == 1:
        return Spread(median=samples[0], q1=samples[0], q3=samples[0], count=1)
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median=median, q1=q1, q3=q3, count=len(samples))


def tokens_per_second(num_tokens: int, step_ms: float) -> float:
    """The rate of steps that learn from `num_tokens` tokens in `step_ms` milliseconds each.

    >>> tokens_per_second(512, 250.0)
    2048.0
    """
    return num_tokens * MS_PER_SECOND / step_ms


def utilisation(tokens_rate: float, token_flops: float, peak_flops: float) -> float | None:
    """MFU: the share of the measured peak that the model's own arithmetic makes up (PaLM, appendix B)."""
    return tokens_rate * token_flops / peak_flops if peak_flops > 0 else None


def is_slower(after: Spread, before: Spread) -> bool:
    """Longer by more than `LOST_SHARE`, and so clearly that the middle halves of the samples lie apart.

    >>> is_slower(spread([120.0, 121.0, 122.0]), spread([100.0, 101.0, 140.0]))
    False
    >>> is_slower(spread([120.0, 121.0, 122.0]), spread([100.0, 101.0, 102.0]))
    True
    """
    return after.median > (1.0 + LOST_SHARE) * before.median and after.q1 > before.q3


# ----------------------------------------------------------------------------------------------------------------
# Does the loss still match?


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
