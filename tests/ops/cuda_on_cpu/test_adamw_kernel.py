"""`adamw_` on CUDA, executed on the CPU: bit for bit the row arithmetic of the CPU, and torch.optim's in float64."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x.ops import cuda
from tests.ops.cuda_on_cpu.kernel_cases import ADAMW, BF16, F32, place
from tests.ops.ops_support import draw

# dtypes of parameters, gradients and moments, and whether a bfloat16 copy follows each parameter.
TYPES = {
    "float32": (F32, F32, F32, False),
    "float32, copies": (F32, F32, F32, True),
    "bfloat16 gradients": (F32, BF16, F32, False),
    "bfloat16 gradients, copies": (F32, BF16, F32, True),
    "bfloat16": (BF16, BF16, BF16, False),
    "bfloat16, float32 moments": (BF16, BF16, F32, False),
}
SIZES = [
    1,
    0,
    5,
    33,
    40,
    2048 + 24,
    *[3, 8] * 31,
]  # 68 tensors: three launches; more than one slice of a block
LR, BETA1, BETA2, EPS, NORM, MAX_NORM = 0.01, 0.9, 0.95, 1e-8, 3.7, 1.0
STEP = 3
types = pytest.mark.parametrize("kind", TYPES)


def _lists(kind: str, offset: int) -> tuple[list[list[Tensor]], list[Tensor], list[float]]:
    """Parameters, gradients and both moments; copies; decays."""
    *dtypes, has_copies = TYPES[kind]
    of = [dtypes[0], dtypes[1], dtypes[2], dtypes[2]]
    lists = [
        [place(10 * i + k, size, dtype=of[k], offset=offset) for i, size in enumerate(SIZES)]
        for k in range(4)
    ]
    for v in lists[3]:
        v.abs_()
    copies = [torch.zeros(size, dtype=BF16) for size in SIZES] if has_copies else []
    return lists, copies, [0.1 * (i % 2) for i in range(len(SIZES))]


def _update(lists: list[list[Tensor]], copies: list[Tensor], decays: list[float], step: Any, lr: Any) -> None:
    ADAMW._cuda(*lists, copies, step, lr, BETA1, BETA2, EPS, decays, torch.tensor(NORM), MAX_NORM)


def _update_rows(library: Any, lists: list[list[Tensor]], copies: list[Tensor], decays: list[float]) -> None:
    """The same by the row function, one thread a tensor."""
    for i, (p, g, m, v) in enumerate(zip(*lists, strict=True)):
        codes = [cuda.code("", tensor) for tensor in (p, g, m)]
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (p, g, m, v)]
        copy = ctypes.c_void_p(copies[i].data_ptr() if copies else None)
        doubles = [ctypes.c_double(number) for number in (LR, BETA1, BETA2, EPS, decays[i])]
        counts = [ctypes.c_int64(number) for number in (p.numel(), STEP)]
        floats = [ctypes.c_float(number) for number in (NORM, MAX_NORM)]
        assert library.host_adamw(*codes, *pointers, copy, *counts, *doubles, *floats) == 0


def _copy(lists: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[tensor.clone() for tensor in tensors] for tensors in lists]


def _assert_same(one: list[list[Tensor]], other: list[list[Tensor]]) -> None:
    for k, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert torch.equal(a, b), f"list {k}, tensor {i}"


@types
@pytest.mark.parametrize("offset", [0, 1])
def test_the_bits_are_those_of_the_rows_on_a_cpu(kernels: Any, kind: str, offset: int) -> None:
    lists, copies, decays = _lists(kind, offset)
    expected, expected_copies = _copy(lists), [copy.clone() for copy in copies]
    _update_rows(kernels, expected, expected_copies, decays)
    _update(lists, copies, decays, STEP, torch.tensor(LR, dtype=torch.float64))
    _assert_same([*lists, copies], [*expected, expected_copies])
    for p, copy in zip(lists[0], copies, strict=False):
        assert torch.equal(copy, p.bfloat16())


@types
def test_it_is_the_step_of_torchs_own_optimizer(kernels: Any, kind: str) -> None:
    lists, copies, decays = _lists(kind, 0)
    params, grads, first, second = [[t.double() for t in tensors] for tensors in lists]
    clip = min(1.0, MAX_NORM / (NORM + 1e-6))
    for p, g, m, v, decay in zip(params, grads, first, second, decays, strict=True):
        p.grad = g * clip
        optimizer = torch.optim.AdamW(
            [p], lr=LR, betas=(BETA1, BETA2), eps=EPS, weight_decay=decay, foreach=False
        )
        optimizer.state[p] = {"step": torch.tensor(STEP - 1.0), "exp_avg": m, "exp_avg_sq": v}
        optimizer.step()
    _update(lists, copies, decays, STEP, torch.tensor(LR))
    for got, truth in ((lists[0], params), (lists[2], first), (lists[3], second)):
        for one, exact in zip(got, truth, strict=True):
            bound = 2.0**-8 if one.dtype == BF16 else 1e-6
            torch.testing.assert_close(one.double(), exact, rtol=bound, atol=bound)


@types
def test_numbers_on_the_device_are_read_when_the_kernels_run(kernels: Any, kind: str) -> None:
    lists, copies, decays = _lists(kind, 0)
    expected, expected_copies = _copy(lists), [copy.clone() for copy in copies]
    step, lr = torch.tensor([STEP, LR], dtype=torch.float64), torch.tensor(LR, dtype=torch.float64)
    _update(expected, expected_copies, decays, STEP, lr)

    def on_device(_step: Any, _lr: Any, device: torch.device) -> tuple[Any, ...]:
        scratch = torch.empty(ADAMW._SCRATCH_DOUBLES, dtype=torch.float64, device=device)
        return 0, 0.0, step, scratch  # the host's numbers would make NaN

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ADAMW, "_step_and_rate", on_device)
        _update(lists, copies, decays, 0, 0.0)
    _assert_same([*lists, copies], [*expected, expected_copies])


def test_one_number_on_the_device_takes_the_other_there() -> None:
    on_device = torch.tensor(3, device="meta")
    *host, both, scratch = ADAMW._step_and_rate(on_device, torch.tensor(LR), on_device.device)
    assert host == [0, 0.0]
    assert (both.shape, both.dtype, both.device) == ((2,), torch.float64, on_device.device)
    assert scratch.nbytes == 64
    assert ADAMW._step_and_rate(3, torch.tensor([LR], dtype=torch.float64), torch.device("meta")) == (
        3,
        LR,
        None,
        None,
    )


def test_a_dtype_without_a_kernel_is_refused_and_nothing_is_written(kernels: Any) -> None:
    p, m = draw(1, 8, dtype=BF16), draw(2, 8)
    before = p.clone()
    with pytest.raises(RuntimeError, match="invalid argument"):
        _update([[p], [m], [m.clone()], [m.clone()]], [], [0.0], 1, torch.tensor(0.1))
    with pytest.raises(ValueError, match="grads: expected dtype"):
        _update([[m], [m.double()], [m.clone()], [m.clone()]], [], [0.0], 1, torch.tensor(0.1))
    assert torch.equal(p, before)
