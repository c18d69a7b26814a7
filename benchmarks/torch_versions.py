"""Run the operators' tests under other versions of torch, with the library that is built here.

    python benchmarks/torch_versions.py                        # the oldest and the newest that pip offers
    python benchmarks/torch_versions.py --torch 2.10.0 2.12.1

Build first (``python setup.py build_ext --inplace``): one binary must load under all of them, so nothing is compiled
here. Each version gets an environment in a temporary folder, or in ``--keep FOLDER``, where a second call finds it.
Prints a line a version and exits with 1 if any of them failed. torch's CUDA builds are large: point pip at the CPU
builds first (README.md says how).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = "2.10.0"
NEEDS = ("numpy", "pytest", "hypothesis", "tiktoken", "regex", "scikit-learn", "typer", "rich", "safetensors")
LOADED = "from gpt2x.ops import library; print(library.WHY_NO_CPU or 'loaded')"


def main() -> int:
    """Test each version that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", nargs="+", metavar="VERSION", help=f"default: {OLDEST} and the newest")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the environments stay")
    parser.add_argument("tests", nargs="*", default=["tests/ops"], help="what pytest runs (tests/ops)")
    options = parser.parse_args()
    versions = options.torch or [OLDEST, newest()]
    with tempfile.TemporaryDirectory() as temporary:
        results = [test(version, options.keep or Path(temporary), options.tests) for version in versions]
    for version, said in zip(versions, results, strict=True):
        print(f"torch {version}: {said or 'passed'}")
    return int(any(results))


def newest() -> str:
    """The newest release of torch that pip would install."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "torch",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Would install torch-(\S+)", said.stdout)
    if not found:
        raise SystemExit(f"pip offers no torch: {said.stderr.strip()}")
    return found.group(1)


def test(version: str, folder: Path, tests: list[str]) -> str:
    """Why the tests do not pass under this version, or an empty text."""
    place = folder / f"torch-{version}"
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
    if run(python, "-m", "pip", "install", "--quiet", f"torch=={version}", *NEEDS):
        return "pip cannot install it"
    loaded = subprocess.run([python, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=False)
    if loaded.stdout.strip() != "loaded":
        return f"the library does not load: {(loaded.stdout + loaded.stderr).strip().splitlines()[-1]}"
    return "tests fail" if run(python, "-m", "pytest", "-q", *tests) else ""


def run(*command: str | Path) -> int:
    """Run a command in the project's folder; its exit status."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
