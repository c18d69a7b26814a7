"""`gpt2x export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt2x import tokenizer as tokenizer_room
from gpt2x.model import GPT, GPTConfig, load_folder, save_folder
from gpt2x.paths import runs_dir
from tests.cli.conftest import Run

COMMAND = "export"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = GPT(GPTConfig(vocab_size=300, block_size=16, n_layer=1, n_head=2, n_embd=16))
    save_folder(
        model,
        tokenizer_room.train(["la la love, the rain is falling on the town " * 3], 270),
        runs_dir() / "mine",
    )
    return runs_dir() / "mine"


def test_a_run_becomes_a_folder_under_its_own_name_and_the_name_is_the_result(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    result = run("hf", "mine")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == "mine-hf"
    assert load_folder(tmp_path / "mine-hf")[0].config.vocab_size == 300


def test_json_has_its_documented_shape(run: Run, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shape = json.loads(run("hf", str(trained), "--out", str(out), "--dtype", "f16", "--json").stdout)
    size = sum(path.stat().st_size for path in out.iterdir())
    assert shape == {"run": str(trained), "out": str(out), "dtype": "f16", "bytes": size}


def test_a_run_becomes_a_gguf_file(run: Run, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    assert run("gguf", "mine").stdout.strip() == "mine.gguf"
    assert (tmp_path / "mine.gguf").read_bytes()[:4] == b"GGUF"
    assert run("gguf", "mine", "--dtype", "f16", "-o", str(tmp_path / "half.gguf")).exit_code == 0
    assert (tmp_path / "half.gguf").stat().st_size < (tmp_path / "mine.gguf").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["hf", "nowhere"], 3, "no run 'nowhere'"),
        (["gguf", "nowhere"], 3, "no run 'nowhere'"),
        (["hf", "mine", "--dtype", "int8"], 2, "'int8'"),
        (["gguf", "mine", "--dtype", "q4"], 2, "'q4'"),
        (["hf", "mine", "--out", "."], 1, "which is no part of an export"),
        (["hf", "empty"], 3, "config.json"),
    ],
)
@pytest.mark.usefixtures("trained")
def test_bad_requests_are_one_sentence_with_a_named_exit_code(
    run: Run, tmp_path: Path, arguments: list[str], code: int, part: str
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run(*arguments)
    assert result.exit_code == code
    assert part in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
