"""Each part of the race's model against its plain formula; without any of them it is GPT-2."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gpt2x.bench.race.model import RaceGPT, ReluSquaredMLP, rms_norm, rotate, rotation
from gpt2x.bench.race.parts import Parts
from gpt2x.model import GPT
from gpt2x.model.config import GPTConfig

SHAPE = GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16)
IDS = torch.tensor([[1, 5, 2, 12, 0, 7], [3, 3, 4, 9, 8, 1]])
ALL = Parts(rotary=True, qk_norm=True, relu_squared=True, value_embeddings=True)


def test_without_any_part_it_computes_what_gpt2_does_bit_for_bit() -> None:
    ours, theirs = RaceGPT(SHAPE, Parts()), GPT(SHAPE)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours(IDS)[0], theirs(IDS)[0])
    assert torch.equal(ours(IDS, IDS)[1], theirs(IDS, IDS)[1])


def test_a_turned_query_and_key_depend_on_their_distance_alone() -> None:
    cos, sin = rotation(12, 6)
    q, k = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    turned_q, turned_k = (
        rotate(x.expand(1, 1, 12, 6), cos.double(), sin.double())[0, 0] for x in (q, k)
    )  # the same vector at every position
    products = turned_q @ turned_k.T
    for distance in range(12):
        same = products.diagonal(-distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-6)
    assert not torch.allclose(products[0, 0], products[3, 0])


def test_the_rotation_is_the_one_of_the_paper() -> None:
    x = torch.randn(1, 1, 5, 4, dtype=torch.float64)
    cos, sin = rotation(5, 4)
    y = rotate(x, cos.double(), sin.double())
    for t in range(5):
        for i in range(2):
            angle = t * 10_000 ** (-2 * i / 4)
            pair = complex(x[0, 0, t, i], x[0, 0, t, i + 2]) * complex(math.cos(angle), math.sin(angle))
            assert complex(y[0, 0, t, i], y[0, 0, t, i + 2]) == pytest.approx(pair, abs=1e-6)


def test_normalised_queries_and_keys_have_a_root_mean_square_of_1() -> None:
    y = rms_norm(100 * torch.randn(2, 3, 4, 8))
    torch.testing.assert_close(y.square().mean(-1), torch.ones(2, 3, 4))


def test_no_score_of_attention_grows_with_normalised_queries_and_keys() -> None:
    q, k = (rms_norm(1000 * torch.randn(50, 8)) for _ in range(2))
    assert float((q @ k.T / math.sqrt(8)).abs().max()) <= math.sqrt(8) + 1e-4


def test_the_mlp_squares_what_is_above_0() -> None:
    mlp, x = ReluSquaredMLP(SHAPE), torch.randn(2, 3, 16)
    inner = F.linear(x, mlp.c_fc.weight, mlp.c_fc.bias)
    plain = torch.where(inner > 0, inner * inner, torch.zeros(())) @ mlp.c_proj.weight.T + mlp.c_proj.bias
    torch.testing.assert_close(mlp(x), plain)


def test_attention_with_its_parts_is_the_plain_formula() -> None:
    model = RaceGPT(SHAPE, ALL)
    attention = model.h[0].attn
    x, idx = torch.randn(1, 6, 16), IDS[:1]
    values = model.values(idx)
    q, k, v = (part.view(6, 2, 8).transpose(0, 1) for part in attention.c_attn(x)[0].split(16, dim=-1))
    cos, sin = rotation(6, 8)

    def prepared(y: torch.Tensor) -> torch.Tensor:
        return rotate(y / y.square().mean(-1, keepdim=True).sqrt(), cos, sin)

    v = v + 0.5 * values[0].view(6, 2, 8).transpose(0, 1)
    scores = prepared(q) @ prepared(k).mT / math.sqrt(8)
    scores = scores.masked_fill(~torch.ones(6, 6).tril().bool(), -math.inf)
    plain = attention.c_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(1, 6, 16))
    torch.testing.assert_close(attention.attend(x, values), plain, rtol=1e-4, atol=1e-5)


def test_with_rotary_positions_none_are_learned() -> None:
    names = {name for name, _ in RaceGPT(SHAPE, Parts(rotary=True)).named_parameters()}
    assert "wpe.weight" not in names
    assert {name for name, _ in GPT(SHAPE).named_parameters()} - names == {"wpe.weight"}


@pytest.mark.parametrize("parts", [Parts(), ALL], ids=["gpt2", "all parts"])
def test_every_parameter_gets_a_gradient_and_no_token_sees_the_next(parts: Parts) -> None:
    model = RaceGPT(SHAPE, parts)
    model(IDS, IDS)[1].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    changed = IDS.clone()
    changed[:, 4] = 11
    before, after = model(IDS)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
