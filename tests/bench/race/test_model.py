"""Value embeddings against the plain formula; what else an entrant changes is tested in tests/model/test_parts.py."""

from __future__ import annotations

import math

import pytest
import torch

from gpt2x.bench.race.entrants import ENTRANTS, Entrant
from gpt2x.bench.race.model import ValueGPT
from gpt2x.model import GPT
from gpt2x.model.config import MODERN, GPTConfig

SHAPE = GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16)
IDS = torch.tensor([[1, 5, 2, 12, 0, 7], [3, 3, 4, 9, 8, 1]])


def test_with_vectors_of_nothing_it_computes_what_gpt2_does_bit_for_bit() -> None:
    ours, theirs = ValueGPT(SHAPE), GPT(SHAPE)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    torch.nn.init.zeros_(ours.values.weight)
    assert torch.equal(ours(IDS)[0], theirs(IDS)[0])
    assert torch.equal(ours(IDS, IDS)[1], theirs(IDS, IDS)[1])


def test_values_have_half_of_the_tokens_own_vectors_in_them_at_first() -> None:
    model = ValueGPT(SHAPE)
    model(IDS[:1])
    attention, x = model.h[0].attn, torch.randn(1, 6, 16)
    q, k, v = (part.view(6, 2, 8).transpose(0, 1) for part in attention.c_attn(x)[0].split(16, dim=-1))
    v = v + 0.5 * model.values(IDS[0]).view(6, 2, 8).transpose(0, 1)
    scores = (q @ k.mT / math.sqrt(8)).masked_fill(~torch.ones(6, 6).tril().bool(), -math.inf)
    plain = attention.c_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(1, 6, 16))
    torch.testing.assert_close(attention(x, None), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [{}, MODERN], ids=["gpt2", "modern"])
def test_every_parameter_gets_a_gradient_and_no_token_sees_the_next(parts: dict[str, object]) -> None:
    model = ValueGPT(GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16, **parts))
    model(IDS, IDS)[1].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    changed = IDS.clone()
    changed[:, 4] = 11
    before, after = model(IDS)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("entrant", ENTRANTS, ids=[entrant.key for entrant in ENTRANTS])
def test_what_an_entrant_changes_of_the_model_are_fields_of_its_configuration(entrant: Entrant) -> None:
    assert GPTConfig(**entrant.parts) != GPTConfig() or entrant.parts == {}
