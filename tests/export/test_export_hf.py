from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpt2x.errors import InputDataError, OutputError
from gpt2x.export.gguf import export_gguf
from gpt2x.export.hf import export_hf
from gpt2x.model import load_folder, save_folder


def test_the_folder_has_the_model_and_nothing_of_the_trainer(run: Path, tmp_path: Path) -> None:
    export_hf(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.tiktoken",
    }  # fmt: skip
    assert "step" not in json.loads((tmp_path / "out/config.json").read_text())["gpt2x"]
    idx = torch.randint(0, 280, (2, 16))
    (before, tokenizer), (after, again) = load_folder(run), load_folder(tmp_path / "out")
    assert torch.equal(after(idx)[0], before(idx)[0])
    assert again.encode_ordinary("la rain") == tokenizer.encode_ordinary("la rain")


def test_half_precision_is_half_the_size(run: Path, tmp_path: Path) -> None:
    export_hf(run, tmp_path / "f32")
    export_hf(run, tmp_path / "f16", dtype="f16")
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("f32", "f16"))
    assert half < 0.6 * whole
    assert load_folder(tmp_path / "f16", dtype=torch.float16)[0].wte.weight.dtype == torch.float16


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_transformers_writes_what_we_write(run: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    export_hf(run, tmp_path / "out")
    model, _ = load_folder(run)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    idx = torch.randint(0, 280, (2, 16))
    torch.testing.assert_close(theirs(idx).logits, model(idx)[0], rtol=1e-5, atol=1e-5)


def test_a_folder_with_something_in_it_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_hf(run, tmp_path / "out")  # empty: fine
    export_hf(run, tmp_path / "out", dtype="f16")  # an export: fine, too
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt, which is no part of an export"):
        export_hf(run, tmp_path / "out")
    with pytest.raises(OutputError, match="is the run itself"):
        export_hf(run, run)
    with pytest.raises(OutputError, match="is the run itself"):
        export_hf(tmp_path / "out", tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        export_hf(run, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_that_was_not_exported_is_left_alone(run: Path, tmp_path: Path) -> None:
    model, tokenizer = load_folder(run)
    save_folder(model, tokenizer, tmp_path / "made-by-hand")
    export_hf(run, tmp_path / "tuned")
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    (tmp_path / "tuned" / "config.json").write_text(json.dumps(config | {"transformers_version": "5.0"}))
    for folder in (tmp_path / "made-by-hand", tmp_path / "tuned"):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(OutputError, match=r"holds config\.json, which is no part of an export"):
            export_hf(run, folder)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_linked_folder_stays_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    export_hf(run, tmp_path / "link")
    export_hf(run, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "model.safetensors").is_file()


def test_a_run_without_model_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputDataError):
        export_hf(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_no_gpt2_is_refused_with_the_parts_that_it_has(
    modern_run: Path, tmp_path: Path
) -> None:
    reason = "has rotary positions, QK-norm and ReLU², which GPT-2 does not have and transformers would not compute"
    with pytest.raises(InputDataError, match=reason):
        export_hf(modern_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("value", "dtypes"), [(1e5, ["f16"]), (float("nan"), ["f16", "f32"])])
def test_numbers_that_a_dtype_does_not_have_are_refused(
    run: Path, tmp_path: Path, value: float, dtypes: list[str]
) -> None:
    model, tokenizer = load_folder(run)
    with torch.no_grad():
        model.wte.weight[0, 0] = value
    save_folder(model, tokenizer, tmp_path / "large")
    for export in (export_hf, export_gguf):
        for dtype in dtypes:
            with pytest.raises(
                InputDataError, match=rf"^wte\.weight holds NaN, infinity or .* {dtype}; give"
            ):
                export(tmp_path / "large", tmp_path / "out", dtype=dtype)
    assert not (tmp_path / "out").exists()
