"""`gpt2x env`: what is here, what runs, and why; the first thing to put in a bug report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gpt2x import paths
from gpt2x._version import __version__
from gpt2x.cli.options import Json, examples
from gpt2x.console import emit, emit_json, key_value_lines
from gpt2x.errors import UsageError

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PACKAGES = ("torch", "numpy", "tiktoken", "regex", "scikit-learn", "typer", "rich", "safetensors")
EXTRAS = {
    "test": (
        "pytest",
        "pytest-xdist",
        "pybind11",
        "hypothesis",
        "transformers",
        "tokenizers",
        "matplotlib",
        "gguf",
        "dask",
    ),
    "plots": ("matplotlib",),
    "data": ("huggingface_hub", "kagglehub"),
    "export": ("gguf",),
    "judge": ("pocketsphinx",),
    "track": ("tensorboard", "wandb", "trackio"),
    "bench": (
        *(
            "tiktoken",
            "tokenizers",
            "gigatoken",
            "fastokens",
            "snaptokens",
            "tokie",
            "splintr-rs",
            "tuetoken",
        ),
        *("gigabpe", "rustbpe", "bpeasy"),
    ),
    "docs": ("zensical", "mkdocstrings-python", "ruff"),
}
"""Of each extra in pyproject.toml, the packages that are asked for on every Python."""

NO_TORCH = "torch cannot be imported: pip install torch"

# Instruction sets that a fast path here asks for, as Linux names them.
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vbmi",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "asimd",
)


@app.command(epilog=examples("gpt2x env", "gpt2x env --check", "gpt2x env --json"))
def env(
    json: Json = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Say what is missing for full speed, and how to get it; exit code 4 if anything is.",
        ),
    ] = False,
) -> None:
    """Report versions, hardware, operators, and where data and vocabularies are."""
    if check:
        from gpt2x.cli import env_check

        raise typer.Exit(env_check.run(json))
    report = collect()
    if json:
        emit_json(report)
        return
    for title, section in report.items():
        emit(f"{title}")
        lines = key_value_lines({key: _plain(value) for key, value in section.items()})
        emit("\n".join(f"  {line}" for line in lines.splitlines()) + "\n")


def collect() -> dict[str, dict[str, Any]]:
    """Everything that the command prints, section by section (the shape of ``--json``)."""
    return {
        "versions": {"gpt2x": __version__, "python": platform.python_version(), **_package_versions()},
        "extras": {name: _extra_state(name, members) for name, members in EXTRAS.items()},
        "cpu": _cpu(),
        "gpu": _gpu(),
        "tokenizer": _tokenizer(),
        "operators": _operators("cpu"),
        **_operators_on_gpu(),
        "places": _places(),
    }


def _package_versions() -> dict[str, str]:
    return {name: _version(name) or "not installed" for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra_state(extra: str, members: tuple[str, ...]) -> str:
    missing = [name for name in members if _version(name) is None]
    return f'pip install "gpt2x[{extra}]" adds {", ".join(missing)}' if missing else "installed"


def _cpu() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags.group(1).split()) if flags else set()
    return {
        "model": model.group(1) if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in present],
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _gpu() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"devices": [], "reason": NO_TORCH}
    if not torch.cuda.is_available():
        reason = "torch is built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        return {"devices": [], "reason": reason}
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"sm_{properties.major}{properties.minor}"
        devices.append(f"{properties.name} ({capability}, {properties.total_memory / 2**30:.0f} GiB)")
    return {"devices": devices, "cuda": torch.version.cuda}


def _tokenizer() -> dict[str, Any]:
    from gpt2x import _bpe
    from gpt2x.tokenizer import patterns, registry

    found = registry.describe()
    return {
        "native core": "gpt2x._bpe",
        "unicode version": _bpe.unicode_version,
        "splitting": f"native ({', '.join(patterns.BY_NAME)}); any other pattern: {patterns.route('')}",
        "gpt2 vocabulary": found["path"] or f"{found['source']}: {found['reason']}",
    }


def _operators(device: str) -> dict[str, Any]:
    try:
        from gpt2x.ops import backend
    except ImportError:
        return {"none": NO_TORCH}

    return {status.name: f"{status.implementation}: {status.reason}" for status in backend.report(device)}


def _operators_on_gpu() -> dict[str, dict[str, Any]]:
    return {"operators on cuda": _operators("cuda")} if _gpu()["devices"] else {}


def _places() -> dict[str, Any]:
    songs = paths.assets_dir() / "songs.csv"
    return {
        "packaged songs": str(songs),
        "cache (GPT2X_CACHE)": _place(paths.cache_dir),
        "own models (GPT2X_HOME)": _place(paths.data_home),
        "runs (GPT2X_RUNS)": _place(paths.runs_dir),
    }


def _place(folder: Callable[[], Path]) -> str:
    """Where it is, or why it cannot be there: this command is asked when something is wrong."""
    try:
        return str(folder().absolute())
    except UsageError as error:
        return str(error)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
