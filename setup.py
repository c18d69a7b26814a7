"""Compiles the native parts; everything else is said in pyproject.toml.

gpt2x._bpe    the tokenizer: pybind11 over csrc/bpe, links no torch. Required: without it the build fails.
gpt2x._text   text features and softmax regression: pybind11 over csrc/text, links no torch. Required too.
gpt2x._ops    the fused operators for the CPU: csrc/ops on torch's stable ABI, one file for torch 2.10 and later
gpt2x._cuda   their CUDA kernels: csrc/ops/cuda behind a C boundary that knows neither torch nor Python

The last two are optional: where they cannot be built, a warning says so, and plain torch serves.

Environment: GPT2X_CUDA=0|1 forces the CUDA kernels off or on (by default they are built where nvcc is found and torch
has CUDA); MAX_JOBS bounds parallel compilation.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
import torch
from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, include_paths

HERE = Path(__file__).resolve().parent  # ninja compiles in a folder of its own, so paths are absolute
# Neither this folder nor torch's may show in a binary: two builds of one commit are then equal, wherever they are made.
ANYWHERE = [
    f"-ffile-prefix-map={path}={name}" for path, name in [(HERE, "."), (Path(torch.__file__).parent, "torch")]
]
COMMON = ["-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra", *ANYWHERE]
# Lets loops with square roots and conditions vectorise; no result changes, no OpenMP runtime. No -march: cpu/clones.h.
VECTOR = ["-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]
# Warnings are for our own code, not for torch's headers.
TORCH_HEADERS = [f"-isystem{path}" for path in include_paths()]
# The oldest torch that the binary must load in (2.10): the stable ABI then offers only what that one has.
TARGET_TORCH = "-DTORCH_TARGET_VERSION=0x020a000000000000"
# Machine code for A100 and H100/H200, and PTX from which the driver makes code for what comes later.
CUDA_TARGETS = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=sm_90",
    "-gencode=arch=compute_90,code=compute_90",
]


def files(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(HERE)) for pattern in patterns for path in HERE.glob(pattern))


def bpe_extension() -> Extension:
    return Extension(
        "gpt2x._bpe",
        sources=files("csrc/bpe/src/*.cpp", "csrc/python/bpe_*.cpp"),
        depends=files("csrc/bpe/**/*.h", "csrc/bpe/**/*.hpp", "csrc/bpe/**/*.inc", "csrc/python/*.hpp"),
        include_dirs=[str(HERE / "csrc/bpe/include"), pybind11.get_include()],
        extra_compile_args={"cxx": [*COMMON, "-std=c++20", "-pthread"]},
        extra_link_args=["-pthread"],
        language="c++",
    )


def text_extension() -> Extension:
    return Extension(
        "gpt2x._text",
        sources=files("csrc/text/*.cpp", "csrc/python/text_*.cpp"),
        depends=files("csrc/text/*.hpp", "csrc/python/*.hpp"),
        include_dirs=[str(HERE / "csrc/text"), pybind11.get_include()],
        # Without fused multiply-adds scores are the same numbers on every processor.
        extra_compile_args={"cxx": [*COMMON, *VECTOR, "-ffp-contract=off", "-std=c++20", "-pthread"]},
        extra_link_args=["-pthread"],
        language="c++",
    )


def ops_extension() -> Extension:
    return CppExtension(
        "gpt2x._ops",
        sources=files("csrc/ops/*.cpp", "csrc/ops/cpu/*.cpp", "csrc/python/ops_module.cpp"),
        depends=files("csrc/ops/**/*.h"),
        include_dirs=[str(HERE / "csrc/ops")],
        extra_compile_args={"cxx": [*COMMON, *VECTOR, "-std=c++20", TARGET_TORCH, *TORCH_HEADERS]},
        py_limited_api=True,
    )


def cuda_extension() -> Extension:
    """Named and placed like an extension module, so that every kind of install finds it; it is loaded with ctypes."""
    return Extension(
        "gpt2x._cuda",
        sources=files("csrc/ops/cuda/*.cu"),
        depends=files("csrc/ops/**/*.h", "csrc/ops/cuda/*.cuh"),
        py_limited_api=True,
    )


def find_nvcc() -> str | None:
    beside_cuda_home = Path(CUDA_HOME or "/usr/local/cuda") / "bin" / "nvcc"
    return str(beside_cuda_home) if beside_cuda_home.exists() else shutil.which("nvcc")


def wants_cuda() -> bool:
    choice = os.environ.get("GPT2X_CUDA", "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"GPT2X_CUDA={choice!r} is neither 0 nor 1")
    if choice:
        return choice == "1"
    return find_nvcc() is not None and torch.version.cuda is not None


class Build(BuildExtension):
    """torch's ninja build for C++; nvcc by itself for the CUDA kernels; optional parts may fail."""

    def build_extensions(self) -> None:
        wanted = list(self.extensions)
        # torch's own handling of .cu files wants a CUDA build of torch; ours needs only nvcc.
        self.extensions = [extension for extension in wanted if extension.name != "gpt2x._cuda"]
        try:
            super().build_extensions()
        finally:
            self.extensions = wanted
        for extension in wanted:
            if extension.name == "gpt2x._cuda":
                self.build_optional(extension, self.build_cuda)

    def build_extension(self, extension: Extension) -> None:
        if extension.name == "gpt2x._ops":
            self.build_optional(extension, super().build_extension)
        else:
            super().build_extension(extension)

    def build_optional(self, extension: Extension, build: Callable[[Extension], None]) -> None:
        """Build; a failure becomes a warning, unless it was GPT2X_CUDA=1 that asked for this part."""
        try:
            build(extension)
        except (Exception, SystemExit) as error:
            if extension.name == "gpt2x._cuda" and os.environ.get("GPT2X_CUDA") == "1":
                raise
            extension.optional = True  # setuptools then tolerates that the file is absent
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)  # a stale one would not fit
            print(
                f"\nwarning: {extension.name} could not be built, gpt2x will run those operators in plain torch, "
                f"which is slower. The reason: {error}\n",
                file=sys.stderr,
            )

    def build_cuda(self, extension: Extension) -> None:
        """Compile each .cu that is older than its object file, and link them with the static CUDA runtime."""
        nvcc = find_nvcc()
        if nvcc is None:
            raise RuntimeError("nvcc is not found (set CUDA_HOME)")
        objects_dir = Path(self.build_temp) / "cuda"
        objects_dir.mkdir(parents=True, exist_ok=True)
        newest_header = max(Path(header).stat().st_mtime for header in extension.depends)
        flags = ["-O3", "-std=c++17", "-Icsrc/ops", "-Xcompiler=-fPIC,-fvisibility=hidden", *CUDA_TARGETS]

        def compile_one(source: str) -> str:
            target = objects_dir / f"{Path(source).stem}.o"
            newest = max(newest_header, Path(source).stat().st_mtime)
            if not target.exists() or target.stat().st_mtime < newest:
                run([nvcc, *flags, "-c", source, "-o", str(target)])
            return str(target)

        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
            objects = list(pool.map(compile_one, extension.sources))
        library = Path(self.get_ext_fullpath(extension.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        run([nvcc, "-shared", "-cudart=static", *objects, "-o", str(library)])


class BuildPython(build_py):
    """Also puts docs/ladder into the package, where `gpt2x bench explain` finds it; a source checkout needs no copy."""

    def pages(self) -> dict[Path, Path]:
        """Where each page comes from and goes to."""
        target = Path(self.build_lib) / "gpt2x" / "bench" / "ladder" / "report" / "pages"
        return {page: target / page.name for page in sorted((HERE / "docs" / "ladder").glob("*.md"))}

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for page, target in self.pages().items():
            self.mkpath(str(target.parent))
            self.copy_file(str(page), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        pages = [] if self.editable_mode else [str(target) for target in self.pages().values()]
        return [*super().get_outputs(include_bytecode), *pages]


class SourceArchive(sdist):
    """Where SOURCE_DATE_EPOCH is set, archives of one commit are equal: its time, no owner, the same permissions."""

    def make_archive(
        self, base_name: str, format: str, *args: object, base_dir: str, **options: object
    ) -> str:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar":
            return super().make_archive(base_name, format, *args, base_dir=base_dir, **options)
        archive = f"{base_name}.tar.gz"

        def anyones(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.mtime = int(epoch)
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            return member

        with (
            open(archive, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=int(epoch)) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(base_dir, filter=anyones)  # in the order of the names
        return archive


def run(command: list[str]) -> None:
    print(" ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout or done.stderr:
        print(done.stdout + done.stderr, file=sys.stderr)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed with exit status {done.returncode}")


setup(
    ext_modules=[
        bpe_extension(),
        text_extension(),
        ops_extension(),
        *([cuda_extension()] if wants_cuda() else []),
    ],
    cmdclass={"build_ext": Build, "build_py": BuildPython, "sdist": SourceArchive},
)
