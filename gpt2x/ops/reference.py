"""The operators in plain torch: specification, fallback and test oracle of everything in `gpt2x.ops`.

Each function here has the name, the arguments and the result of its fused operator, and says in a few lines what it
computes. Autograd differentiates them as they stand. They are used where no native operator serves (no compiler at
install time, a device or dtype without a kernel, ``GPT2X_OPS=reference``), and in float64 they are the truth that the
tests measure the fused ones against.

Letters: N rows, C channels, V vocabulary, Vp padded vocabulary. Statistics are float32 whatever the storage, or
float64 when the storage is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor


def _accumulation(tensor: Tensor) -> Tensor:
    """The tensor in the accumulation dtype: float64 stays, all else becomes float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """For products that autocast would round to 16 bits; torch has none for a device without data, as meta is."""
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


def add_layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Add, then normalise each row: ``sum = x + residual``; ``y = (sum - mean) * rstd * weight + bias``.

    The sum is rounded to the storage type before the statistics are taken, as in ``F.layer_norm(x + residual)``
    (Ba et al. 2016, "Layer Normalization", eq. 4; the variance is the biased one).

    Returns:
        ``(y, sum)``, both shaped like x. Without a residual the sum is x itself.

    """
    total = x if residual is None else x + residual
    rows, gain = _accumulation(total), _accumulation(weight)
    shift = None if bias is None else _accumulation(bias)
    y = F.layer_norm(rows, (total.shape[-1],), gain.to(rows.dtype), shift, eps)
    return y.to(total.dtype), total


def bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of ``x + bias`` in GPT-2's tanh form: ``0.5 u (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3)))``.

    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2. The sum is not rounded in between.
    """
    total = _accumulation(x) if bias is None else _accumulation(x) + _accumulation(bias)
    return F.gelu(total, approximate="tanh").to(x.dtype)


def bias_relu2(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """``max(0, x + bias)^2``; the sum is not rounded in between.

    So et al. 2021, "Primer: Searching for Efficient Transformers for Language Modeling", section 3.
    """
    total = _accumulation(x) if bias is None else _accumulation(x) + _accumulation(bias)
    return F.relu(total).square().to(x.dtype)


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int = -100,
    vocab_size: int | None = None,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of ``softmax(hidden @ weight.T)`` against the targets; holds all logits at once.

    The product runs in the dtype of `hidden`, softmax and sums in float32. Columns from `vocab_size` on are padding
    and get no probability. `reduction` is that of `F.cross_entropy`: with every target ignored the mean is 0/0 = NaN,
    the sum 0; without a reduction a row that is ignored has loss 0.

    With smoothing the target is ``(1 - label_smoothing) onehot + label_smoothing / V`` (Szegedy et al. 2016,
    "Rethinking the Inception Architecture", section 7). `z_loss` times ``(log Z)^2``, with Z the sum of the
    exponentials, is added to the loss of a row (Chowdhery et al. 2022, "PaLM", section 5).
    """
    size = weight.shape[0] if vocab_size is None else vocab_size
    logits = _accumulation(hidden.reshape(-1, hidden.shape[-1]) @ weight[:size].to(hidden.dtype).T)  # (N, V)
    labels = targets.reshape(-1)
    loss = F.cross_entropy(
        logits, labels, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )
    if z_loss != 0:
        counts = labels != ignore_index
        squares = z_loss * torch.logsumexp(logits, dim=-1).square().masked_fill(~counts, 0.0)
        if reduction != "none":
            squares = squares.sum() / (counts.sum() if reduction == "mean" else 1)
        loss = loss + squares
    return loss.view(targets.shape) if reduction == "none" else loss


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors laid end to end, as a 0-dim float32 (float64 when a tensor is)."""
    if not tensors:
        return torch.zeros(())
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    norms = [torch.linalg.vector_norm(t, dtype=dtype) for t in tensors]
    return torch.linalg.vector_norm(torch.stack(norms))


def mean_(out: Sequence[Tensor], addends: Sequence[Sequence[Tensor]]) -> Tensor:
    """``out[i] = (addends[0][i] + addends[1][i] + …) / J`` in place, added in this order in the dtype of `out`.

    Returns:
        The sum of the squares of what was written, 0-dim float64.

    """
    squares = torch.zeros((), dtype=torch.float64, device=out[0].device if out else None)
    for mean, first, *others in zip(out, *addends, strict=True):
        mean.copy_(first)
        for other in others:
            mean.add_(other)
        mean.div_(len(addends))
        squares = squares + torch.linalg.vector_norm(mean, dtype=torch.float64).square()
    return squares


def clip_factor(grad_norm: Tensor, max_norm: float) -> Tensor:
    """What the gradients are multiplied by: ``min(1, max_norm / (grad_norm + 1e-6))``, as torch's clip_grad_norm_."""
    return torch.clamp(max_norm / (grad_norm + 1e-6), max=1.0)


@torch.no_grad()
def adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    *,
    step: int | Tensor,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float | Sequence[float] = 0.0,
    grad_norm: Tensor | None = None,
    max_norm: float | None = None,
    bf16_params: Sequence[Tensor | None] | None = None,
) -> None:
    """One AdamW step on every tensor, in place (Loshchilov and Hutter 2019, algorithm 2, decoupled decay).

    With `grad_norm` and `max_norm` the gradients count as multiplied by `clip_factor`; they are not written. A bf16
    copy receives the new parameter, rounded to its dtype. A negative `grad_norm` refuses the step.
    """
    refused = None if grad_norm is None else grad_norm < 0
    beta1, beta2 = betas
    if isinstance(step, Tensor):
        step = step.detach().reshape(()).double()  # a power of a float32 number would be one
    if isinstance(lr, Tensor):
        lr = lr.detach().reshape(())
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    clip = None if grad_norm is None or max_norm is None else clip_factor(grad_norm, max_norm)
    decays = [weight_decay] * len(params) if isinstance(weight_decay, int | float) else weight_decay
    for p, grad, m, v, decay in zip(params, grads, exp_avgs, exp_avg_sqs, decays, strict=True):
        g = _accumulation(grad) if clip is None else _accumulation(grad) * clip
        # The stored tensors themselves where they are in the accumulation dtype and nothing may refuse, else copies.
        kept = [_accumulation(stored) for stored in (p, m, v)]
        new_p, new_m, new_v = kept if refused is None else (old.clone() for old in kept)
        new_m.lerp_(g, 1 - beta1)
        new_v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        denominator = (new_v / correction2).sqrt_().add_(eps)
        new_p.mul_(1 - lr * decay).sub_((new_m / denominator).mul_(lr / correction1))
        for stored, new in ((p, new_p), (m, new_m), (v, new_v)):
            if refused is not None:
                stored.copy_(torch.where(refused, stored, new.to(stored.dtype)))
            elif stored is not new:
                stored.copy_(new)
    for p, bf16_param in zip(params, bf16_params or (), strict=False):
        if bf16_param is not None:
            bf16_param.copy_(p)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``."""
    return F.linear(x, weight, bias)


def embedding_backward_(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """``dweight[ids[n]] += dy[n]`` for every row, in place, in the order of the rows.

    A 16-bit gradient takes them in from a float32 matrix, so that they are rounded once. An id below 0 is as far out of
    range as one from V on, and torch's own indexing says so: IndexError on a CPU, a device-side assertion on a GPU.
    """
    V, C = dweight.shape
    rows, places = dy.reshape(ids.numel(), C), ids.flatten()
    places = torch.where(places < 0, V, places)  # else torch counts it from the end
    sums = torch.zeros_like(dweight, dtype=torch.float32) if dweight.itemsize == 2 else dweight
    sums.index_put_((places,), rows.to(sums.dtype), accumulate=True)
    if sums is not dweight:
        dweight.add_(sums)


def gemv(x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``x @ (weight * scale[:, None]).T + bias`` for few rows of x; `scale` is that of an int8 weight."""
    rows = _accumulation(x)
    with without_autocast(x):
        y = rows @ weight.to(rows.dtype).T
    if scale is not None:
        y = y * scale.to(rows.dtype)
    if bias is not None:
        y = y + bias.to(rows.dtype)
    return y.to(x.dtype)


def decode_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """``softmax(query keys^T / sqrt(D)) values`` for one new token a head, in the accumulation dtype."""
    q, k, v = _accumulation(query), _accumulation(keys), _accumulation(values)
    with without_autocast(query):
        scores = torch.einsum("bhd,bhsd->bhs", q, k) / math.sqrt(query.shape[-1])
        return torch.einsum("bhs,bhsd->bhd", F.softmax(scores, dim=-1), v).to(query.dtype)


def causal_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """``softmax(q k^T / sqrt(D)) v`` in every head, each token over itself and those before it.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.2; in the accumulation dtype.
    """
    q, k, v = (_accumulation(t) for t in heads_of(qkv, num_heads))  # (B, H, T, D) each
    T = q.shape[2]
    hidden = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    with without_autocast(qkv):
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, T)
        scores = scores.masked_fill(hidden, -math.inf)
        return (F.softmax(scores, dim=-1) @ v).to(qkv.dtype).transpose(1, 2).flatten(2)


def qk_norm_rotary(
    qkv: Tensor, num_heads: int, rotation: tuple[Tensor, Tensor] | None = None, *, qk_norm: bool = True
) -> Tensor:
    """Queries and keys over their root mean square, head by head, then turned by their position; values as they are.

    ``n = x / sqrt(mean(x^2) + eps)``, with torch's eps of the accumulation dtype (Henry et al. 2020, "Query-Key
    Normalization for Transformers"); ``y_i = n_i cos_i + n_p(i) sin_i``, where p exchanges the halves of a head and
    `sin` has a minus in its first half (Su et al. 2021, "RoFormer", section 3). Rounded once, at the end.
    """
    C = qkv.shape[-1] // 3
    heads = _accumulation(qkv[..., : 2 * C]).unflatten(-1, (2 * num_heads, C // num_heads))  # (B, T, 2 H, D)
    if qk_norm:
        heads = F.rms_norm(heads, heads.shape[-1:])
    if rotation is not None:
        cos, sin = (part.to(heads.dtype)[:, None] for part in rotation)  # (T, 1, D)
        heads = heads * cos + heads.roll(heads.shape[-1] // 2, dims=-1) * sin
    return torch.cat([heads.flatten(2).to(qkv.dtype), qkv[..., 2 * C :]], dim=-1)


def heads_of(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3 C) -> three views (B, H, T, D)."""
    B, T, width = qkv.shape
    q, k, v = qkv.view(B, T, 3, num_heads, width // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    return q, k, v
