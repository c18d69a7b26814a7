from __future__ import annotations

import builtins
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt2x.errors import InputDataError, MissingComponentError, OutputError
from gpt2x.export.gguf import export_gguf, named_tensors
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.tokenizer import train


def read(path: Path) -> Any:
    return pytest.importorskip("gguf").GGUFReader(path)


def field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_every_tensor_can_be_read_back_under_the_name_that_llama_cpp_reads(
    run: Path, tmp_path: Path, dtype: str
) -> None:
    pytest.importorskip("gguf")
    export_gguf(run, tmp_path / "out.gguf", dtype=dtype)
    reader = read(tmp_path / "out.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    model, _ = load_folder(run)
    expected = dict(named_tensors(model, dtype=dtype))
    assert tensors.keys() == expected.keys()
    assert "output.weight" not in tensors, "a tied head is not written twice"
    for name, value in expected.items():
        # GGUF lists the fastest dimension first.
        assert list(tensors[name].shape) == list(reversed(value.shape))
        np.testing.assert_array_equal(tensors[name].data, value)
        assert tensors[name].data.dtype == (
            np.float16
            if dtype == "f16" and value.ndim == 2 and name != "position_embd.weight"
            else np.float32
        )
    qkv = model.h[1].attn.c_attn.weight.detach().numpy()  # (3 C, C), one row for each output
    np.testing.assert_allclose(tensors["blk.1.attn_qkv.weight"].data, qkv, rtol=1e-3, atol=1e-6)
    assert tensors["token_embd.weight"].data.shape == (280, 32), "padding is cut off"


def test_the_names_are_those_of_the_gguf_package_for_gpt2(run: Path, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    allowed = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, 2)
    export_gguf(run, tmp_path / "out.gguf")
    for tensor in read(tmp_path / "out.gguf").tensors:
        owner = tensor.name.rpartition(".")[0]
        assert owner in {name for _, name in allowed.mapping.values()}, tensor.name


def test_hyperparameters_and_tokenizer_are_in_the_file(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    export_gguf(run, tmp_path / "out.gguf", dtype="f16")
    reader = read(tmp_path / "out.gguf")
    values = {
        "general.architecture": "gpt2",
        "general.name": "my-run",
        "general.file_type": 1,
        "gpt2.context_length": 16,
        "gpt2.embedding_length": 32,
        "gpt2.feed_forward_length": 128,
        "gpt2.block_count": 2,
        "gpt2.attention.head_count": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
    }
    assert {name: field(reader, name) for name in values} == values
    assert field(reader, "gpt2.attention.layer_norm_epsilon") == pytest.approx(1e-5)
    _, tokenizer = load_folder(run)
    tokens, kinds = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    assert len(tokens) == len(kinds) == 280, "one for each row of the embedding"
    end = tokenizer.eot_token
    assert field(reader, "tokenizer.ggml.eos_token_id") == field(reader, "tokenizer.ggml.bos_token_id") == end
    assert (tokens[end], kinds[end]) == ("<|endoftext|>", 3)
    assert kinds[276:] == [5] * 4, "ids that the tokenizer does not have are marked unused"
    saved = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert {token: number for number, token in enumerate(tokens) if kinds[number] == 1} == {
        token: number for token, number in saved["vocab"].items() if number != end
    }
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in saved["merges"]]
    assert field(reader, "tokenizer.ggml.merges") == merges


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_another_reader_of_gguf_computes_the_same_logits(run: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate", reason="transformers needs accelerate to read GGUF")
    _, tokenizer = load_folder(run)
    # transformers takes the context of a GGUF file to be GPT-2's 1,024.
    model = GPT(GPTConfig(vocab_size=276, block_size=1024, n_layer=2, n_head=2, n_embd=32)).eval()
    save_folder(model, tokenizer, tmp_path / "long")
    export_gguf(tmp_path / "long", tmp_path / "out.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="out.gguf").eval()
    idx = torch.randint(0, 276, (2, 16))
    torch.testing.assert_close(theirs(idx).logits, model(idx)[0], rtol=1e-5, atol=1e-5)


def test_an_untied_head_is_written(tmp_path: Path, run: Path) -> None:
    pytest.importorskip("gguf")
    _, tokenizer = load_folder(run)
    config = GPTConfig(vocab_size=276, block_size=8, n_layer=1, n_head=1, n_embd=8, tie_weights=False)
    save_folder(GPT(config), tokenizer, tmp_path / "untied")
    export_gguf(tmp_path / "untied", tmp_path / "out.gguf")
    assert "output.weight" in {tensor.name for tensor in read(tmp_path / "out.gguf").tensors}


def test_without_the_package_the_remedy_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def no_gguf(name: str, *args: Any, **options: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", no_gguf)
    with pytest.raises(MissingComponentError, match=r"pip install gpt2x\[export\]"):
        export_gguf(run, tmp_path / "out.gguf")


def test_a_model_without_tokenizer_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    config = GPTConfig(vocab_size=9, block_size=8, n_layer=1, n_head=1, n_embd=8)
    save_folder(GPT(config), None, tmp_path / "run")
    with pytest.raises(InputDataError, match="tokenizer"):
        export_gguf(tmp_path / "run", tmp_path / "out.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_place_that_cannot_be_written_is_refused_and_what_is_there_stays(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        export_gguf(run, tmp_path / "file" / "out.gguf")
    with pytest.raises(OutputError, match="is a folder"):
        export_gguf(run, run)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_file_goes_where_a_link_or_a_pipe_leads(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "link").symlink_to("real.gguf")
    export_gguf(run, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.gguf").read_bytes()[:4] == b"GGUF"
    os.mkfifo(tmp_path / "fifo")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "fifo").read_bytes()), daemon=True)
    reader.start()
    export_gguf(run, tmp_path / "fifo")
    reader.join(timeout=10)
    assert heard == [(tmp_path / "real.gguf").read_bytes()]
    assert (tmp_path / "fifo").is_fifo()


def test_a_folder_is_refused_and_a_failed_export_leaves_the_old_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(OutputError, match="is a folder; give the name of a file"):
        export_gguf(run, tmp_path)
    (tmp_path / "out.gguf").write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gguf.GGUFWriter.write_tensors_to_file", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export_gguf(run, tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"my-run", "out.gguf"}


def test_q8_0_packs_the_matrices_and_comes_back_within_half_a_step(run: Path, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    export_gguf(run, tmp_path / "out.gguf", dtype="q8_0")
    reader = read(tmp_path / "out.gguf")
    assert field(reader, "general.file_type") == 7
    packed = {tensor.name: tensor for tensor in reader.tensors}
    exact = dict(named_tensors(load_folder(run)[0], dtype="f32"))
    assert packed.keys() == exact.keys()
    for name, value in exact.items():
        tensor = packed[name]
        if value.ndim == 1 or name == "position_embd.weight":
            np.testing.assert_array_equal(tensor.data, value)
            continue
        assert tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0
        back = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        blocks = np.abs(value).reshape(len(value), -1, 32).max(2, keepdims=True)
        error = np.abs(back - value).reshape(len(value), -1, 32)
        # Half a step, and the scale's own rounding to float16, 2^-11 of up to 127 steps.
        assert (error <= blocks / 127 * (0.5 + 127 * 2**-11) + 1e-6).all(), name
    f16 = tmp_path / "f16.gguf"
    export_gguf(run, f16, dtype="f16")
    assert (tmp_path / "out.gguf").stat().st_size < f16.stat().st_size


def test_rows_that_are_no_whole_blocks_stay_float16(tmp_path: Path, run: Path) -> None:
    pytest.importorskip("gguf")
    _, tokenizer = load_folder(run)
    config = GPTConfig(vocab_size=276, block_size=8, n_layer=1, n_head=1, n_embd=24)
    save_folder(GPT(config), tokenizer, tmp_path / "odd")
    export_gguf(tmp_path / "odd", tmp_path / "out.gguf", dtype="q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in read(tmp_path / "out.gguf").tensors}
    assert kinds["token_embd.weight"] == "F16"
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0", "96 numbers a row are three blocks"


@pytest.mark.parametrize(
    ("pattern", "name"), [("qwen2", "qwen2"), ("llama3", "llama-bpe"), ("o200k", "gpt-4o")]
)
def test_a_pattern_has_the_name_that_llama_cpp_gives_it(tmp_path: Path, pattern: str, name: str) -> None:
    pytest.importorskip("gguf")
    save_with_pattern(tmp_path / "run", pattern)
    export_gguf(tmp_path / "run", tmp_path / "out.gguf")
    assert field(read(tmp_path / "out.gguf"), "tokenizer.ggml.pre") == name


def test_a_pattern_that_llama_cpp_would_split_otherwise_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    save_with_pattern(tmp_path / "run", "cl100k")
    with pytest.raises(InputDataError, match="which llama.cpp does not know"):
        export_gguf(tmp_path / "run", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def save_with_pattern(folder: Path, pattern: str) -> None:
    tokenizer = train(["some text to learn from, 12 times"] * 3, 270, pattern=pattern)
    save_folder(
        GPT(GPTConfig(vocab_size=270, block_size=8, n_layer=1, n_head=1, n_embd=8)), tokenizer, folder
    )


def test_a_model_that_is_no_gpt2_is_refused_with_the_parts_that_it_has(
    modern_run: Path, tmp_path: Path
) -> None:
    reason = (
        "has rotary positions, QK-norm and ReLU², which GPT-2 does not have and llama.cpp would not compute"
    )
    with pytest.raises(InputDataError, match=reason):
        export_gguf(modern_run, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
