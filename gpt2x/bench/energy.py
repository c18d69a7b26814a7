"""Energy where the hardware counts it: RAPL's counters of the processor, NVML's of the GPU. Loads no torch.

A meter gives joules since some moment; the difference of two readings is what was used between them. On a CPU that is
all that the package used, for whatever program; on a GPU all that the card used.
"""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


class Meter(Protocol):
    """Counts energy."""

    def joules(self) -> float:
        """Joules since the meter was made."""
        ...


@dataclass
class _Counter:
    """One file of RAPL, which starts again at zero after `range_uj` microjoules (Linux, powercap.rst)."""

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def read(self) -> int:
        """Microjoules since the first reading; right as long as it is read once in every turn of the counter."""
        now_uj = int(self.path.read_text(encoding="ascii"))
        passed_uj = now_uj - self.last_uj
        self.total_uj += passed_uj if passed_uj >= 0 else passed_uj + self.range_uj
        self.last_uj = now_uj
        return self.total_uj


class Rapl:
    """The packages of all processors, cores, caches and (on some) memory controllers included.

    Raises:
        OSError: there is no such counter, or it is not for this user to read.

    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package (AMD's as well); intel-rapl:0:1 is a part of it and would be counted twice.
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        if not zones:
            raise FileNotFoundError(f"{folder} has no intel-rapl zones")
        self.counters = [
            _Counter(
                path=zone / "energy_uj",
                range_uj=int((zone / "max_energy_range_uj").read_text(encoding="ascii")) + 1,
                last_uj=int((zone / "energy_uj").read_text(encoding="ascii")),
            )
            for zone in zones
        ]

    def joules(self) -> float:
        """Joules since the meter was made, over all packages."""
        return sum(counter.read() for counter in self.counters) * MICRO


class Nvml:
    """One GPU's own counter of the energy since the driver was loaded (Volta and later).

    Args:
        uuid: which GPU, as ``GPU-…``, since the order of the driver is not that of CUDA.

    Raises:
        OSError: the driver's library is not there, or the GPU has no such counter.

    """

    def __init__(self, uuid: str) -> None:
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.device = ctypes.c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByUUID", uuid.encode("ascii"), ctypes.byref(self.device))
        self.start_mj = self._read()

    def joules(self) -> float:
        """Joules since the meter was made."""
        return (self._read() - self.start_mj) * MILLI

    def _read(self) -> int:
        millijoules = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", self.device, ctypes.byref(millijoules))
        return millijoules.value

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} failed with NVML's status {status}")


def count_gpus() -> int | None:
    """How many GPUs NVIDIA's driver knows; 0 where there is no driver, None where it does not say."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None if Path("/dev/nvidiactl").exists() else 0
    number = ctypes.c_uint()
    try:
        is_told = library.nvmlInit_v2() == 0 and library.nvmlDeviceGetCount_v2(ctypes.byref(number)) == 0
    except AttributeError:
        return None
    return number.value if is_told else None


def find_meter(device: str, uuid: str = "") -> Meter | None:
    """The meter of a device, cpu or cuda, or None where there is none to read; `uuid` says which GPU."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return Nvml(uuid) if device == "cuda" else Rapl()
    return None
