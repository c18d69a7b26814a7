"""The native libraries, and how an operator's own file tells torch about its kernels.

The signatures are registered by ``csrc/ops/schema.cpp`` when ``gpt2x._ops`` loads, which happens when this module is
imported. For each operator an `Operator` then takes, in the file of that operator and right where they are defined,

- a *fake*: the shapes and dtypes of the results, so that `torch.compile` can trace through without running anything;
- a *gradient*: what is kept from forward, and which operator computes the gradients from it. A formula, and not an
  `autograd.Function`, so that ``torch.compile(fullgraph=True)`` holds. It computes one derivative with a kernel; where
  that is differentiated again (``create_graph=True``), `gpt2x.ops.derivatives` computes it in plain torch;
- the *number of floating-point operations* of those that multiply matrices, for `torch.utils.flop_counter`;
- its *CUDA implementation*: a kernel of ``gpt2x._cuda``, or torch's own operations.

Where a library is missing nothing is registered, and plain torch serves. The shape of this follows extension-cpp.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from gpt2x.ops import cuda
from gpt2x.ops.derivatives import refuse_transforms

INTERFACE = 7  # kInterface of csrc/python/ops_module.cpp: the signatures that the operators' files know
OP = torch.ops.gpt2x

OPERATORS: dict[str, Operator] = {}
"""Every operator that is called from Python, by name; each adds itself."""


def _load_cpu() -> str:
    """Load ``gpt2x._ops``; the reason why it cannot be used, or an empty text."""
    if _torch_version() < (2, 10):
        return f"gpt2x._ops needs torch 2.10 or later and this is {torch.__version__}"
    try:
        library = importlib.import_module("gpt2x._ops")
    except ModuleNotFoundError:
        return "gpt2x._ops is not built"
    except (ImportError, OSError) as error:
        return f"gpt2x._ops does not load: {str(error).splitlines()[0]}"
    return "" if library.interface == INTERFACE else "gpt2x._ops is of another version of gpt2x"


def _load_cuda(cpu_reason: str) -> str:
    """Load ``gpt2x._cuda``; the reason why it cannot be used, or an empty text. Does not initialise CUDA."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    return cpu_reason or cuda.load()  # the schemas live in gpt2x._ops


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


WHY_NO_CPU = _load_cpu()
"""Why there are no CPU kernels, or an empty text."""
WHY_NO_CUDA = _load_cuda(WHY_NO_CPU)
"""Why there are no CUDA kernels, or an empty text."""
_DISPATCH = torch.library.Library("gpt2x", "IMPL")


class Operator:
    """One signature of ``csrc/ops/schema.cpp``; its methods are decorators that register what they stand over.

    Args:
        name: as in the schema.
        called: False for one that only a gradient formula calls.

    """

    def __init__(self, name: str, *, called: bool = True) -> None:
        self.name = name
        self.has_cuda_kernel = False
        if called:
            OPERATORS[name] = self

    def fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Shapes and dtypes of the results, from the arguments."""
        if not WHY_NO_CPU:
            torch.library.register_fake(f"gpt2x::{self.name}", function)
            # The key of torch.func: without this every transform but vmap would pass through and lose its derivatives.
            _DISPATCH.impl(self.name, refuse_transforms(self.name), "FuncTorchDynamicLayerFrontMode")
        return function

    def gradient(self, setup: Callable[..., None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """The formula of the gradient; `setup` keeps what it needs from forward."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            if not WHY_NO_CPU:
                torch.library.register_autograd(f"gpt2x::{self.name}", function, setup_context=setup)
            return function

        return register

    def flops(self, function: Callable[..., int]) -> Callable[..., int]:
        """How many floating-point operations a call takes, from the shapes of its arguments."""
        if not WHY_NO_CPU:
            register: Any = register_flop_formula(getattr(OP, self.name))
            register(function)
        return function

    def cuda(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What computes it on a GPU, with kernels of ``gpt2x._cuda``."""
        self.has_cuda_kernel = True
        return self.torch_on_cuda(function)

    def torch_on_cuda(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What computes it on a GPU out of torch's own operations."""
        if not WHY_NO_CUDA:
            torch.library.impl(f"gpt2x::{self.name}", "cuda", function)
        return function


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which sums and statistics over elements of `dtype` are computed."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product_flops(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
    """Of x (N, I) times weight (O, I) transposed: two for each multiply-add, as torch counts."""
    rows, channels = x_shape
    return int(2 * rows * channels * weight_shape[0])
