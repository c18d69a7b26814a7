"""The keys and values of the tokens already read, so that each new token costs one row instead of the whole text."""

from __future__ import annotations

import torch
from torch import Tensor

from gpt2x.model.config import GPTConfig


class KVCache:
    """Room for the keys and values of `max_length` tokens in every layer, allocated once.

    A forward pass appends: `update` stores one layer's new rows and hands back all rows so far; when every layer has
    done so, `advance` moves the end. Memory: 2 · n_layer · B · max_length · C numbers (75 MB for GPT-2's 1,024 in
    float32), touched only as far as it is filled.

    Attributes:
        length: tokens held now.
        max_length: tokens that fit.

    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int = 1,
        *,
        max_length: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.length = 0
        self.max_length = min(max_length or config.block_size, config.block_size)
        shape = (config.n_layer, batch_size, config.n_head, self.max_length, config.head_size)
        self._keys = torch.empty(shape, device=device, dtype=dtype)  # (n_layer, B, H, S, D)
        self._values = torch.empty(shape, device=device, dtype=dtype)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append one layer's rows; returns views of all its rows, the new ones last.

        Args:
            layer: which block.
            k: (B, H, T, D), the keys of the T new tokens.
            v: (B, H, T, D), their values.

        Raises:
            ValueError: they do not fit any more.

        """
        end = self.length + k.shape[2]
        if end > self.max_length:
            raise ValueError(
                f"the cache holds {self.length} of {self.max_length} tokens; {k.shape[2]} more do not fit"
            )
        self._keys[layer, :, :, self.length : end] = k
        self._values[layer, :, :, self.length : end] = v
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def advance(self, num_tokens: int) -> None:
        """Count `num_tokens` as held, after every layer has stored them."""
        self.length += num_tokens

    def clear(self) -> None:
        """Forget all tokens; the memory stays."""
        self.length = 0
