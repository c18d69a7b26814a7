"""Rotary positions, QK-norm and ReLU²: each against its plain formula, and in everything a model is used for."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gpt2x import ops
from gpt2x.errors import InputDataError, UsageError
from gpt2x.generate.engine import Engine, naive_tokens
from gpt2x.generate.sampling import SamplingConfig
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.model.bf16_weights import Bf16Weights
from gpt2x.model.config import MODERN, flops_per_token, fused
from gpt2x.model.decoding import DecodingModel, suits
from gpt2x.model.gpt import MLP, document_numbers, rms_norm, rotate, rotation_at
from gpt2x.model.packed import pack_folder
from gpt2x.model.pretrained import config_from_hf, config_to_hf
from gpt2x.ops import backend
from gpt2x.tokenizer import train as train_tokenizer

NATIVE = backend.report()[0].implementation == "native"
PARTS = [{"positions": "rotary"}, {"qk_norm": True}, {"activation": "relu2"}, MODERN]
EACH = pytest.mark.parametrize("parts", PARTS, ids=["rotary", "qk-norm", "relu2", "modern"])


def made(tiny: GPTConfig, parts: dict[str, Any], **more: Any) -> GPT:
    """A random model whose every parameter, biases among them, has a say in the logits."""
    torch.manual_seed(0)
    model = GPT(replace(tiny, **parts, **more)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def ids(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 101, shape, generator=torch.Generator().manual_seed(seed))


def test_a_turned_query_and_key_depend_on_their_distance_alone() -> None:
    rotation = rotation_at(torch.arange(12), 6)
    q, k = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    turned_q, turned_k = (rotate(x.expand(12, 6), rotation) for x in (q, k))  # the same at every position
    products = turned_q @ turned_k.T
    for distance in range(12):
        same = products.diagonal(-distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-6)
    assert not torch.allclose(products[0, 0], products[3, 0])


def test_the_rotation_is_the_one_of_the_paper() -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    y = rotate(x, rotation_at(torch.arange(5), 4))
    for t in range(5):
        for i in range(2):
            angle = t * 10_000 ** (-2 * i / 4)
            pair = complex(x[t, i], x[t, i + 2]) * complex(math.cos(angle), math.sin(angle))
            assert complex(y[t, i], y[t, i + 2]) == pytest.approx(pair, abs=1e-6)


def test_no_score_of_attention_grows_with_normalised_queries_and_keys() -> None:
    q, k = (rms_norm(1000 * torch.randn(50, 8)) for _ in range(2))
    torch.testing.assert_close(q.square().mean(-1), torch.ones(50))
    assert float((q @ k.T / math.sqrt(8)).abs().max()) <= math.sqrt(8) + 1e-4


@pytest.mark.parametrize("on", [False, True], ids=["plain", "fused"])
def test_the_mlp_squares_what_is_above_0(tiny: GPTConfig, on: bool) -> None:
    mlp, x = MLP(replace(tiny, activation="relu2", **fused(on))), torch.randn(2, 3, 32)
    inner = F.linear(x, mlp.c_fc.weight, mlp.c_fc.bias)
    plain = torch.where(inner > 0, inner * inner, 0.0) @ mlp.c_proj.weight.T + mlp.c_proj.bias
    torch.testing.assert_close(mlp(x), plain)


def test_attention_of_a_modern_model_is_the_plain_formula(tiny: GPTConfig) -> None:
    model = made(tiny, MODERN)
    attention, x = model.h[0].attn, torch.randn(1, 6, 32)
    rotation = rotation_at(torch.arange(6), 8)
    q, k, v = (part.view(6, 4, 8).transpose(0, 1) for part in attention.c_attn(x)[0].split(32, dim=-1))
    q, k = (rotate(y / y.square().mean(-1, keepdim=True).sqrt(), rotation) for y in (q, k))
    scores = (q @ k.mT / math.sqrt(8)).masked_fill(~torch.ones(6, 6).tril().bool(), -math.inf)
    plain = attention.c_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(1, 6, 32))
    torch.testing.assert_close(attention(x, None, None, rotation), plain, rtol=1e-4, atol=1e-5)


def test_with_rotary_positions_none_are_learned_and_nothing_else_changes(tiny: GPTConfig) -> None:
    gpt2, modern = GPT(tiny), GPT(replace(tiny, **MODERN))
    names = {name for name, _ in modern.named_parameters()}
    assert {name for name, _ in gpt2.named_parameters()} - names == {"wpe.weight"}
    assert gpt2.num_parameters() - modern.num_parameters() == 32 * 32
    assert gpt2.num_parameters(embeddings=False) == modern.num_parameters(embeddings=False)
    assert flops_per_token(gpt2.config, 32) == flops_per_token(modern.config, 32)


@EACH
@pytest.mark.parametrize(
    "change", [{"attention": "naive"}, fused(), {"padded_vocab_size": 128}], ids=["naive", "fused", "padded"]
)
def test_every_path_computes_the_same_loss_and_gradients(
    tiny: GPTConfig, parts: dict[str, Any], change: dict[str, Any]
) -> None:
    plain = made(tiny, parts)
    other = GPT(replace(plain.config, **change))
    for name, own in other.state_dict().items():
        own[: len(plain.state_dict()[name])] = plain.state_dict()[name]
    idx, targets = ids(3, 29), ids(3, 29, seed=2)
    losses = [model(idx, targets)[1] for model in (plain, other)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0])
    for (name, p), q in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert p.grad.abs().sum() > 0, name
        torch.testing.assert_close(q.grad[: len(p)], p.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.skipif(not NATIVE, reason="the native operators are not built")
@pytest.mark.parametrize(
    ("parts", "called"),
    [
        ({"positions": "rotary"}, {"bias_gelu", "qk_norm_rotary", "causal_attention"}),
        ({"qk_norm": True}, {"bias_gelu", "qk_norm_rotary", "causal_attention"}),
        ({"activation": "relu2"}, {"bias_relu2", "causal_attention"}),
        (MODERN, {"bias_relu2", "qk_norm_rotary", "causal_attention"}),
        ({}, {"bias_gelu", "causal_attention"}),
    ],
    ids=["rotary", "qk-norm", "relu2", "modern", "gpt2"],
)
def test_each_part_is_computed_by_its_operator_where_operators_are_fused(
    tiny: GPTConfig, parts: dict[str, Any], called: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(name: str) -> Any:
        operator = getattr(ops, name)
        return lambda *args, **options: (seen.append(name), operator(*args, **options))[1]

    for name in ("bias_gelu", "bias_relu2", "qk_norm_rotary", "causal_attention"):
        monkeypatch.setattr(ops, name, spy(name))
    made(tiny, parts)(ids(2, 9))
    assert not seen
    model = made(tiny, parts, fused_layers=True, fused_attention=True)
    model(ids(2, 9))
    assert sorted(seen) == sorted([*called] * model.config.n_layer)


@EACH
@pytest.mark.skipif(not NATIVE, reason="the native operators are not built")
def test_with_bf16_weights_the_operators_come_as_close_to_float32_as_plain_torch(
    tiny: GPTConfig, parts: dict[str, Any]
) -> None:
    """The gradients' distance from those of float32 weights, next to that of a step whose parts are torch's."""
    plain = made(tiny, parts, fused_layers=True)
    idx, targets = ids(4, 31), ids(4, 31, seed=2)

    def gradients(**change: Any) -> torch.Tensor:
        model = GPT(replace(plain.config, **change))
        model.load_state_dict(plain.state_dict())
        bf16 = Bf16Weights(model)
        with backend.using("auto" if change["fused_attention"] else "reference"):
            bf16(idx, targets)[1].backward()
        return torch.cat([copy.grad.flatten().float() for copy in bf16.copies.values()])

    plain(idx, targets)[1].backward()
    names = [name for name, _ in plain.named_parameters() if name in Bf16Weights(plain).copies]
    truth = torch.cat([plain.get_parameter(name).grad.flatten() for name in names])
    errors = [float((gradients(fused_attention=on) - truth).norm()) for on in (True, False)]
    assert errors[0] <= 1.2 * errors[1]


@EACH
def test_a_text_read_in_parts_gives_the_logits_of_the_whole(tiny: GPTConfig, parts: dict[str, Any]) -> None:
    model, text = made(tiny, parts), ids(1, 32)
    cache, end = model.new_cache(), 0
    with torch.inference_mode():
        expected = model(text)[0]
        for part in text.split((7, 1, 1, 5, 18), 1):
            found = model(part, cache=cache)[0]
            torch.testing.assert_close(found, expected[:, end : end + part.shape[1]], rtol=0, atol=1e-4)
            end += part.shape[1]


@EACH
@pytest.mark.skipif(not NATIVE, reason="the native operators are not built")
def test_the_model_for_writing_gives_the_logits_of_the_model(tiny: GPTConfig, parts: dict[str, Any]) -> None:
    model, text = made(tiny, parts), ids(32)
    decoding = DecodingModel(model)
    cache, end = decoding.new_cache(), 0
    with torch.inference_mode():
        expected = model(text[None])[0][0]
    for part in text[:20].split((7, 1, 1, 5, 6)):
        end += len(part)
        torch.testing.assert_close(decoding(part, cache), expected[end - 1], rtol=0, atol=1e-4)
    fork = cache.fork(3, room=2)  # three texts that go on in their own ways
    more = torch.stack([text[20:22], ids(2, seed=3), ids(2, seed=4)])
    together = torch.stack([decoding.read_rows(more[:, step], fork) for step in range(2)], 1)
    with torch.inference_mode():
        alone = model(torch.cat([text[:20].expand(3, -1), more], 1))[0][:, 20:]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


@EACH
@pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
def test_what_is_written_with_a_cache_is_what_is_written_without(
    tiny: GPTConfig, parts: dict[str, Any], native: bool
) -> None:
    """Longer than the context: it slides, and positions begin anew."""
    model, sampling = made(tiny, parts), SamplingConfig(top_k=5)
    with backend.using("native" if native and NATIVE else "reference"):
        assert suits(model) == (native and NATIVE)
        written = Engine(model).generate([1, 2, 3], max_new_tokens=50, sampling=sampling, seed=3)
        assert list(written) == naive_tokens(model, [1, 2, 3], max_new_tokens=50, sampling=sampling, seed=3)


@EACH
@pytest.mark.parametrize("attention", ["flash", "naive"])
def test_documents_in_a_row_are_as_if_each_stood_alone(
    tiny: GPTConfig, parts: dict[str, Any], attention: str
) -> None:
    model, row, lengths = made(tiny, parts, attention=attention), ids(1, 24).clamp(min=1), (9, 1, 14)
    row[0, torch.tensor([0, 9, 10])] = 0
    packed = model(row, documents=document_numbers(row, 0))[0]
    alone = torch.cat([model(part)[0] for part in row.split(lengths, 1)], 1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-4)


@EACH
def test_bf16_weights_and_autocast_stay_near_float32(tiny: GPTConfig, parts: dict[str, Any]) -> None:
    model = GPT(replace(tiny, **parts, **fused(), padded_vocab_size=128))
    idx, targets = ids(4, 32), ids(4, 32, seed=2)
    exact = model(idx, targets)[1].item()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(idx, targets)[1].item() == pytest.approx(exact, rel=5e-3)
    short = Bf16Weights(model)
    loss = short(idx, targets)[1]
    assert loss.item() == pytest.approx(exact, rel=5e-3)
    loss.backward()
    assert all(copy.grad.isfinite().all() and copy.grad.any() for copy in short.copies.values())


@pytest.mark.parametrize("on", [False, True], ids=["plain", "fused"])
def test_a_modern_model_compiles_as_one_graph(tiny: GPTConfig, on: bool) -> None:
    model = GPT(replace(tiny, **MODERN, **fused(on)))
    idx, targets = ids(2, 8), ids(2, 8, seed=2)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(idx, targets)[1], model(idx, targets)[1])


@EACH
def test_a_folder_gives_the_model_back_and_says_that_it_is_no_gpt2(
    tmp_path: Path, tiny: GPTConfig, parts: dict[str, Any]
) -> None:
    tokenizer = train_tokenizer(["la la love, la la rain, the rain of love"], 270)
    model = made(tiny, parts, vocab_size=tokenizer.n_vocab, padded_vocab_size=320)
    save_folder(model, tokenizer, tmp_path / "run")
    again, _ = load_folder(tmp_path / "run")
    assert again.config == model.config
    assert torch.equal(again(ids(2, 32))[0], model(ids(2, 32))[0])
    assert json.loads((tmp_path / "run/config.json").read_text())["model_type"] == "gpt2x"
    assert ("transformer.wpe.weight" in load_file(tmp_path / "run/model.safetensors")) == (
        again.wpe is not None
    )
    pack_folder(tmp_path / "run", tmp_path / "packed")
    packed, _ = load_folder(tmp_path / "packed")
    assert packed.config == model.config


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_transformers_refuses_the_folder_instead_of_computing_something_else(
    tmp_path: Path, tiny: GPTConfig
) -> None:
    transformers = pytest.importorskip("transformers")
    save_folder(GPT(replace(tiny, **MODERN)), None, tmp_path)
    with pytest.raises(ValueError, match="gpt2x"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def test_the_file_of_a_gpt2_says_nothing_of_these_parts(tiny: GPTConfig) -> None:
    values = config_to_hf(tiny)
    assert (values["model_type"], values["activation_function"]) == ("gpt2", "gelu_new")
    assert not {"position_embedding_type", "rope_theta", "qk_norm"} & values.keys()
    assert not set(MODERN) & values["gpt2x"].keys()


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"position_embedding_type": "alibi"}, "'alibi' positions; gpt2x has absolute and rotary"),
        ({"rope_theta": 5e5}, "rope_theta = 500000"),
        ({"activation_function": "silu"}, "'silu'"),
        ({"qk_norm": 3}, "qk_norm = 3 is neither true nor false"),
        ({"n_head": 32}, "turns pairs of numbers"),
    ],
)
def test_a_variant_that_is_not_computed_is_refused_by_name(
    tiny: GPTConfig, values: dict[str, Any], part: str
) -> None:
    with pytest.raises(InputDataError, match=part):
        config_from_hf(config_to_hf(replace(tiny, **MODERN)) | values)


def test_a_gpt2_with_another_activation_is_refused_as_ever() -> None:
    with pytest.raises(InputDataError, match="'relu2'; gpt2x has GPT-2's gelu_new only"):
        config_from_hf({"model_type": "gpt2", "activation_function": "relu2"})


@pytest.mark.parametrize("field", [{"positions": "alibi"}, {"activation": "silu"}, {"qk_norm": 1}])
def test_values_that_no_part_has_are_refused_by_name(field: dict[str, Any]) -> None:
    (name,) = field
    with pytest.raises(UsageError, match=name):
        GPTConfig(**field)
