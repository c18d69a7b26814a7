"""Batches from one long stream of tokens: shared among ranks without overlap, resumable at any step.

The one idea: the order of the blocks is a pure function of (seed, position), where `position` counts the blocks
that all ranks together have read. Nothing else is state, so a run can stop at any step and go on with another
number of ranks: the set of blocks in a global batch does not depend on who reads them.

An epoch cuts the stream, taken as a ring, into ``num_tokens // block_size`` blocks that start at a seeded offset,
and visits each once in a seeded order. The offset differs between epochs, so that a small text is not always cut
at the same places; the ring is no fiction, since every document begins with ``<|endoftext|>``.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2x.errors import InputDataError, UsageError


class TokenBatches:
    """An endless iterator of (inputs, targets), each int64 of shape (B, T); targets are inputs shifted by one.

    Args:
        tokens: the stream, 1-D, any integer type; may be a memory map.
        batch_size: sequences in one batch of this rank (B).
        block_size: tokens in a sequence (T).
        rank: which of `world_size` readers this is.
        world_size: how many readers share the stream.
        seed: decides the order.

    >>> batches = TokenBatches(np.arange(100), batch_size=2, block_size=4)
    >>> inputs, targets = next(batches)
    >>> inputs.shape, bool((targets == (inputs + 1) % 100).all())
    ((2, 4), True)
    """

    def __init__(  # noqa: PLR0917  (the order of the stream, its shape, who reads)
        self,
        tokens: npt.NDArray[Any],
        batch_size: int,
        block_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or block_size < 1:
            raise UsageError(
                f"a batch of {batch_size} sequences of {block_size} tokens is empty; give at least 1 each"
            )
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not among {world_size} readers")
        if len(tokens) <= block_size:
            raise InputDataError(
                f"the text has {len(tokens)} tokens, too few for one block of {block_size} and the token after it; "
                "give more text or a smaller block size"
            )
        self.tokens = tokens
        self.batch_size = batch_size
        self.block_size = block_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.num_blocks = len(tokens) // block_size
        self.position = 0
        self.token_hash: int | None = 0
        """What this reader has read so far, as `hash_of_blocks` sums it up; None where the past is not known."""
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._offset = 0

    @property
    def epoch(self) -> float:
        """How often all ranks together have been through the stream."""
        return self.position / self.num_blocks

    def __iter__(self) -> TokenBatches:
        return self

    def __next__(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Read this rank's share of the next global batch, of ``batch_size * world_size`` blocks."""
        first = self.position + self.rank * self.batch_size
        starts = self.starts(first, self.batch_size)
        self.position += self.batch_size * self.world_size
        columns = np.arange(self.block_size + 1)
        indices = (np.array(starts)[:, None] + columns) % len(self.tokens)  # (B, T+1); the stream is a ring
        rows = self.tokens[indices].astype(np.int64)
        if self.token_hash is not None:
            self.token_hash = (self.token_hash + hash_of_blocks(first, rows)) % 2**64
        return rows[:, :-1], rows[:, 1:]

    def starts(self, position: int, count: int) -> list[int]:
        """Where in the stream the `count` blocks from a global position on begin."""
        return [self._start_of(place) for place in range(position, position + count)]

    def state_dict(self) -> dict[str, int]:
        """All that is needed to go on, in numbers that mean the same at any world size.

        Except for ``token_hash``, which is this reader's: the sum of all readers' (modulo 2⁶⁴) is the stream's.
        """
        known = {} if self.token_hash is None else {"token_hash": self.token_hash}
        return known | {
            "position": self.position,
            "seed": self.seed,
            "block_size": self.block_size,
            "num_tokens": len(self.tokens),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state` was taken.

        Raises:
            InputDataError: it belongs to another stream, seed or block size, where the position means nothing.

        """
        own = self.state_dict()
        for name in ("seed", "block_size", "num_tokens"):
            if state[name] != own[name]:
                raise InputDataError(
                    f"the saved data position is for {name} = {state[name]}, here it is {own[name]}; "
                    "the data or the settings have changed since"
                )
        self.position = int(state["position"])
        self.token_hash = state.get("token_hash")

    def _start_of(self, position: int) -> int:
        """Where in the stream the block at a global position begins."""
        epoch, index = divmod(position, self.num_blocks)
        if epoch != self._epoch:
            # RandomState, not default_rng: NumPy promises that its numbers never change between versions.
            generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, epoch])))
            self._offset = int(generator.randint(self.block_size))
            self._order = generator.permutation(self.num_blocks)
            self._epoch = epoch
        return int(self._offset + self._order[index] * self.block_size)


def hash_of_blocks(first: int, rows: npt.NDArray[Any]) -> int:
    """A hash of which tokens stand where in the order of the data: the sum of a hash of each block, modulo 2⁶⁴.

    A sum does not mind who reads which block, nor how many at once: the hash of all is the sum of the readers', at any
    number of ranks and any size of a micro-batch. It finds mistakes; it is no protection against forgery.

    Args:
        first: the position of the first row in the order of the data; those of the others follow.
        rows: the tokens, (B, T+1), any integer type below 2³².

    >>> rows = np.array([[1, 2], [3, 4]])
    >>> hash_of_blocks(7, rows) == (hash_of_blocks(7, rows[:1]) + hash_of_blocks(8, rows[1:])) % 2**64
    True
    """
    total = 0
    for position, row in enumerate(np.ascontiguousarray(rows, "<u4"), first):
        block = hashlib.blake2b(position.to_bytes(8, "little"), digest_size=8)
        block.update(row)
        total += int.from_bytes(block.digest(), "little")
    return total % 2**64


def fixed_blocks(
    tokens: npt.NDArray[Any], block_size: int, max_blocks: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The blocks that a validation loss is always taken over: evenly spaced, in order, without overlap.

    Args:
        tokens: the stream, at least two tokens.
        block_size: tokens in a block (T); a shorter stream gives one shorter block.
        max_blocks: no more than this many.

    Returns:
        inputs and targets, int64, of shape (number of blocks, T).

    Raises:
        InputDataError: fewer than two tokens.

    >>> fixed_blocks(np.arange(9), 4)[0].tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    if len(tokens) < 2:
        raise InputDataError("the validation text has fewer than two tokens; give more text")
    T = min(block_size, len(tokens) - 1)
    available = (len(tokens) - 1) // T
    count = min(available, max_blocks or available)
    starts = np.array([i * available // count * T for i in range(count)])
    rows = tokens[starts[:, None] + np.arange(T + 1)].astype(np.int64)
    return rows[:, :-1], rows[:, 1:]
