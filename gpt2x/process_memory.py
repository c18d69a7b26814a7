"""How much memory this process has had, as the operating system tells it. Loads no torch."""

from __future__ import annotations

import sys
from pathlib import Path


def reset_peak_memory() -> None:
    """Let the peak start from what is in use now (Linux; elsewhere it stays that of the whole process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5: VmHWM := VmRSS, see proc(5)
    except OSError:
        return


def peak_memory() -> int:
    """The most memory that this process has had resident, in bytes; 0 where nobody tells (Windows)."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
