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
    peak = status_bytes("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def shared_memory() -> int:
    """Of the memory that is resident now, what this process shares with others, in bytes; 0 where nobody tells."""
    return status_bytes("RssShmem") or 0


def status_bytes(name: str, pid: int | None = None) -> int | None:
    """A size in bytes that Linux tells of a process, by default of this one; None elsewhere. See proc(5)."""
    try:
        lines = (
            Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii", errors="replace").splitlines()
        )
    except OSError:
        return None
    found = (line for line in lines if line.startswith(f"{name}:"))
    return next((int(line.split()[1]) * 1024 for line in found), None)
