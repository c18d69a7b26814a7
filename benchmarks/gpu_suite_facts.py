"""What hardware, driver and libraries a GPU machine has, for `gpu_suite`: read, never set. Standard library only.

Collected in a process of its own (``gpu_suite.py --facts``), so that a driver that hangs hangs only that.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path


def collect_facts() -> dict[str, str]:
    """What hardware, driver and libraries there are; read, never set."""
    queried = (
        "name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,mig.mode.current"
    )
    torch_facts = (
        "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available(), "
        "torch.cuda.device_count())"
    )
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "torch, cuda, available, devices": output_of(sys.executable, "-c", torch_facts),
        "gpu": output_of("nvidia-smi", f"--query-gpu={queried}", "--format=csv"),
        "nvcc": output_of("nvcc", "--version").rpartition("\n")[2],
        "c++": output_of("c++", "--version").partition("\n")[0],
        "missing modules": ", ".join(
            name
            for name in (
                "numpy",
                "typer",
                "rich",
                "tiktoken",
                "regex",
                "pytest",
                "pybind11",
                "ninja",
                "safetensors",
            )
            if importlib.util.find_spec(name) is None
        )
        or "none",
        "nvidia-smi": output_of("nvidia-smi"),
    }


def output_of(*command: str) -> str:
    """What a command prints, or why it prints nothing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, errors="replace"
        )
    except FileNotFoundError:
        return f"no {Path(command[0]).name}"
    except (subprocess.TimeoutExpired, OSError) as error:
        return type(error).__name__
    return done.stdout.strip() or done.stderr.strip() or f"exit status {done.returncode}"
