"""One run: its slices, its clock, its data; and that Muon takes the matrices of the race's model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpt2x.bench.race.data import Data, split
from gpt2x.bench.race.entrants import named
from gpt2x.bench.race.run import Run
from gpt2x.bench.race.setting import Setting
from gpt2x.errors import InputDataError
from gpt2x.model.config import GPTConfig
from gpt2x.train.muon import Muon

TINY = Setting(
    shape=GPTConfig(vocab_size=20, block_size=8, n_layer=1, n_head=1, n_embd=8), batch=2, eval_windows=3
)


@pytest.fixture
def data() -> Data:
    return split(np.arange(500, dtype=np.uint32) % 19, TINY)


def run(key: str, data: Data, seed: int = 1, steps: int = 12) -> Run:
    return Run(named(key), TINY, data, seed=seed, lr=2e-3, steps=steps)


def test_a_run_in_slices_learns_what_one_in_one_go_does(data: Data) -> None:
    sliced, whole, other = run("rotary", data), run("rotary", data), run("rotary", data, seed=2)
    for to in (3, 4, 11, 12):
        sliced.advance(to)
    whole.advance(12)
    other.advance(12)
    losses = [[point.loss for point in one.curve.points] for one in (sliced, whole, other)]
    assert losses[0] == losses[1] != losses[2]


def test_losses_are_measured_every_five_steps_and_at_the_end_and_are_not_in_the_time(data: Data) -> None:
    made = run("baseline", data)
    made.advance(12)
    assert [point.step for point in made.curve.points] == [5, 10, 12]
    assert made.curve.points[-1].seconds == made.seconds > 0
    assert made.eval_s > 0


def test_a_run_ends_once_it_has_come_to_the_goal(data: Data) -> None:
    made = run("baseline", data)
    made.advance(12, goal=100.0)
    assert made.num_steps == 5


def test_no_run_learns_from_the_held_out_tenth() -> None:
    data = split(np.arange(500), TINY)
    assert (data.train.max(), data.inputs.min(), data.inputs.shape) == (449, 450, (3, 8))
    with pytest.raises(InputDataError, match="the text has 30 tokens, too few"):
        split(np.arange(30), TINY)


def test_short_windows_hold_as_many_tokens_a_step(data: Data) -> None:
    made = run("short-first", data)
    shapes = [tuple(made._batch(step)[0].shape) for step in (0, 4, 8)]
    assert shapes == [(8, 2), (4, 4), (2, 8)]


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_the_rest(data: Data) -> None:
    made = run("modern", data)
    optimizer = made.training.optimizer
    assert isinstance(optimizer, Muon)
    assert {name.rpartition(".")[0].partition(".")[2] for name in optimizer.matrices} == {
        "0.attn.c_attn", "0.attn.c_proj", "0.mlp.c_fc", "0.mlp.c_proj",
    }  # fmt: skip
    before = {name: p.detach().clone() for name, p in made.training.model.named_parameters()}
    made.advance(2)
    after = dict(made.training.model.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_a_pass_to_warm_up_changes_nothing(data: Data) -> None:
    made = run("muon", data)
    before = {name: p.detach().clone() for name, p in made.training.model.named_parameters()}
    made.advance(0)
    assert all(torch.equal(before[name], p) for name, p in made.training.model.named_parameters())
    assert made.seconds == 0
