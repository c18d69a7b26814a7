"""Our safetensors files are the library's, byte for byte, and hashed as they are written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt2x.model.tensor_file import write_tensors


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["bare", "with metadata"])
def test_bytes_and_hash_are_those_of_the_library(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    torch.manual_seed(1)
    tensors = {
        "b": torch.randn(3, 5),
        "a.weight": torch.randn(7).bfloat16(),
        "half": torch.randn(2, 2, 2).half(),
        "long": torch.arange(4),
        "double": torch.zeros(2, dtype=torch.float64),
        "int": torch.zeros(2, dtype=torch.int32),
        "byte": torch.zeros(3, dtype=torch.uint8),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(3.0),
        "größe": torch.randn(2),
    }
    save_file(tensors, tmp_path / "theirs", metadata=metadata)
    digest = write_tensors(tensors, tmp_path / "ours", metadata)
    written = (tmp_path / "ours").read_bytes()
    assert written == (tmp_path / "theirs").read_bytes()
    assert digest == hashlib.sha256(written).hexdigest()


def test_a_view_is_written_row_by_row(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).view(2, 3)
    parameter = torch.nn.Parameter(matrix.clone())
    write_tensors({"t": matrix.T, "p": parameter[:, 1:]}, tmp_path / "f")
    read = load_file(tmp_path / "f")
    assert torch.equal(read["t"], matrix.T)
    assert torch.equal(read["p"], matrix[:, 1:])
