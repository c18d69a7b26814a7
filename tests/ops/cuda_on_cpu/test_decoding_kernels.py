"""`gemv` and `decode_attention` on CUDA, executed on the CPU, against float64; and a model that writes with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt2x import ops
from gpt2x.generate import GREEDY, Engine
from gpt2x.model import GPT, GPTConfig, decoding
from gpt2x.ops import backend, cuda, reference
from tests.ops.cuda_on_cpu.kernel_cases import (
    ADD_LAYER_NORM,
    BF16,
    BIAS_GELU,
    CACHES,
    DECODE_ATTENTION,
    F32,
    GEMV,
    LAYOUTS,
    PRODUCTS,
    WEIGHTS,
    Cache,
    attention,
    place,
    product,
    same_dtype_and_error,
)

dtypes = pytest.mark.parametrize("dtype", [F32, BF16], ids=["float32", "bfloat16"])


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "plain"])
def test_gemv(kernels: Any, kind: str, with_bias: bool) -> None:
    dtype, weight_dtype = WEIGHTS[kind]
    for case in PRODUCTS:
        x, weight, scale = case.inputs(dtype, weight_dtype)
        bias = place(3, case.O, dtype=dtype, offset=1) if with_bias else None
        got = GEMV._cuda(x, weight, scale, bias)
        expected = reference.gemv(x, weight, scale, bias)
        same_dtype_and_error([got], [expected], [product(x, weight, scale, bias)], dtype)


def test_a_vector_that_is_not_finite_spoils_no_other(kernels: Any) -> None:
    x, weight = place(1, 3, 40, dtype=F32), place(2, 5, 40, dtype=F32)
    x[1, 7] = math.nan
    got = GEMV._cuda(x, weight, None, None)
    assert got.isnan().all(1).tolist() == [False, True, False]
    assert got[::2].isfinite().all()


def _tokens(cache: Cache, dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    query = place(1, cache.B, cache.H, cache.D, dtype=dtype) * scale
    keys, values = (place(k, *cache, dtype=dtype) for k in (2, 3))
    return query, keys, values


def _check_attention(query: Tensor, keys: Tensor, values: Tensor) -> None:
    got, expected = (
        function(query, keys, values) for function in (DECODE_ATTENTION._cuda, reference.decode_attention)
    )
    same_dtype_and_error([got], [expected], [attention(query, keys, values)], query.dtype)


@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_decode_attention(kernels: Any, dtype: torch.dtype, layout: str) -> None:
    lay_keys, lay_values = LAYOUTS[layout]
    for cache in CACHES if layout in ("dense", "part of a longer cache") else CACHES[3:6]:
        query, keys, values = _tokens(cache, dtype)
        _check_attention(query, lay_keys(keys), lay_values(values))


@pytest.mark.parametrize("D", [64, 33])
def test_every_length_of_a_cache(kernels: Any, D: int) -> None:
    """Up to two parts and a rest: whichever lanes have no token."""
    for S in (1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 63, 127, 128, 129):
        _check_attention(*_tokens(Cache(1, 1, S, D), F32))


@dtypes
def test_a_query_that_is_not_dense_and_begins_anywhere(kernels: Any, dtype: torch.dtype) -> None:
    query, keys, values = _tokens(Cache(1, 3, 70, 16), dtype)
    _check_attention(query.transpose(1, 2).contiguous().transpose(1, 2), keys, values)
    _check_attention(place(1, 1, 3, 16, dtype=dtype, offset=1), keys, values)


def test_scores_that_no_exponential_holds(kernels: Any) -> None:
    _check_attention(*_tokens(Cache(1, 2, 130, 64), F32, scale=1e3))


@pytest.mark.parametrize("seen", [3, 70])
def test_tokens_with_a_score_of_minus_infinity_count_for_nothing(kernels: Any, seen: int) -> None:
    _, keys, values = _tokens(Cache(1, 1, 200, 2), F32)
    query = torch.ones(1, 1, 2)
    keys[:, :, seen:] = -math.inf  # among them whole parts
    got, expected = (
        DECODE_ATTENTION._cuda(query, keys, values),
        attention(query, keys[:, :, :seen], values[:, :, :seen]),
    )
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    keys[:] = -math.inf
    assert DECODE_ATTENTION._cuda(query, keys, values).isnan().all()


def test_what_is_not_finite_stays_in_its_head_and_column(kernels: Any) -> None:
    query, keys, values = _tokens(Cache(1, 2, 130, 8), F32)
    values[0, 1, 128, 2] = math.nan
    assert DECODE_ATTENTION._cuda(query, keys, values)[0].isnan().nonzero().tolist() == [[1, 2]]
    query[0, 0, 3] = math.nan
    got = DECODE_ATTENTION._cuda(query, keys, values)[0].isnan()
    assert got.sum(1).tolist() == [8, 1]


def test_more_parts_than_a_launch_takes_are_refused_here(kernels: Any) -> None:
    one, strides = torch.zeros(8), DECODE_ATTENTION._strides(torch.zeros(1, 1, 1, 8))
    kernel = cuda.KERNELS["decode_attention"]
    for B, H, S, D in ((2**31, 1, 1, 8), (2**16, 2**10, 64 * 2**5 + 1, 8), (1, 1, 0, 8), (1, 1, 1, 0)):
        with pytest.raises(RuntimeError, match="invalid argument"):
            kernel(one.device, 0, one, one, strides, one, strides, B, H, S, D, one, one)


def test_an_int8_weight_without_a_scale_is_refused_here(kernels: Any) -> None:
    x, y = torch.zeros(1, 8), torch.zeros(1, 1)
    for weight_dtype, scale in ((2, None), (0, torch.ones(1)), (3, None)):
        with pytest.raises(RuntimeError, match="invalid argument"):
            cuda.KERNELS["gemv"](x.device, 0, weight_dtype, x, x, scale, None, 1, 8, 1, y)


# ----------------------------------------------------------------------------------------------------------------
# A model


class _Kernels:
    """The operators of `gpt2x.model.decoding` as a GPU computes them."""

    gemv, decode_attention = staticmethod(GEMV._cuda), staticmethod(DECODE_ATTENTION._cuda)
    add_layer_norm, bias_gelu = staticmethod(ADD_LAYER_NORM._cuda), staticmethod(BIAS_GELU._cuda)


@pytest.fixture
def model() -> GPT:
    if backend.report()[0].implementation != "native":
        pytest.skip("the native operators are not built")
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=61, block_size=80, n_layer=2, n_head=2, n_embd=32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("weights", decoding.WEIGHTS)
def test_a_model_reads_with_the_kernels_what_it_reads_on_a_cpu(
    kernels: Any, model: GPT, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = torch.randint(0, 61, (70,), generator=torch.Generator().manual_seed(1))
    branches = torch.tensor([[3, 4, 5], [6, 7, 8]])

    def read() -> list[Tensor]:
        reader = decoding.DecodingModel(model, weights)
        cache = reader.new_cache()
        found = [reader(part, cache) for part in (text[:62], *text[62:].split(1))]  # beyond one part
        fork = cache.fork(3, 2)
        return [*found, *(reader.read_rows(ids, fork) for ids in branches)]

    expected = read()
    monkeypatch.setattr(decoding, "OP", _Kernels)
    monkeypatch.setattr(ops, "decode_attention", DECODE_ATTENTION._cuda)
    for mine, theirs in zip(read(), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)


def test_the_engine_writes_with_the_kernels_what_it_writes_on_a_cpu(
    kernels: Any, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> list[int]:
        return list(Engine(model).generate([1, 2, 3], max_new_tokens=12, sampling=GREEDY))

    expected = write()
    assert len(set(expected)) > 3, "a text of one token would show nothing"
    monkeypatch.setattr(decoding, "OP", _Kernels)
    assert write() == expected
