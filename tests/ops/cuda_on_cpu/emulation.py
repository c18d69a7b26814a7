"""Compiles csrc/ops/cuda for the CPU, against the cuda_runtime.h of this folder, and has gpt2x call the result.

A `.cu` file is C++ but for its launches and its shared arrays; `as_cpp` rewrites these two. The libraries are kept in
pytest's cache folder under a name that is a hash of all that went into them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import types
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from gpt2x.ops import cuda

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent.parent / "csrc" / "ops"
ORDERS = {"in-step": 0, "first-warp-ahead": 1, "last-warp-ahead": 2, "shuffled": 3}
MULTIPROCESSORS = 1  # so few that the blocks of a backward pass take several rows each
_FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off"]
_NO_WARNINGS = ["-Wall", "-Wno-unknown-pragmas", "-Wno-class-memaccess", "-Werror"]
_KEPT_LIBRARIES = 60  # those of two versions of the sources, their mutants among them


def as_cpp(text: str) -> str:
    """The text of a CUDA file as C++ for this folder's cuda_runtime.h."""
    text = re.sub(
        r"extern __shared__ __align__\(16\) (\w+) (\w+)\[\];",
        r"auto* const \2 = reinterpret_cast<\1*>(cuda_on_cpu::dynamic_array);",
        text,
    )
    text = re.sub(
        r"__shared__ (\w+) (\w+)((?:\[[^\]]+\])+);",
        r"auto& \2 = cuda_on_cpu::static_shared<\1\3>([] {});",
        text,
    )
    while (at := text.find("<<<")) >= 0:
        text = _with_call(text, at)
    return text


def _with_call(text: str, at: int) -> str:
    """`kernel<<<numbers>>>(` at this place becomes `launch([](auto... a) { kernel(a...); }, numbers)(`."""
    begin = _start_of_name(text, at)
    close = text.index(">>>", at)
    kernel, numbers = text[begin:at].strip(), text[at + 3 : close]
    call = f"cuda_on_cpu::launch([](auto... a) {{ {kernel}(a...); }}, {numbers})"
    return text[:begin] + call + text[close + 3 :]


def _start_of_name(text: str, end: int) -> int:
    """Where the name of a kernel begins whose template arguments, if it has any, end here."""
    begin, depth = len(text[:end].rstrip()), 0
    while begin > 0:
        character = text[begin - 1]
        depth += (character == ">") - (character == "<")
        if depth == 0 and character != "<" and not (character.isalnum() or character in "_:"):
            break
        begin -= 1
    return begin


def compiler() -> str | None:
    """A C++ compiler, if there is one, and the sources beside it."""
    found = os.environ.get("CXX") or shutil.which("g++")
    return found if found is not None and SOURCES.exists() else None


def edited(path: str, *edits: tuple[str, str]) -> dict[str, str]:
    """The text of a source with replacements, each of which must have exactly one place."""
    text = (SOURCES / path).read_text()
    for old, new in edits:
        assert text.count(old) == 1, f"{path}: {text.count(old)} places hold {old!r}"
        text = text.replace(old, new)
    return {path: text}


def build(
    folder: Path,
    names: Sequence[str] | None = None,
    *,
    replaced: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """The library with these operators (all by default), from the sources or from what takes their place.

    Args:
        folder: where libraries are kept.
        names: of the .cu files.
        replaced: other text for files below csrc/ops.
        flags: further ones for the compiler.

    """
    texts = _sources() | dict(replaced or {})
    if names is None:
        units = [path for path in texts if path.endswith((".cu", ".cpp"))]
    else:  # few, in one unit: most of the time is that of the standard library's headers
        units = ["cuda/few.cu"]
        texts["cuda/few.cu"] = "".join(f'#include "{name}.cu"\n' for name in ("library", *names))
        if "global_norm" not in names:  # gpt2x.ops.cuda asks for this function when it loads a library
            texts["cuda/few.cu"] += "int64_t gpt2x_cuda_norm_blocks(void) { return 0; }\n"
    command = [str(compiler()), *_FLAGS, *_NO_WARNINGS, *flags]
    library = folder / f"cuda-{_hash([*command, *units, *texts, *texts.values()])}.so"
    with _alone_in(folder):
        if not library.exists():
            _build_anew(folder, library, command, texts, units)
        library.touch()
    return library


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time builds here: the others find what it has built."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_anew(
    folder: Path, library: Path, command: list[str], texts: Mapping[str, str], units: Sequence[str]
) -> None:
    scratch = folder / f"{library.stem}.{os.getpid()}"
    try:
        _write(scratch, texts)
        _compile(command, scratch, units, library)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _forget_old(folder)


def _sources() -> dict[str, str]:
    """Every file that goes into the library: ours below csrc/ops, and those of this folder."""
    ours = [*SOURCES.glob("rows/*.h"), *SOURCES.glob("cuda/*.cu"), *SOURCES.glob("cuda/*.cuh")]
    ours.append(SOURCES / "cuda" / "gpt2x_cuda.h")
    texts = {path.relative_to(SOURCES).as_posix(): path.read_text() for path in sorted(ours)}
    return texts | {path.name: path.read_text() for path in (HERE / "cuda_runtime.h", HERE / "host_rows.cpp")}


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]


def _write(scratch: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).write_text(as_cpp(text) if path.startswith("cuda/") else text)


def _compile(command: Sequence[str], scratch: Path, units: Sequence[str], library: Path) -> None:
    def run(arguments: Sequence[str]) -> None:
        done = subprocess.run(
            [*command, *arguments], cwd=scratch, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments}\n{done.stderr}"

    def compile_one(path: str) -> str:
        # As under nvcc, so that the rows take their code for the device.
        device = ["-D__CUDACC__", "-include", "cuda_runtime.h"] if path.endswith(".cu") else []
        run(["-I.", *device, "-c", "-x", "c++", path, "-o", f"{path}.o"])
        return f"{path}.o"

    with ThreadPoolExecutor(max_workers=int(os.environ.get("MAX_JOBS") or 2)) as pool:
        objects = list(pool.map(compile_one, units))
    run(["-shared", *objects, "-o", "library.so"])
    os.replace(scratch / "library.so", library)


def _forget_old(folder: Path) -> None:
    by_age = sorted(folder.glob("cuda-*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[_KEPT_LIBRARIES:]:
        path.unlink(missing_ok=True)


def load(library: Path) -> Any:
    """The library as gpt2x.ops.cuda loads its own; checks and declarations are those of its `load`."""
    with mock.patch.object(cuda, "_library", None):
        reason = cuda.load(library)
        assert reason == "", reason
        return cuda._library


@contextlib.contextmanager
def serving(library: Any, order: str) -> Iterator[None]:
    """Inside it the CUDA implementations of gpt2x.ops take CPU tensors and run on this library, in this order."""
    library.on_cpu_order(ORDERS[order])
    properties = types.SimpleNamespace(multi_processor_count=MULTIPROCESSORS)
    with (
        mock.patch.object(cuda, "_library", library),
        mock.patch.object(torch.cuda, "device", return_value=contextlib.nullcontext()),
        mock.patch.object(torch.cuda, "current_stream", return_value=types.SimpleNamespace(cuda_stream=0)),
        mock.patch.object(torch.cuda, "get_device_properties", return_value=properties),
    ):
        yield
