from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import gpt2x.model.folder as folder_module
from gpt2x import tokenizer as tokenizer_room
from gpt2x.errors import InputDataError, OutputError, UsageError
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.model.folder import read_config
from gpt2x.model.runs import find_run, is_model_folder, newest_run, packaged_model
from gpt2x.train.records import read_record

TEXT = "la la love, la la rain, the rain of love is falling on the town " * 3


@pytest.fixture
def saved(tmp_path: Path, tiny: GPTConfig) -> Path:
    save_folder(GPT(tiny), None, tmp_path / "run")
    return tmp_path / "run"


def edit_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def edit_weights(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    state = load_file(folder / "model.safetensors") | changes
    save_file({name: t for name, t in state.items() if t is not None}, folder / "model.safetensors")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("tie_weights", [True, False])
def test_a_model_with_padding_comes_back_equal_and_the_file_has_no_padding(
    tmp_path: Path, tiny: GPTConfig, tie_weights: bool
) -> None:
    model = GPT(replace(tiny, padded_vocab_size=128, tie_weights=tie_weights)).eval()
    save_folder(model, None, tmp_path / "run")
    state = load_file(tmp_path / "run/model.safetensors")
    assert state["transformer.wte.weight"].shape == (101, 32)
    assert ("lm_head.weight" in state) != tie_weights
    again, _ = load_folder(tmp_path / "run")
    assert again.config == model.config
    assert not again.training
    assert (again.wte.weight is again.lm_head.weight) == tie_weights
    idx = torch.randint(0, 101, (2, 32))
    assert torch.equal(again(idx)[0], model(idx)[0])


def test_the_tokenizer_lies_beside_the_weights(tmp_path: Path, tiny: GPTConfig) -> None:
    tokenizer = tokenizer_room.train([TEXT], 280)
    save_folder(GPT(replace(tiny, vocab_size=280)), tokenizer, tmp_path / "run", extra={"step": 7})
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.tiktoken",
    }  # fmt: skip
    _, again = load_folder(tmp_path / "run")
    assert again is not None
    assert again.encode_ordinary(TEXT) == tokenizer.encode_ordinary(TEXT)
    assert again.eot_token == tokenizer.eot_token
    _, values = read_config(tmp_path / "run")
    assert values["gpt2x"]["step"] == 7
    assert values["eos_token_id"] == values["bos_token_id"] == tokenizer.eot_token


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_transformers_opens_the_folder_with_its_tokenizer(tmp_path: Path, tiny: GPTConfig) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = tokenizer_room.train([TEXT], 280)
    save_folder(GPT(replace(tiny, vocab_size=280)), tokenizer, tmp_path / "run")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    assert theirs(TEXT)["input_ids"] == tokenizer.encode_ordinary(TEXT)
    assert theirs.eos_token_id == tokenizer.eot_token
    assert theirs.decode(tokenizer.encode_ordinary(TEXT)) == TEXT
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert model.config.eos_token_id == tokenizer.eot_token


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path, tiny: GPTConfig) -> None:
    save_folder(GPT(tiny), None, tmp_path)
    tokenizer_room.train([TEXT], 280).save(tmp_path)
    with pytest.raises(InputDataError, match="280 ids .* 101"):
        load_folder(tmp_path)


def test_saving_into_a_run_keeps_what_else_is_there(saved: Path, tiny: GPTConfig) -> None:
    (saved / "trainer").mkdir()
    (saved / "trainer" / "state.json").write_text("{}")
    model = GPT(replace(tiny, n_layer=1))
    save_folder(model, None, saved)
    assert (saved / "trainer" / "state.json").exists()
    assert load_folder(saved)[0].config.n_layer == 1
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors", "trainer"]


@pytest.mark.parametrize("same_shape", [True, False])
def test_a_save_that_fails_leaves_the_old_model_whole(
    saved: Path, tiny: GPTConfig, monkeypatch: pytest.MonkeyPatch, same_shape: bool
) -> None:
    before = contents(saved)

    def full_disk(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "write_tensors", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        save_folder(GPT(tiny if same_shape else replace(tiny, n_layer=1)), None, saved)
    assert contents(saved) == before


def test_a_first_save_that_is_interrupted_leaves_nothing(
    tmp_path: Path, tiny: GPTConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "write_tensors", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_folder(GPT(tiny), None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path, tiny: GPTConfig) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        save_folder(GPT(tiny), None, tmp_path / "file" / "run")


def test_a_crash_between_the_renames_never_leaves_weights_that_do_not_fit(
    saved: Path, tiny: GPTConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another number of heads all shapes are equal: only the order of the renames can prevent silent nonsense."""
    real = Path.replace

    def crash_at_the_weights(self: Path, target: Path) -> Path:
        if self.name == "model.safetensors":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", crash_at_the_weights)
    with pytest.raises(KeyboardInterrupt):
        save_folder(GPT(replace(tiny, n_head=2)), None, saved)
    assert not is_model_folder(saved)


def test_bad_folders_are_refused_in_one_sentence(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="no model folder"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputDataError, match="no config.json"):
        load_folder(tmp_path / "empty")
    (saved / "model.safetensors").unlink()
    with pytest.raises(InputDataError, match="no model.safetensors"):
        load_folder(saved)


def test_pickled_weights_are_refused_with_the_reason(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(
        InputDataError, match=r"only pickled weights .* a pickle can run any code; .*save_pretrained"
    ):
        load_folder(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufeff{}", '{"model_type": 1e999}', "[" * 100_000])
def test_a_damaged_config_is_refused_in_one_sentence(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(InputDataError, match=r"config\.json"):
        load_folder(saved)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"transformer.ln_f.bias": None}, "lacks the tensor 'ln_f.bias'"),
        ({"transformer.wpe.weight": torch.zeros(31, 32)}, r"'wpe.weight' of shape \(31, 32\)"),
        ({"transformer.h.0.attn.c_attn.weight": torch.zeros(96, 32)}, r"\(96, 32\)"),
        ({"transformer.h.2.ln_1.weight": torch.zeros(32)}, "holds 3 layers"),
        ({"transformer.h.0.attn.extra": torch.zeros(3)}, "'h.0.attn.extra'"),
        ({"transformer.ln_f.bias": torch.zeros(32, dtype=torch.int8)}, "int8"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_tensor(
    saved: Path, changes: dict[str, torch.Tensor | None], part: str
) -> None:
    edit_weights(saved, changes)
    with pytest.raises(InputDataError, match=part):
        load_folder(saved)


@pytest.mark.parametrize(
    "values", [{"n_layer": 10**9}, {"n_embd": 2**40}, {"vocab_size": 2**40}, {"n_positions": 7}]
)
def test_a_config_that_does_not_fit_is_refused_before_memory_is_taken(
    saved: Path, values: dict[str, int]
) -> None:
    edit_config(saved, **values)
    with pytest.raises(InputDataError, match="belong together|layers"):
        load_folder(saved)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_cut_or_scrambled_weights_file_is_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "scrambled"
    config = GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4)
    if not folder.exists():
        save_folder(GPT(config), None, folder)
        (folder / "whole").write_bytes((folder / "model.safetensors").read_bytes())
    damaged = bytearray((folder / "whole").read_bytes())
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, 1600))] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(damaged)
    sentence = ""
    try:
        assert load_folder(folder)[0].config == config
    except InputDataError as error:
        sentence = str(error)
    assert "model.safetensors" in sentence or not sentence
    assert "\n" not in sentence


def test_the_newest_whole_run_is_found(
    tmp_path: Path, tiny: GPTConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT2X_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GPT2X_HOME", str(tmp_path / "home"))
    assert newest_run() == packaged_model()
    for age, name in enumerate(["new", "old"]):
        save_folder(GPT(tiny), None, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "model.safetensors", (1e9 - age, 1e9 - age))
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "half" / "config.json").write_text("{}")
    assert newest_run() == tmp_path / "runs" / "new"
    assert find_run("old") == tmp_path / "runs" / "old"
    with pytest.raises(InputDataError, match="no run 'other'"):
        find_run("other")


def test_all_files_of_a_saved_model_may_be_read_by_the_same_people(tiny: GPTConfig, tmp_path: Path) -> None:
    save_folder(GPT(tiny), None, tmp_path / "model")
    assert len({file.stat().st_mode for file in (tmp_path / "model").iterdir()}) == 1


THEIRS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.tiktoken")


@pytest.mark.parametrize("name", THEIRS)
def test_a_model_or_a_tokenizer_of_others_is_never_replaced(
    tmp_path: Path, tiny: GPTConfig, name: str
) -> None:
    (tmp_path / name).write_text('{"model_type": "gpt2"}')
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(OutputError, match=f"holds {name}, which gpt2x did not write"):
        save_folder(GPT(tiny), None, tmp_path)
    assert (tmp_path / name).read_text() == '{"model_type": "gpt2"}'
    assert sorted(os.listdir(tmp_path)) == sorted(["README.md", name])


def test_a_model_of_ours_that_others_have_saved_again_is_theirs(saved: Path, tiny: GPTConfig) -> None:
    """transformers keeps the entry "gpt2x" of a model that it fine-tunes."""
    save_folder(GPT(tiny), None, saved)
    edit_config(saved, transformers_version="5.0")
    with pytest.raises(OutputError, match=r"holds config\.json, which gpt2x did not write"):
        save_folder(GPT(tiny), None, saved)


def test_a_vocabulary_of_ours_is_joined_by_a_model(tmp_path: Path, tiny: GPTConfig) -> None:
    tokenizer = tokenizer_room.train([TEXT], 280)
    tokenizer.save(tmp_path)
    save_folder(GPT(replace(tiny, vocab_size=280)), tokenizer, tmp_path)
    save_folder(GPT(replace(tiny, vocab_size=280)), tokenizer, tmp_path)
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()  # what is left may be anybody's
    with pytest.raises(OutputError, match=r"holds tokenizer\.json"):
        tokenizer.save(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(
    tmp_path: Path, tiny: GPTConfig, name: str
) -> None:
    save_folder(GPT(replace(tiny, vocab_size=280)), tokenizer_room.train([TEXT], 280), tmp_path)
    (tmp_path / "vocab.tiktoken").unlink()
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    if name == "tokenizer.json":
        assert load_folder(tmp_path)[1] is None
        return
    with pytest.raises(InputDataError, match=f"{name} is no regular file"):
        load_folder(tmp_path)


def test_a_configuration_without_end_is_one_sentence(saved: Path) -> None:
    with (saved / "config.json").open("ab") as file:
        file.truncate(1 << 40)  # a sparse file: no disk is used
    with pytest.raises(InputDataError, match=r"config\.json has more than 16 MiB"):
        load_folder(saved)
    assert is_model_folder(saved)


def test_a_variable_that_names_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "GPT2X_RUNS"
    (tmp_path / "file").touch()
    for value, part in (
        (tmp_path / "file", "which is no folder"),
        (tmp_path / "file" / "x", "file is no folder"),
    ):
        monkeypatch.setenv(variable, str(value))
        with pytest.raises(UsageError, match=f"{variable} is {value}, .*{part}"):
            newest_run()


def test_a_folder_that_nobody_may_look_into_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not is_model_folder(tmp_path)
    with pytest.raises(InputDataError, match="cannot be read: Permission denied"):
        (tmp_path / "trainer").mkdir()
        (tmp_path / "trainer" / "config.json").write_text('{"format": "gpt2x-run"}', encoding="utf-8")
        read_record(tmp_path)
