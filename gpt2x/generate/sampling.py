"""From logits to a token: pure functions, no model, no loop, no global random state.

Order of the steps, as in Hugging Face's `generate`: logit bias, repetition, frequency and presence penalty, repeated
n-grams, temperature, top-k, top-p, min-p, typical, then one draw.
The draw inverts the cumulative distribution with one number from a CPU generator, so that a seed gives the same text
on every device and does not hang on how a library implements `multinomial`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpt2x.errors import InputDataError, UsageError
from gpt2x.generate.history import History

_TINY_TEMPERATURE = 1e-30  # below, a float32 quotient would be 0/0


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How the next token is chosen from the model's logits.

    Attributes:
        temperature: logits are divided by it; below 1 is more sure of itself, 0 always takes the likeliest token.
        top_k: only the k likeliest tokens can come (those that tie with the k-th too); None means all.
        top_p: only the smallest set of likeliest tokens that holds this much probability can come; 1 means all.
        min_p: only tokens with at least this share of the likeliest one's probability can come; 0 means all
            (Nguyen et al. 2024, "Turning Up the Heat", §3).
        typical_p: only the tokens whose information is nearest to the expected one, and that together hold this much
            probability, can come; 1 means all (Meister et al. 2023, "Locally Typical Sampling", §4).
        repetition_penalty: logits of tokens already in the text are divided by it when positive and multiplied when
            negative (Keskar et al. 2019, "CTRL", §4.1); 1 means no penalty.
        frequency_penalty: taken from a token's logit once for each time it was written; 0 means none.
        presence_penalty: taken from the logit of each token that was written; 0 means none.
        no_repeat_ngram: no run of this many tokens comes twice (Paulus et al. 2017, §2.5); 0 means any may.
        logit_bias: (id, what is added to its logit), …

    Raises:
        UsageError: a value that can never work, naming the field.

    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty"):
            _check_number(name, getattr(self, name))
        _check_number("presence_penalty", self.presence_penalty)
        _check_count("top_k", 1 if self.top_k is None else self.top_k, least=1, why="leaves no token")
        _check_count("no_repeat_ngram", self.no_repeat_ngram, least=0, why="is negative")
        if not 0.0 <= self.temperature < math.inf:
            raise UsageError(f"temperature = {self.temperature} is not a number from 0 on; 0 means greedy")
        for name in ("top_p", "typical_p"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise UsageError(
                    f"{name} = {getattr(self, name)} is outside (0, 1]; give a share such as 0.95"
                )
        if not 0.0 <= self.min_p < 1.0:
            raise UsageError(f"min_p = {self.min_p} is outside [0, 1); give a share such as 0.05")
        if not 0.0 < self.repetition_penalty < math.inf:
            raise UsageError(f"repetition_penalty = {self.repetition_penalty} is not a number above 0")
        for name in ("frequency_penalty", "presence_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} = {getattr(self, name)} is not a finite number; 0 means none")
        for token, bias in self.logit_bias:
            _check_count("a token of logit_bias", token, least=0, why="is negative")
            _check_number("a value of logit_bias", bias)
            if math.isnan(bias) or bias == math.inf:
                raise UsageError(
                    f"logit_bias of token {token} is {bias}; give a number, or -inf to rule it out"
                )

    @property
    def needs_history(self) -> bool:
        """Whether what was written before changes what may come."""
        return bool(
            self.repetition_penalty != 1.0
            or self.frequency_penalty
            or self.presence_penalty
            or self.no_repeat_ngram
        )


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} = {value!r} is not a number")


def _check_count(name: str, value: object, *, least: int, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} = {value!r} is not a whole number; give {least} or more")
    if value < least:
        raise UsageError(f"{name} = {value} {why}; give at least {least}")


GREEDY = SamplingConfig(temperature=0.0)


def sample(
    logits: Tensor,
    sampling: SamplingConfig,
    *,
    generator: torch.Generator | None = None,
    history: History | Sequence[int] = (),
    num_ids: int | None = None,
) -> int:
    """Choose one token.

    Args:
        logits: (V,), any floating dtype, any device.
        sampling: how.
        generator: a CPU generator; needed unless greedy.
        history: what is already in the text, for penalties; plain ids count as a prompt.
        num_ids: ids from here on can never come, whatever their logits say.

    Raises:
        InputDataError: the logits are not numbers, as those of a damaged model.

    >>> sample(torch.tensor([0.0, 3.0, 1.0, 9.0]), GREEDY, num_ids=3)
    1
    """
    return choose(adjust(finite_scores(logits, num_ids), sampling, history), sampling, generator)


def finite_scores(logits: Tensor, num_ids: int | None = None) -> Tensor:
    """The logits of the ids that there are, as float32 on the CPU.

    Raises:
        InputDataError: the logits are not numbers, as those of a damaged model.

    """
    scores = logits[:num_ids].detach().to("cpu", torch.float32)  # (V)
    if not torch.isfinite(scores.max()):
        raise InputDataError(
            "the model's logits are not finite numbers; its weights are damaged, train or load others"
        )
    return scores


def adjust(scores: Tensor, sampling: SamplingConfig, history: History | Sequence[int] = ()) -> Tensor:
    """Bias and penalties: what hangs on single tokens and on what was written; (V,) -> (V,)."""
    if sampling.logit_bias:
        scores = add_bias(scores, sampling.logit_bias)
    if not sampling.needs_history:
        return scores
    if not isinstance(history, History):
        history = History(history, len(scores))
    if sampling.repetition_penalty != 1.0:
        scores = penalize(scores, history.occurs, sampling.repetition_penalty)
    if sampling.frequency_penalty or sampling.presence_penalty:
        counts = history.counts
        scores = scores - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
    if sampling.no_repeat_ngram:
        scores = rule_out(scores, history.would_repeat(sampling.no_repeat_ngram))
    return scores


def choose(scores: Tensor, sampling: SamplingConfig, generator: torch.Generator | None) -> int:
    """Temperature, the choice of candidates, and one draw."""
    if sampling.temperature == 0.0:
        return int(scores.argmax())
    scores = scores - scores.max()
    if sampling.temperature < _TINY_TEMPERATURE:
        scores = scores.double()
    scores = scores / sampling.temperature
    if sampling.top_k is not None:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p < 1.0:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p > 0.0:
        scores = keep_min_p(scores, sampling.min_p)
    if sampling.typical_p < 1.0:
        scores = keep_typical(scores, sampling.typical_p)
    return draw(scores, generator)


def add_bias(scores: Tensor, bias: Sequence[tuple[int, float]]) -> Tensor:
    """Add to the scores of single ids; ids that there are not are passed over."""
    known = [(token, value) for token, value in bias if token < len(scores)]
    ids = torch.tensor([token for token, _ in known], dtype=torch.int64)
    values = torch.tensor([value for _, value in known], dtype=scores.dtype)
    return scores.index_put((ids,), values, accumulate=True)


def penalize(scores: Tensor, occurs: Tensor, penalty: float) -> Tensor:
    """Make the tokens that occur less likely, each once however often it occurred; `occurs` is (V,) of bool."""
    return scores.where(~occurs, torch.where(scores > 0, scores / penalty, scores * penalty))


def rule_out(scores: Tensor, ids: Tensor) -> Tensor:
    """Rule these ids out, unless nothing would be left."""
    left = scores.index_fill(0, ids, -math.inf)
    return left if torch.isfinite(left.max()) else scores


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Rule out all but the k highest scores; those that tie with the k-th stay."""
    if k >= len(scores):
        return scores
    return scores.where(scores >= scores.topk(k).values[-1], -math.inf)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """Rule out all but the smallest set of likeliest tokens whose probability together is at least p.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", §3.1. The likeliest token always stays.
    """
    # NumPy's vectorised sort takes 0.1 ms for 50,257 scores, torch's 3.4; a token of an int8 model takes 4.
    ordered = torch.from_numpy(np.sort(scores.numpy())).flip(0)
    cumulative = ordered.softmax(0, dtype=torch.float64).cumsum(0)
    count = min(len(ordered), int(torch.searchsorted(cumulative, p)) + 1)
    least = ordered[count - 1]
    kept = scores >= least
    surplus = int(kept.sum()) - count
    if surplus > 0:  # of those that tie for the last places, the lower ids stay
        kept[(scores == least).nonzero()[-surplus:, 0]] = False
    return scores.where(kept, -math.inf)


def keep_min_p(scores: Tensor, min_p: float) -> Tensor:
    """Rule out all tokens with less than `min_p` of the likeliest one's probability."""
    return scores.where(scores >= scores.max() + math.log(min_p), -math.inf)


def keep_typical(scores: Tensor, p: float) -> Tensor:
    """Rule out all but the tokens whose information is nearest to the entropy, the fewest that hold p together."""
    log_probabilities = scores.double().log_softmax(0)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities.nan_to_num(neginf=0.0)).sum()
    distance = (log_probabilities + entropy).abs()  # inf for tokens that are ruled out already
    ordered, order = distance.sort(stable=True)
    count = min(len(order), int((probabilities[order].cumsum(0) < p).sum()) + 1)
    return scores.where(distance <= ordered[count - 1], -math.inf)


def draw(scores: Tensor, generator: torch.Generator | None) -> int:
    """Draw an id with probability softmax(scores); a score of -inf is never drawn."""
    cumulative = scores.softmax(0, dtype=torch.float64).cumsum(0)  # (V)
    u = torch.rand((), dtype=torch.float64, generator=generator)
    # The first id whose cumulative probability is above u; an id without probability does not raise it and so is
    # never the first. The minimum keeps a rounded product from reaching the total.
    target = torch.minimum(
        u * cumulative[-1], torch.nextafter(cumulative[-1], torch.zeros((), dtype=torch.float64))
    )
    return int(torch.searchsorted(cumulative, target, right=True))
