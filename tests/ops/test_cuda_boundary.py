"""The C boundary of the CUDA kernels, as far as a machine without a GPU can test it: Python passes what C expects."""

from __future__ import annotations

import ctypes
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ops_support import draw
from torch import Tensor

from gpt2x.ops import cuda, quantize_rows, reference

HEADER = Path(__file__).parent.parent.parent / "csrc" / "ops" / "cuda" / "gpt2x_cuda.h"
ADAMW, ADD_LAYER_NORM, BIAS_GELU, BIAS_RELU2, DECODE_ATTENTION = (
    importlib.import_module(f"gpt2x.ops.{name}")  # the package gives the functions these names
    for name in ("adamw", "add_layer_norm", "bias_gelu", "bias_relu2", "decode_attention")
)
EMBEDDING_BACKWARD, GEMV, GLOBAL_NORM, LINEAR_CROSS_ENTROPY = (
    importlib.import_module(f"gpt2x.ops.{name}")
    for name in ("embedding_backward", "gemv", "global_norm", "linear_cross_entropy")
)
KINDS = {"int": ctypes.c_int, "int64_t": ctypes.c_int64, "double": ctypes.c_double}


def _header() -> str:
    if not HEADER.exists():
        pytest.skip("the sources are not here")
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)


def test_python_declares_every_function_as_the_header_does() -> None:
    declared = {}
    for name, arguments in re.findall(r"GPT2X_CUDA_API int gpt2x_cuda_(\w+)\(([^)]*)\);", _header()):
        kinds = [" ".join(argument.split()) for argument in arguments.split(",")]
        declared[name] = [ctypes.c_void_p if "*" in kind else KINDS.get(kind.split()[0]) for kind in kinds]
    del declared["interface"]
    assert declared == {name: kernel.arguments for name, kernel in cuda.KERNELS.items()}


def test_python_and_the_header_agree_on_the_interface() -> None:
    found = re.search(r"#define GPT2X_CUDA_INTERFACE (\d+)", _header())
    assert found is not None
    assert int(found[1]) == cuda.INTERFACE


def test_python_allocates_for_as_many_parts_as_the_kernels_make() -> None:
    found = re.search(r"#define GPT2X_CUDA_DECODE_TOKENS_PER_PART (\d+)", _header())
    assert found is not None
    assert int(found[1]) == DECODE_ATTENTION._TOKENS_PER_PART


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Catch the calls into the library and check their arguments against the declared types."""
    seen: list[str] = []

    def check(kernel: cuda.Kernel, device: torch.device, *arguments: Any) -> None:
        name, kinds = kernel.name, kernel.arguments[:-1]  # without the stream
        assert len(arguments) == len(kinds), name
        for place, (argument, kind) in enumerate(zip(arguments, kinds, strict=True)):
            if kind is ctypes.c_void_p:
                fits = argument is None or isinstance(argument, Tensor | ctypes.Array)
                has_strides = name == "decode_attention" and place in (2, 4)  # keys, values
                assert not isinstance(argument, Tensor) or argument.is_contiguous() or has_strides
            else:
                fits = isinstance(argument, (int, float) if kind is ctypes.c_double else int)
            assert fits, f"{name}: argument {place} is {argument!r} for {kind}"
        seen.append(name)

    class Library:
        @staticmethod
        def gpt2x_cuda_norm_blocks() -> int:
            return 64

    monkeypatch.setattr(cuda.Kernel, "__call__", check)
    monkeypatch.setattr(cuda, "_library", Library())
    monkeypatch.setattr(cuda, "num_blocks", lambda rows, device: min(rows, 4))
    return seen


def test_every_implementation_calls_with_arguments_of_the_declared_types(calls: list[str]) -> None:
    x, weight = draw(1, 3, 2, 8), draw(2, 8)
    y, total, mean, rstd = ADD_LAYER_NORM._cuda(x, x, weight, weight, 1e-5)
    assert (y.shape, total.shape, mean.shape) == (x.shape, x.shape, (3, 2))
    assert ADD_LAYER_NORM._cuda(x.bfloat16(), None, weight, None, 1e-5)[1].numel() == 0
    dx, dweight, dbias = ADD_LAYER_NORM._cuda_backward(x, None, x, weight, mean, rstd, False)
    assert (dx.shape, dweight.shape, dbias.numel()) == (x.shape, (8,), 0)
    for activation in (BIAS_GELU, BIAS_RELU2):
        activation._cuda(x.transpose(0, 1), weight)
        assert activation._cuda_backward(x, x, None)[1].numel() == 0
        assert activation._cuda_backward(x, x, weight)[1].shape == (8,)
    rows, head = draw(3, 5, 8), draw(4, 12, 8)
    targets = torch.tensor([0, 1, 2, -100, 4])
    for row_scale, reduction, shape in ((None, 1, ()), (None, 2, ()), (torch.ones(1).expand(5), 0, (5,))):
        loss, dhidden, dhead = LINEAR_CROSS_ENTROPY._cuda(
            rows, head, targets, row_scale, reduction, -100, 9, 0.1, 1e-4, True, True
        )
        assert (loss.shape, dhidden.shape, dhead.shape) == (shape, (5, 8), (12, 8))
    assert GLOBAL_NORM._cuda([x, weight.bfloat16()]).shape == ()
    lists = [[draw(i, 4), draw(i, 2, 3)] for i in range(4)]
    bf16_params = [torch.zeros(4, dtype=torch.bfloat16), torch.zeros(0)]  # the second has none
    ADAMW._cuda(*lists, [], 1, torch.tensor(0.1), 0.9, 0.95, 1e-8, [0.1, 0.0], torch.tensor(1.0), 1.0)
    ADAMW._cuda(*lists, bf16_params, 1, torch.tensor(0.1), 0.9, 0.95, 1e-8, [0.1, 0.0], None, 0.0)
    int8, scale = quantize_rows(draw(1, 5, 8))
    for vectors in (draw(2, 8, 3).T, draw(2, 3, 8).bfloat16()):
        y = GEMV._cuda(vectors, int8, scale, torch.zeros(5, dtype=vectors.dtype))
        assert (y.shape, y.dtype) == ((3, 5), vectors.dtype)
    assert GEMV._cuda(draw(2, 3, 8), draw(1, 8, 5).T.bfloat16(), None, None).shape == (3, 5)
    cache = draw(3, 2, 3, 70, 8)
    query = draw(4, 3, 2, 8).transpose(0, 1)
    assert DECODE_ATTENTION._cuda(query, cache[:, :, :65], cache[:, :, 5:]).shape == (2, 3, 8)
    assert set(calls) == set(cuda.KERNELS)


def test_the_chunks_of_logits_cover_every_row_once(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LINEAR_CROSS_ENTROPY, "_MIN_CHUNK_ROWS", 4)
    monkeypatch.setattr(LINEAR_CROSS_ENTROPY, "_MAX_CHUNK_LOGITS", 1)
    hidden, weight = draw(1, 11, 8), draw(2, 12, 8)
    targets = torch.zeros(11, dtype=torch.int64)
    numbers = (1, -100, 12, 0.0, 0.0, True, True)
    _, dhidden, dweight = LINEAR_CROSS_ENTROPY._cuda(hidden, weight, targets, None, *numbers)
    assert calls == ["linear_cross_entropy"] * 3
    logits = hidden @ weight.T  # the kernel is not there, so the logits stand for their own gradient
    torch.testing.assert_close(dhidden, logits @ weight)
    torch.testing.assert_close(dweight, logits.T @ hidden)


def test_products_of_bfloat16_matrices_are_summed_in_float32_to_the_end() -> None:
    a, b = draw(1, 9, 33, dtype=torch.bfloat16), draw(2, 33, 5, dtype=torch.bfloat16)
    total, truth = torch.ones(9, 5), 1 + 2 * (a.double() @ b.double())
    for _ in range(2):
        LINEAR_CROSS_ENTROPY._add_product(total, a, b)
    torch.testing.assert_close(total.double(), truth, rtol=1e-6, atol=1e-5)  # bfloat16 is off by 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_embeddings_gradient_is_added_as_by_the_reference(
    dtype: torch.dtype, weight_dtype: torch.dtype
) -> None:
    ids = torch.arange(60) ** 2 % 17
    dy, before = draw(1, 60, 8, dtype=dtype), draw(2, 20, 8, dtype=weight_dtype)
    mine, expected = before.clone(), before.clone()
    EMBEDDING_BACKWARD._cuda(mine, dy, ids)
    reference.embedding_backward_(expected, dy, ids)
    torch.testing.assert_close(
        mine, expected, rtol=1e-6 if weight_dtype == torch.float32 else 2.0**-8, atol=1e-6
    )
    assert torch.equal(mine[19], before[19])  # no row of token 19


@pytest.mark.parametrize(
    ("operator", "arguments", "words"),
    [
        (
            ADD_LAYER_NORM,
            (draw(1, 2, 8), draw(1, 2, 7), draw(2, 8), None, 1e-5),
            "residual: expected shape",
        ),
        (ADD_LAYER_NORM, (draw(1, 2, 8).double(), None, draw(2, 8), None, 1e-5), "x: expected dtype"),
        (BIAS_GELU, (draw(1, 2, 8), draw(2, 7)), "bias: expected shape"),
        (BIAS_RELU2, (draw(1, 2, 8), draw(2, 7)), "bias: expected shape"),
        (
            LINEAR_CROSS_ENTROPY,
            (draw(1, 2, 8), draw(2, 9, 8), torch.zeros(2), None, 1, -100, 9, 0.0, 0.0, True, True),
            "targets: .*dtype",
        ),
        (
            LINEAR_CROSS_ENTROPY,
            (
                draw(1, 2, 8),
                draw(2, 9, 8),
                torch.zeros(2).long(),
                draw(3, 3),
                0,
                -100,
                9,
                0.0,
                0.0,
                True,
                True,
            ),
            "row_scale: expected shape",
        ),
        (EMBEDDING_BACKWARD, (draw(1, 9, 8), draw(2, 3, 8), torch.zeros(2).long()), "dy: expected shape"),
        (EMBEDDING_BACKWARD, (draw(1, 9, 8), draw(2, 2, 8), torch.zeros(2)), "ids: .*dtype"),
        (GEMV, (draw(1, 2, 8), draw(2, 3, 7), None, None), "weight: expected shape"),
        (GEMV, (draw(1, 2, 8), draw(2, 3, 8), None, draw(3, 2)), "bias: expected shape"),
        (GEMV, (draw(1, 2, 8), draw(2, 3, 8).char(), None, None), "scale: expected a tensor"),
        (GEMV, (draw(1, 2, 8), draw(2, 3, 8).char(), draw(3, 2), None), "scale: expected shape"),
        (GEMV, (draw(1, 2, 8), draw(2, 3, 8), draw(3, 3), None), "scale: expected None"),
        (GEMV, (draw(1, 2, 8).half(), draw(2, 3, 8).half(), None, None), "x: expected dtype"),
        (
            DECODE_ATTENTION,
            (draw(1, 1, 2, 8), draw(2, 1, 2, 5, 8), draw(3, 1, 2, 6, 8)),
            "values: expected shape",
        ),
        (
            DECODE_ATTENTION,
            (draw(1, 1, 2, 7), draw(2, 1, 2, 5, 8), draw(3, 1, 2, 5, 8)),
            "query: expected shape",
        ),
        (
            DECODE_ATTENTION,
            (draw(1, 1, 2, 5), draw(2, 1, 2, 5, 8).mT, draw(3, 1, 2, 8, 5)),
            "keys: expected the D elements",
        ),
        (
            DECODE_ATTENTION,
            (draw(1, 1, 2, 8).half(), draw(2, 1, 2, 5, 8).half(), draw(3, 1, 2, 5, 8).half()),
            "query: expected dtype",
        ),
    ],
)
def test_what_would_leave_its_buffer_is_refused(
    calls: list[str], operator: Any, arguments: tuple, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        operator._cuda(*arguments)
    assert calls == []
