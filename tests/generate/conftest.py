"""A tokenizer of bytes and a tiny random model: generation without training and without a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from gpt2x.generate import Engine
from gpt2x.model import GPT, GPTConfig


class ByteTokenizer:
    """Each byte is a token, and 256 is the end of the text."""

    n_vocab = 257
    eot_token = 256

    def encode_ordinary(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def decode_single_token_bytes(self, token: int) -> bytes:
        return b"<|endoftext|>" if token == 256 else bytes([token])

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return b"".join(map(self.decode_single_token_bytes, ids))

    def decode(self, ids: Sequence[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")


class Parrot(torch.nn.Module):
    """A model that answers every prompt with a fixed text, with certainty."""

    def __init__(self, tokens: Sequence[int], vocab_size: int = 257, block_size: int = 4096) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=vocab_size, block_size=block_size, n_layer=1, n_head=1, n_embd=1)
        self.tokens = list(tokens)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def new_cache(self, batch_size: int = 1, max_length: int | None = None) -> Parrot.Cache:
        return Parrot.Cache()

    class Cache:
        length = 0
        written = 0

    def forward(
        self, idx: torch.Tensor, *, cache: Parrot.Cache, last_only: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        cache.length += idx.shape[1]
        logits = torch.full((1, 1, self.config.vocab_size), -50.0)
        logits[0, 0, self.tokens[cache.written]] = 50.0
        cache.written += 1
        return logits, None


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture
def parrot(tokenizer: ByteTokenizer) -> Callable[..., Engine]:
    """Make an engine that is certain to write the given text, then the end of the text."""

    def make(text: str | bytes, *more: int) -> Engine:
        raw = text.encode("utf-8") if isinstance(text, str) else text
        return Engine(Parrot([*raw, *more, 256]), tokenizer)  # type: ignore[arg-type]

    return make


@pytest.fixture
def tiny_model() -> GPT:
    """A random model whose logits are far apart, so that rounding decides no draw."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=257, block_size=24, n_layer=2, n_head=2, n_embd=32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model
