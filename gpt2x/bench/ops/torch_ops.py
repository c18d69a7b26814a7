"""What the operators of `gpt2x.ops` compute, written with torch's own functions: the peer of `gpt2x bench ops`.

The reference in `gpt2x.ops.reference` says what is computed, step by step, accumulated in float32. These take torch's
fastest public call for the same work in the same dtype, so that an operator of ours that is slower than torch is
seen to be. Names and arguments are those of `gpt2x.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2x.ops.reference import clip_factor


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Two calls: add, then F.layer_norm."""
    total = x + residual
    return F.layer_norm(total, weight.shape, weight, bias), total


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Two calls: add, then F.gelu."""
    return F.gelu(x + bias, approximate="tanh")


def bias_relu2(x: Tensor, bias: Tensor) -> Tensor:
    """Three calls: add, F.relu, square."""
    return F.relu(x + bias).square()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear: MKL, oneDNN or cuBLAS, as torch chooses."""
    return F.linear(x, weight, bias)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits at once, widened for the softmax as autocast does."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets)


def embedding_backward_(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """index_add_: on a GPU its sums come in any order."""
    dweight.index_add_(0, ids, dy)


def gemv(x: Tensor, weight: Tensor) -> Tensor:
    """F.linear in the dtype of the weight, as torch has no product of two dtypes."""
    return F.linear(x.to(weight.dtype), weight).to(x.dtype)


def qk_norm_rotary(qkv: Tensor, num_heads: int, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """F.rms_norm and a rotation as `gpt2x.model.gpt` writes it, in the dtype of qkv."""
    queries_and_keys, values = qkv.tensor_split((qkv.shape[-1] // 3 * 2,), dim=-1)
    heads = queries_and_keys.unflatten(-1, (2 * num_heads, -1))
    heads = F.rms_norm(heads, heads.shape[-1:])
    cos, sin = (part.to(qkv.dtype)[:, None] for part in rotation)
    heads = torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, dims=-1), sin)
    return torch.cat([heads.flatten(-2), values], dim=-1)


def causal_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """scaled_dot_product_attention over permuted views, its result laid out as rows again."""
    B, T, width = qkv.shape
    q, k, v = qkv.view(B, T, 3, num_heads, width // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def decode_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """scaled_dot_product_attention with a query of one token."""
    return F.scaled_dot_product_attention(query[:, :, None], keys, values)[:, :, 0]


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm that clip_grad_norm_ computes."""
    return torch.nn.utils.get_total_norm(tensors)


def mean_(out: list[Tensor], addends: list[list[Tensor]]) -> None:
    """For lists of tensors: copy_, add_ and div_."""
    torch._foreach_copy_(out, addends[0])
    for more in addends[1:]:
        torch._foreach_add_(out, more)
    torch._foreach_div_(out, len(addends))


@torch.no_grad()
def adamw_(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    *,
    step: int,
    lr: float,
    weight_decay: float,
    grad_norm: Tensor,
    max_norm: float,
    bf16_params: list[Tensor] | None = None,
) -> None:
    """Clip, torch's fused AdamW, and where there are bf16_params the cast that autocast would make of every weight."""
    from torch.optim.adamw import adamw

    cast = [grad.to(p.dtype) for p, grad in zip(params, grads, strict=True)]
    clipped: Any = torch._foreach_mul(cast, clip_factor(grad_norm, max_norm))
    steps = [torch.full((), step - 1.0, device=p.device) for p in params]  # adamw counts them up itself
    adamw(
        params,
        clipped,
        exp_avgs,
        exp_avg_sqs,
        [],
        steps,
        fused=True,
        amsgrad=False,
        maximize=False,
        beta1=0.9,
        beta2=0.95,
        lr=lr,
        weight_decay=weight_decay,
        eps=1e-8,
    )
    if bf16_params is not None:
        torch._foreach_copy_(bf16_params, params)
