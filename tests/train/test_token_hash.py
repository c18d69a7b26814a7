"""The token-order hash: whoever reads, and however much at once, it is the same; one token more or less is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpt2x.data.batches import TokenBatches, hash_of_blocks
from gpt2x.train.checkpoint import RunFolder
from gpt2x.train.config import TrainConfig
from tests.train.conftest import run
from tests.train.test_loop import interrupted_at

Tiny = Callable[..., TrainConfig]
STREAM = np.arange(1003, dtype=np.uint16)


def hash_of(world_size: int, batch_size: int, blocks: int = 240, stream: np.ndarray = STREAM) -> int:
    """The hash after all readers together have read so many blocks: about two epochs."""
    ranks = [TokenBatches(stream, batch_size, 8, rank, world_size, seed=3) for rank in range(world_size)]
    for rank in ranks:
        for _ in range(blocks // (world_size * batch_size)):
            next(rank)
    return sum(rank.token_hash or 0 for rank in ranks) % 2**64


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_it_does_not_depend_on_who_reads_and_how_much_at_once(world_size: int, batch_size: int) -> None:
    assert hash_of(world_size, batch_size) == hash_of(1, 1)


def test_it_changes_with_one_token_with_the_order_and_with_the_length() -> None:
    other = STREAM.copy()
    other[500] += 1
    swapped = STREAM.copy()
    swapped[[500, 501]] = swapped[[501, 500]]
    hashes = [hash_of(1, 1), hash_of(1, 1, stream=other), hash_of(1, 1, stream=swapped), hash_of(1, 1, 239)]
    assert len(set(hashes)) == 4
    rows = np.array([[1, 2, 3], [4, 5, 6]])
    assert hash_of_blocks(0, rows) != hash_of_blocks(0, rows[::-1]), "the same blocks in another order"
    assert hash_of_blocks(0, rows) == hash_of_blocks(0, rows.astype(np.uint16)), "whatever holds the ids"


def test_a_run_tells_it_keeps_it_and_goes_on_with_it(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(tiny("whole", steps=101, eval_every=0, log_every=50))
    assert whole is not None
    assert whole.token_hash is not None
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tokens ")]
    assert [line.endswith("after step 100") for line in lines] == [True, False]
    assert whole.token_hash in lines[1]
    with interrupted_at(50):
        run(tiny("broken", steps=101, eval_every=0))
    capsys.readouterr()
    other = run(tiny("broken", steps=101, eval_every=0, batch_size=1))
    assert other is not None
    assert other.token_hash == whole.token_hash
    assert lines[0] in capsys.readouterr().err
    checkpoint = RunFolder(tmp_path / "whole").newest_whole()
    assert checkpoint is not None
    assert f"{checkpoint.state['data']['token_hash']:016x}" == whole.token_hash


def test_a_run_of_an_earlier_version_goes_on_without_one(tiny: Tiny, tmp_path: Path) -> None:
    with interrupted_at(5):
        run(tiny())
    state = next((tmp_path / "run" / "trainer").glob("step-*/state.json"))
    values = json.loads(state.read_text(encoding="utf-8"))
    del values["data"]["token_hash"]
    state.write_text(json.dumps(values), encoding="utf-8")
    result = run(tiny())
    assert result is not None
    assert (result.steps, result.token_hash) == (12, None)
