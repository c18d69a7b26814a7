"""A model as a folder: a Hugging Face folder, so that transformers, tokenizers and tiktoken open it as it stands.

    config.json         Hugging Face's keys for GPT-2; what only gpt2x knows stands under the key "gpt2x"
    model.safetensors   Hugging Face's names and layout; padding cut off, the tied head not repeated
    tokenizer.json      the tokenizer for Hugging Face, with vocab.tiktoken, the rank file for tiktoken,
                        and tokenizer_config.json

A folder is whole when it has config.json and model.safetensors. Saving stages all files first and renames them at the
end, the weights last: a reader never meets weights and a configuration that do not belong together. What gpt2x did not
write is never replaced: its own config.json has the entry "gpt2x", and the files beside that are its own. Weights are
never pickled, and pickles are never loaded: a pickle runs whatever code it likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt2x.errors import InputDataError, OutputError
from gpt2x.model.config import GPTConfig
from gpt2x.model.device import shapes_only
from gpt2x.model.gpt import GPT
from gpt2x.model.packed import SCALE, unpacked
from gpt2x.model.pretrained import (
    check_shapes,
    config_from_hf,
    config_to_hf,
    plain_names,
    tensor_from_hf,
    tensors_to_hf,
)
from gpt2x.model.runs import CONFIG, INDEX, MODEL_FILES, WEIGHTS, is_ours
from gpt2x.model.tensor_file import write_tensors
from gpt2x.paths import CONFIG_BYTES, output_errors, read_text, sync

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

_TOKENIZER_FILES = ("tokenizer.json", "*.tiktoken", "vocab.bpe", "merges.txt")


def save_folder(
    model: GPT, tokenizer: Tokenizer | None, path: str | Path, extra: Mapping[str, Any] | None = None
) -> str:
    """Write a model, and the tokenizer if there is one, as a Hugging Face folder.

    Other files that are in the folder stay.

    Args:
        model: its weights are written in the dtype that they have.
        tokenizer: written beside the weights.
        path: the folder; it is made, with its parents.
        extra: values to keep in config.json under "gpt2x" (where the run came from, its step, …).

    Returns:
        sha256 of model.safetensors, in hex.

    Raises:
        OutputError: the folder cannot be written, or holds a file of such a name that gpt2x did not write; a model
            that was in it before is still there and whole.

    """
    path = Path(path)
    check_folder(path)
    tensors = tensors_to_hf(model.state_dict(), model.config)
    dtype = str(model.wte.weight.dtype).removeprefix("torch.")
    eot = _eot_token(tokenizer)
    values = config_to_hf(model.config, dtype=dtype, eot_token=eot)
    values["gpt2x"] |= dict(extra or {})
    with _staged(path) as stage:
        (stage / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(stage)
            told = _tokenizer_config(tokenizer, eot, model.config.block_size)
            (stage / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return write_tensors(tensors, stage / WEIGHTS, {"format": "pt"})


def check_folder(path: Path) -> None:
    """Refuse a folder with somebody else's model or tokenizer in it.

    Raises:
        OutputError: one of the files that `save_folder` writes is there and is not of gpt2x.

    """
    from gpt2x.tokenizer.saving import foreign_file

    ours = is_ours(path)
    theirs = (
        None if ours else next((name for name in (CONFIG, WEIGHTS) if os.path.lexists(path / name)), None)
    )
    theirs = theirs or foreign_file(path, model_is_ours=ours)
    if theirs is not None:
        raise OutputError(f"{path} holds {theirs}, which gpt2x did not write; choose another place")


def model_files(folder: Path) -> list[str]:
    """What `save_folder` wrote in a folder; nothing where the model is somebody else's."""
    return list(MODEL_FILES) if is_ours(folder) else []


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """Yield an empty folder inside `path`; when the block ends well, its files move into `path`, the weights last."""
    with output_errors(path):
        existed = path.exists()
        path.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".saving.", dir=path))
        try:
            yield stage
            for file in stage.iterdir():
                sync(file)
            if _architecture(path / CONFIG) != _architecture(stage / CONFIG):
                (path / WEIGHTS).unlink(missing_ok=True)  # they do not fit the configuration that comes next
            for file in sorted(stage.iterdir(), key=lambda file: file.name == WEIGHTS):
                file.replace(path / file.name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            if not existed:
                with contextlib.suppress(OSError):
                    path.rmdir()  # only when nothing came of it


def _architecture(config: Path) -> dict[str, Any] | None:
    """What of a configuration decides which weights fit, None when it cannot be read."""
    try:
        values = _read_json(config)
    except InputDataError:
        return None
    values.pop("gpt2x", None)
    return values


def _eot_token(tokenizer: Any) -> int | None:
    try:
        return None if tokenizer is None else int(tokenizer.eot_token)
    except (KeyError, ValueError, AttributeError):
        return None


def _tokenizer_config(tokenizer: Any, eot: int | None, block_size: int) -> dict[str, Any]:
    """What AutoTokenizer needs to open tokenizer.json."""
    special = None if eot is None else tokenizer.decode([eot])
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        **({} if special is None else {"bos_token": special, "eos_token": special, "unk_token": special}),
    }


def read_config(path: str | Path) -> tuple[GPTConfig, dict[str, Any]]:
    """The configuration of a folder, and all values of its config.json.

    Raises:
        InputDataError: there is no such folder, it has no config.json, or that describes no GPT-2.

    """
    path = Path(path)
    if not path.is_dir():
        raise InputDataError(
            f"there is no model folder {path}; give a run folder or a Hugging Face GPT-2 folder"
        )
    if not (path / CONFIG).exists():
        raise InputDataError(f"{path} has no {CONFIG}; give a run folder or a Hugging Face GPT-2 folder")
    values = _read_json(path / CONFIG)
    return config_from_hf(values, str(path / CONFIG)), values


def load_folder(
    path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[GPT, Tokenizer | None]:
    """Read a run folder of ours or a Hugging Face GPT-2 folder (one safetensors file, or several with an index).

    Args:
        path: the folder.
        device: where the model is put.
        dtype: what its weights become, whatever they are in the file.

    Returns:
        The model, in evaluation mode, and the tokenizer that lies beside it, or None.

    Raises:
        InputDataError: something is missing, damaged, of another shape than config.json says, or no GPT-2; the
            message is one sentence that names the file.

    """
    path = Path(path)
    config, _ = read_config(path)
    tokenizer = _load_tokenizer(path, config)
    state = _read_weights(path, config, dtype)  # first: it finds numbers in the configuration that cannot be
    with shapes_only():
        model = GPT(config)
    model.load_state_dict(state, assign=True)
    model.finish()
    return model.eval().to(device), tokenizer


def _load_tokenizer(path: Path, config: GPTConfig) -> Tokenizer | None:
    if not any(found.is_file() for pattern in _TOKENIZER_FILES for found in path.glob(pattern)):
        return None
    from gpt2x.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)
    if tokenizer.n_vocab > config.vocab_size:
        raise InputDataError(
            f"the tokenizer in {path} has {tokenizer.n_vocab} ids and {CONFIG} says vocab_size = {config.vocab_size}; "
            "they do not belong together"
        )
    return tokenizer


def _read_weights(path: Path, config: GPTConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors, named and laid out as in `GPT`."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_open_safetensors(file)) for file in weight_files(path)]
        home = {name: file for file in files for name in file.keys()}  # noqa: SIM118  (not a dictionary)
        scales = {name: home.pop(name).get_tensor(name) for name in list(home) if name.endswith(SCALE)}
        names = plain_names(home, tied=config.tie_weights)
        source = str(path / WEIGHTS)
        shapes = {plain: tuple(home[name].get_slice(name).get_shape()) for plain, name in names.items()}
        check_shapes(shapes, config, source)
        state = {}
        for plain, name in names.items():
            tensor = unpacked(name, home[name].get_tensor(name), scales)
            if not tensor.is_floating_point():
                raise InputDataError(
                    f"{source} has {plain!r} in {tensor.dtype}; gpt2x reads floating point only"
                )
            try:
                state[plain] = tensor_from_hf(plain, tensor.to(dtype), config)
            except NotImplementedError as error:  # one of four bits, which torch computes nothing with
                raise InputDataError(
                    f"{source} has {plain!r} in {tensor.dtype}, which gpt2x does not read; save it in float16 or more"
                ) from error
    if config.tie_weights:
        state["lm_head.weight"] = state["wte.weight"]
    return state


def _open_safetensors(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputDataError(f"{file} is damaged ({error}); save or download it again") from error


def weight_files(path: Path) -> list[Path]:
    """The files with the weights of a model folder.

    Raises:
        InputDataError: there are none, or only pickled ones.

    """
    if (path / WEIGHTS).exists():
        return [_regular(path / WEIGHTS)]
    if (path / INDEX).is_file():
        weight_map = _read_json(path / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputDataError(f"{path / INDEX} has no weight_map; download it again")
        files = [path / Path(str(name)).name for name in sorted(set(map(str, weight_map.values())))]
        for file in files:
            if not file.exists():
                raise InputDataError(f"{file} is missing, and {INDEX} names it; download it again")
        return list(map(_regular, files))
    pickle = next((file for file in sorted(path.glob("pytorch_model*.bin"))), None)
    if pickle is not None:
        raise InputDataError(
            f"{path} has only pickled weights ({pickle.name}), which gpt2x never loads since a pickle can run "
            "any code; convert them with GPT2LMHeadModel.from_pretrained(folder).save_pretrained(folder)"
        )
    raise InputDataError(f"{path} has no {WEIGHTS}; give a run folder or a Hugging Face GPT-2 folder")


def _regular(file: Path) -> Path:
    """The file itself, unless it is a folder, a pipe or a device, which the reader of weights would wait for."""
    if not file.is_file():
        raise InputDataError(f"{file} is no regular file; save or download it again")
    return file


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_text(file, limit=CONFIG_BYTES, regular=True))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputDataError):
            raise
        raise InputDataError(f"{file} is not JSON ({error}); save or download it again") from error
    if not isinstance(values, dict):
        raise InputDataError(f"{file} holds no JSON object; save or download it again")
    return values
