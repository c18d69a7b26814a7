"""A run as the trainer leaves it: a model folder, with the trainer's own state in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt2x import tokenizer as tokenizer_room
from gpt2x.model import GPT, GPTConfig, save_folder
from gpt2x.model.config import MODERN

TEXT = "la la love, la la rain, the rain of love is falling on the town\n\n" * 3


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=280, padded_vocab_size=288, block_size=16, n_layer=2, n_head=2, n_embd=32)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_folder(model, tokenizer_room.train([TEXT], 276), tmp_path / "my-run", extra={"step": 3})
    (tmp_path / "my-run" / "trainer").mkdir()
    (tmp_path / "my-run" / "trainer" / "state.json").write_text("{}")
    return tmp_path / "my-run"


@pytest.fixture
def modern_run(tmp_path: Path) -> Path:
    """A model that is no GPT-2."""
    config = GPTConfig(vocab_size=280, block_size=16, n_layer=1, n_head=2, n_embd=32, **MODERN)
    save_folder(GPT(config), tokenizer_room.train([TEXT], 276), tmp_path / "modern")
    return tmp_path / "modern"
