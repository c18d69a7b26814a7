"""Parity with Hugging Face's own GPT-2, on tiny random models; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt2x.errors import InputDataError, OutputError
from gpt2x.model import GPTConfig, load_folder, save_folder
from gpt2x.model.config import FUSED
from gpt2x.model.pretrained import config_from_hf, config_to_hf, expected_shapes, plain_names

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")


@pytest.fixture(autouse=True)
def _silent_transformers() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def hf_model(**changes: Any) -> Any:
    """A tiny random GPT2LMHeadModel whose every tensor differs from its start, biases included."""
    values = dict(
        vocab_size=101, n_positions=32, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


VARIANTS: list[dict[str, Any]] = [
    {},
    {"n_inner": 48},
    {"layer_norm_epsilon": 1e-2},
    {"tie_word_embeddings": False},
    {"activation_function": "gelu_pytorch_tanh"},
    {"reorder_and_upcast_attn": True},
    {"n_head": 1, "n_layer": 1},
    {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_model_of_transformers_comes_in_and_goes_out_with_equal_logits(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    theirs = hf_model(**changes)
    theirs.save_pretrained(tmp_path / "in")
    ours, tokenizer = load_folder(tmp_path / "in")
    assert tokenizer is None
    idx = torch.randint(0, 101, (3, 32))
    with torch.inference_mode():
        expected = theirs(idx).logits
        torch.testing.assert_close(ours(idx)[0], expected, rtol=1e-5, atol=1e-5)
        save_folder(ours, None, tmp_path / "out")
        again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(again(idx).logits, expected, rtol=1e-5, atol=1e-5)
    assert again.config.n_inner == theirs.config.n_inner
    sent, received = (
        load_file(tmp_path / "in/model.safetensors"),
        load_file(tmp_path / "out/model.safetensors"),
    )
    assert sent.keys() == received.keys()
    assert all(torch.equal(sent[name], received[name]) for name in sent), (
        "the round trip must not touch a bit"
    )


def test_our_loss_is_their_loss(tmp_path: Path) -> None:
    theirs = hf_model()
    theirs.save_pretrained(tmp_path)
    ours, _ = load_folder(tmp_path)
    idx = torch.randint(0, 101, (2, 32))
    _, loss = ours(idx[:, :-1], idx[:, 1:])
    torch.testing.assert_close(loss, theirs(idx, labels=idx).loss, rtol=1e-5, atol=1e-5)


def test_hidden_states_are_those_of_gpt2model(tmp_path: Path) -> None:
    theirs = hf_model()
    theirs.save_pretrained(tmp_path)
    ours, _ = load_folder(tmp_path)
    idx = torch.randint(0, 101, (2, 32))
    expected = theirs.transformer(idx).last_hidden_state
    torch.testing.assert_close(ours.hidden_states(idx), expected, rtol=1e-5, atol=1e-5)


def test_original_files_without_prefix_and_with_mask_buffers_load(tmp_path: Path) -> None:
    theirs = hf_model()
    theirs.save_pretrained(tmp_path)
    state = {
        name.removeprefix("transformer."): t for name, t in load_file(tmp_path / "model.safetensors").items()
    }
    for layer in range(2):
        state[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
        state[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    state["score.weight"] = torch.ones(2, 32)  # a classification head is none of our business
    save_file(state, tmp_path / "model.safetensors")
    ours, _ = load_folder(tmp_path)
    idx = torch.randint(0, 101, (1, 32))
    torch.testing.assert_close(ours(idx)[0], theirs(idx).logits, rtol=1e-5, atol=1e-5)


def test_weights_in_several_files_load(tmp_path: Path) -> None:
    theirs = hf_model()
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    ours, _ = load_folder(tmp_path)
    idx = torch.randint(0, 101, (1, 32))
    torch.testing.assert_close(ours(idx)[0], theirs(idx).logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(OutputError, match="which gpt2x did not write"):
        save_folder(ours, None, tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    hf_model().save_pretrained(tmp_path, max_shard_size="30KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InputDataError, match=shard.name):
        load_folder(tmp_path)


def test_half_precision_files_load_as_float32_or_as_asked(tmp_path: Path) -> None:
    hf_model().bfloat16().save_pretrained(tmp_path)
    assert load_folder(tmp_path)[0].wte.weight.dtype == torch.float32
    half, _ = load_folder(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    save_folder(half, None, tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"model_type": "llama"}, "'llama'"),
        ({"activation_function": "relu"}, "'relu'"),
        ({"activation_function": "gelu"}, "gelu_new"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"n_head": 5}, "n_head = 5"),
        ({"n_embd": "wide"}, "'wide'"),
        ({"gpt2x": 3}, "'gpt2x'"),
        ({"gpt2x": {"attention": []}}, "attention"),
    ],
)
def test_a_config_that_is_no_plain_gpt2_is_refused_with_the_reason(values: dict[str, Any], part: str) -> None:
    with pytest.raises(InputDataError) as caught:
        config_from_hf({"model_type": "gpt2"} | values, "somewhere/config.json")
    assert part in str(caught.value)
    assert "somewhere/config.json" in str(caught.value)


def test_our_own_settings_come_back_from_the_config() -> None:
    config = GPTConfig(
        vocab_size=50, padded_vocab_size=64, attention="naive", init="torch", dropout=0.2, n_inner=5
    )
    assert config_from_hf(json.loads(json.dumps(config_to_hf(config)))) == config


def test_dropout_of_attention_weights_comes_back_where_it_differs() -> None:
    config = GPTConfig(dropout=0.2, attention_dropout=0.0)
    values = config_to_hf(config)
    assert (values["resid_pdrop"], values["embd_pdrop"], values["attn_pdrop"]) == (0.2, 0.2, 0.0)
    assert config_from_hf(values) == config
    assert config_from_hf(config_to_hf(GPTConfig(dropout=0.2))) == GPTConfig(dropout=0.2)


@pytest.mark.parametrize("on", [True, False])
def test_a_folder_of_before_with_one_switch_for_all_operators_still_loads(on: bool) -> None:
    values = config_to_hf(GPTConfig())
    values["gpt2x"] = {"init": "gpt2", "attention": "flash", "fused_ops": on}
    config = config_from_hf(values)
    assert {getattr(config, name) for name in FUSED} == {on}


def test_expected_shapes_are_those_of_transformers() -> None:
    for changes in ({}, {"tie_word_embeddings": False, "n_inner": 40}):
        theirs = hf_model(**changes)
        shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
        names = plain_names(shapes, tied=theirs.config.tie_word_embeddings)
        assert {plain: shapes[name] for plain, name in names.items()} == expected_shapes(
            config_from_hf(theirs.config.to_dict())
        )
