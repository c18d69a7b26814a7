"""MFU in the log: the run's own operations over the measured peak of all ranks, where that is worth measuring."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from gpt2x.model import GPTConfig
from gpt2x.train import mfu
from gpt2x.train.config import TrainConfig
from gpt2x.train.distributed import Ranks
from gpt2x.train.metrics import Console
from gpt2x.train.panel import Panel
from tests.train.conftest import run

ONE = Ranks(rank=0, world_size=1, local_rank=0, local_world_size=1, device=torch.device("cpu"))


def test_a_line_of_the_log_tells_operations_over_the_peak(
    tiny: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def product_peak(dtype: str, device: str, *, seconds: float) -> float:
        asked.append((dtype, device, seconds))
        return 1e12

    monkeypatch.setattr(mfu, "product_peak", product_peak)
    monkeypatch.setattr(mfu, "WORTH_MEASURING", 1e6)
    result = run(tiny(steps=3))
    assert result is not None
    assert asked == [("float32", "cpu", mfu.SECONDS)]
    shape = GPTConfig(vocab_size=290, padded_vocab_size=320, block_size=16, n_layer=1, n_head=2, n_embd=16)
    lines = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line["mfu"] == pytest.approx(line["tokens_per_second"] * mfu.flops_a_token(shape) / 1e12)


def test_a_run_that_is_over_at_once_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mfu, "product_peak", lambda *_, **__: 2e11)
    shape = GPTConfig()
    long = int(mfu.WORTH_MEASURING / mfu.flops_a_token(shape)) + 1
    assert mfu.measured_peak(long - 2, shape, torch.float32, ONE) == 0.0
    assert mfu.measured_peak(long, shape, torch.float32, ONE) == 2e11


def test_the_share_is_shown_in_lines_and_in_the_panel(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"loss": 2.0, "tokens_per_second": 1e5, "mfu": 0.413}
    Console(10).log(metrics, 1)
    assert "100.0k tokens/s  MFU 41%" in capsys.readouterr().err
    panel = Panel(10, flops_a_token=1e7)
    panel.log(metrics, 1)
    assert ("computes", "1 TFLOP/s (MFU 41%)") in [row[:2] for row in panel.rows()]
