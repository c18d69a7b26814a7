"""What this machine is: the facts that decide which rungs can run here, and that every result carries.

Facts that need torch are collected by `probe` in a process of their own (`worker`), so that a broken driver cannot
take the ladder with it; the parent process never loads torch.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
FAST_BF16_CPU = ("avx512_bf16", "amx_bf16", "bf16")  # the last is ARM's name for it


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine, as far as training speed depends on it."""

    cpu: str = "unknown"
    cores: int = 1
    """Cores that this process may use."""
    instruction_sets: tuple[str, ...] = ()
    memory_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()
    cpp_compiler: str | None = None
    triton: bool = False
    gloo: bool = False
    native_ops: bool = False
    """Whether gpt2x.ops runs its compiled operators, and not their plain-torch twins, on the fastest device."""
    peak_flops: dict[str, float] = field(default_factory=dict)
    """Floating-point operations a second of a large matrix product, by dtype, on the fastest device: measured."""
    system: str = ""
    load_average: float = 0.0
    """Processes that were running here when the ladder started, over the last minute."""
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Machine:
        """The inverse of `as_dict`."""
        gpus = tuple(Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in values["gpus"])
        return cls(**{**values, "gpus": gpus, "instruction_sets": tuple(values["instruction_sets"])})

    def has_fast_bf16(self, device: str) -> bool:
        """True when matrix products in bfloat16 have instructions of their own on that device."""
        if device == "cuda":
            return bool(self.gpus) and self.gpus[0].capability >= (8, 0)
        return any(name in self.instruction_sets for name in FAST_BF16_CPU)

    def describe(self, device: str) -> str:
        """One line for people: the GPU, or the CPU with its cores."""
        if device == "cuda" and self.gpus:
            return self.gpus[0].name if len(self.gpus) == 1 else f"{len(self.gpus)} × {self.gpus[0].name}"
        return f"{self.cpu}, {self.cores} core{'s' * (self.cores != 1)}"


def probe(device: str) -> Machine:
    """Look at this machine and measure its peak; loads torch. `device` is auto, cpu, cuda or cuda:N."""
    import torch

    here = without_torch()
    gpus = () if device == "cpu" else tuple(map(_gpu, range(torch.cuda.device_count())))
    fastest = "cuda" if gpus else "cpu"
    versions = {**here.versions, "torch": torch.__version__}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return dataclasses.replace(
        here,
        gpus=gpus,
        triton=_has_triton(),
        gloo=torch.distributed.is_available() and torch.distributed.is_gloo_available(),
        native_ops=_native_ops(fastest),
        peak_flops=measure_peak(fastest),
        versions=versions,
    )


def without_torch() -> Machine:
    """What can be said of this machine without torch: processor, cores, memory, system."""
    from gpt2x._version import __version__

    name, flags = _cpu()
    return Machine(
        cpu=name,
        cores=usable_cores(),
        instruction_sets=tuple(flag for flag in INSTRUCTION_SETS if flag in flags),
        memory_bytes=memory_bytes("MemTotal"),
        cpp_compiler=_cpp_compiler(),
        system=f"{platform.system()} {platform.machine()}",
        versions={"gpt2x": __version__, "python": platform.python_version()},
    )


def usable_cores() -> int:
    """Cores that this process may run on (containers and taskset often grant fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> float:
    """How many processes were running on average over the last minute; 0 where nobody knows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cpu_seconds() -> tuple[float, float]:
    """CPU time used so far (by the whole machine, by this process and its finished children); (0, own) off Linux."""
    import time

    own = time.process_time() + sum(os.times()[2:4])
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0, own
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), own


def memory_bytes(key: str) -> int:
    """A line of /proc/meminfo (``MemTotal``, ``MemAvailable``) in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def reset_peak_memory() -> None:
    """Let the peak start from what is in use now (Linux; elsewhere it stays that of the whole process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5: VmHWM := VmRSS, see proc(5)
    except OSError:
        return


def peak_memory() -> int:
    """The most memory that this process has had resident, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def measure_peak(device: str, *, seconds: float = 1.5) -> dict[str, float]:
    """Floating-point operations a second of a large square matrix product, by dtype: the roof over all rungs.

    The best of many repetitions, since a peak is what the machine can do when nothing disturbs it.
    """
    import time

    import torch

    n = 8192 if device == "cuda" else 1024
    kinds = {"float32": torch.float32}
    if device == "cuda" or any(name in _cpu()[1] for name in FAST_BF16_CPU):
        kinds["bfloat16"] = torch.bfloat16
    peaks = {}
    for name, dtype in kinds.items():
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        best, end = float("inf"), time.perf_counter() + seconds
        repetitions = 0
        while repetitions < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            torch.mm(a, b)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
            repetitions += 1
        peaks[name] = 2.0 * n**3 / best
    return peaks


# ----------------------------------------------------------------------------------------------------------------


def _gpu(index: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        name=properties.name,
        memory_bytes=properties.total_memory,
        capability=(properties.major, properties.minor),
    )


def _cpu() -> tuple[str, frozenset[str]]:
    """The processor's name and its instruction sets, as Linux writes them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags") or values.get("Features") or ""
    return values.get("model name") or platform.machine(), frozenset(flags.split())


def _cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile would call for CPU code."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def _has_triton() -> bool:
    try:
        from torch.utils._triton import has_triton
    except ImportError:
        return False
    return bool(has_triton())


def _native_ops(device: str) -> bool:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the operators are not built is said by the rung
        from gpt2x.ops import backend
    return all(status.implementation == "native" for status in backend.report(device))
