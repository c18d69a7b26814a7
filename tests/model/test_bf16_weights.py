"""Training with bfloat16 copies of float32 weights: the same losses as autocast, and weights that stay in step."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from gpt2x.errors import UsageError
from gpt2x.model import GPT, GPTConfig
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.model.config import fused
from gpt2x.ops import adamw_

WIDE = {"n_embd": 64, "n_head": 4, "padded_vocab_size": 128}


def _models(tiny: GPTConfig) -> tuple[GPT, Bf16Weights]:
    torch.manual_seed(1)
    model = GPT(replace(tiny, **fused(), **WIDE))
    return copy.deepcopy(model), Bf16Weights(model)


def _batch(config: GPTConfig) -> tuple[torch.Tensor, torch.Tensor]:
    idx = torch.randint(0, config.vocab_size, (4, 17), generator=torch.Generator().manual_seed(2))
    return idx[:, :-1], idx[:, 1:]


def test_loss_and_gradients_are_as_near_to_float32_as_autocasts(tiny: GPTConfig) -> None:
    plain, bf16 = _models(tiny)
    batch = _batch(plain.config)
    plain(*batch)[1].backward()
    truth = {name: p.grad.clone() for name, p in plain.named_parameters()}
    plain.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = plain(*batch)[1]
    loss.backward()
    own = bf16(*batch)[1]
    own.backward()
    assert own.dtype == torch.float32
    assert abs(own.item() - loss.item()) < 2e-3
    names = {parameter: name for name, parameter in bf16.model.named_parameters()}
    for parameter, name in names.items():
        leaf = bf16.copy_of(parameter)
        grad = (parameter if leaf is None else leaf).grad
        assert grad is not None, name
        norm = truth[name].norm()
        own_error, cast_error = (
            (grad.float() - truth[name]).norm(),
            (dict(plain.named_parameters())[name].grad - truth[name]).norm(),
        )
        assert own_error <= 2 * cast_error + 0.02 * norm, (
            f"{name}: {own_error / norm:.3f} beside {cast_error / norm:.3f}"
        )


def test_without_the_fused_loss_the_logits_of_the_padding_are_left_out_too(tiny: GPTConfig) -> None:
    _, bf16 = _models(tiny)
    torch.manual_seed(1)
    plain = Bf16Weights(GPT(replace(tiny, fused_layers=True, **WIDE)))
    assert plain.model.padding_bias is not None
    batch = _batch(tiny)
    logits, loss = plain(*batch)
    assert logits.shape[-1] == tiny.vocab_size
    assert loss.item() == pytest.approx(bf16(*batch)[1].item(), abs=2e-3)


def test_layer_norms_stay_in_float32_and_the_tied_matrix_has_one_bf16(tiny: GPTConfig) -> None:
    _, bf16 = _models(tiny)
    assert "wte.weight" in bf16.copies
    assert "lm_head.weight" not in bf16.copies
    assert not any(".ln_" in name or name.startswith("ln_") for name in bf16.copies)
    assert bf16.copy_of(bf16.model.ln_f.weight) is None
    assert all(t.dtype == torch.bfloat16 and t.is_leaf for t in bf16.copies.values())


def test_training_with_bf16_params_learns_as_training_with_autocast_does(tiny: GPTConfig) -> None:
    plain, bf16 = _models(tiny)
    batch = _batch(plain.config)
    losses: dict[str, list[float]] = {"autocast": [], "bf16 copy": []}
    for kind, model in (("autocast", plain), ("bf16 copy", bf16.model)):
        params = list(model.parameters())
        bf16_params = [bf16.copy_of(p) if kind == "bf16 copy" else None for p in params]
        moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
        for step in range(1, 41):
            leaves = [p if s is None else s for p, s in zip(params, bf16_params, strict=True)]
            for leaf in leaves:
                leaf.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
                loss = (bf16 if kind == "bf16 copy" else model)(*batch)[1]
            loss.backward()
            losses[kind].append(loss.item())
            grads = [leaf.grad for leaf in leaves]
            adamw_([p.data for p in params], grads, *moments, step=step, lr=3e-3, bf16_params=bf16_params)
    assert losses["bf16 copy"][-1] < losses["bf16 copy"][0] - 2
    assert abs(losses["bf16 copy"][-1] - losses["autocast"][-1]) < 0.05
    for name, copied in bf16.copies.items():
        assert torch.equal(copied, dict(bf16.model.named_parameters())[name].bfloat16()), name


def test_what_cannot_have_bf16_params_is_refused(tiny: GPTConfig) -> None:
    with pytest.raises(UsageError, match="fused_layers = true"):
        Bf16Weights(GPT(tiny))
    with pytest.raises(UsageError, match="need a float32 model, this one is torch.bfloat16"):
        Bf16Weights(GPT(replace(tiny, **fused())).to(torch.bfloat16))
