from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt2x.errors import InputDataError
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.model.packed import pack_folder
from gpt2x.model.runs import packaged_model
from gpt2x.tokenizer import train


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(vocab_size=280, padded_vocab_size=320, block_size=16, n_layer=2, n_head=2, n_embd=32)
    )
    save_folder(model, train(["some words to learn from"] * 3, 280, allow_fewer=True), tmp_path / "run")
    return tmp_path / "run"


def test_a_packed_model_is_the_model_within_half_a_step(run: Path, tmp_path: Path) -> None:
    pack_folder(run, tmp_path / "packed")
    (exact, tokenizer), (packed, same) = load_folder(run), load_folder(tmp_path / "packed")
    assert packed.config == exact.config
    assert same is not None
    assert tokenizer is not None
    assert same.encode("some words") == tokenizer.encode("some words")
    stored = load_file(run / "model.safetensors")
    back = load_file(tmp_path / "packed" / "model.safetensors")
    for name, tensor in stored.items():
        if tensor.dim() < 2:
            assert torch.equal(back[name], tensor)
            continue
        steps = tensor.abs().amax(1, keepdim=True) / 127
        error = (back[name].float() * back[name + ".scale"][:, None] - tensor).abs()
        assert (error <= steps * 0.501).all(), name
    ids = torch.randint(0, 276, (2, 16))
    torch.testing.assert_close(packed(ids)[0], exact(ids)[0], rtol=0.0, atol=0.05)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run, tmp_path / "packed")]
    assert sizes[1] < 0.4 * sizes[0]


@pytest.mark.parametrize("scale", [None, torch.ones(3), torch.ones(280, dtype=torch.float64)], ids=str)
def test_int8_without_scales_that_fit_is_refused(
    run: Path, tmp_path: Path, scale: torch.Tensor | None
) -> None:
    pack_folder(run, tmp_path / "packed")
    file = tmp_path / "packed" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("wte.weight"))
    del tensors[name + ".scale"]
    save_file(
        tensors if scale is None else {**tensors, name + ".scale": scale}, file, metadata={"format": "pt"}
    )
    with pytest.raises(InputDataError, match="in int8 without a float32 scale"):
        load_folder(tmp_path / "packed")


def test_weights_that_are_not_numbers_are_not_packed(run: Path, tmp_path: Path) -> None:
    file = run / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("wte.weight"))
    tensors[name][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputDataError, match="NaN or infinity"):
        pack_folder(run, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_the_model_that_ships_is_whole_and_small() -> None:
    model, tokenizer = load_folder(packaged_model())
    assert tokenizer is not None
    assert model.config.block_size >= 512, "a song must fit"
    assert sum(file.stat().st_size for file in packaged_model().iterdir()) < 16e6
