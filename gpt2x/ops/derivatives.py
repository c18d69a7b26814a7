"""Derivatives beyond the first, forward mode, and the transforms of `torch.func`: plain torch computes them.

The native kernels know one derivative, in reverse mode, outside of `torch.func`. Whatever asks for more is noticed in
two places, and both go on in plain torch, which differentiates any number of times in any mode:

- `gpt2x.ops` asks `transformed` before it calls a kernel, and calls the reference instead;
- a registered backward formula asks `asked_again`: with ``create_graph=True`` its result must itself have a derivative,
  and `through_reference` gives one.

A kernel that is reached past both (``torch.ops.gpt2x…`` inside a `torch.func` transform) refuses: `refuse_transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad


def transformed() -> bool:
    """True inside a `torch.func` transform (grad, vmap, jvp, …) or a level of forward-mode differentiation."""
    if torch.compiler.is_compiling():
        # In this order: inside a transform that is being traced the level is that of the trace, not of the caller.
        return bool(_transforms_while_tracing()) or forward_ad._current_level >= 0
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _transforms_while_tracing() -> bool:
    """The compiler enters each transform while it traces, so this is known then and holds for the whole graph."""
    return bool(torch._C._are_functorch_transforms_active())


# As torch.compiler.assume_constant_result does it, which would first import the compiler, as slow as the rest of torch.
_transforms_while_tracing._dynamo_marked_constant = True  # type: ignore[attr-defined]


def stands_for_many(gradient: Tensor) -> bool:
    """In a backward pass: True for a gradient of `is_grads_batched`, which many operations in place refuse."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_legacy_batchedtensor(gradient)


def asked_again() -> bool:
    """In a backward formula: True when what it returns will itself be differentiated, or transformed."""
    return torch.is_grad_enabled() or transformed()


def differentiates(*tensors: Tensor | None) -> bool:
    """True when autograd records, and at least one of these needs a gradient."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def through_reference(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    upstream: Tensor,
) -> list[Tensor | None]:
    """Gradients of a reference as autograd computes them, so that they can be differentiated again.

    Args:
        function: the reference, from the inputs to one result.
        inputs: what was saved from forward.
        needed: for each input, whether its gradient is asked for.
        upstream: the gradient of the result.

    Returns:
        One gradient, or None, for each input.

    """
    device_type = upstream.device.type
    with torch.enable_grad(), torch.autocast(device_type, enabled=False):
        # Views, because one input may have been computed from another: each gradient is that of its own place alone.
        places = [t if t is None or not need else _leaf(t) for t, need in zip(inputs, needed, strict=True)]
        wanted = [place for place, need in zip(places, needed, strict=True) if need and place is not None]
        if not wanted:
            return [None] * len(places)
        result = function(*places)
        found = iter(torch.autograd.grad(result, wanted, upstream, create_graph=True))
    return [
        next(found) if need and place is not None else None
        for place, need in zip(places, needed, strict=True)
    ]


def _leaf(tensor: Tensor) -> Tensor:
    """A view that needs a gradient; what it is a view of gets the derivatives of that gradient."""
    view = tensor.view_as(tensor)
    return view if view.requires_grad else view.requires_grad_()


def refuse_transforms(name: str) -> Callable[..., NoReturn]:
    """A kernel for `torch.func` that says whom to call instead, where torch's own would lose the derivatives."""

    def refuse(*_arguments: Any, **_options: Any) -> NoReturn:
        raise RuntimeError(
            f"torch.ops.gpt2x.{name} has no rule for torch.func; "
            "call the function of that name in gpt2x.ops, or set GPT2X_OPS=reference"
        )

    return refuse
