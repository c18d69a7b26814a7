"""The race's model: GPT-2 with four parts that can be exchanged, each a few lines; read it from the top.

Everything else is `gpt2x.model.GPT`'s, and with no part exchanged the two compute the same, bit for bit. A model with
one of the parts is no GPT-2 any more: it is trained for a race and thrown away, and reaches no folder and no export.

Letters in shapes, as in `gpt2x/model/gpt.py`:
    B  batch    T  tokens    C  width of the residual stream    H  heads    D  head size, C / H
    V  vocabulary, Vp with padding
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2x.bench.race.parts import Parts
from gpt2x.model.config import GPTConfig
from gpt2x.model.gpt import GPT, MLP, AddLayerNorm, Attention
from gpt2x.model.kv_cache import KVCache

BASE = 10_000.0
"""The slowest pair of a head turns by about 1 / BASE a token (Su et al. 2021, section 3.3)."""

VALUE_SCALE = 0.5
"""What a token's own vector counts for among the values at first; it is learned, block by block."""


def rms_norm(x: Tensor) -> Tensor:
    """(…, D) -> the same direction with a root mean square of 1; no gain is learned.

    >>> rms_norm(torch.tensor([3.0, 4.0])).square().mean().item()
    1.0
    """
    return F.rms_norm(x, x.shape[-1:])


def rotation(num_tokens: int, head_size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, (T, D / 2) each, of the angle by which pair i of position t turns: t · BASE^(-2 i / D)."""
    rates = BASE ** (-torch.arange(0, head_size, 2) / head_size)  # (D / 2)
    angles = torch.arange(num_tokens)[:, None] * rates  # (T, D / 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(B, H, T, D) -> each pair (x_i, x_{i + D/2}) turned by its position's angle.

    The product of a query and a key then depends on their distance alone.
    """
    first, second = x.chunk(2, dim=-1)  # (B, H, T, D / 2)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class RaceAttention(Attention):
    """GPT-2's attention, with what the entrant changes of queries, keys and values."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, layer: int, parts: Parts) -> None:
        super().__init__(config, layer)
        self.parts = parts
        if parts.rotary:
            cos, sin = rotation(config.block_size, self.head_size)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        if parts.value_embeddings:
            self.value_scale = nn.Parameter(torch.tensor([VALUE_SCALE]))

    def attend(self, x: Tensor, token_values: Tensor | None) -> Tensor:
        """(B, T, C), and (B, T, C) or None -> (B, T, C)."""
        B, T, C = x.shape
        qkv = self.c_attn(x).view(B, T, 3, self.n_head, self.head_size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        if self.parts.qk_norm:
            q, k = rms_norm(q), rms_norm(k)
        if self.parts.rotary:
            q, k = (rotate(each, self.cos[:T], self.sin[:T]) for each in (q, k))
        if token_values is not None:
            v = v + self.value_scale * token_values.view(B, T, self.n_head, self.head_size).transpose(1, 2)
        y = self._naive(q, k, v) if self.naive else self._flash(q, k, v)  # (B, H, T, D)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class ReluSquaredMLP(MLP):
    """Widen, max(0, x)², narrow."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        y: Tensor = self.c_proj(F.relu(self.c_fc(x)).square())
        return y


class RaceBlock(nn.Module):
    """GPT-2's block around the exchanged parts."""

    def __init__(self, config: GPTConfig, layer: int, parts: Parts) -> None:
        super().__init__()
        self.ln_1 = AddLayerNorm(config)
        self.attn = RaceAttention(config, layer, parts)
        self.ln_2 = AddLayerNorm(config)
        self.mlp = ReluSquaredMLP(config) if parts.relu_squared else MLP(config)

    def forward(self, x: Tensor, branch: Tensor | None, token_values: Tensor | None) -> tuple[Tensor, Tensor]:
        """The stream and the branch not yet added to it -> the same two, one block later."""
        x, y = self.ln_1(x, branch)
        x, y = self.ln_2(x, self.attn.attend(y, token_values))
        return x, self.mlp(y)


class RaceGPT(GPT):
    """GPT-2 with the parts of an entrant.

    Args:
        config: the shape, and which operators are fused; dropout has to be 0.
        parts: what is exchanged.

    >>> shape = GPTConfig(vocab_size=10, block_size=8, n_layer=1, n_head=2, n_embd=4)
    >>> logits, _ = RaceGPT(shape, Parts(rotary=True))(torch.tensor([[1, 2, 3]]))
    >>> logits.shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, config: GPTConfig, parts: Parts) -> None:
        super().__init__(config)
        self.parts = parts
        self.h = nn.ModuleList(RaceBlock(config, layer, parts) for layer in range(config.n_layer))
        if parts.rotary:
            del self.wpe
        if parts.value_embeddings:
            self.values = nn.Embedding(config.num_rows, config.n_embd)  # weight (Vp, C)
        self._init_as_gpt2()

    def _hidden_states(
        self, idx: Tensor, cache: KVCache | None, documents: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The hidden states, (B, T, C), and the matrix (Vp, C) of the output layer."""
        assert cache is None, "a race only trains"
        assert documents is None, "a race does not reset attention"
        x, head = self._embed(idx)  # (B, T, C)
        if not self.parts.rotary:
            x = x + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        token_values = self.values(idx) if self.parts.value_embeddings else None
        branch = None
        for block in self.h:
            x, branch = block(x, branch, token_values)
        return self.ln_f(x, branch)[1], head
