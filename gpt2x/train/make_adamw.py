"""Which AdamW a step has: torch's, ours, or ours in memory that the ranks share."""

from __future__ import annotations

from torch import nn

from gpt2x.model import GPT
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.train.optim import OpsAdamW, TorchAdamW
from gpt2x.train.shared_optim import SharedAdamW
from gpt2x.train.step_options import StepOptions


def make_adamw(
    model: GPT,
    options: StepOptions,
    bf16: Bf16Weights | None = None,
    *,
    but: frozenset[nn.Parameter] = frozenset(),
) -> OpsAdamW | TorchAdamW:
    """The AdamW that the options name.

    Args:
        model: whose parameters are trained.
        options: how a step is computed.
        bf16: the copies of the parameters that the step computes with, where it has bf16 weights.
        but: parameters that are somebody else's.

    """
    if options.shared_memory:
        return SharedAdamW(model, options, bf16, but=but)
    if options.optimizer == "gpt2x":
        return OpsAdamW(model, options, bf16, but=but)
    return TorchAdamW(model, options, but=but)
