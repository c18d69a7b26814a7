"""Fused operators of a GPT's training step; each has a plain-torch twin in `gpt2x.ops.reference`.

>>> from gpt2x.ops import backend
>>> [status.name for status in backend.report()]
['add_layer_norm', 'bias_gelu', 'linear_cross_entropy', 'adamw_', 'global_norm']
"""

from gpt2x.ops.functional import adamw_, add_layer_norm, bias_gelu, global_norm, linear_cross_entropy

__all__ = ["adamw_", "add_layer_norm", "bias_gelu", "global_norm", "linear_cross_entropy"]
