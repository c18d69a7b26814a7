"""A run as a clean Hugging Face folder: the model and its tokenizer, without the trainer's state."""

from __future__ import annotations

from pathlib import Path

import torch

from gpt2x.errors import OutputError
from gpt2x.export.refusal import check_finite, check_is_gpt2
from gpt2x.model.folder import load_folder, model_files, read_config, save_folder
from gpt2x.paths import atomic_folder, check_folder

DTYPES = {"f32": torch.float32, "f16": torch.float16}

FORMAT = "gpt2x-export"
"""What an export's config.json says under "gpt2x", "format"."""


def export_hf(run: Path, out: Path, *, dtype: str = "f32") -> None:
    """Write the model of a run, or of a Hugging Face folder, as a new folder.

    Args:
        run: a run folder of ours or a Hugging Face GPT-2 folder.
        out: a folder that is not there yet, is empty, or holds an earlier export and nothing else; it appears whole or
            not at all.
        dtype: ``f32`` or ``f16``.

    Raises:
        InputDataError: `run` holds no usable model, or one that is no GPT-2.
        OutputError: `out` has something else in it or cannot be written.

    """
    if out.exists() and out.samefile(run):
        raise OutputError(f"{out} is the run itself; choose another place")
    check_folder(out, exported_files, "an export")
    check_is_gpt2(read_config(run)[0], run, "transformers")
    model, tokenizer = load_folder(run, dtype=DTYPES[dtype])
    for name, tensor in model.state_dict().items():
        check_finite(name, bool(tensor.isfinite().all()), dtype)
    with atomic_folder(out, exported_files, "an export") as folder:
        try:
            save_folder(model, tokenizer, folder, extra={"format": FORMAT})
        except OutputError as error:  # name the place that was asked for, not the temporary one
            raise OutputError(str(error).replace(str(folder), str(out))) from error


def exported_files(folder: Path) -> list[str]:
    """The files of an export; none where the model in a folder came about in another way, by training for instance."""
    files = model_files(folder)
    return files if files and read_config(folder)[1]["gpt2x"].get("format") == FORMAT else []
