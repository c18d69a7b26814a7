"""How the next token is chosen, as values that are checked. Loads no torch: a command refuses bad ones at once."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from gpt2x.errors import UsageError
from gpt2x.settings import SMALLEST, check_number


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
        logit_bias: (id, what is added to its logit), …; -inf rules it out.

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
        _check_number("temperature", self.temperature, may_be_tiny=True)
        for name in ("top_p", "min_p", "typical_p"):
            _check_number(name, getattr(self, name))
        for name in ("repetition_penalty", "frequency_penalty", "presence_penalty"):
            _check_number(name, getattr(self, name))
        _check_count("top_k", 1 if self.top_k is None else self.top_k, least=1, why="leaves no token")
        _check_count("no_repeat_ngram", self.no_repeat_ngram, least=0, why="is negative")
        if self.temperature < 0.0:
            raise UsageError(f"temperature = {self.temperature} is not a number from 0 on; 0 means greedy")
        for name in ("top_p", "typical_p"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise UsageError(
                    f"{name} = {getattr(self, name)} is outside (0, 1]; give a share such as 0.95"
                )
        if not 0.0 <= self.min_p < 1.0:
            raise UsageError(f"min_p = {self.min_p} is outside [0, 1); give a share such as 0.05")
        if self.repetition_penalty <= 0.0:
            raise UsageError(f"repetition_penalty = {self.repetition_penalty} is not a number above 0")
        for token, bias in self.logit_bias:
            _check_count("a token of logit_bias", token, least=0, why="is negative")
            if bias != -math.inf:
                _check_number(f"logit_bias of token {token}", bias)

    @property
    def needs_history(self) -> bool:
        """Whether what was written before changes what may come."""
        return bool(
            self.repetition_penalty != 1.0
            or self.frequency_penalty
            or self.presence_penalty
            or self.no_repeat_ngram
        )


def _check_number(name: str, value: object, *, may_be_tiny: bool = False) -> None:
    """Refuse what is no number, or none that float32 holds; one below its smallest may pass for 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} = {value!r} is not a number")
    number = value if isinstance(value, int) else float(value)
    if not (may_be_tiny and abs(number) < SMALLEST):
        check_number(name, number)


def _check_count(name: str, value: object, *, least: int, why: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} = {value!r} is not a whole number; give {least} or more")
    if value < least:
        raise UsageError(f"{name} = {value} {why}; give at least {least}")


GREEDY = SamplingConfig(temperature=0.0)
