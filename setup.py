"""Compiles the two native modules; everything else is said in pyproject.toml.

gpt2x._bpe   the tokenizer: pybind11 over csrc/bpe, links no torch
gpt2x._ops   the fused operators: csrc/ops on torch's stable ABI, one binary for torch 2.10 and later;
             with the CUDA kernels where a CUDA toolkit and a CUDA build of torch are there

Environment: GPT2X_CUDA=0|1 forces the CUDA part off or on; MAX_JOBS bounds parallel compilation.
"""

import glob

import pybind11
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

COMMON = ["-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"]

bpe = Extension(
    "gpt2x._bpe",
    sources=[*sorted(glob.glob("csrc/bpe/src/*.cpp")), "csrc/python/bpe_module.cpp"],
    include_dirs=["csrc/bpe/include", pybind11.get_include()],
    extra_compile_args={"cxx": [*COMMON, "-std=c++20", "-pthread"]},
    extra_link_args=["-pthread"],
    language="c++",
)

ops = CppExtension(
    "gpt2x._ops",
    sources=[
        *sorted(glob.glob("csrc/ops/*.cpp")),
        *sorted(glob.glob("csrc/ops/cpu/*.cpp")),
        "csrc/python/ops_module.cpp",
    ],
    include_dirs=["csrc/ops"],
    extra_compile_args={
        "cxx": [
            *COMMON,
            "-std=c++20",
            "-fopenmp",
            "-DPy_LIMITED_API=0x030A0000",
            "-DTORCH_TARGET_VERSION=0x020a000000000000",
        ]
    },
    py_limited_api=True,
)

setup(ext_modules=[bpe, ops], cmdclass={"build_ext": BuildExtension})
