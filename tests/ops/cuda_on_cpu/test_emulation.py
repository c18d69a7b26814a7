"""That the emulation sees what it should: each kernel is broken once, and a test like those beside this one fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.cuda_on_cpu import emulation
from tests.ops.cuda_on_cpu.kernel_cases import (
    ADD_LAYER_NORM,
    BF16,
    DECODE_ATTENTION,
    F32,
    GEMV,
    GLOBAL_NORM,
    LINEAR_CROSS_ENTROPY,
    attention,
    place,
)

BARRIER_BEFORE = "    __syncthreads();  // the previous reduction's results have been read by all\n"
BARRIER_BETWEEN = "    if (thread == 0) of_warp[warp] = partial;\n    __syncthreads();\n"


class Mutant(NamedTuple):
    """An edit of one source, the operator on which it shows, and a word of the error if it shows as one."""

    file: str
    old: str
    new: str
    operator: str
    error: str = ""


MUTANTS = {
    "no barrier before a reduction": Mutant("cuda/team.cuh", BARRIER_BEFORE, "", "add_layer_norm"),
    "no barrier inside a reduction": Mutant(
        "cuda/team.cuh",
        BARRIER_BETWEEN,
        BARRIER_BETWEEN.split("\n", maxsplit=1)[0] + "\n",
        "linear_cross_entropy",
    ),  # add_layer_norm corrects a mean that is off
    "no barrier in the sum of partial sums": Mutant(
        "cuda/team.cuh",
        "= total;\n  __syncthreads();",
        "= total;",
        "add_layer_norm",
    ),
    "a barrier that one warp misses": Mutant(
        "cuda/team.cuh",
        BARRIER_BEFORE,
        "    if (warp != 1) __syncthreads();\n",
        "add_layer_norm",
        "waits at a barrier",
    ),
    "a thread that leaves before a barrier": Mutant(
        "cuda/team.cuh",
        BARRIER_BEFORE,
        "    if (threadIdx.x == 40) return partial;\n" + BARRIER_BEFORE,
        "add_layer_norm",
        "line",
    ),
    "the target is overwritten before all have read it": Mutant(
        "rows/linear_cross_entropy.h",
        "team.sync();  // every lane has read logits[target]",
        "",
        "linear_cross_entropy",
    ),
    "the target is written before its lane is done": Mutant(
        "rows/linear_cross_entropy.h",
        "team.sync();  // one lane has written logits[target]",
        "",
        "linear_cross_entropy",
    ),
    "addresses are not asked whether they are aligned": Mutant(
        "rows/pack.h",
        "% kAccessBytes != 0) return false",
        "% kAccessBytes != 0) return true",
        "add_layer_norm",
        "128-bit",
    ),
    "rows are not asked whether they are aligned": Mutant(
        "cuda/team.cuh", "return C % K == 0 && rows", "return rows", "add_layer_norm", "128-bit"
    ),
    "too little shared memory": Mutant(
        "cuda/add_layer_norm.cu", "shared_bytes(2 * C)", "shared_bytes(C)", "add_layer_norm", "beyond its"
    ),
    "sums that start from what shared memory held": Mutant(
        "cuda/add_layer_norm.cu", "  clear_partials(Team{}, mine + C, C);\n", "", "add_layer_norm"
    ),
    "all blocks leave their sums at one place": Mutant(
        "cuda/add_layer_norm.cu", "static_cast<int64_t>(blockIdx.x) * 2 * C", "0", "add_layer_norm"
    ),
    "the second launch takes the tensors of the first": Mutant(
        "cuda/global_norm.cu",
        "arguments.data[i] = tensors[first + i]",
        "arguments.data[i] = tensors[i]",
        "global_norm",
    ),
    "scores are weighed before all stand there": Mutant(
        "rows/decode_attention.h", "  team.sync();\n  W top", "  W top", "decode_attention"
    ),
    "sums of warps are added before all stand there": Mutant(
        "cuda/decode_attention.cu",
        "    __syncthreads();  // the sums of all warps stand there\n",
        "",
        "decode_attention",
    ),
    "sums of warps are overwritten before all are added": Mutant(
        "cuda/decode_attention.cu",
        "    __syncthreads();  // and have been read before the next columns take their place\n",
        "",
        "decode_attention",
    ),
    "a warp leaves before the sums of another group": Mutant(
        "cuda/decode_attention.cu",
        "if (begin + column < part.D) {",
        "if (begin + column >= part.D) return;\n    {",
        "decode_attention",
        "has finished",
    ),
    "the groups of a warp are not added": Mutant(
        "cuda/decode_attention.cu",
        "distance < kWarp; distance *= 2",
        "distance < G; distance *= 2",
        "decode_attention",
    ),
    "parts are added as if they had seen the same scores": Mutant(
        "rows/decode_attention.h",
        "exponential(parts[p].highest - highest) * totals",
        "totals",
        "decode_attention",
    ),
    "the addresses of values are not asked": Mutant(
        "cuda/decode_attention.cu", "{query, keys, values}", "{query, keys}", "decode_attention", "128-bit"
    ),
    "the rows of a cache are not asked": Mutant(
        "cuda/decode_attention.cu", "with_team<T>(distance,", "with_team<T>(D,", "decode_attention", "128-bit"
    ),
    "the address of a weight is not asked": Mutant(
        "cuda/gemv.cu", "(I, {x, weight}", "(I, {x}", "gemv", "128-bit"
    ),
    "the rows of a weight are not asked": Mutant(
        "cuda/gemv.cu", "with_team<Narrow>(I,", "with_team<Narrow>(I - I % 4,", "gemv", "128-bit"
    ),
    "half a warp is summed": Mutant(
        "cuda/team.cuh", "distance = G / 2; distance > 0", "distance = G / 2; distance > 1", "gemv"
    ),
    "a lane that has nothing to take leaves before the sum": Mutant(
        "cuda/gemv.cu",
        "    const P* row = weight + o * I;\n",
        "    const P* row = weight + o * I;\n    if (warp.lane() * Team::kPack >= I) return;\n",
        "gemv",
        "has finished",
    ),
}


def _layer_norm() -> bool:
    """Whether rows of all kinds come out right: aligned packs, misaligned buffers, rows that are no whole packs."""
    right = True
    for dtype, C, offset in ((F32, 768, 0), (F32, 129, 0), (BF16, 264, 1)):
        x, dy = place(1, 6, C, dtype=dtype, offset=offset), place(2, 6, C, dtype=dtype)
        weight, bias = place(3, C, dtype=dtype), place(4, C, dtype=dtype)
        y, _, mean, rstd = ADD_LAYER_NORM._cuda(x, None, weight, bias, 1e-5)
        got = [y, *ADD_LAYER_NORM._cuda_backward(dy, None, x, weight, mean, rstd, True)]
        leaves = [t.double().requires_grad_() for t in (x, weight, bias)]
        out = F.layer_norm(leaves[0], (C,), *leaves[1:])
        out.backward(dy.double())
        right &= _all_close(got, [out.detach(), *(leaf.grad for leaf in leaves)])
    return right


def _loss() -> bool:
    right = True
    for target in (3, 700):
        hidden, weight, targets = (
            place(1, 1, 8, dtype=F32),
            place(2, 1000, 8, dtype=F32),
            torch.tensor([target]),
        )
        got = LINEAR_CROSS_ENTROPY._cuda(hidden, weight, targets, None, 1, -100, 1000, 0.0, 0.0, True, True)
        leaves = [t.double().requires_grad_() for t in (hidden, weight)]
        loss = F.cross_entropy(leaves[0] @ leaves[1].T, targets)
        loss.backward()
        right &= _all_close(got, [loss.detach(), *(leaf.grad for leaf in leaves)])
    return right


def _norm() -> bool:
    tensors = [place(i, 3, dtype=F32) for i in range(70)]
    return _all_close([GLOBAL_NORM._cuda(tensors)], [torch.cat(tensors).double().norm()])


def _product() -> bool:
    """Less than a warp takes, aligned and not, one vector and several."""
    right = True
    for N, C, offset in ((1, 40, 0), (3, 40, 0), (1, 40, 1), (1, 42, 0)):
        x, weight = place(1, N, C, dtype=BF16), place(2, 5, C, dtype=BF16, offset=offset)
        right &= _all_close([GEMV._cuda(x, weight, None, None)], [x.double() @ weight.double().T])
    return right


def _attention() -> bool:
    """In two parts: several groups a warp, more columns than a block takes; values misaligned, and rows of keys."""
    right = True
    # 300 so that no exponential holds a score without the largest; 1 so that many tokens count.
    for scale, D, offset, longer in ((1, 32, 0, 0), (300, 132, 0, 0), (300, 32, 1, 0), (300, 32, 0, 1)):
        query = place(1, 1, 1, D, dtype=F32) * scale
        keys = place(2, 1, 1, 100, D + longer, dtype=F32)[..., :D]
        values = place(3, 1, 1, 100, D, dtype=F32, offset=offset)
        got, truth = DECODE_ATTENTION._cuda(query, keys, values), attention(query, keys, values)
        right &= _all_close([got], [truth], 1e-3)  # scores are hundreds, so their rounding is seen in e^x
    return right


def _all_close(got: Any, truth: list[Tensor], in_float32: float = 1e-5) -> bool:
    bound = {F32: in_float32, BF16: 2.0**-7}
    return all(
        torch.allclose(
            one.double(), exact, rtol=bound[one.dtype], atol=bound[one.dtype] * float(exact.abs().max())
        )
        for one, exact in zip(got, truth, strict=True)
    )


RIGHT = {
    "add_layer_norm": _layer_norm,
    "linear_cross_entropy": _loss,
    "global_norm": _norm,
    "gemv": _product,
    "decode_attention": _attention,
}


@pytest.mark.parametrize("order", emulation.ORDERS)
@pytest.mark.parametrize("operator", RIGHT)
def test_what_the_mutants_are_asked_is_right_unless_they_are_broken(
    library: Any, operator: str, order: str
) -> None:
    with emulation.serving(library, order):
        assert RIGHT[operator]()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_kernel_is_seen(libraries: Path, name: str) -> None:
    mutant = MUTANTS[name]
    replaced = emulation.edited(mutant.file, (mutant.old, mutant.new))
    flags = ["-O0", "-Wno-unused"]
    broken = emulation.load(emulation.build(libraries, [mutant.operator], replaced=replaced, flags=flags))
    seen = [_what_shows(broken, mutant.operator, order) for order in emulation.ORDERS]
    assert any(seen), f"no order of {list(emulation.ORDERS)} shows it"
    for text in seen:
        assert mutant.error in text if mutant.error else text in ("", WRONG)


WRONG = "a wrong result"


def _what_shows(library: Any, operator: str, order: str) -> str:
    """The error, or that a result is wrong, or nothing."""
    with emulation.serving(library, order):
        try:
            return "" if RIGHT[operator]() else WRONG
        except RuntimeError as error:
            return str(error)


@pytest.mark.parametrize(
    ("cuda", "cpp"),
    [
        ("f<<<1, 32>>>(x);", "cuda_on_cpu::launch([](auto... a) { f(a...); }, 1, 32)(x);"),
        (
            "if (n) g::f<A<B, 3>, T>\n  <<<dim3(n, m), t, s, stream>>>(x, y);",
            "if (n) cuda_on_cpu::launch([](auto... a) { g::f<A<B, 3>, T>(a...); }, dim3(n, m), t, s, stream)(x, y);",
        ),
        (
            "return f<decltype(g(1)), T><<<1, 2>>>(x);",
            "return cuda_on_cpu::launch([](auto... a) { f<decltype(g(1)), T>(a...); }, 1, 2)(x);",
        ),
        (
            "__shared__ float tile[8][kWarp + 1];",
            "auto& tile = cuda_on_cpu::static_shared<float[8][kWarp + 1]>([] {});",
        ),
        (
            "extern __shared__ __align__(16) float shared[];",
            "auto* const shared = reinterpret_cast<float*>(cuda_on_cpu::dynamic_array);",
        ),
    ],
)
def test_launches_and_shared_arrays_become_cpp(cuda: str, cpp: str) -> None:
    assert emulation.as_cpp(cuda) == cpp
