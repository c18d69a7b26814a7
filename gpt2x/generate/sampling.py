"""From logits to a token: pure functions, no model, no loop, no global random state.

Order of the steps, as in Hugging Face's `generate`: logit bias, repetition, frequency and presence penalty, repeated
n-grams, temperature, top-k, top-p, min-p, typical, then one draw.
The draw inverts the cumulative distribution with one number from a CPU generator, so that a seed gives the same text
on every device and does not hang on how a library implements `multinomial`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gpt2x.errors import InputDataError
from gpt2x.generate.history import History
from gpt2x.generate.sampling_config import GREEDY, SamplingConfig

__all__ = ["GREEDY", "SamplingConfig", "adjust", "choose", "draw", "finite_scores", "sample"]

_TINY_TEMPERATURE = 1e-30  # below, a float32 quotient would be 0/0
_LARGEST = torch.finfo(torch.float32).max
"""Of bias and penalties that add up to more, scores would become NaN."""


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
        scores = add_bias(scores, sampling.logit_bias).clamp(max=_LARGEST)
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
    return scores.clamp(max=_LARGEST)


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
