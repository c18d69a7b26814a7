"""Tiny models: everything about a GPT-2 except its size."""

from __future__ import annotations

import pytest
import torch

from gpt2x.model import GPTConfig


@pytest.fixture
def tiny() -> GPTConfig:
    """Two layers, a vocabulary of 101 (no round number), a context of 32."""
    torch.manual_seed(0)
    return GPTConfig(vocab_size=101, block_size=32, n_layer=2, n_head=4, n_embd=32)
