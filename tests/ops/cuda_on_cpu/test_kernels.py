"""Every CUDA kernel, executed on the CPU, against plain torch in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x.ops import cuda, reference
from tests.ops.cuda_on_cpu.kernel_cases import (
    ACTIVATIONS,
    ADD_LAYER_NORM,
    BF16,
    F32,
    GLOBAL_NORM,
    LINEAR_CROSS_ENTROPY,
    LOSSES,
    ROWS,
    STORAGES,
    Activation,
    Loss,
    Rows,
    by_autograd,
    layer_norm,
    place,
    same_dtype_and_error,
    tensors_of,
)

storages = pytest.mark.parametrize("storage", STORAGES)


def _check_layer_norm(rows: Rows, storage: str, *, with_residual: bool, with_bias: bool) -> None:
    dtype, parameter_dtype = STORAGES[storage]
    (N, C, offset), shape = rows, (rows.N, rows.C)
    x, residual = place(1, *shape, dtype=dtype, offset=offset), place(2, *shape, dtype=dtype)
    weight, bias = (place(k, C, dtype=parameter_dtype, offset=offset) for k in (3, 4))
    dy, dsum = place(5, *shape, dtype=dtype), place(6, *shape, dtype=dtype, offset=offset)
    inputs = [x, residual if with_residual else None, weight, bias if with_bias else None]

    y, total, mean, rstd = ADD_LAYER_NORM._cuda(*inputs, 1e-5)
    total = total if with_residual else x
    dx, dweight, dbias = ADD_LAYER_NORM._cuda_backward(dy, dsum, total, weight, mean, rstd, with_bias)
    got = [y, total, dx, *([dx] if with_residual else []), dweight, *([dbias] if with_bias else [])]
    truth = by_autograd(layer_norm, inputs, [dy, dsum], torch.float64)
    expected = by_autograd(reference.add_layer_norm, inputs, [dy, dsum], None)
    same_dtype_and_error(got, expected, truth, dtype)

    without_dsum, *_ = ADD_LAYER_NORM._cuda_backward(dy, None, total, weight, mean, rstd, with_bias)
    zeros = [dy, torch.zeros_like(dsum)]
    same_dtype_and_error(
        [without_dsum],
        by_autograd(reference.add_layer_norm, inputs, zeros, None)[2:3],
        by_autograd(layer_norm, inputs, zeros, torch.float64)[2:3],
        dtype,
    )
    assert N > 0 or not dweight.any()


@storages
@pytest.mark.parametrize(
    "parts", [(True, True), (False, False), (True, False)], ids=["both", "neither", "residual"]
)
def test_add_layer_norm(kernels: Any, storage: str, parts: tuple[bool, bool]) -> None:
    for rows in ROWS:
        _check_layer_norm(rows, storage, with_residual=parts[0], with_bias=parts[1])


@storages
def test_gradient_sums_of_rows_that_are_too_wide_for_shared_memory(kernels: Any, storage: str) -> None:
    _check_layer_norm(Rows(3, 5128, 0), storage, with_residual=True, with_bias=True)
    for activation in ACTIVATIONS.values():
        _check_activation(activation, Rows(2, 10248, 0), storage, with_bias=True)


def _check_activation(activation: Activation, rows: Rows, storage: str, *, with_bias: bool) -> None:
    dtype, parameter_dtype = STORAGES[storage]
    x, dy = (place(k, rows.N, rows.C, dtype=dtype, offset=rows.offset) for k in (1, 2))
    bias = place(3, rows.C, dtype=parameter_dtype) if with_bias else None
    y = activation.module._cuda(x, bias)
    dx, dbias = activation.module._cuda_backward(dy, x, bias)
    truth = by_autograd(activation.of_biased, [x, bias], [dy], torch.float64)
    expected = by_autograd(lambda *t: [activation.reference(*t)], [x, bias], [dy], None)
    same_dtype_and_error([y, dx, *([dbias] if with_bias else [])], expected, truth, dtype)


@storages
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "plain"])
def test_a_biased_activation(kernels: Any, storage: str, name: str, with_bias: bool) -> None:
    for rows in ROWS:
        _check_activation(ACTIVATIONS[name], rows, storage, with_bias=with_bias)


def _loss_inputs(loss: Loss, storage: str, offset: int) -> tuple[Tensor, Tensor, Tensor]:
    dtype, weight_dtype = STORAGES[storage]
    hidden = place(1, 5, 24, dtype=dtype, offset=offset)
    weight = place(2, loss.padded, 24, dtype=weight_dtype, offset=offset)
    targets = (torch.arange(5) * 11 + 3) % loss.vocabulary
    targets[1] = -100
    return hidden, weight, targets


def _run_loss(
    loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor, row_scale: Tensor | None
) -> list[Tensor]:
    code = LINEAR_CROSS_ENTROPY.REDUCTIONS[loss.reduction]
    numbers = (code, -100, loss.vocabulary, loss.label_smoothing, loss.z_loss, True, True)
    return list(LINEAR_CROSS_ENTROPY._cuda(hidden, weight, targets, row_scale, *numbers))


@storages
def test_linear_cross_entropy(kernels: Any, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LINEAR_CROSS_ENTROPY, "_MIN_CHUNK_ROWS", 2)  # three chunks
    monkeypatch.setattr(LINEAR_CROSS_ENTROPY, "_MAX_CHUNK_LOGITS", 1)
    for loss in LOSSES:
        for offset in (0, 1):
            _check_loss(loss, storage, offset)


def _check_loss(loss: Loss, storage: str, offset: int) -> None:
    hidden, weight, targets = _loss_inputs(loss, storage, offset)
    each_row = loss.reduction == "none"
    dloss = place(3, 5, dtype=F32) if each_row else torch.ones(())
    got = _run_loss(loss, hidden, weight, targets, dloss if each_row else None)

    def by_reference(hidden: Tensor, weight: Tensor) -> list[Tensor]:
        terms: dict[str, Any] = loss._asdict() | {"vocab_size": loss.vocabulary}
        del terms["vocabulary"], terms["padded"]
        return [reference.linear_cross_entropy(hidden, weight, targets, **terms)]

    truth = by_autograd(lambda h, w: loss.in_float64(h, w, targets), [hidden, weight], [dloss], torch.float64)
    expected = by_autograd(by_reference, [hidden, weight], [dloss], None)
    same_dtype_and_error(got, expected, truth, hidden.dtype)
    assert not got[2][loss.vocabulary :].any()


def test_a_target_that_is_out_of_range_makes_the_loss_nan_and_spoils_no_other_row(kernels: Any) -> None:
    loss = Loss(29, 40, "none")
    hidden, weight, targets = _loss_inputs(loss, "float32", 0)
    right, dhidden, _ = _run_loss(loss, hidden, weight, targets, torch.ones(5))
    for bad in (-1, 29, 40, 2**40):
        targets[2] = bad
        losses, gradient, _ = _run_loss(loss, hidden, weight, targets, torch.ones(5))
        assert losses.isnan().tolist() == [False, False, True, False, False]
        others = [0, 1, 3, 4]
        assert torch.equal(losses[others], right[others])
        assert torch.equal(gradient[others], dhidden[others])
        assert not gradient[2].any()


@pytest.mark.parametrize("dtypes", [(F32,), (BF16,), (F32, BF16)], ids=["float32", "bfloat16", "both"])
@pytest.mark.parametrize("offset", [0, 1])
def test_global_norm(kernels: Any, dtypes: tuple[torch.dtype, ...], offset: int) -> None:
    for sizes in ([1], [0], [5, 0, 4096 * 3 + 7]):
        _check_norm(sizes, dtypes, offset)


def test_global_norm_of_more_tensors_than_one_launch_takes(kernels: Any) -> None:
    _check_norm([3, 8, 17] * 22, (F32, BF16), 1)


def _check_norm(sizes: list[int], dtypes: tuple[torch.dtype, ...], offset: int) -> None:
    tensors = list(tensors_of(sizes, dtypes, offset))
    truth = torch.cat([t.double() for t in tensors]).norm()
    assert GLOBAL_NORM._cuda(tensors).item() == pytest.approx(truth.item(), rel=1e-6)


def test_a_launch_that_a_gpu_would_refuse_is_refused_here(kernels: Any) -> None:
    x = torch.zeros(2, 8)
    bad = Loss(9, 8)  # more classes than columns, past the checks of Python
    arguments = (
        0,
        x,
        torch.zeros(2).long(),
        2,
        *bad[:2],
        -100,
        0.0,
        0.0,
        torch.ones(()),
        0,
        1,
        torch.zeros(2),
    )
    with pytest.raises(RuntimeError, match="invalid argument"):
        cuda.KERNELS["linear_cross_entropy"](x.device, *arguments)
