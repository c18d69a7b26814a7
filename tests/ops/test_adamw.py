"""adamw_: native against its reference and torch's own AdamW, clipping, layouts, bad input."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from ops_support import draw, relative_error, require_native
from torch import Tensor

from gpt2x.ops import adamw_, backend, global_norm, reference

SHAPES = [(5,), (17, 33), (0,), (), (32769,)]
# params and grads, moments
COMBINATIONS = {
    "float64": (torch.float64, torch.float64, 1e-13),
    "float32": (torch.float32, torch.float32, 2e-6),
    "bfloat16": (torch.bfloat16, torch.bfloat16, 2.0**-7),  # a rounded moment is read back in the next step
    "bfloat16 with float32 moments": (torch.bfloat16, torch.float32, 2.0**-8),
}


def _tensors(params: torch.dtype, moments: torch.dtype, device: str) -> list[list[Tensor]]:
    values = [
        [draw(10 * k + i, *s, dtype=params, device=device) for i, s in enumerate(SHAPES)] for k in range(2)
    ]
    zeros = [[torch.zeros(s, dtype=moments, device=device) for s in SHAPES] for _ in range(2)]
    return [*values, *zeros]


def _train(ops: Any, lists: list[list[Tensor]], steps: int = 3) -> list[Tensor]:
    for step in range(1, steps + 1):
        norm = ops.global_norm(lists[1])
        decay = [0.1, 0.0, 0.1, 0.0, 0.2]
        ops.adamw_(*lists, step=step, lr=0.01, weight_decay=decay, grad_norm=norm, max_norm=1.0)
    return [tensor for group in (lists[0], lists[2], lists[3]) for tensor in group]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_three_clipped_steps_are_as_exact_as_the_references(device: str, name: str) -> None:
    params, moments, floor = COMBINATIONS[name]
    require_native(device, params)
    import gpt2x.ops as native

    got = _train(native, _tensors(params, moments, device))
    expected = _train(reference, _tensors(params, moments, device))
    truth = _train(reference, [[t.double() for t in group] for group in _tensors(params, moments, device)])
    for one, other, exact in zip(got, expected, truth, strict=True):
        assert one.dtype == other.dtype
        assert relative_error(one, exact) <= 2 * relative_error(other, exact) + floor


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_it_is_torchs_adamw_with_torchs_clipping(mode: str) -> None:
    params = [draw(1, 6, 7).requires_grad_(), draw(2, 9).requires_grad_()]
    mine = [p.detach().clone() for p in params]
    first, second = ([torch.zeros_like(p) for p in mine] for _ in range(2))
    optimizer = torch.optim.AdamW(
        [{"params": params[:1], "weight_decay": 0.3}, {"params": params[1:], "weight_decay": 0.0}],
        lr=0.02,
        betas=(0.8, 0.9),
    )
    for step in range(1, 6):
        grads = [draw(step * 10 + i, *p.shape) for i, p in enumerate(params)]
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(params, 0.5)
        optimizer.step()
        options = {"step": step, "lr": 0.02, "betas": (0.8, 0.9), "weight_decay": [0.3, 0.0]}
        with backend.using(mode):
            adamw_(mine, grads, first, second, **options, grad_norm=global_norm(grads), max_norm=0.5)
    for one, other in zip(mine, params, strict=True):
        assert relative_error(one, other.detach()) < 2e-6


def test_gradients_are_only_read_and_a_small_norm_does_not_scale_them(device: str) -> None:
    lists = _tensors(torch.float32, torch.float32, device)
    again = _tensors(torch.float32, torch.float32, device)
    adamw_(*lists, step=1, lr=0.1, grad_norm=global_norm(lists[1]), max_norm=1e9)
    adamw_(*again, step=1, lr=0.1)
    for one, other in zip(
        [t for group in lists for t in group], [t for group in again for t in group], strict=True
    ):
        assert torch.equal(one, other)
    assert all(
        torch.equal(a, b)
        for a, b in zip(lists[1], _tensors(torch.float32, torch.float32, device)[1], strict=True)
    )


def test_parameters_that_need_gradients_are_updated_and_their_version_moves(device: str) -> None:
    p = torch.ones(4, device=device, requires_grad=True)
    saved = (p * p).sum()  # its graph keeps p
    adamw_(
        [p],
        [torch.ones(4, device=device)],
        [torch.zeros(4, device=device)],
        [torch.zeros(4, device=device)],
        step=1,
        lr=0.1,
    )
    assert (p.detach() < 1).all()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


@pytest.mark.parametrize("which", ["params", "grads", "exp_avgs"])
def test_transposed_layouts_give_what_contiguous_ones_give(device: str, which: str) -> None:
    names = ["params", "grads", "exp_avgs", "exp_avg_sqs"]
    plain = [
        draw(1, 6, 4, device=device),
        draw(2, 6, 4, device=device),
        *(torch.zeros(6, 4, device=device) for _ in range(2)),
    ]
    odd = [
        t.clone().T.contiguous().T if name == which else t.clone()
        for name, t in zip(names, plain, strict=True)
    ]
    adamw_(*[[t] for t in plain], step=1, lr=0.1)
    adamw_(*[[t] for t in odd], step=1, lr=0.1)
    for one, other in zip(odd, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_not_hidden_by_clipping(device: str, bad: float) -> None:
    lists = [[torch.ones(2, device=device)] for _ in range(2)] + [
        [torch.zeros(2, device=device)] for _ in range(2)
    ]
    lists[1][0][0] = bad
    adamw_(*lists, step=1, lr=0.1, grad_norm=global_norm(lists[1]), max_norm=1.0)
    assert lists[0][0][0].isnan()


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("bf16_copy", [False, True])
@pytest.mark.parametrize("native", [False, True], ids=["reference", "kernel"])
def test_a_negative_norm_refuses_the_step(
    device: str, max_norm: float | None, bf16_copy: bool, native: bool
) -> None:
    """Nothing is changed, not even by a gradient that is NaN; with another norm the step is taken."""
    lists = [[torch.rand(6, 4, device=device)] for _ in range(4)]
    if not native:
        lists = [[tensor.T for tensor in one] for one in lists]
    copies = [lists[0][0].bfloat16()] if bf16_copy and native else None
    before = [tensor.clone() for one in (*lists, copies or []) for tensor in one]
    for bad in (float("nan"), 1.0):
        lists[1][0].fill_(bad)
        before[1].fill_(bad)
        norm = torch.tensor(-1.0, device=device)
        adamw_(*lists, step=1, lr=0.1, grad_norm=norm, max_norm=max_norm, bf16_params=copies)
        for tensor, old in zip((t for one in (*lists, copies or []) for t in one), before, strict=True):
            torch.testing.assert_close(tensor, old, rtol=0, atol=0, equal_nan=True)
    adamw_(*lists, step=1, lr=0.1, grad_norm=-norm, max_norm=max_norm, bf16_params=copies)
    assert not torch.equal(lists[0][0], before[0])


def test_no_tensors_are_no_work() -> None:
    adamw_([], [], [], [], step=1, lr=0.1)


one, zero = [torch.ones(3)], [torch.zeros(3)]
GOOD = {"step": 1, "lr": 0.1}


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("lists", "options", "words"),
    [
        ((one, [], zero, zero), GOOD, "grads: expected 1 tensors as params, got 0"),
        (
            (one, [torch.ones(4)], zero, zero),
            GOOD,
            r"grads\[0\]: expected shape \(3,\) as params\[0\], got \(4,\)",
        ),
        ((one, one, [torch.zeros(3).long()], zero), GOOD, r"exp_avgs\[0\]: expected dtype"),
        (
            (one, [torch.ones(3).double()], zero, zero),
            GOOD,
            r"grads\[0\]: expected dtype float32 as params\[0\]",
        ),
        (
            (one, one, [torch.zeros(3).double()], zero),
            GOOD,
            r"exp_avgs\[0\]: expected dtype float32 as params\[0\]",
        ),
        ((one, one, zero, [torch.zeros(3).bfloat16()]), GOOD, r"exp_avg_sqs\[0\]: expected dtype float32"),
        ((one, one, zero, zero), {"step": 0, "lr": 0.1}, "step: expected a count from 1 on, got 0"),
        ((one, one, zero, zero), {"step": 1.0, "lr": 0.1}, "step: expected a count from 1 on, got 1.0"),
        (
            (one, one, zero, zero),
            {"step": 2**63, "lr": 0.1},
            "step: expected a count from 1 on, got 9223372036854775808",
        ),
        *(
            (
                (one, one, zero, zero),
                {**GOOD, name: value},
                f"{name}: expected a finite number from 0 on, got {value}",
            )
            for name in ("lr", "eps")
            for value in (-0.1, math.nan, math.inf)
        ),
        *(
            (
                (one, one, zero, zero),
                {**GOOD, "weight_decay": decay},
                rf"weight_decay\[0\]: expected a finite number from 0 on, got {value}",
            )
            for value in (-0.1, math.nan, math.inf)
            for decay in (value, [value])
        ),
        *(
            (
                (one, one, zero, zero),
                {**GOOD, "betas": betas},
                r"betas: expected two numbers in \[0, 1\), got \(",
            )
            for betas in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan), (0.9, math.inf), (0.9,))
        ),
        *(
            (
                (one, one, zero, zero),
                {**GOOD, "max_norm": value, "grad_norm": torch.ones(())},
                f"max_norm: expected a finite number above 0, got {value}",
            )
            for value in (0.0, -1.0, math.nan, math.inf)
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "lr": torch.tensor(math.nan)},
            "lr: expected a finite number from 0 on, got nan",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "lr": torch.ones(2)},
            "lr: expected one float32 or float64 number",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "step": torch.ones(2)},
            "step: expected one int64, float32 or float64 number",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "step": torch.tensor(0)},
            "step: expected a count from 1 on, got 0",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "step": torch.ones((), device="meta")},
            r"step: expected device cpu",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "weight_decay": [0.1, 0.2]},
            "weight_decay: expected one number or 1, got 2",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "max_norm": 1.0},
            "grad_norm: expected a tensor beside max_norm, got None",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "max_norm": 1.0, "grad_norm": torch.ones(2)},
            "grad_norm: expected a tensor of one",
        ),
        (
            (one, one, zero, zero),
            {**GOOD, "max_norm": 1.0, "grad_norm": 2.0},
            "grad_norm: expected a tensor of one float32 or float64 number, got float",
        ),
        ((one, one, zero, zero), {"step": 1, "lr": "a"}, "lr: expected a finite number from 0 on, got 'a'"),
        ((one, one, zero, zero), {"step": None, "lr": 0.1}, "step: expected a count from 1 on, got None"),
        ((one, one, zero, zero), {**GOOD, "betas": None}, "betas: expected two numbers"),
        (
            (one, one, zero, zero),
            {**GOOD, "bf16_params": ["a"]},
            r"bf16_params\[0\]: expected a tensor, got str",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, lists: tuple, options: dict, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        adamw_(*lists, **options)


def _at(*tensors: Tensor) -> list[Tensor]:
    return list(tensors)


def _twice() -> tuple[list[list[Tensor]], str]:
    p = torch.ones(3)
    return [
        [p, p],
        _at(*torch.ones(2, 3)),
        _at(*torch.zeros(2, 3)),
        _at(*torch.zeros(2, 3)),
    ], "params[0] and params[1]"


def _overlapping_views() -> tuple[list[list[Tensor]], str]:
    memory = torch.ones(5)
    lists = [
        _at(memory[:3], memory[2:]),
        _at(*torch.ones(2, 3)),
        _at(*torch.zeros(2, 3)),
        _at(*torch.zeros(2, 3)),
    ]
    return lists, "params[0] and params[1]"


def _one_moment_for_both() -> tuple[list[list[Tensor]], str]:
    m = torch.zeros(3)
    return [[torch.ones(3)], [torch.ones(3)], [m], [m]], "exp_avg_sqs[0] and exp_avgs[0]"


def _a_gradient_that_is_its_parameter() -> tuple[list[list[Tensor]], str]:
    p = torch.ones(3)
    return [[p], [p], [torch.zeros(3)], [torch.zeros(3)]], "grads[0] and params[0]"


def _columns_that_overlap() -> tuple[list[list[Tensor]], str]:
    matrix = torch.ones(4, 6)
    zeros = [[torch.zeros(4, 3) for _ in range(2)] for _ in range(2)]
    return [_at(matrix[:, :3], matrix[:, 2:5]), [torch.ones(4, 3)] * 2, *zeros], "params[0] and params[1]"


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    "make",
    [
        _twice,
        _overlapping_views,
        _one_moment_for_both,
        _a_gradient_that_is_its_parameter,
        _columns_that_overlap,
    ],
)
def test_what_is_updated_shares_no_memory(mode: str, make: Any) -> None:
    lists, names = make()
    before = [t.clone() for tensors in lists for t in tensors]
    with backend.using(mode), pytest.raises(ValueError, match=re.escape(f"{names} share memory")):
        adamw_(*lists, **GOOD)
    assert all(
        torch.equal(a, b) for a, b in zip(before, (t for tensors in lists for t in tensors), strict=True)
    )


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_an_expanded_parameter_is_refused_by_name(mode: str) -> None:
    with (
        backend.using(mode),
        pytest.raises(ValueError, match=r"params\[0\]: expected each element in memory"),
    ):
        adamw_([torch.ones(1).expand(3)], [torch.ones(3)], [torch.zeros(3)], [torch.zeros(3)], **GOOD)


def test_a_bf16_copy_in_its_parameters_memory_is_refused() -> None:
    p = torch.ones(4)
    bf16_param = p[:2].view(torch.bfloat16)
    with pytest.raises(ValueError, match=re.escape("bf16_params[0] and params[0] share memory")):
        adamw_([p], [torch.ones(4)], [torch.zeros(4)], [torch.zeros(4)], **GOOD, bf16_params=[bf16_param])


def test_neighbours_in_one_memory_and_one_gradient_for_two_are_no_sharing() -> None:
    """A flat buffer cut into parameters, columns of one matrix, a gradient that two parameters have in common."""
    flat, matrix = torch.ones(12), torch.ones(6, 4)
    params = [flat[:6].view(6, 1), flat[6:].view(6, 1), matrix[:, :1], matrix[:, 1:2]]
    grads = [torch.ones(6, 1)] * 3 + [torch.ones(1, 1).expand(6, 1)]
    adamw_(params, grads, *([torch.zeros(6, 1) for _ in params] for _ in range(2)), **GOOD)
    assert flat.unique().tolist() == matrix[:, :2].unique().tolist() == [pytest.approx(0.9)]
    assert matrix[:, 2:].eq(1).all()


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999, 0.9999999, 1 - 2**-40])
def test_one_minus_beta_is_not_rounded_away(device: str, mode: str, beta: float) -> None:
    """In float32, 1 - 0.99999 would be off by 1e-3; torch keeps it in double, and so do we."""
    g = draw(2, 1000, device=device)
    p, m, v = (torch.zeros(1000, device=device) for _ in range(3))
    with backend.using(mode):
        adamw_([p], [g], [m], [v], step=1, lr=0.1, betas=(beta, beta))
    for moment, power in ((m, 1), (v, 2)):
        truth = (1 - beta) * g.double() ** power
        assert ((moment - truth) / truth).abs().max() < 3e-7
    assert ((p + 0.1 * g.sign()) / 0.1).abs()[g.abs() > 1e-3].max() < 1e-4  # corrected, the first step is lr


@pytest.mark.parametrize("beta", [0.9, 0.99999, 0.9999999])
def test_the_moments_of_several_steps_are_torchs(device: str, beta: float) -> None:
    p = draw(1, 100, device=device).requires_grad_()
    mine = [p.detach().clone()]
    first, second = [torch.zeros(100, device=device)], [torch.zeros(100, device=device)]
    optimizer = torch.optim.AdamW([p], lr=0.01, betas=(beta, beta), weight_decay=0.1)
    for step in range(1, 6):
        p.grad = draw(step + 2, 100, device=device)
        optimizer.step()
        adamw_(mine, [p.grad], first, second, step=step, lr=0.01, betas=(beta, beta), weight_decay=0.1)
    state = optimizer.state[p]
    for one, other in ((first[0], state["exp_avg"]), (second[0], state["exp_avg_sq"]), (mine[0], p.detach())):
        torch.testing.assert_close(one, other, rtol=3e-6, atol=3e-7 * float(other.abs().max()))


@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_a_learning_rate_may_be_a_tensor(mode: str) -> None:
    mine, again = (_tensors(torch.float32, torch.float32, "cpu") for _ in range(2))
    with backend.using(mode):
        adamw_(*mine, step=1, lr=torch.tensor(0.01, dtype=torch.float64), weight_decay=0.1)
        adamw_(*again, step=1, lr=0.01, weight_decay=0.1)
    assert all(torch.equal(a, b) for a, b in zip(mine[0], again[0], strict=True))


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_a_step_may_be_a_tensor(mode: str, dtype: torch.dtype) -> None:
    mine, again = (_tensors(torch.float32, torch.float32, "cpu") for _ in range(2))
    with backend.using(mode):
        adamw_(*mine, step=torch.tensor([7], dtype=dtype), lr=0.01, weight_decay=0.1)
        adamw_(*again, step=7, lr=0.01, weight_decay=0.1)
    for one, other in zip(mine[0], again[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_the_kernel_itself_refuses_lists_that_do_not_fit() -> None:
    require_native("cpu")
    with pytest.raises(ValueError, match="grads: expected shape"):
        torch.ops.gpt2x.adamw_(
            one, [torch.ones(2)], zero, zero, [], 1, torch.tensor(0.1), 0.9, 0.95, 1e-8, [0.0], None, 0.0
        )


def test_bf16_params_follow_their_parameters_and_bfloat16_gradients_serve_float32_ones(device: str) -> None:
    lists, again = (_tensors(torch.float32, torch.float32, device) for _ in range(2))
    in_bf16 = [grad.bfloat16() for grad in lists[1]]
    bf16_params = [p.bfloat16() if i % 2 == 0 else None for i, p in enumerate(lists[0])]
    for step in (1, 2, 3):
        # One norm for both: of the same numbers in another dtype it is summed in vectors of another length.
        clip = {"grad_norm": global_norm(in_bf16), "max_norm": 1.0}
        options = {"step": step, "lr": 0.01, "weight_decay": 0.1, **clip}
        adamw_(lists[0], in_bf16, *lists[2:], **options, bf16_params=bf16_params)
        adamw_(again[0], [grad.float() for grad in in_bf16], *again[2:], **options)
    for one, other, bf16_param in zip(lists[0], again[0], bf16_params, strict=True):
        assert torch.equal(one, other)
        assert bf16_param is None or torch.equal(bf16_param, one.bfloat16())


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("bf16_params", "words"),
    [
        ([], "bf16_params: expected 1 tensors or None as params, got 0"),
        ([torch.ones(3)], r"bf16_params\[0\]: expected bfloat16 beside a float32 parameter, got float32"),
        ([torch.ones(2).bfloat16()], r"bf16_params\[0\]: expected a contiguous tensor of shape \(3,\)"),
    ],
)
def test_bf16_params_that_do_not_fit_are_refused_by_name(mode: str, bf16_params: list, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        adamw_(one, one, zero, zero, **GOOD, bf16_params=bf16_params)
