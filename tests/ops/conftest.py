"""Where the operator tests run: on the CPU, and on a GPU where there is one with kernels for it."""

from __future__ import annotations

import pytest
import torch
from ops_support import require_native

DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.cuda)] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """A device on which native operators serve; skips where they do not."""
    require_native(request.param)
    return str(request.param)
