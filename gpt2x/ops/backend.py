"""Which implementation of the operators serves here, and why.

Three sources, looked at once, when `gpt2x.ops` is imported (`gpt2x.ops.library`):

- ``gpt2x._ops``: schemas and CPU kernels, on torch's stable ABI, so one file serves torch 2.10 and later;
- ``gpt2x._cuda``: CUDA kernels behind a C boundary that knows no torch (called through `gpt2x.ops.cuda`);
- `gpt2x.ops.reference`: plain torch, always there.

``GPT2X_OPS`` chooses: ``auto`` (native where it can, the default), ``native`` (an error where it cannot) or
``reference``. A native library that is missing or does not load never breaks anything: one warning says what to do,
and the plain-torch references serve.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.ops import library

GEMMS = ("auto", "torch", "onednn")
MODES = ("auto", "native", "reference")
REMEDY = (
    "reinstall gpt2x from its source folder with a C++ compiler at hand (pip install -e . or "
    "python setup.py build_ext --inplace), or set GPT2X_OPS=reference to choose plain torch knowingly"
)

# What the native kernels are compiled for; every other dtype is served by the references.
_CPU_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_CUDA_DTYPES = (torch.float32, torch.bfloat16)

_MIN_CAPABILITY = (8, 0)
"""Of a GPU: what the CUDA kernels are compiled for at least (``CUDA_TARGETS`` in setup.py)."""


@dataclass(frozen=True, slots=True)
class OpStatus:
    """Which implementation of one operator serves on a device: ``native`` or ``reference``, and why."""

    name: str
    implementation: str
    reason: str


def mode_from_environment() -> str:
    """The value of ``GPT2X_OPS``.

    Raises:
        UsageError: it is not one of auto, native, reference.

    """
    return _word_from_environment("GPT2X_OPS", MODES)


def check_gemm() -> None:
    """Refuse a ``GPT2X_GEMM`` that ``csrc/ops/cpu/gemm.cpp`` does not know.

    Raises:
        UsageError: it is not one of auto, torch, onednn.

    """
    _word_from_environment("GPT2X_GEMM", GEMMS)


def _word_from_environment(variable: str, words: tuple[str, ...]) -> str:
    """One of the words; auto where the variable is empty or not set."""
    word = os.environ.get(variable, "") or "auto"
    if word not in words:
        raise UsageError(f"{variable}={word!r} is not one of {', '.join(words)}")
    return word


_mode = mode_from_environment()
check_gemm()
_missing: dict[str, str] = {"cpu": library.WHY_NO_CPU, "cuda": library.WHY_NO_CUDA}
_native_dtypes: dict[str, tuple[torch.dtype, ...]] = {
    "cpu": () if _missing["cpu"] else _CPU_DTYPES,
    "cuda": () if _missing["cuda"] else _CUDA_DTYPES,
}

_capabilities: dict[int | None, tuple[int, int]] = {}  # of the GPUs asked about so far

_onednn: bool = not _missing["cpu"] and bool(torch.ops.gpt2x.onednn_multiplies())

if _missing["cpu"] and _mode == "auto":
    warnings.warn(
        f"gpt2x runs its operators in plain torch, which is slower: {_missing['cpu']}; {REMEDY}",
        RuntimeWarning,
        stacklevel=2,
    )


def serves(device: torch.device | str, dtype: torch.dtype) -> bool:
    """True when the native kernels serve tensors of this dtype on this device.

    Raises:
        MissingComponentError: they do not, and ``GPT2X_OPS=native`` demands them.

    """
    where = torch.device(device)
    if _mode == "reference" or where.type == "meta":  # without data there is nothing to compute
        return False
    native = dtype in _native_dtypes.get(where.type, ()) and (
        where.type != "cuda" or not _too_old(where.index)
    )
    if _mode == "native" and not native:
        raise MissingComponentError(f"GPT2X_OPS=native, but {_why_not(where, dtype)}; {REMEDY}")
    return native


def multiplies(device: torch.device | str, dtype: torch.dtype) -> bool:
    """True when `gpt2x.ops.linear` does more than torch's own: float32 on a CPU where oneDNN is the faster library."""
    where = torch.device(device)
    return where.type == "cpu" and dtype == torch.float32 and serves(where, dtype) and _onednn


def report(device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[OpStatus]:
    """For each operator: what serves tensors of this dtype on this device, and why."""
    return [_status(operator, torch.device(device), dtype) for operator in library.OPERATORS.values()]


def _status(operator: library.Operator, device: torch.device, dtype: torch.dtype) -> OpStatus:
    name = operator.name
    if _mode == "reference":
        return OpStatus(name, "reference", "GPT2X_OPS=reference")
    reason = _why_not(device, dtype)
    if reason:
        return OpStatus(name, "reference", reason)
    if device.type == "cuda" and not operator.has_cuda_kernel:
        return OpStatus(name, "reference", "on a GPU torch's own operations serve")
    return OpStatus(name, "native", "GPT2X_OPS=native" if _mode == "native" else "built and loaded")


@contextlib.contextmanager
def using(mode: str) -> Iterator[None]:
    """Switch the implementation inside a block (tests, benchmarks): ``auto``, ``native`` or ``reference``."""
    global _mode  # noqa: PLW0603  (the one switch of this module)
    if mode not in MODES:
        raise UsageError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before


def current_mode() -> str:
    """The mode that holds: ``auto``, ``native`` or ``reference``."""
    return _mode


def _why_not(device: torch.device, dtype: torch.dtype) -> str:
    """Why the native kernels do not serve there, or an empty text."""
    if device.type not in _missing:
        return f"there are no kernels for {device.type} devices"
    if dtype not in _native_dtypes[device.type]:
        kind = str(dtype).removeprefix("torch.")
        return _missing[device.type] or f"there are no {device.type} kernels for {kind}"
    return _too_old(device.index) if device.type == "cuda" else ""


def _too_old(index: int | None) -> str:
    """Why a GPU (None: the current one) cannot run the kernels, or an empty text."""
    if index not in _capabilities:
        _capabilities[index] = _capability(index)
    capability = _capabilities[index]
    if capability >= _MIN_CAPABILITY:
        return ""
    have, need = (".".join(map(str, version)) for version in (capability, _MIN_CAPABILITY))
    return f"this GPU has compute capability {have}, and the CUDA kernels need {need}"


def _capability(index: int | None) -> tuple[int, int]:
    if not torch.cuda.is_available():  # a report about a GPU that is not there
        return _MIN_CAPABILITY
    return torch.cuda.get_device_capability(index)
