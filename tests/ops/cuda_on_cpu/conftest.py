"""The emulated library, built once, and one that serves in every order in which warps may run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ops.cuda_on_cpu import emulation


@pytest.fixture(scope="session")
def libraries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where built libraries are kept, pytest's cache if there is one; skips where none can be built."""
    if emulation.compiler() is None:
        pytest.skip("needs g++ and the sources in csrc/ops")
    cache = getattr(request.config, "cache", None)
    return tmp_path_factory.mktemp("cuda_on_cpu") if cache is None else Path(cache.mkdir("cuda_on_cpu"))


@pytest.fixture(scope="session")
def library(libraries: Path) -> Any:
    """All kernels."""
    return emulation.load(emulation.build(libraries))


@pytest.fixture(params=emulation.ORDERS)
def kernels(request: pytest.FixtureRequest, library: Any) -> Iterator[Any]:
    """The CUDA implementations of gpt2x.ops take CPU tensors; once in every order."""
    with emulation.serving(library, request.param):
        yield library
