"""Batches: every token once an epoch, no overlap between ranks, and a position that can be resumed anywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2x.data.batches import TokenBatches, fixed_blocks
from gpt2x.errors import InputDataError, UsageError

# Each token is its own position in the stream, so that a batch shows where it was read.
STREAM = np.arange(1003, dtype=np.uint16)


def readers(world_size: int, batch_size: int = 2, seed: int = 7, block_size: int = 8) -> list[TokenBatches]:
    return [
        TokenBatches(STREAM, batch_size, block_size, rank, world_size, seed) for rank in range(world_size)
    ]


def global_batches(ranks: list[TokenBatches], count: int) -> list[npt.NDArray[np.int64]]:
    """The blocks that all ranks together read in each of some steps, sorted, since ranks have no order."""
    return [np.sort(np.concatenate([next(rank)[0] for rank in ranks]), axis=0) for _ in range(count)]


def test_targets_are_the_inputs_shifted_by_one_token() -> None:
    inputs, targets = next(TokenBatches(STREAM, 3, 8))
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.shape == (3, 8)
    assert (targets == (inputs + 1) % len(STREAM)).all()


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_no_two_ranks_read_the_same_token_within_an_epoch(world_size: int) -> None:
    ranks = readers(world_size, batch_size=1)
    steps = ranks[0].num_blocks // world_size
    read = np.concatenate([next(rank)[0].ravel() for _ in range(steps) for rank in ranks])
    assert len(np.unique(read)) == len(read), "some tokens were read twice in one epoch"
    assert len(read) > len(STREAM) - 8 * (world_size + 1), "tokens were left out"


def test_each_epoch_visits_each_block_once_in_another_order() -> None:
    batches = TokenBatches(STREAM, 1, 8, seed=1)
    first, second = ([next(batches)[0][0, 0] for _ in range(batches.num_blocks)] for _ in range(2))
    for starts in (first, second):
        gaps = np.diff(np.sort(starts))
        assert set(gaps.tolist()) <= {8, 8 + len(STREAM) % 8}
    assert first != second
    assert batches.epoch == 2.0


@given(st.integers(0, 300), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
def test_a_position_resumes_exactly_also_at_another_world_size(steps: int, before: int, after: int) -> None:
    old, uninterrupted = (readers(before, batch_size=4 // before) for _ in range(2))
    for ranks in (old, uninterrupted):
        for rank in ranks:
            for _ in range(steps):
                next(rank)
    state = old[0].state_dict()
    new = readers(after, batch_size=4 // after)
    for rank in new:
        rank.load_state_dict(state)
    for expected, got in zip(global_batches(uninterrupted, 3), global_batches(new, 3), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_batches_are_a_function_of_the_seed_alone() -> None:
    np.testing.assert_array_equal(next(readers(1)[0])[0], next(readers(1)[0])[0])
    assert (next(readers(1, seed=1)[0])[0] != next(readers(1, seed=2)[0])[0]).any()


def test_the_order_is_the_same_in_every_version_of_numpy() -> None:
    inputs, _ = next(TokenBatches(np.arange(100), 3, 4, seed=1))
    assert inputs[:, 0].tolist() == [65, 89, 85]


def test_micro_batches_of_any_size_read_the_same_blocks() -> None:
    (small,), (large,) = readers(1, batch_size=2), readers(1, batch_size=6)
    blocks = np.concatenate([next(small)[0] for _ in range(3)])
    np.testing.assert_array_equal(blocks, next(large)[0])


def test_the_position_of_another_stream_is_refused() -> None:
    batches = TokenBatches(STREAM, 1, 8)
    for name, value in (("num_tokens", 5), ("block_size", 4), ("seed", 9)):
        with pytest.raises(InputDataError, match=f"{name} = {value}"):
            batches.load_state_dict({**batches.state_dict(), name: value})


def test_a_text_shorter_than_a_block_is_refused() -> None:
    with pytest.raises(InputDataError, match="8 tokens, too few for one block of 8"):
        TokenBatches(STREAM[:8], 1, 8)
    assert next(TokenBatches(STREAM[:9], 1, 8))[0].shape == (1, 8)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"block_size": 0}, {"rank": 2}, {"rank": -1}])
def test_numbers_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        TokenBatches(STREAM, **({"batch_size": 1, "block_size": 4, "rank": 0, "world_size": 2} | wrong))


def test_validation_blocks_are_always_the_same_and_do_not_overlap() -> None:
    inputs, targets = fixed_blocks(STREAM, 8, max_blocks=10)
    again, _ = fixed_blocks(STREAM, 8, max_blocks=10)
    np.testing.assert_array_equal(inputs, again)
    assert inputs.shape == (10, 8)
    assert len(np.unique(inputs)) == inputs.size
    np.testing.assert_array_equal(targets, inputs + 1)
    assert inputs[-1, 0] > len(STREAM) * 0.85, "blocks should be spread over the whole stream"


def test_a_short_validation_text_gives_one_short_block() -> None:
    assert fixed_blocks(STREAM[:5], 8)[0].tolist() == [[0, 1, 2, 3]]
    with pytest.raises(InputDataError, match="fewer than two tokens"):
        fixed_blocks(STREAM[:1], 8)
