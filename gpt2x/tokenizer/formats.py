"""Files that hold a vocabulary: tiktoken's rank file, GPT-2's pair of files, Hugging Face's `tokenizer.json`.

===========================  ================================================  ==================================
file                         what it holds                                     what it leaves out
===========================  ================================================  ==================================
``*.tiktoken``               a line ``base64(token) rank`` for each token      the pattern, the special tokens
``vocab.bpe`` and            the merges, and every token with its id           the pattern
``encoder.json`` (or
``merges.txt``,
``vocab.json``)
``tokenizer.json``           everything                                        the Unicode version
===========================  ================================================  ==================================

What a file leaves out is written beside it: `write_folder` adds a ``tokenizer_config.json`` (which transformers
reads, too) with a block ``gpt2x`` that records pattern, special tokens, Unicode version, generator and a checksum.
A file is never half believed: whatever does not fit raises `InputDataError` with the file and the line.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt2x._version import __version__
from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import atomic_folder, atomic_write, read_text
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters
from gpt2x.tokenizer.huggingface import parse_json, read_tokenizer_json, tokenizer_json
from gpt2x.tokenizer.vocabulary import GPT2_FINGERPRINT, Vocabulary, check_bytes, gpt2

RANK_FILE = "vocab.tiktoken"
TOKENIZER_JSON = "tokenizer.json"
CONFIG = "tokenizer_config.json"
GPT2_PAIRS = (("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json"))

# Rank files that GPT-2's pattern does not go with; without this they would load and encode wrongly.
_OTHER_PATTERNS = {
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": "cl100k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": "o200k_base",
}


# ----------------------------------------------------------------------------------------------------------------
# Reading


def read(source: str | os.PathLike[str]) -> Vocabulary:
    """Read a vocabulary from a file, or from a folder that holds one.

    Raises:
        InputDataError: missing, damaged, or of an unknown kind.

    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise InputDataError(
            f"there is no tokenizer at {path}: give a rank file, a tokenizer.json, a folder that holds one, or 'gpt2'"
        )
    for merges_name, vocab_name in GPT2_PAIRS:
        if path.name in (merges_name, vocab_name):
            return read_gpt2_pair(path.with_name(merges_name), path.with_name(vocab_name))
    if path.suffix == ".json":
        return _read_json(path)
    return _complete(path, read_rank_file(path))


def _read_folder(folder: Path) -> Vocabulary:
    if (folder / TOKENIZER_JSON).exists():
        return _read_json(folder / TOKENIZER_JSON)
    rank_files = sorted(folder.glob("*.tiktoken"))
    if (folder / RANK_FILE) in rank_files:
        rank_files = [folder / RANK_FILE]
    if len(rank_files) > 1:
        raise InputDataError(f"{folder} holds {len(rank_files)} rank files; name the one to use")
    if rank_files:
        return _complete(rank_files[0], read_rank_file(rank_files[0]))
    for merges_name, vocab_name in GPT2_PAIRS:
        if (folder / merges_name).exists() and (folder / vocab_name).exists():
            return read_gpt2_pair(folder / merges_name, folder / vocab_name)
    raise InputDataError(
        f"{folder} holds no tokenizer: neither {TOKENIZER_JSON}, nor a rank file, nor vocab.bpe with encoder.json"
    )


def _read_json(path: Path) -> Vocabulary:
    name = path.resolve().parent.name if path.name == TOKENIZER_JSON else path.stem
    vocabulary = read_tokenizer_json(read_text(path), path, name)
    block = _read_block(path.parent) if path.name == TOKENIZER_JSON else {}
    if block.get("sha256") not in (None, vocabulary.fingerprint):
        raise InputDataError(f"{path} is not the vocabulary that {CONFIG} beside it describes; save it again")
    return replace(vocabulary, name=_block_name(block) or vocabulary.name)


def read_rank_file(path: str | os.PathLike[str]) -> dict[bytes, int]:
    """Read tiktoken's format: lines of base64 token, space, rank.

    Raises:
        InputDataError: a line is damaged, a token or rank occurs twice, or a byte has no token.

    """
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(read_text(path, errors="replace").encode().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            shown = line[:40].decode("utf-8", "backslashreplace")
            raise InputDataError(
                f"{path}, line {number}: {shown!r} is not a base64 token and a rank"
            ) from None
        if not token or rank < 0 or rank >= 1 << 31 or token in ranks or rank in lines:
            reason = (
                "an empty token"
                if not token
                else f"token {token!r} or rank {rank} is out of range or repeated"
            )
            raise InputDataError(f"{path}, line {number}: {reason}")
        ranks[token] = rank
        lines[rank] = number
    if not ranks:
        raise InputDataError(f"{path} is empty; a rank file has a line for each token")
    return check_bytes(ranks, path)


def read_gpt2_pair(merges_path: Path, vocab_path: Path) -> Vocabulary:
    """Read GPT-2's two files, which must agree with one another.

    Raises:
        InputDataError: one is missing or damaged, or they disagree.

    """
    ids = parse_json(read_text(vocab_path), vocab_path)
    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    lines = read_text(merges_path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        try:
            left, right = map(from_characters, line.split(" "))
            if left not in ranks or right not in ranks or left + right in ranks:
                raise ValueError(line)
        except (ValueError, KeyError):
            raise InputDataError(
                f"{merges_path}, line {number}: {line[:40]!r} is no merge of known tokens"
            ) from None
        ranks[left + right] = len(ranks)
    special_tokens: dict[str, int] = {}
    listed: dict[bytes, int] = {}
    for spelling, token in ids.items():
        with contextlib.suppress(KeyError):
            spelled = from_characters(spelling)
            if spelled in ranks:
                listed[spelled] = token
                continue
        special_tokens[spelling] = token
    if listed != ranks or not all(isinstance(token, int) for token in ids.values()):
        raise InputDataError(
            f"{vocab_path} and {merges_path.name} do not belong together: their tokens or ids differ"
        )
    found = Vocabulary(merges_path.resolve().parent.name, patterns.GPT2, ranks, special_tokens)
    return gpt2(ranks) if _is_gpt2(found) and special_tokens == gpt2(ranks).special_tokens else found


def _complete(path: Path, ranks: dict[bytes, int]) -> Vocabulary:
    """Add what a rank file leaves out: from the block beside it, or because it is GPT-2's, or GPT-2's pattern."""
    found = Vocabulary(path.name.removesuffix(".tiktoken"), patterns.GPT2, ranks, {})
    block = _read_block(path.parent)
    if block.get("sha256") == found.fingerprint:
        try:
            special_tokens = {str(text): int(token) for text, token in block["special_tokens"].items()}
            return Vocabulary(_block_name(block) or found.name, str(block["pattern"]), ranks, special_tokens)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputDataError(
                f"{path.with_name(CONFIG)} has a damaged block 'gpt2x': {error!r}"
            ) from error
    if block and path.name == RANK_FILE:
        raise InputDataError(f"{path} is not the vocabulary that {CONFIG} beside it describes; save it again")
    if _is_gpt2(found):
        return gpt2(ranks)
    if found.fingerprint in _OTHER_PATTERNS:
        raise InputDataError(
            f"{path} is {_OTHER_PATTERNS[found.fingerprint]}, whose pattern is not built in yet"
        )
    return found


def _is_gpt2(vocabulary: Vocabulary) -> bool:
    return len(vocabulary.mergeable_ranks) == 50256 and vocabulary.fingerprint == GPT2_FINGERPRINT


# ----------------------------------------------------------------------------------------------------------------
# Writing


def write_folder(vocabulary: Vocabulary, folder: str | os.PathLike[str]) -> None:
    """Write the vocabulary's three files into a folder: all or, where something fails, none.

    Raises:
        OutputError: they cannot be written.
        InputDataError: the vocabulary has a token that no merge makes, which `tokenizer.json` cannot express.

    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the tokenizer")
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
            "unicode_version": unicode_version,
            "generator": f"gpt2x {__version__}",
            "sha256": vocabulary.fingerprint,
        },
    }


def _read_block(folder: Path) -> dict[str, Any]:
    """The block ``gpt2x`` of a tokenizer_config.json; empty where there is none."""
    from gpt2x._bpe import unicode_version

    path = folder / CONFIG
    if not path.is_file():
        return {}
    block = parse_json(read_text(path), path).get("gpt2x")
    if not isinstance(block, dict):
        return {}
    if block.get("unicode_version") not in (None, unicode_version):
        warnings.warn(
            f"{path} says Unicode {block['unicode_version']}; characters that are new since or were changed may be "
            f"split by the rules of {unicode_version}",
            RuntimeWarning,
            stacklevel=4,
        )
    return block


def _block_name(block: dict[str, Any]) -> str | None:
    name = block.get("name")
    return name if isinstance(name, str) else None
