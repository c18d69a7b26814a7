"""How an operator's file calls its CUDA kernels: `gpt2x._cuda`, the arguments it is given, and their checks.

The kernels stand behind a C boundary (``csrc/ops/cuda/gpt2x_cuda.h``): device pointers, sizes, and the current
stream as an integer. So the library is built without torch's headers, serves any torch, and loads without a GPU. torch
allocates and multiplies, the kernels do the rows.

The kernels are compiled for sm_80 and sm_90 (and as PTX for what comes later); they have not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

INTERFACE = 6  # GPT2X_CUDA_INTERFACE of the header
POINTER, INT, INT64, DOUBLE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1}

KERNELS: dict[str, Kernel] = {}
"""Every function of the header that an operator calls, by name; each adds itself."""

_library: Any = None


def load(path: Path | None = None) -> str:
    """Load the library; the reason why not, or an empty text. Neither initialises CUDA nor needs a GPU.

    Args:
        path: of the library; by default the one that was built with gpt2x.

    """
    global _library  # noqa: PLW0603  (loaded once a process)
    folder = Path(__file__).parent.parent
    found = [folder / f"_cuda{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    path = path or next((candidate for candidate in found if candidate.exists()), None)
    if path is None:
        return "gpt2x._cuda is not built (it is where nvcc is found at install time, or with GPT2X_CUDA=1)"
    try:
        library = ctypes.CDLL(str(path))
        if library.gpt2x_cuda_interface() != INTERFACE:
            return "gpt2x._cuda is of another version of gpt2x; reinstall gpt2x"
        library.gpt2x_cuda_error.argtypes, library.gpt2x_cuda_error.restype = [INT], ctypes.c_char_p
        library.gpt2x_cuda_norm_blocks.restype = INT64
    except (OSError, AttributeError) as error:
        return f"gpt2x._cuda does not load: {str(error).splitlines()[0]}"
    _library = library
    return ""


class Kernel:
    """A function of the library, ready to be called with tensors.

    Args:
        name: without its prefix ``gpt2x_cuda_``.
        arguments: their C types in the order of the header, the stream last; it returns an error code.

    """

    def __init__(self, name: str, arguments: Sequence[Any]) -> None:
        self.name, self.arguments = name, list(arguments)
        KERNELS[name] = self

    def __call__(self, device: torch.device, *arguments: Any) -> None:
        """Launch it on the device's current stream; tensors go as pointers.

        Raises:
            RuntimeError: the launch was refused.

        """
        function = getattr(_library, f"gpt2x_cuda_{self.name}")
        if getattr(function, "argtypes", None) is None:
            function.argtypes, function.restype = self.arguments, INT
        pointers = [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]
        with torch.cuda.device(device):
            code = function(*pointers, torch.cuda.current_stream(device).cuda_stream)
        if code != 0:
            raise RuntimeError(f"gpt2x {self.name} on {device}: {_library.gpt2x_cuda_error(code).decode()}")


def norm_blocks() -> int:
    """How many partial sums the norm of one tensor needs."""
    return int(_library.gpt2x_cuda_norm_blocks())


def code(name: str, tensor: Tensor) -> int:
    """What the library calls the dtype of a tensor; a ValueError where it has no kernels for it."""
    if tensor.dtype not in _DTYPE_CODES:
        raise ValueError(f"{name}: expected dtype float32 or bfloat16 on CUDA, got {tensor.dtype}")
    return _DTYPE_CODES[tensor.dtype]


def require_on(device: torch.device, **tensors: Tensor | None) -> None:
    """Refuse tensors that are not on the device."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name}: expected device {device}, got {tensor.device}")


def require_shape(shape: Sequence[int], **tensors: Tensor | None) -> None:
    """Refuse tensors of another shape."""
    for name, tensor in tensors.items():
        if tensor is not None and tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(tensor.shape)}")


def require_dtype(dtype: torch.dtype, **tensors: Tensor | None) -> None:
    """Refuse tensors of another dtype."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != dtype:
            raise ValueError(f"{name}: expected dtype {dtype}, got {tensor.dtype}")


def dense(tensor: Tensor | None) -> Tensor | None:
    """The tensor without gaps in memory; None stays None."""
    return None if tensor is None else tensor.contiguous()


def num_blocks(rows: int, device: torch.device) -> int:
    """Blocks that share the rows of a backward pass: four to a multiprocessor, no more than rows."""
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(rows, 4 * multiprocessors))


def pointers(tensors: Sequence[Tensor]) -> Any:
    """A C array of the tensors' addresses."""
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
