"""The keys and values of the tokens already read, so that each new token costs one row instead of the whole text."""

from __future__ import annotations

import torch
from torch import Tensor

from gpt2x.model.config import GPTConfig


class KVCache:
    """A buffer for the keys and values of `max_length` tokens in every layer, allocated once.

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
        shape = (config.n_layer, 2, batch_size, config.n_head, self.max_length, config.head_size)
        self._rows = torch.empty(shape, device=device, dtype=dtype)  # (n_layer, keys and values, B, H, S, D)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append one layer's rows; returns views of all its rows, the new ones last.

        Args:
            layer: which block.
            k: (B, H, T, D), the keys of the T new tokens.
            v: (B, H, T, D), their values.

        Raises:
            ValueError: they do not fit any more.

        """
        end = self._end_after(k.shape[2])
        rows = self._rows[layer, :, :, :, :end]
        rows[0, :, :, self.length :] = k
        rows[1, :, :, self.length :] = v
        return rows[0], rows[1]

    def update_both(self, layer: int, kv: Tensor) -> tuple[Tensor, Tensor]:
        """`update` for keys and values in one tensor (2, B, H, T, D), stored by one copy.

        A copy of one row costs what calling it costs, and a decoding step makes one a layer (7 instead of 11 µs).

        Raises:
            ValueError: they do not fit any more.

        """
        end = self._end_after(kv.shape[3])
        rows = self._rows[layer, :, :, :, :end]
        rows[:, :, :, self.length :] = kv
        keys, values = rows.unbind()
        return keys, values

    def _end_after(self, num_tokens: int) -> int:
        end = self.length + num_tokens
        if end > self.max_length:
            raise ValueError(
                f"the cache holds {self.length} of {self.max_length} tokens; {num_tokens} more do not fit"
            )
        return end

    def fork(self, count: int, room: int) -> KVCache:
        """A cache of `count` texts that all begin with this one's first; what is held is copied.

        Args:
            count: how many.
            room: how many more tokens of each fit, as far as they would here.

        """
        fork = KVCache.__new__(KVCache)
        fork.length, fork.max_length = self.length, min(self.length + room, self.max_length)
        layers, two, _, heads, _, size = self._rows.shape
        fork._rows = self._rows.new_empty((layers, two, count, heads, fork.max_length, size))
        fork._rows[..., : self.length, :] = self._rows[:, :, :1, :, : self.length]
        return fork

    def keep_rows(self, rows: Tensor) -> None:
        """Go on with these texts only; `rows` is (K,) of int64."""
        self._rows = self._rows.index_select(2, rows.to(self._rows.device))

    def advance(self, num_tokens: int) -> None:
        """Count `num_tokens` as held, after every layer has stored them."""
        self.length += num_tokens

    def clear(self) -> None:
        """Forget all tokens; the memory stays."""
        self.length = 0
