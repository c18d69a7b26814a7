"""The row functions themselves: run by several threads as a GPU runs them, rounding, the exponential."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from ops_support import draw, relative_error
from torch import Tensor

from gpt2x.ops import reference

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "csrc" / "ops"


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not SOURCES.exists():
        pytest.skip("needs a C++ compiler and the sources in csrc/ops")
    library = tmp_path_factory.mktemp("rows") / "crowd_rows.so"
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", f"-I{SOURCES}"]
    done = subprocess.run(
        [compiler, *flags, str(HERE / "crowd_rows.cpp"), "-o", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    loaded.crowd_cross_entropy.restype = ctypes.c_float
    loaded.crowd_squares.restype = ctypes.c_double
    return loaded


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


TEAMS = pytest.mark.parametrize("size", [1, 2, 5, 32])
CHANNELS = 37  # no multiple of any team


@TEAMS
@pytest.mark.parametrize("with_residual", [True, False])
def test_any_team_normalises_a_row_as_the_twin(rows: Any, size: int, with_residual: bool) -> None:
    x, residual, weight, bias = (draw(seed, CHANNELS).requires_grad_() for seed in range(4))
    dy, dsum = draw(5, CHANNELS), draw(6, CHANNELS)
    added = residual if with_residual else None
    y, total = reference.add_layer_norm(x, added, weight, bias)
    torch.autograd.backward([y, total], [dy, dsum]) if with_residual else y.backward(dy)

    got_sum, got_y, dx = (torch.empty(CHANNELS) for _ in range(3))
    mean, rstd = torch.empty(1), torch.empty(1)
    dweight, dbias = torch.ones(CHANNELS), torch.zeros(CHANNELS)
    count, eps = ctypes.c_int64(CHANNELS), ctypes.c_float(1e-5)
    rows.crowd_add_layer_norm(
        size,
        *map(_pointer, (x, added, weight, bias)),
        count,
        eps,
        *map(_pointer, (got_sum, got_y, mean, rstd)),
    )
    stored = got_sum if with_residual else x.detach()
    rows.crowd_add_layer_norm_backward(
        size,
        *map(_pointer, (dy, dsum if with_residual else None, stored, weight)),
        ctypes.c_float(mean.item()),
        ctypes.c_float(rstd.item()),
        count,
        *map(_pointer, (dx, dweight, dbias)),
    )
    assert relative_error(got_y, y.detach()) < 2e-6
    assert relative_error(dx, x.grad) < 2e-6
    assert relative_error(dweight - 1, weight.grad) < 2e-6  # accumulates onto what is there
    assert relative_error(dbias, bias.grad) < 2e-6


@TEAMS
def test_any_team_computes_gelu_as_the_twin(rows: Any, size: int) -> None:
    x, bias, dy = draw(1, CHANNELS).requires_grad_(), draw(2, CHANNELS), draw(3, CHANNELS)
    y = reference.bias_gelu(x, bias)
    y.backward(dy)
    got, dx, dbias = torch.empty(CHANNELS), torch.empty(CHANNELS), torch.zeros(CHANNELS)
    count = ctypes.c_int64(CHANNELS)
    rows.crowd_bias_gelu(size, *map(_pointer, (x, bias, dy)), count, *map(_pointer, (got, dx, dbias)))
    assert relative_error(got, y.detach()) < 2e-6
    assert relative_error(dx, x.grad) < 2e-6
    assert torch.equal(dbias, dx)


@TEAMS
@pytest.mark.parametrize("target", [0, 13, 28])
@pytest.mark.parametrize("terms", [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.3, 1e-2)], ids=str)
def test_any_team_turns_logits_into_loss_and_gradient(
    rows: Any, size: int, target: int, terms: tuple[float, float]
) -> None:
    vocabulary, padded = 29, 40
    logits = draw(1, padded, scale=3.0)
    truth = logits[:vocabulary].double().requires_grad_()
    smoothing, z_loss = terms
    loss = torch.nn.functional.cross_entropy(truth, torch.tensor(target), label_smoothing=smoothing)
    loss = loss + z_loss * truth.logsumexp(0).square()
    (loss * 0.5).backward()

    numbers = [ctypes.c_int64(n) for n in (vocabulary, padded, target)]
    work = logits.clone()
    floats = [ctypes.c_float(value) for value in (*terms, 0.5)]
    only = rows.crowd_cross_entropy(size, _pointer(work), *numbers, *floats, 0)
    assert torch.equal(work, logits)
    got = rows.crowd_cross_entropy(size, _pointer(work), *numbers, *floats, 1)
    assert got == only == pytest.approx(loss.item(), rel=2e-6)
    assert relative_error(work[:vocabulary], truth.grad) < 2e-6
    assert (work[vocabulary:] == 0).all()


@TEAMS
def test_any_team_updates_a_span_as_the_twin(rows: Any, size: int) -> None:
    mine = [draw(1, CHANNELS), draw(2, CHANNELS), draw(3, CHANNELS), draw(4, CHANNELS).square()]
    twin = [[tensor.clone()] for tensor in mine]
    norm = reference.global_norm(twin[1])
    reference.adamw_(*twin, step=3, lr=0.1, weight_decay=0.2, grad_norm=norm, max_norm=1.0)
    count, step = ctypes.c_int64(CHANNELS), ctypes.c_int64(3)
    doubles = [ctypes.c_double(value) for value in (0.1, 0.9, 0.95, 1e-8)]
    floats = [ctypes.c_float(value) for value in (1 - 0.1 * 0.2, norm.item(), 1.0)]
    rows.crowd_adamw(size, *map(_pointer, mine), count, step, *doubles, *floats)
    for got, expected in zip(mine, twin, strict=True):
        assert relative_error(got, expected[0]) < 2e-6


@TEAMS
def test_any_team_sums_squares(rows: Any, size: int) -> None:
    x = draw(1, CHANNELS)
    squares = rows.crowd_squares(size, _pointer(x), ctypes.c_int64(CHANNELS))
    assert squares == pytest.approx(x.double().square().sum().item(), rel=1e-6)


def test_rounding_to_bfloat16_is_torchs_for_all_kinds_of_numbers(rows: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randint(-(2**31), 2**31, (20_000,), generator=generator).to(torch.int32)
    ties = torch.arange(0, 2**16, 7, dtype=torch.int32) * 2**16 + 2**15  # exactly between two neighbours
    special = torch.tensor([0x7F800000, -0x800000, 0, -(2**31), 0x7F7FFFFF, 1], dtype=torch.int32)
    x = torch.cat([patterns, ties, special]).view(torch.float32)
    got = torch.empty(len(x), dtype=torch.int16)
    rows.round_to_bfloat16(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    mine, theirs = got.view(torch.bfloat16), x.to(torch.bfloat16)
    assert torch.equal(mine.isnan(), theirs.isnan())
    assert torch.equal(mine[~mine.isnan()], theirs[~theirs.isnan()])


def test_the_exponential_is_within_two_units_in_the_last_place(rows: Any) -> None:
    x = torch.linspace(-87.2, 88.2, 200_001)
    got = torch.empty_like(x)
    rows.exponentials(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    truth = x.double().exp()
    assert ((got - truth).abs() / truth).max() < 2 * 2.0**-23


def test_the_exponential_of_what_is_not_ordinary(rows: Any) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-inf, -1e30, -88.0, 0.0, 89.0, 1e30, inf, nan])
    got = torch.empty_like(x)
    rows.exponentials(_pointer(x), ctypes.c_int64(len(x)), _pointer(got))
    assert torch.equal(got[:-1], torch.tensor([0.0, 0.0, 0.0, 1.0, inf, inf, inf]))
    assert got[-1].isnan()
