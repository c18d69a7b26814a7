"""Fused operators of a GPT's training and decoding step; each has a plain-torch twin in `gpt2x.ops.reference`.

>>> from gpt2x.ops import backend
>>> [status.name for status in backend.report()][:3]
['add_layer_norm', 'bias_gelu', 'linear']
"""

from gpt2x.ops.functional import (
    adamw_,
    add_layer_norm,
    bias_gelu,
    decode_attention,
    embedding_backward_,
    gemv,
    global_norm,
    linear,
    linear_cross_entropy,
    quantize_rows,
)
from gpt2x.ops.memory import keep_freed_memory

__all__ = [
    "adamw_",
    "add_layer_norm",
    "bias_gelu",
    "decode_attention",
    "embedding_backward_",
    "gemv",
    "global_norm",
    "keep_freed_memory",
    "linear",
    "linear_cross_entropy",
    "quantize_rows",
]
