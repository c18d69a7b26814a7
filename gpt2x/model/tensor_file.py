"""Writing a safetensors file and its sha256 in one pass, so that a checkpoint need not be read again to be hashed.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of a JSON header, the header
with blanks up to a multiple of eight, and the tensors one after the other, the widest dtype first and then by name. The
bytes are those that the library of that name writes; a test compares them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
}
"""By width; the order in which the library sorts them."""


def write_tensors(
    tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str] | None = None
) -> str:
    """Write tensors of a CPU or a GPU.

    Args:
        tensors: by name; each in a dtype of models and optimizers.
        file: where; it is replaced.
        metadata: texts for the header.

    Returns:
        sha256 of the file, in hex.

    Raises:
        OSError: it cannot be written.

    """
    order = list(_NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    digest = hashlib.sha256()
    with file.open("wb", buffering=0) as opened:
        header = memoryview(_header(tensors, names, metadata))
        for data in itertools.chain([header], (_bytes(tensors[name]) for name in names)):
            digest.update(data)
            done = 0
            while done < len(data):  # a write may take less than it is given
                done += opened.write(data[done:])
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor], names: list[str], metadata: Mapping[str, str] | None) -> bytes:
    about: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        about[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    """What a tensor holds, row by row, little-endian as all machines that torch runs on."""
    flat = tensor.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data
