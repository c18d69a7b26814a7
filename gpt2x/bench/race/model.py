"""Value embeddings, the one part that races and that `gpt2x.model.GPT` does not have; all others are its own switches.

A second table has a vector for each token, which every block adds to the values of its attention. Such a model is
trained for a race and thrown away, and reaches no folder and no export.

Letters in shapes, as in `gpt2x/model/gpt.py`:
    B  batch    T  tokens    C  width of the residual stream    H  heads    D  head size, C / H
    V  vocabulary, Vp with padding
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpt2x.model.config import GPTConfig
from gpt2x.model.gpt import GPT, Attention

VALUE_SCALE = 0.5
"""What a token's own vector counts for among the values at first; it is learned, block by block."""


class ValueAttention(Attention):
    """Attention whose values have the token's own vector in them; the model hands it over before the blocks run."""

    token_values: Tensor  # (B, T, C)

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.fused_attention = False  # it reads the values where c_attn wrote them
        self.value_scale = nn.Parameter(torch.tensor([VALUE_SCALE]))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) -> queries, keys and values, (B, H, T, D) each."""
        q, k, v = super()._heads(x)
        B, T, _ = x.shape
        token_values = self.token_values.view(B, T, self.n_head, self.head_size).transpose(1, 2)
        return q, k, v + self.value_scale * token_values


class ValueGPT(GPT):
    """A GPT with value embeddings.

    >>> model = ValueGPT(GPTConfig(vocab_size=10, block_size=8, n_layer=1, n_head=2, n_embd=4))
    >>> model(torch.tensor([[1, 2, 3]]))[0].shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        for layer, block in enumerate(self.h):
            block.attn = ValueAttention(config, layer)
        self.values = nn.Embedding(config.num_rows, config.n_embd)  # weight (Vp, C)
        self._init_as_gpt2()

    def _embed(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) -> (B, T, C), and the matrix of the output layer; each block gets the tokens' vectors."""
        token_values = self.values(idx)  # (B, T, C)
        for block in self.h:
            block.attn.token_values = token_values  # type: ignore[union-attr]
        return super()._embed(idx)
