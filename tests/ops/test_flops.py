"""torch's FlopCounterMode counts for the operators what it counts for plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops_support import draw, require_native
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gpt2x import ops
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.config import MODERN
from gpt2x.ops import backend, reference

SIZES = {"vocab_size": 30, "padded_vocab_size": 32, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16}
FUSED = {"fused_loss": True, "fused_layers": True, "fused_gemm": True}


def _flops(call) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _step(**options: Any) -> int:
    model = GPT(GPTConfig(**SIZES, **options))
    ids = torch.arange(16).view(2, 8)

    def step() -> None:
        _, loss = model(ids, ids)
        loss.backward()

    return _flops(step)


@pytest.mark.parametrize("fused", [FUSED, {"fused_loss": True}, {"fused_gemm": True}], ids="+".join)
def test_the_fused_model_counts_what_the_plain_one_counts(
    monkeypatch: pytest.MonkeyPatch, fused: dict[str, bool]
) -> None:
    require_native("cpu")
    monkeypatch.setattr(backend, "_onednn", True)  # so that `linear` is native on every processor
    for parts in ({}, MODERN):
        assert _step(**parts, **fused) == _step(**parts) > 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("needs", ["both", "hidden", "weight", "neither"])
def test_the_loss_counts_the_products_that_it_computes(reduction: str, needs: str) -> None:
    require_native("cpu")
    N, C, Vp = 6, 8, 11
    hidden = draw(1, N, C).requires_grad_(needs in ("both", "hidden"))
    weight = draw(2, Vp, C).requires_grad_(needs in ("both", "weight"))

    def step() -> None:
        loss = ops.linear_cross_entropy(hidden, weight, torch.arange(N), vocab_size=9, reduction=reduction)
        if needs != "neither":
            loss.sum().backward()

    gradients = {"both": 2, "hidden": 1, "weight": 1, "neither": 0}[needs]
    again = int(reduction == "none" and needs != "neither")  # backward computes the logits once more
    assert _flops(step) == 2 * N * C * Vp * (1 + gradients + again)


def test_attention_counts_both_products_forward_and_five_backward() -> None:
    """As torch counts its flash attention on a GPU; of the one for CPUs it counts nothing."""
    require_native("cpu")
    B, T, C = 2, 5, 8
    qkv = draw(1, B, T, 3 * C).requires_grad_()
    assert _flops(lambda: ops.causal_attention(qkv, 2).sum().backward()) == (2 + 5) * 2 * B * T * T * C


def test_what_decodes_counts_what_its_reference_counts() -> None:
    require_native("cpu")
    x, weight = draw(1, 2, 8), draw(2, 11, 8)
    query, keys, values = draw(3, 2, 3, 8), draw(4, 2, 3, 5, 8), draw(5, 2, 3, 5, 8)

    def step(module) -> list[Tensor]:
        int8 = module.gemv(x, *ops.quantize_rows(weight))
        return [int8, module.gemv(x, weight), module.decode_attention(query, keys, values)]

    assert (
        _flops(lambda: step(ops))
        == _flops(lambda: step(reference))
        == 2 * (2 * 2 * 8 * 11) + 4 * 2 * 3 * 5 * 8
    )


@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)], ids=str)
def test_a_linear_layer_counts_the_gradients_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, needs: tuple[bool, bool]
) -> None:
    require_native("cpu")
    monkeypatch.setattr(backend, "_onednn", True)
    x, weight = draw(1, 6, 8).requires_grad_(needs[0]), draw(2, 11, 8).requires_grad_(needs[1])
    assert _flops(lambda: ops.linear(x, weight, draw(3, 11)).sum().backward()) == 2 * 6 * 8 * 11 * (
        1 + sum(needs)
    )
