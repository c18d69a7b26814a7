"""`gpt2x env --check`: what is missing here for full speed, and how to get it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt2x.console import emit, emit_json
from gpt2x.errors import ExitCode, Gpt2xError

NEWEST_TESTED_TORCH = (2, 13)
"""As in constraints.txt."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: str
    """``ok``, ``note`` (slower or untested, and nothing that an install would change) or ``todo``."""
    says: str
    fix: str = ""
    """What to do, of a ``todo``."""


def run(json: bool) -> ExitCode:
    """Look, and print what was found; the exit code is 4 where something is to do."""
    findings = look()
    to_do = sum(finding.state == "todo" for finding in findings)
    if json:
        emit_json({"complete": not to_do, "findings": [asdict(finding) for finding in findings]})
    else:
        emit("\n".join(_lines(findings, to_do)))
    return ExitCode.MISSING_COMPONENT if to_do else ExitCode.OK


def look() -> list[Finding]:
    """Every finding; without torch only what can be known without it."""
    first = [_tokenizer(), _vocabulary(), _cores(), _compiler()]
    try:
        import torch
    except ImportError as error:
        fix = "pip install torch"
        return [
            *first,
            Finding("torch", "todo", f"it cannot be imported ({error}); the tokenizer works", fix),
        ]
    return [*first, _torch(torch.__version__), _cpu_operators(), *_gpu(torch, _nvidia_devices())]


def _lines(findings: Iterable[Finding], to_do: int) -> Iterable[str]:
    marks = {"ok": "ok     ", "note": "note   ", "todo": "TO DO  "}
    for finding in findings:
        yield f"{marks[finding.state]}{finding.subject}: {finding.says}"
        if finding.fix:
            yield f"       {finding.fix}"
    yield ""
    yield (f"To do for full speed: {to_do}." if to_do else "Nothing is missing for full speed.")


def _tokenizer() -> Finding:
    from gpt2x import _bpe

    return Finding(
        "tokenizer", "ok", f"the C++ core is built (Unicode {_bpe.unicode_version}); it needs no torch"
    )


def _vocabulary() -> Finding:
    from gpt2x.tokenizer import registry

    found = registry.describe()
    if found["path"]:
        return Finding("GPT-2 vocabulary", "ok", f"at {found['path']}")
    return Finding("GPT-2 vocabulary", "note", str(found["reason"]))


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and 0 < int(asked) < cores:
        says = f"OMP_NUM_THREADS={asked} leaves {cores - int(asked)} of {cores} idle"
        return Finding("cores", "todo", says, "unset OMP_NUM_THREADS")
    return Finding("cores", "ok", f"{cores}, and all are used")


def _compiler() -> Finding:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (found := shutil.which(name)):
            return Finding("C++ compiler", "ok", f"{found}, for torch.compile and for building")
    says = "none is found, so torch.compile cannot make CPU code and the operators cannot be built"
    return Finding("C++ compiler", "todo", says, "install g++ (Debian, Ubuntu: apt install g++)")


def _torch(version: str) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    tested = ".".join(map(str, NEWEST_TESTED_TORCH))
    if numbers < (2, 10):
        says = f"{version} is too old for the operators, which need 2.10"
        return Finding("torch", "todo", says, "pip install --upgrade torch")
    if numbers > NEWEST_TESTED_TORCH:
        return Finding(
            "torch", "note", f"{version} is newer than {tested}, the newest that gpt2x was tested with"
        )
    return Finding("torch", "ok", version)


def _cpu_operators() -> Finding:
    try:
        from gpt2x.ops import backend, library
    except Gpt2xError as error:  # a word in GPT2X_OPS or GPT2X_GEMM that nobody knows
        return Finding("operators on the CPU", "todo", str(error), "correct or unset that variable")
    if library.WHY_NO_CPU:
        says = f"they run in plain torch, which is slower: {library.WHY_NO_CPU}"
        return Finding("operators on the CPU", "todo", says, backend.REMEDY)
    if backend.current_mode() == "reference":
        says = "GPT2X_OPS=reference chooses plain torch, which is slower"
        return Finding("operators on the CPU", "todo", says, "unset GPT2X_OPS")
    return Finding("operators on the CPU", "ok", "built and loaded")


def _nvidia_devices() -> bool:
    """Whether the system has an NVIDIA GPU, whatever torch thinks of it."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _gpu(torch: Any, devices: bool) -> list[Finding]:
    if not devices and not torch.cuda.is_available():
        return [Finding("GPU", "note", "there is no NVIDIA GPU here; everything runs on the CPU")]
    if torch.version.cuda is None:
        says = "there is one, but this torch is built without CUDA"
        fix = "install a CUDA build of torch (the selector on pytorch.org), then gpt2x anew"
        return [Finding("GPU", "todo", says, fix)]
    if not torch.cuda.is_available():
        fix = (
            "compare the driver in nvidia-smi with the CUDA version of torch, and check CUDA_VISIBLE_DEVICES"
        )
        return [Finding("GPU", "todo", "there is one, but torch cannot use it", fix)]
    return [Finding("GPU", "ok", torch.cuda.get_device_name(0)), _gpu_operators()]


def _gpu_operators() -> Finding:
    from gpt2x.ops import library

    reason = library.WHY_NO_CUDA
    if not reason:
        return Finding("operators on the GPU", "ok", "built and loaded")
    says = f"they run in plain torch, which is slower: {reason}"
    fix = "install the CUDA toolkit (nvcc), then GPT2X_CUDA=1 pip install -e . in gpt2x's source folder"
    return Finding("operators on the GPU", "todo", says, fix)
