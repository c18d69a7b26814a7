"""What no other program can read is refused, and not written as something else."""

from __future__ import annotations

from pathlib import Path

from gpt2x.errors import InputDataError
from gpt2x.model.config import GPTConfig


def check_is_gpt2(config: GPTConfig, run: Path, program: str) -> None:
    """Refuse a model with parts that GPT-2 does not have.

    Raises:
        InputDataError: it has some; the sentence names them, and the program that would read it as a GPT-2.

    """
    if config.beyond_gpt2:
        raise InputDataError(
            f"{run} has {config.beyond_gpt2}, which GPT-2 does not have and {program} would not compute; "
            "use it with gpt2x, or train one without --modern"
        )


def check_finite(name: str, is_finite: bool, dtype: str) -> None:
    """Refuse a tensor with values that are no numbers in the dtype that it is written in.

    Raises:
        InputDataError: NaN or infinity, among the weights or too large for the dtype.

    """
    if not is_finite:
        remedy = (
            "give --dtype f32, or a model that is not damaged" if dtype != "f32" else "give another model"
        )
        raise InputDataError(f"{name} holds NaN, infinity or numbers too large for {dtype}; {remedy}")
