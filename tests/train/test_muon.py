"""Muon: the iteration against the singular values, batches and ranks against one matrix at a time, and a whole run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x.errors import UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.config import fused
from gpt2x.ops import backend
from gpt2x.train.config import TrainConfig
from gpt2x.train.muon import COEFFICIENTS, NUM_ITERATIONS, Muon, hidden_matrices, newton_schulz, orthogonal
from gpt2x.train.step import TrainingStep
from gpt2x.train.step_options import StepOptions
from tests.train.conftest import run
from tests.train.test_loop import assert_equal_weights, interrupted_at

Tiny = Callable[..., TrainConfig]
SHAPE = GPTConfig(vocab_size=50, padded_vocab_size=64, block_size=8, n_layer=2, n_head=2, n_embd=16)
CPU = torch.device("cpu")
needs_ops = pytest.mark.skipif(
    not backend.serves("cpu", torch.float32), reason="gpt2x.ops is not compiled here"
)


def by_singular_values(matrix: Tensor) -> Tensor:
    """What the iteration does, on the singular values alone, in float64."""
    a, b, c = COEFFICIENTS
    u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(NUM_ITERATIONS):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vt


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 64), (1, 7), (33, 17)], ids=str)
def test_the_iteration_is_the_polynomial_of_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    expected = by_singular_values(matrix)
    torch.testing.assert_close(newton_schulz(matrix, torch.float32).double(), expected, rtol=1e-3, atol=1e-4)
    bf16 = newton_schulz(matrix)
    assert bf16.dtype == torch.bfloat16
    assert float((bf16.double() - expected).norm() / expected.norm()) < 0.05
    values = torch.linalg.svdvals(newton_schulz(matrix, torch.float32))
    assert float(values.max()) < 1.3
    if min(shape) == max(shape) or min(shape) == 1:
        return  # a random square matrix has singular values near 0, which five iterations do not bring near 1
    assert float(values.min()) > 0.5


def test_a_matrix_of_zeros_stays_one() -> None:
    assert torch.equal(newton_schulz(torch.zeros(3, 4)), torch.zeros(3, 4, dtype=torch.bfloat16))


def test_a_batch_is_its_matrices_one_at_a_time() -> None:
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 8), (16, 8), (8, 8), (8, 16), (8, 8))]
    for one, matrix in zip(orthogonal(matrices, torch.float32), matrices, strict=True):
        torch.testing.assert_close(one, newton_schulz(matrix, torch.float32), rtol=1e-5, atol=1e-6)


def rank_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 8), (16, 8), (8, 8), (8, 8))]
    results = {str(dtype): orthogonal(matrices, dtype, 2) for dtype in (torch.float32, torch.bfloat16)}
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # a process group's destructor would wait for the other rank


@pytest.mark.slow
def test_two_ranks_share_the_matrices_and_get_what_one_gets(tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("spawn")
    ranks = [context.Process(target=rank_of_two, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 8), (16, 8), (8, 8), (8, 8))]
    for dtype in (torch.float32, torch.bfloat16):
        alone = orthogonal(matrices, dtype)
        for a, b, c in zip(first[str(dtype)], second[str(dtype)], alone, strict=True):
            assert torch.equal(a, b)
            torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_only_the_matrices_of_the_blocks_are_muons() -> None:
    model = GPT(SHAPE)
    optimizer = Muon(model, StepOptions(muon=True))
    assert {name.split(".", 2)[2] for name in hidden_matrices(model)} == {
        *("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    }
    names = [*hidden_matrices(model), *optimizer.adamw.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_a_step_is_the_formula() -> None:
    """One matrix by hand: momentum from zero, Nesterov, orthogonal, decay, and (R / C)^0.5 for the tall c_fc."""
    torch.manual_seed(0)
    model = GPT(SHAPE)
    options = StepOptions(muon=True, muon_lr_ratio=10.0, grad_clip=None)
    optimizer = Muon(model, options)
    weight = model.h[0].mlp.c_fc.weight  # (64, 16)
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert weight.grad is not None
    gradient = weight.grad.clone()
    optimizer.step(1e-3)
    momentum = 0.05 * gradient
    ahead = 0.05 * gradient + 0.95 * momentum
    expected = before * (1 - 0.01 * 0.01) - 0.01 * 2.0 * newton_schulz(ahead, torch.float32)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)


def test_the_clip_is_one_for_muon_and_adamw() -> None:
    torch.manual_seed(0)
    model = GPT(SHAPE)
    optimizer = Muon(model, StepOptions(muon=True, grad_clip=1.0))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = [p.grad.clone() for p in hidden_matrices(model).values() if p.grad is not None]
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert float(optimizer.step(1e-3) or 0) == pytest.approx(float(norm), rel=1e-5)
    for momentum, gradient in zip(optimizer.momenta, before, strict=True):
        torch.testing.assert_close(momentum * 20, gradient / norm, rtol=1e-3, atol=1e-6)


@needs_ops
@pytest.mark.parametrize("num_passes", [1, 2])
def test_bf16_weights_follow_the_float32_ones(num_passes: int) -> None:
    torch.manual_seed(0)
    shape = dataclasses.replace(SHAPE, **fused())
    options = StepOptions(
        muon=True, optimizer="gpt2x", bf16_weights=True, num_passes=num_passes, muon_lr_ratio=10
    )
    training = TrainingStep(GPT(shape), options, CPU)
    idx = torch.randint(50, (4, 9))
    batch = (idx[:, :-1], idx[:, 1:])
    losses = [float(training([batch] * num_passes, 1e-3).loss) for _ in range(12)]
    assert losses[-1] < losses[0] - 0.2
    assert training.bf16 is not None
    for name, parameter in training.model.named_parameters():
        if name in training.bf16.copies:
            assert torch.equal(training.bf16.copies[name], parameter.bfloat16()), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param(
            {"total_batch_tokens": 128, "fused_ops": True, "dtype": "bfloat16", "dropout": 0.1},
            marks=needs_ops,
        ),
    ],
    ids=["plain", "bf16 weights and accumulation"],
)
def test_a_run_with_muon_is_resumed_bit_for_bit(tiny: Tiny, changes: dict[str, Any]) -> None:
    whole, broken = (tiny(name, optimizer="muon", **changes) for name in ("whole", "broken"))
    run(whole)
    with interrupted_at(5):
        run(broken)
    run(broken)
    assert_equal_weights(whole.out, broken.out)


def test_a_run_does_not_change_between_muon_and_adamw(tiny: Tiny) -> None:
    run(tiny(steps=3))
    with pytest.raises(UsageError, match="optimizer = auto, not muon"):
        run(tiny(steps=3, optimizer="muon"))
