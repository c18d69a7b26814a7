"""The emulated library, built once, and one that serves in every order in which warps may run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ops.cuda_on_cpu import emulation


@pytest.fixture(scope="session")
def libraries(request: pytest.FixtureRequest) -> Path:
    """The folder where built libraries are kept; skips where none can be built."""
    if emulation.compiler() is None:
        pytest.skip("needs g++ and the sources in csrc/ops")
    if request.config.cache is None:
        pytest.skip("needs pytest's cache folder, where it keeps what it compiles")
    return Path(request.config.cache.mkdir("cuda_on_cpu"))


@pytest.fixture(scope="session")
def library(libraries: Path) -> Any:
    """All kernels."""
    return emulation.load(emulation.build(libraries))


@pytest.fixture(params=emulation.ORDERS)
def kernels(request: pytest.FixtureRequest, library: Any) -> Iterator[Any]:
    """The CUDA implementations of gpt2x.ops take CPU tensors; once in every order."""
    with emulation.serving(library, request.param):
        yield library
