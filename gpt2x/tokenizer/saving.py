"""Writing a vocabulary into a folder, all of its files or none, and never over somebody else's."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from gpt2x._version import __version__
from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import CONFIG_BYTES, atomic_folder, atomic_write, read_text
from gpt2x.tokenizer.vocabulary import Vocabulary

RANK_FILE = "vocab.tiktoken"
TOKENIZER_JSON = "tokenizer.json"
CONFIG = "tokenizer_config.json"

FILES = (TOKENIZER_JSON, RANK_FILE, CONFIG)
"""What `write_folder` writes."""


_KEYS = {
    *("tokenizer_class", "bos_token", "eos_token", "unk_token", "model_max_length"),
    *("clean_up_tokenization_spaces", "gpt2x"),
}
"""What gpt2x writes into a tokenizer_config.json; transformers writes more, and keeps what it does not know."""


def foreign_file(folder: Path, *, model_is_ours: bool = False) -> str | None:
    """The first of these files in a folder that gpt2x did not write; None where they can be replaced.

    Args:
        folder: it need not exist.
        model_is_ours: there is a model beside them that gpt2x saved, and them with it: the block is not written then.

    """
    there = [name for name in FILES if os.path.lexists(folder / name)]
    config = _read_object(folder / CONFIG)
    ours = (
        bool(config) and config.keys() <= _KEYS and (model_is_ours or isinstance(config.get("gpt2x"), dict))
    )
    return there[0] if there and not ours else None


def _read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        value = json.loads(read_text(file, limit=CONFIG_BYTES, regular=True))
    except (InputDataError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a place in which `write_folder` would replace what gpt2x did not write.

    Raises:
        OutputError: it is no folder, or holds somebody else's tokenizer.

    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the tokenizer")
    theirs = foreign_file(folder, model_is_ours="gpt2x" in _read_object(folder / "config.json"))
    if theirs is not None:
        raise OutputError(f"{folder} holds {theirs}, which gpt2x did not write; choose another place")


def write_folder(vocabulary: Vocabulary, folder: str | os.PathLike[str]) -> None:
    """Write the vocabulary's three files into a folder: all or, where something fails, none.

    Raises:
        OutputError: they cannot be written, or files of these names are there that gpt2x did not write.
        InputDataError: the vocabulary has a token that no merge makes, which `tokenizer.json` cannot express.

    """
    from gpt2x.tokenizer.huggingface import tokenizer_json

    folder = Path(folder)
    check_folder(folder)
    files = {
        TOKENIZER_JSON: tokenizer_json(vocabulary).encode(),
        RANK_FILE: vocabulary.rank_file,
        CONFIG: (json.dumps(_config(vocabulary), ensure_ascii=False, indent=2) + "\n").encode(),
    }
    with contextlib.ExitStack() as stack:
        if folder.is_dir():
            # Each file gets its name only after the contents of all are on the disk.
            for name, content in files.items():
                stack.enter_context(atomic_write(folder / name)).write(content)
        else:
            temporary = stack.enter_context(atomic_folder(folder))
            for name, content in files.items():
                (temporary / name).write_bytes(content)


def write_rank_file(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    """Write the ranks alone, in tiktoken's format.

    Raises:
        OutputError: the file cannot be written.

    """
    with atomic_write(path) as file:
        file.write(vocabulary.rank_file)


def _config(vocabulary: Vocabulary) -> dict[str, Any]:
    from gpt2x._bpe import unicode_version

    end = "<|endoftext|>" if "<|endoftext|>" in vocabulary.special_tokens else None
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "clean_up_tokenization_spaces": False,
        "gpt2x": {
            "name": vocabulary.name,
            "pattern": vocabulary.pat_str,
            "special_tokens": vocabulary.special_tokens,
            **({"added_tokens": vocabulary.added_tokens} if vocabulary.added_tokens else {}),
            "unicode_version": unicode_version,
            "generator": f"gpt2x {__version__}",
            "sha256": vocabulary.fingerprint,
        },
    }
