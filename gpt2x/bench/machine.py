"""What this machine is: the facts that decide which rungs can run here, and that every result carries.

Facts that need torch are collected by `probe` in a process of their own (`worker`), so that a broken driver cannot
take the ladder with it; the parent process never loads torch.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2x.errors import MissingComponentError, quoted
from gpt2x.model.peak import onednn_multiplies, product_peak

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
    cpu_family: int | None = None
    """The number of the processor's kind; None where the system does not say, or in an older
    result. Its name may stand for several kinds, or for none."""
    cpu_model: int | None = None
    """Which one of the family."""
    cores: int = 1
    """Cores that this process may use."""
    instruction_sets: tuple[str, ...] = ()
    memory_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()
    cpp_compiler: str | None = None
    triton: bool = False
    gloo: bool = False
    native_ops: bool = False
    """Whether gpt2x.ops runs its compiled operators on the fastest device, and not those in plain torch."""
    onednn_multiplies: bool = False
    """Whether oneDNN multiplies float32 matrices faster here than the library that torch gives them to."""
    keeps_memory: bool = False
    """Whether the C library can be told to keep freed memory in the process."""
    shares_memory: bool = False
    """Whether processes can have memory in common that has no name."""
    peak_flops: dict[str, float] = field(default_factory=dict)
    """Floating-point operations a second of a large matrix product, by dtype, on the fastest device: measured."""
    bandwidth: float = 0.0
    """Bytes a second that reads and writes of large arrays reach together, on the fastest device: measured."""
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

    def is_like(self, other: Machine) -> bool:
        """True when both have the same processor, as far as they tell, as many cores of it, and the same GPUs."""
        numbers = ((self.cpu_family, other.cpu_family), (self.cpu_model, other.cpu_model))
        same_kind = all(ours == theirs for ours, theirs in numbers if ours is not None and theirs is not None)
        names = ("cpu", "cores", "gpus", "instruction_sets")
        return same_kind and all(getattr(self, name) == getattr(other, name) for name in names)

    def has_fast_bf16(self, device: str) -> bool:
        """True when matrix products in bfloat16 have instructions of their own on that device."""
        if device == "cuda":
            return bool(self.gpus) and self.gpus[0].capability >= (8, 0)
        return any(name in self.instruction_sets for name in FAST_BF16_CPU)

    def describe(self, device: str) -> str:
        """One line for people: the GPU, or the CPU with its cores."""
        if device == "cuda" and self.gpus:
            return self.gpus[0].name if len(self.gpus) == 1 else f"{len(self.gpus)} × {self.gpus[0].name}"
        return f"{self.cpu_name}, {self.cores} core{'s' * (self.cores != 1)}"

    @property
    def cpu_name(self) -> str:
        """The processor's name, with its family and model numbers where they are known.

        >>> Machine(cpu="AMD EPYC", cpu_family=26, cpu_model=2).cpu_name
        'AMD EPYC (family 26, model 2)'
        """
        if self.cpu_family is None or self.cpu_model is None:
            return self.cpu
        return f"{self.cpu} (family {self.cpu_family}, model {self.cpu_model})"


def probe(device: str) -> Machine:
    """Look at this machine and measure its peak; loads torch. `device` is auto, cpu, cuda or cuda:N."""
    import torch

    from gpt2x.ops.memory import keep_freed_memory

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
        onednn_multiplies=onednn_multiplies(),
        keeps_memory=keep_freed_memory(),
        shares_memory=hasattr(os, "memfd_create"),
        peak_flops=measure_peak(fastest),
        bandwidth=measure_bandwidth(fastest),
        versions=versions,
    )


def foreseen(device: str, visible_gpu: str | None = None) -> Machine:
    """What `probe` will most likely find, told at once: without torch, another process or a measurement.

    Args:
        device: auto, cpu or cuda.
        visible_gpu: which GPU alone is to be seen, from ``cuda:N``.

    Raises:
        MissingComponentError: there is no such GPU.

    """
    count = 0 if device == "cpu" else num_gpus()
    if count is not None and visible_gpu is not None and int(visible_gpu) >= count:
        known = f"the GPUs are 0 to {count - 1}" if count else "torch finds no GPU"
        raise MissingComponentError(
            f"--device cuda:{quoted(int(visible_gpu))} is not here: {known}; choose another, or --device cpu"
        )
    unknown = Gpu(name="a GPU", memory_bytes=2**62, capability=(8, 0))  # nothing is refused for its sake
    return dataclasses.replace(without_torch(), gpus=(unknown,) * min(1 if count is None else count, 1))


def num_gpus() -> int | None:
    """NVIDIA GPUs that torch can use here, told without loading torch; None where that cannot be told."""
    if not _torch_has_cuda():
        return 0
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return 0
    from gpt2x.bench.energy import count_gpus

    return count_gpus()


def _torch_has_cuda() -> bool:
    """Whether the torch that is installed was built for CUDA, as its file ``version.py`` says."""
    import importlib.util
    import re

    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"^cuda\b[^=]*= *None", text, re.MULTILINE) is None


def without_torch() -> Machine:
    """What can be said of this machine without torch: processor, cores, memory, system."""
    from gpt2x._version import __version__

    cpu = _cpu()
    return Machine(
        cpu=cpu.name,
        cpu_family=cpu.family,
        cpu_model=cpu.model,
        cores=usable_cores(),
        instruction_sets=tuple(flag for flag in INSTRUCTION_SETS if flag in cpu.flags),
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
    """CPU time used so far on the cores that this process may use: (by all programs, by it and its finished children).

    (0, own) off Linux.
    """
    own = time.process_time() + sum(os.times()[2:4])
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0, own
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = sum(_busy_ticks(fields) for name, *fields in map(str.split, lines) if name in ours)
    return ticks / os.sysconf("SC_CLK_TCK"), own


def _busy_ticks(fields: list[str]) -> int:
    """Of a core's line in /proc/stat."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return user + nice + system + irq + softirq + steal


def memory_bytes(key: str) -> int:
    """A line of /proc/meminfo (``MemTotal``, ``MemAvailable``) in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


STREAM_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""The size of each of the three arrays of `measure_bandwidth`: far more than any cache holds."""


def measure_peak(device: str, *, seconds: float = 0.4) -> dict[str, float]:
    """Floating-point operations a second of large square matrix products, by dtype: the roof over all rungs.

    Args:
        device: cpu or cuda.
        seconds: how long to try each size of matrix.

    """
    has_bfloat16 = device == "cuda" or any(name in _cpu().flags for name in FAST_BF16_CPU)
    kinds = ("float32", "bfloat16") if has_bfloat16 else ("float32",)
    return {name: product_peak(name, device, seconds=seconds) for name in kinds}


def measure_bandwidth(device: str, *, seconds: float = 0.6) -> float:
    """Bytes a second that the memory gives and takes: ``a = b + s c`` and ``a += s b`` over arrays that no cache holds.

    Two arrays are read and one is written, as in STREAM's triad (McCalpin 1995), and like there what the processor
    reads only to overwrite it is not counted. An update in place has no such reads, so that it is the faster one on
    most CPUs; an optimizer is like it, an activation like the first. The best of both, of many repetitions.

    Args:
        device: cpu or cuda.
        seconds: how long to try each.

    """
    import torch

    count = STREAM_BYTES[device] // 4
    a, b, c = (torch.ones(count, device=device) for _ in range(3))  # zeros need not be memory of their own
    best = min(
        fastest_call(lambda: torch.add(b, c, alpha=0.5, out=a), device, seconds),
        fastest_call(lambda: a.add_(b, alpha=0.5), device, seconds),
    )
    return 3.0 * 4 * count / best


def fastest_call(call: Callable[[], Any], device: str, seconds: float) -> float:
    """The fastest of several calls, in seconds."""
    import torch

    best, end, calls = float("inf"), time.perf_counter() + seconds, 0
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


# ----------------------------------------------------------------------------------------------------------------


def _gpu(index: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(index)
    return Gpu(
        name=properties.name,
        memory_bytes=properties.total_memory,
        capability=(properties.major, properties.minor),
    )


@dataclass(frozen=True)
class _Cpu:
    """A processor as Linux describes it."""

    name: str
    flags: frozenset[str] = frozenset()
    family: int | None = None
    model: int | None = None


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> _Cpu:
    """The processor's name, its instruction sets, and its family and model numbers (x86 only)."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return _Cpu(platform.processor() or platform.machine())
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    family, model = (
        int(number) if number.isdecimal() else None
        for number in (values.get("cpu family", ""), values.get("model", ""))
    )
    flags = values.get("flags") or values.get("Features") or ""
    name = values.get("model name") or platform.machine()
    return _Cpu(name, frozenset(flags.split()), family, model)


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
    return any(status.implementation == "native" for status in backend.report(device))
