"""What the operator tests share: the tolerance table, the shapes, and running an operator with its gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from gpt2x.ops import backend

DTYPES = (torch.float64, torch.float32, torch.bfloat16)

# The one tolerance table: how far a native result may be from the truth in float64, relative to its largest element.
#   factor: times the error that the reference itself makes in that dtype (so no magic number for low precision),
#   floor:  plus this much, for small inputs on which the reference happens to be exact: rounding once more.
TOLERANCES = {
    torch.float64: {"factor": 2.0, "floor": 1e-12},
    torch.float32: {"factor": 2.0, "floor": 2e-6},  # a different order of summation, and e^x within 2 ulp
    torch.bfloat16: {"factor": 2.0, "floor": 2.0**-9},  # half a unit in the last of 8 bits
}

# Rows × channels: two elements, one row, primes, a power of two and its neighbours, GPT-2's, none at all.
SHAPES = ((1, 2), (1, 768), (3, 5, 33), (2, 127), (2, 128), (37, 129), (600, 16), (0, 8), (2, 0, 8))


def dtype_id(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def shape_id(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def draw(
    seed: int, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0, device: str = "cpu"
) -> Tensor:
    """Random numbers rounded to `dtype`: the same ones in every call with the same seed and shape."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype).to(device)


def run_with_gradients(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Results and gradients of `function`, on copies of the inputs (in another dtype, if given)."""
    copies = [None if t is None else t.detach().to(dtype or t.dtype).clone().requires_grad_() for t in inputs]
    outputs = function(*copies)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    storage = next((t.dtype for t in inputs if t is not None), torch.float32)
    upstream = [  # numbers that the storage type can hold, so that native, reference and truth get the same ones
        draw(99 + i, *out.shape, dtype=storage, device=str(out.device)).to(out.dtype)
        for i, out in enumerate(outputs)
    ]
    torch.autograd.backward(outputs, upstream)
    return [out.detach() for out in outputs] + [t.grad for t in copies if t is not None]


def relative_error(result: Tensor, truth: Tensor) -> float:
    if truth.numel() == 0:
        return 0.0
    return float((result.double() - truth.double()).abs().max() / truth.double().abs().max().clamp(min=1e-2))


def assert_as_exact_as_reference(
    native: Sequence[Tensor], expected: Sequence[Tensor], truth: Sequence[Tensor], dtype: torch.dtype
) -> None:
    """Each native tensor is within the table's bound of the truth; a failure names the tensor and both errors."""
    bound = TOLERANCES[dtype]
    for i, (one, other, exact) in enumerate(zip(native, expected, truth, strict=True)):
        assert one.shape == exact.shape, f"tensor {i}: shape {one.shape} instead of {exact.shape}"
        assert one.dtype == other.dtype, f"tensor {i}: {one.dtype} where the reference gives {other.dtype}"
        error, allowed = (
            relative_error(one, exact),
            bound["factor"] * relative_error(other, exact) + bound["floor"],
        )
        assert error <= allowed, f"tensor {i} is off by {error:.2e}, allowed are {allowed:.2e}"


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch with this many threads, more than there are cores if need be."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_native(device: str, dtype: torch.dtype = torch.float32) -> None:
    """Skip unless native kernels serve here, and say why not."""
    status = backend.report(device, dtype)[0]
    if status.implementation != "native":
        pytest.skip(f"no native operators on {device} for {dtype_id(dtype)}: {status.reason}")
