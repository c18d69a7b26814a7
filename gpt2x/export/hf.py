"""A run as a clean Hugging Face folder: the model and its tokenizer, without the trainer's state."""

from __future__ import annotations

from pathlib import Path

import torch

from gpt2x.errors import OutputError
from gpt2x.model.folder import load_folder, save_folder
from gpt2x.paths import atomic_folder

DTYPES = {"f32": torch.float32, "f16": torch.float16}


def export_hf(run: Path, out: Path, *, dtype: str = "f32") -> None:
    """Write the model of a run, or of a Hugging Face folder, as a new folder.

    Args:
        run: a run folder of ours or a Hugging Face GPT-2 folder.
        out: a folder that is not there yet, or is empty; it appears whole or not at all.
        dtype: ``f32`` or ``f16``.

    Raises:
        InputDataError: `run` holds no usable model.
        OutputError: `out` has something in it or cannot be written.

    """
    model, tokenizer = load_folder(run, dtype=DTYPES[dtype])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already and not an empty folder; choose another place")
    with atomic_folder(out) as folder:
        try:
            save_folder(model, tokenizer, folder)
        except OutputError as error:  # name the place that was asked for, not the temporary one
            raise OutputError(str(error).replace(str(folder), str(out))) from error
