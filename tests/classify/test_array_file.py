"""Our reader of safetensors files reads what the library of that name reads, and refuses what that one refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gpt2x.classify.array_file import ArrayFile
from gpt2x.classify.saved import open_arrays
from gpt2x.errors import InputDataError

ARRAYS = {
    "weights": np.arange(12, dtype=np.float32).reshape(4, 3),
    "numbers": np.array([2, 3, 5, 7], np.int64),
    "number": np.array(0.5),
    "nothing": np.zeros((0, 3), np.float32),
    "truth": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "half": np.array([[1.5]], np.float16),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save(ARRAYS, metadata={"by": "a test"}))
    return path


def read(path: Path) -> dict[str, np.ndarray] | None:
    """All arrays; None where the file is refused."""
    try:
        return dict(ArrayFile(path))
    except ValueError:
        return None


def read_by_library(data: bytes) -> dict[str, np.ndarray] | None:
    try:
        return safetensors.numpy.load(data)
    except Exception:  # of several kinds
        return None


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def test_arrays_of_every_shape_and_type_are_read(path: Path) -> None:
    found = ArrayFile(path)
    assert len(found) == len(ARRAYS)
    assert_same(dict(found), ARRAYS)
    assert found.entry("weights").shape == (4, 3)


def test_rows_are_read_in_any_order_and_twice(path: Path) -> None:
    found = ArrayFile(path)
    for name, places in (("weights", [3, 0, 3]), ("numbers", [2]), ("numbers", []), ("nothing", [])):
        chosen = np.array(places, np.int64)
        assert_same({name: found.rows(name, chosen)}, {name: ARRAYS[name][chosen]})


def test_no_damage_is_read_that_the_library_refuses(path: Path) -> None:
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    damaged = [whole[:end] for end in (0, 7, 8, 60, length, len(whole) - 1)] + [whole + b"\0", whole + whole]
    damaged += [
        whole[:at] + bytes([byte]) + whole[at + 1 :]
        for at in range(length)
        for byte in b'\x00\xff 01-{}[]",:'
    ]
    num_read = 0
    for data in damaged:
        path.write_bytes(data)
        found, expected = read(path), read_by_library(data)
        if expected is None:
            assert found is None, data[:length]
        if found is not None and expected is not None:  # names may be damaged, and nothing be wrong with that
            assert_same(found, expected)
            num_read += 1
    assert num_read > 10, "the damage is all of one kind"


@pytest.mark.parametrize(
    ("dtype", "shape", "offsets"),
    [
        ("F32", [-1, -3], [0, 12]),
        ("F32", [2**63, 2**63], [0, 12]),
        ("F32", [3.0], [0, 12]),
        ("F32", [True, 3], [0, 12]),
        ("F32", None, [0, 12]),
        ("F32", [3], [12, 0]),
        ("F32", [3], [0, 12, 12]),
        ("F32", [2], [0, 12]),
        ("F32", [1], [8, 12]),
        ("F4", [3], [0, 12]),
        (["F32"], [3], [0, 12]),
    ],
)
def test_a_header_that_fits_no_file_is_refused(path: Path, dtype: Any, shape: Any, offsets: Any) -> None:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    assert read(path) is None


def test_two_arrays_that_share_their_bytes_are_refused(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    assert read(path) is None


def test_a_file_that_is_cut_after_it_was_opened_is_an_error(path: Path) -> None:
    found = ArrayFile(path)
    os.truncate(path, path.stat().st_size - 60)
    with pytest.raises(ValueError, match="ends too soon"):
        found["number"]
    with pytest.raises(ValueError, match="ends too soon"):
        found.rows("weights", np.array([3]))


def test_a_file_that_is_replaced_after_it_was_opened_is_read_as_it_was(path: Path, tmp_path: Path) -> None:
    found = ArrayFile(path)
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").replace(path)
    assert_same(dict(found), ARRAYS)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "missing"):
        with pytest.raises(InputDataError, match="missing or damaged"):
            open_arrays(tmp_path / name)


def test_the_file_is_closed_with_the_last_that_reads_it(path: Path) -> None:
    found = ArrayFile(path)
    assert found.close.alive
    close = found.close
    del found
    assert not close.alive
