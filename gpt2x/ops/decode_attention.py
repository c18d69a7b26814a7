"""Attention of one new token over a KV cache: the call, and how CUDA computes it."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import cuda, reference
from gpt2x.ops.calling import is_native
from gpt2x.ops.checks import check_device, check_dtype, check_storage, require
from gpt2x.ops.derivatives import differentiates
from gpt2x.ops.library import OP, Operator


def decode_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one new token over a KV cache: ``softmax(query keys^T / sqrt(D)) values`` in every head.

    Keys and values are read where they are; a view of a longer cache costs no copy.

    Args:
        query: (B, H, D). Where autograd records and an input needs a gradient, the plain-torch reference serves.
        keys: (B, H, S, D) with S > 0, the new token's own among them, in query's dtype.
        values: like keys.

    Returns:
        (B, H, D), in query's dtype; softmax and sums are float32 (float64 for float64).

    Raises:
        ValueError: a dtype, shape or device does not fit; the message names the argument.

    """
    check_storage("query", query)
    require(query.dim() == 3, lambda: f"query: expected (B, H, D), got shape {tuple(query.shape)}")
    D = query.shape[2]
    require(D > 0, lambda: f"query: expected D > 0, got shape {tuple(query.shape)}")
    _check_cache("keys", keys, query)
    _check_cache("values", values, query)
    require(
        values.shape == keys.shape,
        lambda: f"values: expected {tuple(keys.shape)} as keys, got {tuple(values.shape)}",
    )
    if differentiates(query, keys, values) or not is_native(query):
        return reference.decode_attention(query, keys, values)
    rows_apart = [t if D < 2 or t.stride(3) == 1 else t.contiguous() for t in (keys, values)]
    return OP.decode_attention(query, *rows_apart)


def _check_cache(name: str, tensor: Tensor, query: Tensor) -> None:
    """Keys or values (B, H, S, D) of a query (B, H, D), in its dtype, on its device."""
    B, H, D = query.shape
    check_storage(name, tensor)
    require(
        tensor.dim() == 4 and (tensor.shape[0], tensor.shape[1], tensor.shape[3]) == (B, H, D),
        lambda: f"{name}: expected ({B}, {H}, S, {D}), got {tuple(tensor.shape)}",
    )
    require(tensor.shape[2] > 0, lambda: f"{name}: expected S > 0 tokens, got shape {tuple(tensor.shape)}")
    check_dtype(name, tensor, "query", query)
    check_device(name, tensor, "query", query)


operator = Operator("decode_attention")


@operator.fake
def _fake(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return query.new_empty(query.shape)


@operator.flops
def _flops(query_shape: Any, keys_shape: Any, *_: Any, **__: Any) -> int:
    """Scores and weighted values."""
    B, H, S, D = keys_shape
    return int(4 * B * H * S * D)


_kernel = cuda.Kernel(
    "decode_attention", [cuda.INT] + [cuda.POINTER] * 5 + [cuda.INT64] * 4 + [cuda.POINTER] * 3
)
_TOKENS_PER_PART = 64  # GPT2X_CUDA_DECODE_TOKENS_PER_PART of the header


@operator.cuda
def _cuda(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    B, H, S, D = keys.shape
    cuda.require_on(query.device, keys=keys, values=values)
    cuda.require_shape((B, H, D), query=query)
    cuda.require_shape((B, H, S, D), values=values)
    cuda.require_dtype(query.dtype, keys=keys, values=values)
    for name, tensor in (("keys", keys), ("values", values)):
        if D > 1 and tensor.stride(3) != 1:
            raise ValueError(
                f"{name}: expected the D elements of a head side by side, got stride {tensor.stride(3)}"
            )
    code, query = cuda.code("query", query), query.contiguous()
    y = torch.empty_like(query)
    parts = -(-S // _TOKENS_PER_PART)
    scratch = query.new_empty(B * H * parts * (D + 2), dtype=torch.float32)
    caches = keys, _strides(keys), values, _strides(values)
    _kernel(query.device, code, query, *caches, B, H, S, D, scratch, y)
    return y


def _strides(cache: Tensor) -> Any:
    """How far the texts, heads and tokens of a (B, H, S, D) tensor stand apart, in elements."""
    return (ctypes.c_int64 * 3)(*cache.stride()[:3])
