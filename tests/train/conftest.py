"""A model small enough to train in a blink, and songs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt2x.train import loop
from gpt2x.train.config import TrainConfig
from gpt2x.train.loop import Result
from gpt2x.train.recipe import LYRICS

WORDS = ["rain", "falls", "on", "my", "window", "and", "I", "sing", "of", "home", "in", "the", "night"]

TINY: dict[str, Any] = {
    "vocab": 290, "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "steps": 12, "batch_size": 4,
    "total_batch_tokens": 64, "validation_share": 0.2, "lr": 1e-2, "min_lr": 1e-3, "warmup": 2, "fused_ops": False,
    "attention_dropout": 0.0,
    "log_every": 1, "eval_every": 4, "save_every": 0, "device": "cpu", "dtype": "float32",
}  # fmt: skip


def run(config: TrainConfig, **how: Any) -> Result | None:
    """Train on songs."""
    return loop.prepare_and_train(config, LYRICS, **how)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny models gain nothing from threads, and tests run beside others."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A csv file of 12 songs."""
    path = tmp_path / "songs.csv"
    lines = ["artist,song,link,text"]
    for i in range(12):
        verse = "\n".join(
            " ".join(WORDS[(i * 3 + j * k) % len(WORDS)] for k in range(1, 7)) for j in range(1, 7)
        )
        lines.append(f'A,Song {i},/{i},"{verse}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tiny(songs: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Make the settings of a tiny run in ``tmp_path/NAME``."""

    def make(name: str = "run", **changes: Any) -> TrainConfig:
        return TrainConfig(**{**TINY, "data": str(songs), "out": str(tmp_path / name), **changes})

    return make
