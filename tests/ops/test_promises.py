"""What holds for every operator: bits that do not depend on threads, no memory lost, nothing bad hidden."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import pytest
import torch
from ops_support import draw, require_native, run_with_gradients, threads
from torch import Tensor

from gpt2x import ops
from gpt2x.ops import library


class _MallInfo(ctypes.Structure):
    """What mallinfo2 of glibc returns: bytes in blocks of the heap, and in blocks that are mappings of their own."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"),
            *("uordblks", "fordblks", "keepcost"),
        )
    ]


MALLINFO = getattr(ctypes.CDLL(None), "mallinfo2", None)
if MALLINFO is not None:
    MALLINFO.restype = _MallInfo


def _bytes_in_use() -> int:
    info = MALLINFO()
    return int(info.uordblks + info.hblkhd)


# Which results have the same bits for any number of threads. Matrix products are those of a library, and as
# reproducible as it makes them: of a linear layer that leaves the bias's gradient, of the loss nothing.
IN_FIXED_ORDER = {name: slice(None) for name in library.OPERATORS if name != "linear_cross_entropy"}
IN_FIXED_ORDER["linear"] = slice(-1, None)


def _add_layer_norm(x: Tensor) -> list[Tensor]:
    weight, bias = draw(3, x.shape[1]), draw(4, x.shape[1])
    return run_with_gradients(ops.add_layer_norm, [x, draw(2, *x.shape), weight, bias])


def _bias_gelu(x: Tensor) -> list[Tensor]:
    return run_with_gradients(ops.bias_gelu, [x, draw(2, x.shape[1])])


def _bias_relu2(x: Tensor) -> list[Tensor]:
    return run_with_gradients(ops.bias_relu2, [x, draw(2, x.shape[1])])


def _qk_norm_rotary(x: Tensor) -> list[Tensor]:
    rotation = draw(2, len(x), 8), draw(3, len(x), 8)
    return run_with_gradients(lambda qkv: ops.qk_norm_rotary(qkv, 2, rotation), [x[None]])


def _linear(x: Tensor) -> list[Tensor]:
    return run_with_gradients(ops.linear, [x, draw(2, 31, x.shape[1]), draw(3, 31)])


def _linear_cross_entropy(x: Tensor) -> list[Tensor]:
    targets = torch.arange(len(x)) % 31

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return ops.linear_cross_entropy(hidden, weight, targets, label_smoothing=0.1, z_loss=1e-4)

    return run_with_gradients(loss, [x, draw(2, 37, x.shape[1])])


def _embedding_backward(x: Tensor) -> list[Tensor]:
    dweight = draw(2, 50, x.shape[1])
    ops.embedding_backward_(dweight, x, torch.arange(len(x)) ** 2 % 50)
    return [dweight]


def _adamw(x: Tensor) -> list[Tensor]:
    lists = [[draw(10 * k + i, *x.shape).abs() for i in range(3)] for k in range(4)]
    lists[1][1] = x.clone()
    ops.adamw_(*lists, step=2, lr=0.1, grad_norm=ops.global_norm(lists[1]), max_norm=1.0)
    return [tensor for tensors in (lists[0], *lists[2:]) for tensor in tensors]


def _global_norm(x: Tensor) -> list[Tensor]:
    return [ops.global_norm([draw(2, 100_003), x, draw(3, 7)])]


def _mean(x: Tensor) -> list[Tensor]:
    out = [torch.empty(100_003), torch.empty_like(x)]
    return [ops.mean_(out, [[draw(2, 100_003), x], [draw(3, 100_003), x.sin()]]), *out]


def _gemv(x: Tensor) -> list[Tensor]:
    weight = draw(2, 1031, x.shape[1])
    return [ops.gemv(x[:3], weight), ops.gemv(x[:3], *ops.quantize_rows(weight))]


def _causal_attention(x: Tensor) -> list[Tensor]:
    return run_with_gradients(lambda qkv: ops.causal_attention(qkv, 2), [x[None]])


def _decode_attention(x: Tensor) -> list[Tensor]:
    query = x[:6, :16].reshape(2, 3, 16)
    return [ops.decode_attention(query, *(draw(k, 2, 3, S, 16) for k in (2, 3))) for S in (63, 512, 1100)]


CASES: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "add_layer_norm": _add_layer_norm,
    "bias_gelu": _bias_gelu,
    "bias_relu2": _bias_relu2,
    "qk_norm_rotary": _qk_norm_rotary,
    "linear": _linear,
    "linear_cross_entropy": _linear_cross_entropy,
    "embedding_backward_": _embedding_backward,
    "adamw_": _adamw,
    "global_norm": _global_norm,
    "mean_": _mean,
    "gemv": _gemv,
    "causal_attention": _causal_attention,
    "decode_attention": _decode_attention,
}


def test_every_operator_is_tried_here() -> None:
    assert sorted(CASES) == sorted(library.OPERATORS)


@pytest.mark.parametrize("name", IN_FIXED_ORDER)
def test_the_bits_are_the_same_for_any_number_of_threads(name: str) -> None:
    require_native("cpu")
    results = []
    for count in (1, 2, 5):
        with threads(count):
            results.append(CASES[name](draw(1, 523, 48))[IN_FIXED_ORDER[name]])
    for others in results[1:]:
        for i, (one, other) in enumerate(zip(results[0], others, strict=True)):
            assert torch.equal(one, other), f"tensor {i} depends on the number of threads"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_hidden(name: str, bad: float) -> None:
    require_native("cpu")
    if name == "bias_relu2" and bad == -math.inf:
        pytest.skip("max(0, -inf) is 0")
    x = draw(1, 12, 48)
    x[2, 5] = bad
    assert not all(bool(tensor.isfinite().all()) for tensor in CASES[name](x))


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this C library does not count its heap"
)
@pytest.mark.parametrize("name", CASES)
def test_calls_lose_no_memory(name: str) -> None:
    """A lost crumb a call does more than add up: it cuts the heap where large tensors stood, and they fit no more."""
    require_native("cpu")
    x = draw(1, 12, 48)

    def bytes_lost_by(calls: int) -> int:
        before = _bytes_in_use()
        for _ in range(calls):
            CASES[name](x)
        return _bytes_in_use() - before

    with threads(1):
        bytes_lost_by(50)  # caches of torch and of Python fill up
        lost = min(bytes_lost_by(100) for _ in range(3))  # what is lost in every round
    assert lost < 100 * 16, (
        f"{lost / 100:.0f} bytes a call are gone"
    )  # the smallest block of glibc's heap has 32
