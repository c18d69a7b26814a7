"""MFU, model FLOPs utilisation: the share of the machine's peak that a run's own arithmetic makes up.

Operations are counted as the ladder counts them (`gpt2x.model.config.flops_per_token`), and the peak is measured as
there (`gpt2x.model.peak`): large matrix products in the dtype of the run, before its first step.
"""

from __future__ import annotations

import torch

from gpt2x.model import GPTConfig
from gpt2x.model.config import flops_per_token
from gpt2x.model.peak import product_peak
from gpt2x.train.distributed import Ranks

WORTH_MEASURING = 3e13
"""Operations of a run from which its peak is measured: minutes on a CPU core, for half a second of measuring."""

SECONDS = 0.1
"""For each size of matrix; the ladder, which ranks machines by it, takes longer."""


def flops_a_token(shape: GPTConfig) -> float:
    """Operations of the matrix products for one token of a whole context, the padding of the vocabulary included.

    >>> flops_a_token(GPTConfig(vocab_size=64, block_size=8, n_layer=1, n_head=1, n_embd=4))
    3072.0
    """
    return flops_per_token(shape, shape.block_size, num_rows=shape.num_rows)


def measured_peak(tokens: int, shape: GPTConfig, dtype: torch.dtype, ranks: Ranks) -> float:
    """Operations a second that all ranks together are capable of, each with its threads while the others compute too.

    Args:
        tokens: how many the whole run trains on.
        shape: the model.
        dtype: of its matrix products.
        ranks: who trains.

    Returns:
        0 for a run that is over before a measurement would pay.

    """
    if tokens * flops_a_token(shape) < WORTH_MEASURING:
        return 0.0
    peak = product_peak(str(dtype).removeprefix("torch."), ranks.device.type, seconds=SECONDS)
    if ranks.device.type == "cuda":  # the matrices are no part of what the run needs
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(ranks.device)
    return ranks.sum([peak])[0]
