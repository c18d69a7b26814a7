"""Which implementation serves, how it is chosen, and that a missing or broken library never breaks anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ops_support import require_native

from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.ops import backend, bias_gelu, library, reference

REPOSITORY = Path(__file__).parent.parent.parent

# Imports the operators, uses one, and prints what happened. argv[1]: how to spoil the native library.
PROGRAM = """
import json, sys, warnings
import gpt2x
if sys.argv[1] == "missing":
    sys.modules["gpt2x._ops"] = None
elif sys.argv[1] != "whole":
    gpt2x.__path__.insert(0, sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    from gpt2x.ops import backend, bias_gelu
    x = torch.ones(3, requires_grad=True)
    bias_gelu(x).sum().backward()
    bias_gelu(x)
ours = [str(warning.message) for warning in caught if "gpt2x" in str(warning.message)]
status = backend.report()[0]
print(json.dumps({"warnings": ours, "implementation": status.implementation, "reason": status.reason}))
"""


def _run(how: str, **environment: str) -> dict:
    import os

    clean = {key: value for key, value in os.environ.items() if key != "GPT2X_OPS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**clean, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_missing_library_gives_one_warning_with_the_remedy_and_the_references_serve() -> None:
    found = _run("missing")
    assert len(found["warnings"]) == 1
    assert "gpt2x._ops is not built" in found["warnings"][0]
    assert "pip install -e ." in found["warnings"][0]
    assert found["implementation"] == "reference"
    assert found["reason"] == "gpt2x._ops is not built"


def test_a_broken_library_gives_one_warning_and_the_references_serve(tmp_path: Path) -> None:
    (tmp_path / "_ops.abi3.so").write_bytes(b"\x7fELF but no more")
    found = _run(str(tmp_path))
    assert len(found["warnings"]) == 1
    assert "gpt2x._ops does not load" in found["warnings"][0]
    assert found["implementation"] == "reference"


def test_choosing_the_references_is_silent_even_without_the_library() -> None:
    found = _run("missing", GPT2X_OPS="reference")
    assert found == {"warnings": [], "implementation": "reference", "reason": "GPT2X_OPS=reference"}


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_ops.py").write_text("interface = -1\n")
    found = _run(str(tmp_path))
    assert len(found["warnings"]) == 1
    assert "another version" in found["reason"]


@pytest.mark.parametrize("value", ["auto", "native", "reference", ""])
def test_the_variable_names_the_mode(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_OPS", value)
    assert backend.mode_from_environment() == (value or "auto")


def test_an_unknown_mode_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT2X_OPS", "fast")
    with pytest.raises(UsageError, match="GPT2X_OPS='fast' is not one of auto, native, reference"):
        backend.mode_from_environment()
    with pytest.raises(UsageError), backend.using("fast"):
        pass


def test_native_demanded_where_there_is_none_is_an_error_with_the_remedy() -> None:
    with (
        backend.using("native"),
        pytest.raises(MissingComponentError, match=r"no cpu kernels for float16.*|_ops"),
    ):
        bias_gelu(torch.zeros(3, dtype=torch.float16))


def test_the_report_covers_every_operator_and_says_why() -> None:
    for mode in ("auto", "reference"):
        with backend.using(mode):
            report = backend.report()
        assert [status.name for status in report] == list(library.OPERATORS)
        assert all(status.reason for status in report)
    for device in ("cuda", "mps"):
        assert all(status.reason for status in backend.report(device))


def test_on_a_gpu_the_report_tells_our_kernels_from_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_a_gpu(monkeypatch, (9, 0))
    kinds = {status.name: status.implementation for status in backend.report("cuda")}
    assert {name for name, kind in kinds.items() if kind == "reference"} == {
        name for name, operator in library.OPERATORS.items() if not operator.has_cuda_kernel
    }


def _with_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """As if the CUDA kernels were loaded, and every GPU had this compute capability."""
    monkeypatch.setitem(backend._native_dtypes, "cuda", (torch.float32, torch.bfloat16))
    monkeypatch.setitem(backend._missing, "cuda", "")
    monkeypatch.setattr(backend, "_capabilities", {})
    monkeypatch.setattr(backend, "_capability", lambda index: capability)


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (6, 1)])
def test_a_gpu_that_is_too_old_for_the_kernels_gets_plain_torch_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    _with_a_gpu(monkeypatch, capability)
    reason = f"this GPU has compute capability {capability[0]}.{capability[1]}, and the CUDA kernels need 8.0"
    for device in ("cuda", "cuda:1"):
        assert not backend.serves(device, torch.float32)
        assert {(s.implementation, s.reason) for s in backend.report(device)} == {("reference", reason)}
    with (
        backend.using("native"),
        pytest.raises(MissingComponentError, match=f"GPT2X_OPS=native, but {reason}"),
    ):
        backend.serves("cuda", torch.float32)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_a_gpu_that_is_new_enough_gets_the_kernels(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    _with_a_gpu(monkeypatch, capability)
    assert backend.serves("cuda", torch.float32)
    assert backend.serves(torch.device("cuda", 1), torch.bfloat16)
    assert not backend.serves("cuda", torch.float64)


def test_each_gpu_is_asked_for_its_own_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_a_gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(backend, "_capability", lambda index: (7, 5) if index == 1 else (9, 0))
    assert backend.serves("cuda:0", torch.float32)
    assert not backend.serves("cuda:1", torch.float32)


def test_switching_takes_effect_and_is_undone() -> None:
    require_native("cpu")
    x = torch.linspace(-4, 4, 1000)
    before = backend.current_mode()
    with backend.using("reference"):
        assert torch.equal(bias_gelu(x), reference.bias_gelu(x))
    assert backend.current_mode() == before
    assert backend.serves("cpu", torch.float32)
