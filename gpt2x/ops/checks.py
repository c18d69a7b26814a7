"""Checks of operator arguments; each message names the argument, what was expected and what came.

They run in Python before any implementation, so that the fused operators and their plain-torch twins refuse the same
things in the same words. `csrc/ops/checks.h` repeats only what keeps the native code inside its buffers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STORAGE_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_storage(name: str, tensor: Tensor) -> None:
    """A floating-point tensor of a dtype that the operators know."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    require(
        tensor.dtype in STORAGE_DTYPES,
        f"{name}: expected dtype float32, bfloat16, float16 or float64, got {dtype_name(tensor.dtype)}",
    )


def check_parameter(name: str, tensor: Tensor, like_name: str, like: Tensor, shape: tuple[int, ...]) -> None:
    """A parameter of the given shape, in the dtype of `like` or in float32 beside a shorter one, on its device."""
    check_storage(name, tensor)
    require(tuple(tensor.shape) == shape, f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")
    check_device(name, tensor, like_name, like)
    wide_beside_short = tensor.dtype == torch.float32 and like.dtype in (torch.bfloat16, torch.float16)
    require(
        tensor.dtype == like.dtype or wide_beside_short,
        f"{name}: expected dtype {dtype_name(like.dtype)} as {like_name}"
        f"{' or float32' if like.itemsize == 2 else ''}, got {dtype_name(tensor.dtype)}",
    )


def check_device(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    """Two tensors that are used together live on one device."""
    require(
        tensor.device == like.device,
        f"{name}: expected device {like.device} as {like_name}, got {tensor.device}",
    )


def check_targets(targets: Tensor, hidden: Tensor) -> None:
    """Targets are int64, one a row, on hidden's device (`check_target_range` reads the values)."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        got = dtype_name(targets.dtype) if isinstance(targets, Tensor) else type(targets).__name__
        raise ValueError(f"targets: expected a tensor of dtype int64, got {got}")
    require(
        targets.shape == hidden.shape[:-1],
        f"targets: expected shape {tuple(hidden.shape[:-1])} (hidden without its channels), got {tuple(targets.shape)}",
    )
    check_device("targets", targets, "hidden", hidden)


def check_target_range(targets: Tensor, vocab_size: int, ignore_index: int) -> None:
    """Every target is below `vocab_size` or equals `ignore_index`.

    Raises:
        IndexError: naming the first one that is not.

    """
    bad = ((targets < 0) | (targets >= vocab_size)) & (targets != ignore_index)
    if bool(bad.any()):
        where = int(bad.flatten().nonzero()[0])
        raise IndexError(
            f"targets: expected ids in 0..{vocab_size - 1} or ignore_index {ignore_index}, "
            f"got {int(targets.flatten()[where])} at row {where}"
        )


def check_same_tensors(lists: dict[str, Sequence[Tensor]]) -> None:
    """Several lists of tensors that agree in length and, place by place, in shape and device."""
    (first_name, first), *others = lists.items()
    for name, tensors in others:
        require(
            len(tensors) == len(first),
            f"{name}: expected {len(first)} tensors as {first_name}, got {len(tensors)}",
        )
    for name, tensors in lists.items():
        for i, tensor in enumerate(tensors):
            check_storage(f"{name}[{i}]", tensor)
            require(
                tensor.shape == first[i].shape,
                f"{name}[{i}]: expected shape {tuple(first[i].shape)} as {first_name}[{i}], got {tuple(tensor.shape)}",
            )
            check_device(f"{name}[{i}]", tensor, f"{first_name}[{i}]", first[i])


def check_moments(
    params: Sequence[Tensor], grads: Sequence[Tensor], moments: dict[str, Sequence[Tensor]]
) -> None:
    """Gradients have the dtype of their parameter, or bfloat16 beside float32.

    Moments have that dtype, or float32 beside a 16-bit parameter.
    """
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        short_beside_wide = param.dtype == torch.float32 and grad.dtype == torch.bfloat16
        require(
            grad.dtype == param.dtype or short_beside_wide,
            f"grads[{i}]: expected dtype {dtype_name(param.dtype)} as params[{i}]"
            f"{' or bfloat16' if param.dtype == torch.float32 else ''}, got {dtype_name(grad.dtype)}",
        )
        for name, tensors in moments.items():
            check_parameter(f"{name}[{i}]", tensors[i], f"params[{i}]", param, tuple(param.shape))
            require(
                tensors[i].dtype == next(iter(moments.values()))[i].dtype,
                f"{name}[{i}]: expected both moments in one dtype, got {dtype_name(tensors[i].dtype)}",
            )


def check_shadows(params: Sequence[Tensor], shadows: Sequence[Tensor | None]) -> None:
    """One shadow, or None, for each parameter: bfloat16 beside float32, of its shape, contiguous."""
    require(
        len(shadows) == len(params),
        f"shadows: expected {len(params)} tensors or None as params, got {len(shadows)}",
    )
    for i, (param, shadow) in enumerate(zip(params, shadows, strict=True)):
        if shadow is None:
            continue
        require(
            shadow.dtype == torch.bfloat16 and param.dtype == torch.float32,
            f"shadows[{i}]: expected bfloat16 beside a float32 parameter, "
            f"got {dtype_name(shadow.dtype)} beside {dtype_name(param.dtype)}",
        )
        require(
            shadow.shape == param.shape and shadow.is_contiguous(),
            f"shadows[{i}]: expected a contiguous tensor of shape {tuple(param.shape)} as params[{i}], "
            f"got shape {tuple(shadow.shape)}",
        )
        check_device(f"shadows[{i}]", shadow, f"params[{i}]", param)


def check_loss_terms(label_smoothing: float, z_loss: float) -> None:
    """The numbers that `linear_cross_entropy` adds to the plain loss; NaN fits neither."""
    require(0 <= label_smoothing < 1, f"label_smoothing: expected a number in [0, 1), got {label_smoothing}")
    require(
        z_loss >= 0 and math.isfinite(z_loss), f"z_loss: expected a finite number from 0 on, got {z_loss}"
    )


def check_ids(name: str, ids: Tensor, shape: tuple[int, ...], like_name: str, like: Tensor) -> None:
    """Token ids are int64, of the given shape, on the device of `like`."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        got = dtype_name(ids.dtype) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"{name}: expected a tensor of dtype int64, got {got}")
    require(tuple(ids.shape) == shape, f"{name}: expected shape {shape}, got {tuple(ids.shape)}")
    check_device(name, ids, like_name, like)


def check_adamw_options(
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    grad_norm: Tensor | None,
    max_norm: float | None,
) -> None:
    """The numbers of an AdamW step."""
    require(step >= 1, f"step: expected a count from 1 on, got {step}")
    require(lr >= 0 and math.isfinite(lr), f"lr: expected a finite number from 0 on, got {lr}")
    require(all(0 <= beta < 1 for beta in betas), f"betas: expected two numbers in [0, 1), got {betas}")
    require(eps >= 0, f"eps: expected a number from 0 on, got {eps}")
    require(max_norm is None or max_norm > 0, f"max_norm: expected a number above 0, got {max_norm}")
    require(
        max_norm is None or grad_norm is not None,
        "grad_norm: expected a tensor beside max_norm, got None",
    )
    if grad_norm is not None:
        require(
            grad_norm.numel() == 1 and grad_norm.dtype in (torch.float32, torch.float64),
            f"grad_norm: expected one float32 or float64 number, "
            f"got shape {tuple(grad_norm.shape)} of {dtype_name(grad_norm.dtype)}",
        )


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")
