"""What a race learns from, and the windows that its losses are measured on. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2x.bench.race.setting import Setting
from gpt2x.data.batches import fixed_blocks
from gpt2x.errors import InputDataError

HELD_OUT = 0.1
"""The share of the text, from its end, that no run learns from."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The tokens of a race."""

    train: npt.NDArray[Any]
    inputs: npt.NDArray[np.int64]
    """The held-out windows, (eval_windows, T); fewer where the held-out text is short."""
    targets: npt.NDArray[np.int64]


def split(tokens: npt.NDArray[Any], setting: Setting) -> Data:
    """The tokens to learn from, and the windows whose loss is measured.

    Raises:
        InputDataError: they are too few.

    """
    T = setting.shape.block_size
    cut = len(tokens) - int(len(tokens) * HELD_OUT)
    if cut <= setting.tokens_per_step or len(tokens) - cut <= T:
        raise InputDataError(
            f"the text has {len(tokens):,} tokens, too few for steps of {setting.tokens_per_step:,} and a held-out "
            "tenth; give a longer one with --data"
        )
    inputs, targets = fixed_blocks(tokens[cut:], T, setting.eval_windows)
    return Data(train=tokens[:cut], inputs=inputs, targets=targets)
