"""The CUDA implementations: torch allocates and multiplies, `gpt2x._cuda` does the rows.

The kernels stand behind a C boundary (``csrc/ops/cuda/gpt2x_cuda.h``): device pointers, sizes, and the current
stream as an integer. So the library is built without torch's headers, serves any torch, and loads without a GPU. This
module finds it, declares its functions to ctypes, and registers one Python function per operator for torch's CUDA key.

The kernels are compiled for sm_80 and sm_90 (and as PTX for what comes later); they have not run on a GPU yet.
"""

# ruff: noqa: PLR0917  (arguments stand in the order of csrc/ops/schema.cpp)
from __future__ import annotations

import ctypes
import importlib.machinery
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt2x.ops import reference
from gpt2x.ops.checks import REDUCTIONS

INTERFACE = 3  # GPT2X_CUDA_INTERFACE of the header
_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1}
_MAX_CHUNK_LOGITS = 2**27  # elements of one chunk of logits: 2668 rows of 50304, 0.27 GB in bfloat16
_MIN_CHUNK_ROWS = 512

_pointer, _int, _int64, _double = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
# One entry a function of the header, in its order of arguments; all of these return an error code.
_SIGNATURES = {
    "add_layer_norm": [_int] * 2 + [_pointer] * 4 + [_int64] * 2 + [_double] + [_pointer] * 5,
    "add_layer_norm_backward": [_int] * 2
    + [_pointer] * 6
    + [_int64] * 2
    + [_pointer] * 4
    + [_int64, _pointer],
    "bias_gelu": [_int] * 2 + [_pointer] * 2 + [_int64] * 2 + [_pointer] * 2,
    "bias_gelu_backward": [_int] * 2 + [_pointer] * 3 + [_int64] * 2 + [_pointer] * 3 + [_int64, _pointer],
    "linear_cross_entropy": [_int]
    + [_pointer] * 2
    + [_int64] * 4
    + [_double] * 2
    + [_pointer, _int, _int]
    + [_pointer] * 2,
    "global_norm": [_int64] + [_pointer] * 6,
    "adamw": [_int] * 2
    + [_int64]
    + [_pointer] * 6
    + [_int64]
    + [_double] * 4
    + [_pointer, _double, _pointer],
}

_library: Any = None


def load() -> str:
    """Load the library and register the implementations; the reason why not, or an empty text.

    Neither initialises CUDA nor needs a GPU.
    """
    global _library  # noqa: PLW0603  (loaded once a process)
    folder = Path(__file__).parent.parent
    found = [folder / f"_cuda{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    path = next((candidate for candidate in found if candidate.exists()), None)
    if path is None:
        return "gpt2x._cuda is not built (it is where nvcc is found at install time, or with GPT2X_CUDA=1)"
    try:
        library = ctypes.CDLL(str(path))
        if library.gpt2x_cuda_interface() != INTERFACE:
            return "gpt2x._cuda is of another version of gpt2x; reinstall gpt2x"
        for name, argument_types in _SIGNATURES.items():
            function = getattr(library, f"gpt2x_cuda_{name}")
            function.argtypes, function.restype = argument_types, _int
        library.gpt2x_cuda_error.argtypes, library.gpt2x_cuda_error.restype = [_int], ctypes.c_char_p
        library.gpt2x_cuda_norm_blocks.restype = _int64
    except (OSError, AttributeError) as error:
        return f"gpt2x._cuda does not load: {str(error).splitlines()[0]}"
    _library = library
    for name, implementation in (
        ("add_layer_norm", _add_layer_norm),
        ("add_layer_norm_backward", _add_layer_norm_backward),
        ("bias_gelu", _bias_gelu),
        ("bias_gelu_backward", _bias_gelu_backward),
        ("linear_cross_entropy", _linear_cross_entropy),
        ("global_norm", _global_norm),
        ("adamw_", _adamw),
        ("embedding_backward_", _embedding_backward),
        ("gemv", reference.gemv),
        ("decode_attention", reference.decode_attention),
    ):
        torch.library.impl(f"gpt2x::{name}", "cuda", implementation)
    return ""


def _call(name: str, device: torch.device, *arguments: Any) -> None:
    """Call a function of the library on the device's current stream; tensors go as pointers.

    Raises:
        RuntimeError: the launch was refused.

    """
    pointers = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    with torch.cuda.device(device):
        code = getattr(_library, f"gpt2x_cuda_{name}")(
            *pointers, torch.cuda.current_stream(device).cuda_stream
        )
    if code != 0:
        raise RuntimeError(f"gpt2x {name} on {device}: {_library.gpt2x_cuda_error(code).decode()}")


def _code(name: str, tensor: Tensor) -> int:
    if tensor.dtype not in _DTYPE_CODES:
        raise ValueError(f"{name}: expected dtype float32 or bfloat16 on CUDA, got {tensor.dtype}")
    return _DTYPE_CODES[tensor.dtype]


def _require_on(device: torch.device, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name}: expected device {device}, got {tensor.device}")


def _require_shape(shape: Sequence[int], **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(tensor.shape)}")


def _require_dtype(dtype: torch.dtype, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != dtype:
            raise ValueError(f"{name}: expected dtype {dtype}, got {tensor.dtype}")


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _num_blocks(rows: int, device: torch.device) -> int:
    """Blocks that share the rows of a backward pass: four to a multiprocessor, no more than rows."""
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(rows, 4 * multiprocessors))


def _add_layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    channels = x.shape[-1]
    rows = x.numel() // channels
    _require_on(x.device, residual=residual, weight=weight, bias=bias)
    _require_shape(x.shape, residual=residual)
    _require_shape((channels,), weight=weight, bias=bias)
    _require_dtype(x.dtype, residual=residual)
    _require_dtype(weight.dtype, bias=bias)
    x, residual, weight, bias = x.contiguous(), _dense(residual), weight.contiguous(), _dense(bias)
    y = torch.empty_like(x)
    total = x.new_empty(0) if residual is None else torch.empty_like(x)
    mean, rstd = (x.new_empty(x.shape[:-1], dtype=torch.float32) for _ in range(2))
    codes = _code("x", x), _code("weight", weight)
    out = (None if residual is None else total, y, mean, rstd)
    _call("add_layer_norm", x.device, *codes, x, residual, weight, bias, rows, channels, eps, *out)
    return y, total, mean, rstd


def _add_layer_norm_backward(
    dy: Tensor, dsum: Tensor | None, sum: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    channels = sum.shape[-1]
    rows = sum.numel() // channels
    _require_on(sum.device, dy=dy, dsum=dsum, weight=weight, mean=mean, rstd=rstd)
    _require_shape(sum.shape, dy=dy, dsum=dsum)
    _require_shape((channels,), weight=weight)
    _require_shape(sum.shape[:-1], mean=mean, rstd=rstd)
    _require_dtype(sum.dtype, dy=dy, dsum=dsum)
    _require_dtype(torch.float32, mean=mean, rstd=rstd)
    dy, dsum, sum, weight = dy.contiguous(), _dense(dsum), sum.contiguous(), weight.contiguous()
    mean, rstd = mean.contiguous(), rstd.contiguous()
    dx, dweight = torch.empty_like(sum), torch.empty_like(weight)
    dbias = weight.new_empty(weight.shape if has_bias else 0)
    blocks = _num_blocks(rows, sum.device)
    partials = sum.new_empty((blocks, 2 * channels), dtype=torch.float32)
    codes = _code("sum", sum), _code("weight", weight)
    inputs = (dy, dsum, sum, weight, mean, rstd, rows, channels)
    out = (dx, dweight, dbias if has_bias else None, partials, blocks)
    _call("add_layer_norm_backward", sum.device, *codes, *inputs, *out)
    return dx, dweight, dbias


def _bias_gelu(x: Tensor, bias: Tensor | None) -> Tensor:
    channels = x.shape[-1]
    _require_on(x.device, bias=bias)
    _require_shape((channels,), bias=bias)
    x, bias = x.contiguous(), _dense(bias)
    y = torch.empty_like(x)
    codes = _code("x", x), _code("bias", x if bias is None else bias)
    _call("bias_gelu", x.device, *codes, x, bias, x.numel() // max(1, channels), channels, y)
    return y


def _bias_gelu_backward(dy: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    channels = x.shape[-1]
    rows = x.numel() // max(1, channels)
    _require_on(x.device, dy=dy, bias=bias)
    _require_shape(x.shape, dy=dy)
    _require_shape((channels,), bias=bias)
    _require_dtype(x.dtype, dy=dy)
    dy, x, bias = dy.contiguous(), x.contiguous(), _dense(bias)
    dx = torch.empty_like(x)
    dbias = x.new_empty(0) if bias is None else torch.empty_like(bias)
    blocks = _num_blocks(rows, x.device)
    partials = None if bias is None else x.new_empty((blocks, channels), dtype=torch.float32)
    codes = _code("x", x), _code("bias", x if bias is None else bias)
    out = (dx, None if bias is None else dbias, partials, blocks)
    _call("bias_gelu_backward", x.device, *codes, dy, x, bias, rows, channels, *out)
    return dx, dbias


def _linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    row_scale: Tensor | None,
    reduction: int,
    ignore_index: int,
    vocab_size: int,
    label_smoothing: float,
    z_loss: float,
    need_dhidden: bool,
    need_dweight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As in ``csrc/ops/cpu/linear_cross_entropy.cpp``: a chunk of logits, its gradient in place, two products on."""
    rows, padded = hidden.shape[0], weight.shape[0]
    _require_on(hidden.device, weight=weight, targets=targets)
    _require_shape((padded, hidden.shape[1]), weight=weight)
    _require_on(hidden.device, row_scale=row_scale)
    _require_shape((rows,), targets=targets, row_scale=row_scale)
    _require_dtype(torch.int64, targets=targets)
    _require_dtype(torch.float32, row_scale=row_scale)
    if not 0 < vocab_size <= padded:
        raise ValueError(f"vocab_size: expected 1..{padded}, got {vocab_size}")
    code = _code("hidden", hidden)
    hidden, targets, matrix = hidden.contiguous(), targets.contiguous(), weight.to(hidden.dtype).contiguous()
    if reduction == REDUCTIONS["mean"]:
        scale = (targets != ignore_index).sum().to(torch.float32).reciprocal()  # on the device: no wait
    else:
        scale = hidden.new_ones((), dtype=torch.float32)
    row_scale = _dense(row_scale)
    losses = hidden.new_empty(rows, dtype=torch.float32)
    dhidden = hidden.new_empty(hidden.shape if need_dhidden else (0, 0))
    dweight = weight.new_zeros(weight.shape if need_dweight else (0, 0), dtype=torch.float32)
    chunk = min(rows, max(_MIN_CHUNK_ROWS, _MAX_CHUNK_LOGITS // padded))
    buffer = hidden.new_empty((chunk, padded))
    for start in range(0, rows, max(1, chunk)):
        part = slice(start, min(start + chunk, rows))
        logits = torch.mm(hidden[part], matrix.T, out=buffer[: part.stop - part.start])
        sizes = (part.stop - part.start, vocab_size, padded, ignore_index, label_smoothing, z_loss)
        write_gradient = int(need_dhidden or need_dweight)
        scales = (scale, 0) if row_scale is None else (row_scale[part], 1)
        row_arguments = (code, logits, targets[part], *sizes, *scales, write_gradient, losses[part])
        _call("linear_cross_entropy", hidden.device, *row_arguments)
        if need_dhidden:
            torch.mm(logits, matrix, out=dhidden[part])
        if need_dweight:
            dweight += torch.mm(logits.T, hidden[part])
    loss = losses if reduction == REDUCTIONS["none"] else losses.sum() * scale
    return loss, dhidden, dweight.to(weight.dtype)


def _embedding_backward(dweight: Tensor, dy: Tensor, ids: Tensor) -> None:
    """The twin: torch sorts the ids and adds a token's rows one after the other, the same bits in every run."""
    _require_on(dweight.device, dy=dy, ids=ids)
    _require_shape((ids.numel(), dweight.shape[1]), dy=dy)
    _require_dtype(torch.int64, ids=ids)
    reference.embedding_backward_(dweight, dy, ids)


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _global_norm(tensors: list[Tensor]) -> Tensor:
    device = tensors[0].device
    for i, tensor in enumerate(tensors):
        _require_on(device, **{f"tensors[{i}]": tensor})
    tensors = [tensor.contiguous() for tensor in tensors]
    count = len(tensors)
    codes = (ctypes.c_int * count)(*(_code(f"tensors[{i}]", tensor) for i, tensor in enumerate(tensors)))
    sizes = (ctypes.c_int64 * count)(*(tensor.numel() for tensor in tensors))
    partials = torch.empty(count * _library.gpt2x_cuda_norm_blocks(), dtype=torch.float64, device=device)
    norm = torch.empty((), dtype=torch.float32, device=device)
    _call("global_norm", device, count, _pointers(tensors), sizes, codes, partials, norm)
    return norm


def _adamw(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    shadows: list[Tensor],
    step: int,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: list[float],
    grad_norm: Tensor | None,
    max_norm: float,
) -> None:
    if not params:
        return
    device = params[0].device
    norm = None if grad_norm is None else grad_norm.to(device=device, dtype=torch.float32)
    grads = [grad.to(p.dtype).contiguous() for p, grad in zip(params, grads, strict=True)]
    groups: dict[tuple[int, int], list[int]] = {}  # one launch handles tensors of one combination of dtypes
    for i, (p, g, m, v) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)):
        _require_on(device, params=p, grads=g, exp_avgs=m, exp_avg_sqs=v)
        _require_shape(p.shape, grads=g, exp_avgs=m, exp_avg_sqs=v)
        _require_dtype(m.dtype, exp_avg_sqs=v)
        if not (p.is_contiguous() and m.is_contiguous() and v.is_contiguous()):
            raise ValueError(f"params, exp_avgs, exp_avg_sqs: expected contiguous tensors, number {i} is not")
        groups.setdefault((_code("params", p), _code("exp_avgs", m)), []).append(i)
    for codes, members in groups.items():
        lists = [
            _pointers([tensors[i] for i in members]) for tensors in (params, grads, exp_avgs, exp_avg_sqs)
        ]
        sizes = (ctypes.c_int64 * len(members))(*(params[i].numel() for i in members))
        decays = (ctypes.c_double * len(members))(*(weight_decay[i] for i in members))
        numbers = (step, lr.item(), beta1, beta2, eps, norm, max_norm if norm is not None else 0.0)
        _call("adamw", device, *codes, len(members), *lists, sizes, decays, *numbers)
    for p, shadow in zip(params, shadows, strict=False):
        if shadow.numel() > 0:
            shadow.copy_(p)
