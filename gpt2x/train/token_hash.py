"""The token-order hash: one number for all tokens that a run has been fed so far, and for their order.

It is the same at any number of ranks and any micro-batch, goes on after a resume, and differs when one token does: two
runs that print the same have seen the same data in the same order (`gpt2x.data.batches.hash_of_blocks`).
"""

from __future__ import annotations

from typing import Any

from gpt2x.console import say
from gpt2x.data.batches import TokenBatches
from gpt2x.train.distributed import Ranks

EVERY = 100
"""Steps between two lines that tell it."""

_PARTS = (0, 16, 32, 48)
"""Ranks add in float64, which is exact for sixteen bits of each."""


def of_all_ranks(batches: TokenBatches, ranks: Ranks) -> int | None:
    """The sum over the ranks, modulo 2⁶⁴; None where the run began with a version that kept none."""
    if batches.token_hash is None:
        return None
    sums = ranks.sum([float(batches.token_hash >> part & 0xFFFF) for part in _PARTS])
    return sum(round(value) << part for value, part in zip(sums, _PARTS, strict=True)) % 2**64


def in_hex(token_hash: int | None) -> str | None:
    """As it is shown.

    >>> in_hex(255)
    '00000000000000ff'
    """
    return None if token_hash is None else f"{token_hash:016x}"


def tell(batches: TokenBatches, ranks: Ranks, step: int) -> None:
    """Say it now and then; all ranks have to call this."""
    if step % EVERY == 0 and (shown := in_hex(of_all_ranks(batches, ranks))) is not None:
        say(f"tokens     {shown} after step {step}")


def state_of_all(batches: TokenBatches, ranks: Ranks) -> dict[str, int]:
    """The data position for a checkpoint, with the hash of all ranks in it."""
    token_hash = of_all_ranks(batches, ranks)
    return batches.state_dict() | ({} if token_hash is None else {"token_hash": token_hash})


def go_on(batches: TokenBatches, ranks: Ranks, state: dict[str, Any]) -> None:
    """Go on at a checkpoint's position: rank 0 keeps the hash of what was read by then, the others add to it.

    Raises:
        InputDataError: the position belongs to other data or settings.

    """
    batches.load_state_dict(state)
    if not ranks.is_first and batches.token_hash is not None:
        batches.token_hash = 0
