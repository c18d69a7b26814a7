"""What every operator asks before it calls a kernel, and does with its arguments and results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gpt2x.ops import backend
from gpt2x.ops.derivatives import transformed


def is_native(tensor: Tensor) -> bool:
    """True when a kernel takes this tensor, and nobody asks for a derivative that it does not have."""
    return not transformed() and backend.serves(tensor.device, tensor.dtype)


def note_changes(tensors: Sequence[Tensor]) -> None:
    """The kernels write behind autograd's back; a graph that saved one of these must notice."""
    if not torch.compiler.is_compiling():
        torch.autograd.graph.increment_version(tensors)


def is_autocast(tensor: Tensor) -> bool:
    """Whether autocast is on for this tensor; torch refuses the question for a device without it, as meta is."""
    return not tensor.is_meta and torch.is_autocast_enabled(tensor.device.type)


def as_rows(x: Tensor) -> Tensor:
    """(..., C) -> (N, C), also where C is 0."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
