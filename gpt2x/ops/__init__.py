"""Fused operators of a GPT's training and decoding step; each has a plain-torch reference in `gpt2x.ops.reference`.

>>> from gpt2x.ops import backend
>>> [status.name for status in backend.report()][:3]
['adamw_', 'add_layer_norm', 'bias_gelu']
"""

from gpt2x.ops.adamw import adamw_
from gpt2x.ops.add_layer_norm import add_layer_norm
from gpt2x.ops.bias_gelu import bias_gelu
from gpt2x.ops.bias_relu2 import bias_relu2
from gpt2x.ops.causal_attention import causal_attention
from gpt2x.ops.decode_attention import decode_attention
from gpt2x.ops.embedding_backward import embedding_backward_
from gpt2x.ops.gemv import gemv, quantize_rows
from gpt2x.ops.global_norm import global_norm
from gpt2x.ops.linear import linear
from gpt2x.ops.linear_cross_entropy import linear_cross_entropy
from gpt2x.ops.mean import mean_
from gpt2x.ops.memory import keep_freed_memory
from gpt2x.ops.qk_norm_rotary import qk_norm_rotary

__all__ = [
    "adamw_",
    "add_layer_norm",
    "bias_gelu",
    "bias_relu2",
    "causal_attention",
    "decode_attention",
    "embedding_backward_",
    "gemv",
    "global_norm",
    "keep_freed_memory",
    "linear",
    "linear_cross_entropy",
    "mean_",
    "qk_norm_rotary",
    "quantize_rows",
]
