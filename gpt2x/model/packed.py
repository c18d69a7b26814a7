"""A model folder in a quarter of its size: matrices as int8 with one float32 scale a row, the rest as it is.

What ships with the package is held like this. `gpt2x.model.load_folder` reads it as any other folder and computes in
float32; no other program knows the format, `gpt2x export` writes one that they read. The rounding is that of
`gpt2x.ops.quantize_rows`, on the rows of the file: of an embedding those of its tokens, of a projection those of its
inputs, since Hugging Face's GPT-2 files hold projections as (in, out).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt2x.errors import InputDataError
from gpt2x.model.runs import CONFIG, MODEL_FILES, TOKENIZER_FILES, WEIGHTS, is_ours
from gpt2x.ops import quantize_rows
from gpt2x.paths import CONFIG_BYTES, atomic_folder, read_text

SCALE = ".scale"
"""Ends the name of a tensor of scales, (O,) float32 beside int8 (O, I)."""


def pack_folder(source: Path, out: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a copy of a model folder with its matrices in int8; a model of ours at `out` is replaced.

    Args:
        source: a model folder of ours.
        out: the copy.
        about: more values for "gpt2x" in its config.json.

    Raises:
        InputDataError: `source` holds weights that are not finite numbers.
        OutputError: `out` cannot be written, or holds something else.

    """
    packed: dict[str, Tensor] = {}
    for name, tensor in load_file(source / WEIGHTS).items():
        if tensor.dim() < 2:
            packed[name] = tensor.float()
            continue
        if not tensor.isfinite().all():
            raise InputDataError(f"{source / WEIGHTS} holds NaN or infinity in {name}; train the model again")
        packed[name], packed[name + SCALE] = quantize_rows(tensor.float())
    with atomic_folder(out, lambda folder: MODEL_FILES if is_ours(folder) else (), "a packed model") as stage:
        save_file(packed, stage / WEIGHTS, metadata={"format": "pt"})
        shutil.copymode(source / WEIGHTS, stage / WEIGHTS)  # safetensors lets the owner alone read it
        for name in TOKENIZER_FILES:
            shutil.copyfile(source / name, stage / name)
        config = json.loads(read_text(source / CONFIG, limit=CONFIG_BYTES))
        config["gpt2x"] |= dict(about or {})
        (stage / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def unpacked(name: str, tensor: Tensor, scales: Mapping[str, Tensor]) -> Tensor:
    """A tensor as floating point: itself, or int8 times the scales of its rows.

    Raises:
        InputDataError: int8 without scales that fit.

    """
    if tensor.dtype != torch.int8:
        return tensor
    scale = scales.get(name + SCALE)
    if scale is None or scale.dtype != torch.float32 or scale.shape != tensor.shape[:1]:
        raise InputDataError(
            f"{WEIGHTS} has {name!r} in int8 without a float32 scale for each of its rows; gpt2x packs models so"
        )
    return tensor.float() * scale[:, None]
