"""linear: against torch's own in every way it can be asked, and which library multiplies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from ops_support import (
    DTYPES,
    assert_as_exact_as_reference,
    draw,
    dtype_id,
    require_native,
    run_with_gradients,
)

from gpt2x.errors import UsageError
from gpt2x.ops import backend, linear, reference

# rows × in × out: one of everything, primes, more rows than a block of the bias gradient, no rows
SIZES = ((1, 1, 1), (1, 64, 48), (7, 13, 11), (130, 33, 65), (0, 8, 5))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_results_and_gradients_are_as_exact_as_the_references(
    device: str, size: tuple[int, int, int], dtype: torch.dtype, with_bias: bool
) -> None:
    N, num_in, num_out = size
    inputs = [
        draw(1, N, num_in, dtype=dtype, device=device),
        draw(2, num_out, num_in, dtype=dtype, device=device),
    ]
    inputs.append(draw(3, num_out, dtype=dtype, device=device) if with_bias else None)
    native = run_with_gradients(linear, inputs)
    expected = run_with_gradients(reference.linear, inputs)
    truth = run_with_gradients(reference.linear, inputs, torch.float64)
    assert_as_exact_as_reference(native, expected, truth, dtype)


def test_any_strides_and_leading_dimensions(device: str) -> None:
    x, weight = draw(1, 5, 3, 2, device=device).permute(2, 1, 0), draw(2, 5, 7, device=device).T
    torch.testing.assert_close(linear(x, weight), x @ weight.T)
    expanded = draw(3, 1, 5, device=device).expand(4, 5)
    torch.testing.assert_close(linear(expanded, weight), expanded @ weight.T)


def test_an_upstream_gradient_of_any_strides(device: str) -> None:
    x, weight, bias = (
        draw(1, 6, 5).requires_grad_(),
        draw(2, 7, 5).requires_grad_(),
        draw(3, 7).requires_grad_(),
    )
    linear(x, weight, bias).sum().backward()  # the gradient of a sum is expanded from one number
    torch.testing.assert_close(bias.grad, torch.full((7,), 6.0))
    torch.testing.assert_close(x.grad, weight.detach().sum(0).expand(6, 5))


def test_gradients_agree_with_finite_differences_in_float64() -> None:
    inputs = [draw(k, *shape, dtype=torch.float64) for k, shape in ((1, (4, 3)), (2, (5, 3)), (3, (5,)))]
    assert torch.autograd.gradcheck(linear, [t.requires_grad_() for t in inputs])


def test_a_bias_gradient_over_many_rows_loses_nothing() -> None:
    require_native("cpu")
    x, weight, bias = torch.zeros(200_000, 4), torch.zeros(4, 4), torch.zeros(4, requires_grad=True)
    torch.ops.gpt2x.linear(x, weight, bias).backward(torch.full_like(x, 1 / len(x)))
    assert (bias.grad - 1).abs().max() < 2e-6


def test_only_the_gradients_that_are_wanted_are_made() -> None:
    x, weight = draw(1, 4, 3), draw(2, 5, 3).requires_grad_()
    linear(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_autocast_casts_as_it_does_for_torchs_own() -> None:
    x, weight, bias = draw(1, 4, 3), draw(2, 5, 3), draw(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))


def test_what_is_not_finite_stays_so() -> None:
    x, weight = draw(1, 3, 4), draw(2, 5, 4)
    x[0, 0], x[1, 1] = float("nan"), float("inf")
    y = linear(x, weight)
    assert y[0].isnan().all()
    assert not y[1].isfinite().any()
    assert y[2].isfinite().all()


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.ones(()), torch.ones(2, 2)), "x: expected"),
        ((torch.ones(3, 2).long(), torch.ones(2, 2)), "x: expected dtype"),
        ((torch.ones(3, 2), torch.ones(4, 3)), r"weight: expected \(O, 2\), got shape \(4, 3\)"),
        ((torch.ones(3, 2), torch.ones(4, 2).double()), "weight: expected dtype float32 as x, got float64"),
        ((torch.ones(3, 2), torch.ones(4, 2), torch.ones(3)), r"bias: expected shape \(4,\), got \(3,\)"),
        ((torch.ones(3, 2), torch.ones(4, 2), torch.ones(4).double()), "bias: expected dtype float32 as x"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(mode: str, arguments: tuple, words: str) -> None:
    with backend.using(mode), pytest.raises(ValueError, match=words):
        linear(*arguments)


def printed_with(choice: str, program: str) -> str:
    """What a program prints in a process of its own, where that library multiplies."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GPT2X_GEMM": choice, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("choice", ["torch", "onednn"])
def test_both_libraries_multiply_alike(choice: str) -> None:
    program = (
        "import torch\nfrom gpt2x.ops import backend, linear\n"
        "x, w, b = (torch.arange(n * 6.0).reshape(n, 6) % 7 - 3 for n in (5, 4, 1))\n"
        "y = torch.ops.gpt2x.linear(x, w, b[0, :4])\n"
        "assert torch.equal(y, x @ w.T + b[0, :4])\n"
        "print(backend.multiplies('cpu', torch.float32))"
    )
    printed = printed_with(choice, program)
    if choice == "torch":
        assert printed.strip() == "False"


@pytest.mark.parametrize("choice", ["torch", "onednn"])
def test_both_libraries_take_rows_that_overlap_and_columns_with_gaps(choice: str) -> None:
    program = (
        "import torch\nfrom gpt2x.ops import linear\n"
        "numbers, x = torch.arange(700.0) % 7 - 3, torch.ones(5, 33)\n"
        "for strides in ((1, 1), (2, 1), (0, 1), (1, 0), (0, 0), (33, 2), (66, 2), (40, 1), (1, 9), (1, 12)):\n"
        "    odd = numbers.as_strided((9, 33), strides)\n"
        "    assert torch.equal(linear(x, odd, numbers[:18:2]), x @ odd.clone().T + numbers[:18:2]), strides\n"
        "    assert torch.equal(linear(odd, x), odd.clone() @ x.T), strides\n"
        "    for pair in ((odd, x), (x, odd)):\n"
        "        a, b = (t.detach().requires_grad_() for t in pair)\n"
        "        linear(a, b).sum().backward()\n"
        "        assert torch.equal(a.grad, b.detach().clone().sum(0).expand(len(a), 33)), strides\n"
        "        assert torch.equal(b.grad, a.detach().clone().sum(0).expand(len(b), 33)), strides\n"
    )
    printed_with(choice, program)


def test_an_unknown_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_GEMM", "abacus")
    with pytest.raises(UsageError, match="GPT2X_GEMM='abacus' is not one of auto, torch, onednn"):
        backend.check_gemm()
