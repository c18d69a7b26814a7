"""What rounds say about a ratio: its median, a 90 % bootstrap interval, and one of three verdicts. Loads no torch.

The unit is the round: what is compared was measured within the same few seconds, so that a machine that drifts moves
both. The bootstrap distribution of a median is known exactly (Efron 1979, "Bootstrap Methods"; Maritz and Jarrett
1978), so all resamples are counted and none is drawn: the same rounds always give the same interval.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

from gpt2x.bench.stats import Spread

LEVEL = 0.90
"""How often an interval holds the true ratio: 88 to 94 times of 100 with five rounds or more, as simulated."""

LEAST_ROUNDS = 3
"""With fewer rounds there is no interval."""

GUARD = 2.0
"""By how much an interval is stretched before it decides: one in ten intervals misses the truth, so that one in ten
equal pairs would be called different; stretched so far it is one in fifty."""

GUARD_OF_FEW = {3: 5.0, 4: 3.0}
"""The same for so few rounds that even their whole range holds the truth 75 and 87 times of 100."""

NOISY_WIDTH = 0.10
"""From this width on, as a share of the ratio, an interval makes the ratio a noisy one."""

FASTER, SLOWER, UNCLEAR = "faster", "slower", "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast one thing is as another."""

    median: float
    low: float | None = None
    """The end of the interval; None where there are too few rounds for one."""
    high: float | None = None
    rounds: int = 0
    """Rounds that it rests on; of the side with fewer, where the two were not measured in the same rounds."""
    verdict: str = UNCLEAR
    """faster, slower or cannot tell."""

    @property
    def width(self) -> float:
        """The interval's width as a share of the ratio; infinite where there is none."""
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / self.median

    @property
    def has_interval(self) -> bool:
        """True when there were rounds enough."""
        return self.low is not None

    @property
    def is_clear(self) -> bool:
        """True when one of the two is faster, beyond doubt."""
        return self.verdict != UNCLEAR

    @property
    def is_noisy(self) -> bool:
        """True when the interval is wide."""
        return self.has_interval and self.width > NOISY_WIDTH


ONE = Ratio(median=1.0)
"""Something beside itself."""


def paired(ratios: Sequence[float]) -> Ratio:
    """From the ratio of each round, both sides measured in it.

    >>> found = paired([1.18, 1.20, 1.17, 1.19, 1.19])
    >>> f"{found.median:.2f} ({found.low:.2f}–{found.high:.2f}), {found.verdict}"
    '1.19 (1.17–1.20), faster'
    """
    if len(ratios) < LEAST_ROUNDS:
        raise ValueError(f"{len(ratios)} rounds make no interval; it takes {LEAST_ROUNDS}")
    logs = sorted(map(math.log, ratios))
    return _ratio(_median(logs), _distribution(logs), len(logs))


def of_two(after: Sequence[float], before: Sequence[float]) -> Ratio:
    """From the rates of two sets of rounds that have nothing to do with one another, such as those of two runs.

    Both medians are resampled, each from its own rounds; every pair of outcomes counts as often as it would occur.
    """
    if min(len(after), len(before)) < LEAST_ROUNDS:
        raise ValueError(f"{min(len(after), len(before))} rounds make no interval; it takes {LEAST_ROUNDS}")
    logs = [sorted(map(math.log, rates)) for rates in (after, before)]
    ours, theirs = (_likely(_distribution(side)) for side in logs)
    differences = sorted((a - b, p * q) for a, p in ours for b, q in theirs)
    return _ratio(_median(logs[0]) - _median(logs[1]), differences, min(map(len, logs)))


def without_rounds(median: float, after: Spread, before: Spread) -> Ratio:
    """Where there are too few rounds: no interval, and a verdict where the middle halves of the steps lie apart.

    `after` and `before` are times for the same work.
    """
    verdict = SLOWER if after.q1 > before.q3 else FASTER if after.q3 < before.q1 else UNCLEAR
    return Ratio(median=median, verdict=verdict)


# ----------------------------------------------------------------------------------------------------------------


def _ratio(middle: float, distribution: Sequence[tuple[float, float]], rounds: int) -> Ratio:
    """From the distribution of the median's logarithm."""
    tail = (1.0 - LEVEL) / 2
    low = min(middle, _quantile(distribution, tail))
    high = max(middle, -_quantile([(-value, weight) for value, weight in reversed(distribution)], tail))
    guard = GUARD_OF_FEW.get(rounds, GUARD)
    verdict = UNCLEAR
    if middle - guard * (middle - low) > 0:
        verdict = FASTER
    elif middle + guard * (high - middle) < 0:
        verdict = SLOWER
    return Ratio(
        median=math.exp(middle), low=math.exp(low), high=math.exp(high), rounds=rounds, verdict=verdict
    )


def _median(values: Sequence[float]) -> float:
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def _distribution(values: Sequence[float]) -> list[tuple[float, float]]:
    """The medians of all resamples of sorted values, sorted, each with its probability."""
    return sorted(((values[i] + values[j]) / 2, weight) for i, j, weight in _weights(len(values)))


def _likely(distribution: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without what nearly never occurs, so that pairs of outcomes are few."""
    return [(value, weight) for value, weight in distribution if weight > 1e-6]


@functools.cache
def _weights(n: int) -> list[tuple[int, int, float]]:
    """How likely the two middle values of n draws from n sorted values are the i-th and the j-th (the same for odd n).

    P(the m-th smallest draw is at most the k-th value) is that of at least m draws among the first k.
    """
    m = n // 2

    def at_most(k: int, rank: int) -> int:
        return sum(comb(n, draws) * k**draws * (n - k) ** (n - draws) for draws in range(rank, n + 1))

    total = n**n
    if n % 2:
        return [(k, k, (at_most(k + 1, m + 1) - at_most(k, m + 1)) / total) for k in range(n)]
    weights = []
    for i in range(1, n + 1):
        same = at_most(i, m) - at_most(i - 1, m)
        for j in range(
            i + 1, n + 1
        ):  # m draws up to the i-th, one of them it; m from the j-th on, one of them it
            apart = comb(n, m) * (i**m - (i - 1) ** m) * ((n - j + 1) ** m - (n - j) ** m)
            same -= apart
            weights.append((i - 1, j - 1, apart / total))
        weights.append((i - 1, i - 1, same / total))
    return weights


def _quantile(distribution: Sequence[tuple[float, float]], share: float) -> float:
    """The value below which this share of the distribution lies, its steps joined by lines through their middles.

    Without the lines an interval would jump from value to value, and miss its level by up to 8 % either way.
    """
    below, last = 0.0, None
    for value, weight in distribution:
        middle = below + weight / 2
        if middle >= share:
            if last is None:
                return value
            x, y = last
            return y + (value - y) * (share - x) / (middle - x)
        last, below = (middle, value), below + weight
    return distribution[-1][0]
