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
import functools
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from gpt2x._version import __version__
from gpt2x.errors import InputDataError, OutputError
from gpt2x.paths import CONFIG_BYTES, VOCABULARY_BYTES, atomic_folder, atomic_write, read_bytes, read_text
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.published import ENCODINGS, with_ranks
from gpt2x.tokenizer.ranks import FileRanks
from gpt2x.tokenizer.vocabulary import Vocabulary, check_bytes, of_published

RANK_FILE = "vocab.tiktoken"
TOKENIZER_JSON = "tokenizer.json"
CONFIG = "tokenizer_config.json"
GPT2_PAIRS = (("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json"))

# sha256 of OpenAI's vocab.bpe and encoder.json, which hold the ranks of R50K.
_GPT2_PAIR = (
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
)


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
    return _read_ranks(path)


def _read_folder(folder: Path) -> Vocabulary:
    if (folder / TOKENIZER_JSON).is_file():
        return _read_json(folder / TOKENIZER_JSON)
    rank_files = sorted(file for file in folder.glob("*.tiktoken") if file.is_file())
    if (folder / RANK_FILE) in rank_files:
        rank_files = [folder / RANK_FILE]
    if len(rank_files) > 1:
        raise InputDataError(f"{folder} holds {len(rank_files)} rank files; name the one to use")
    if rank_files:
        return _read_ranks(rank_files[0])
    for merges_name, vocab_name in GPT2_PAIRS:
        if (folder / merges_name).is_file() and (folder / vocab_name).is_file():
            return read_gpt2_pair(folder / merges_name, folder / vocab_name)
    raise InputDataError(
        f"{folder} holds no tokenizer: neither {TOKENIZER_JSON}, nor a rank file, nor vocab.bpe with encoder.json"
    )


def _read_json(path: Path) -> Vocabulary:
    from gpt2x.tokenizer.huggingface import read_tokenizer_json

    name = path.resolve().parent.name if path.name == TOKENIZER_JSON else path.stem
    vocabulary = read_tokenizer_json(read_text(path, limit=VOCABULARY_BYTES), path, name)
    block = _read_block(path.parent) if path.name == TOKENIZER_JSON else {}
    if block.get("sha256") not in (None, vocabulary.fingerprint):
        raise InputDataError(f"{path} is not the vocabulary that {CONFIG} beside it describes; save it again")
    name = _block_name(block) or vocabulary.name
    return vocabulary.described(name, vocabulary.pat_str, vocabulary.special_tokens)


def read_rank_file(path: str | os.PathLike[str]) -> dict[bytes, int]:
    """Read tiktoken's format: lines of base64 token, space, rank.

    Raises:
        InputDataError: a line is damaged, a token or rank occurs twice, or a byte has no token.

    """
    return parse_rank_file(read_bytes(path, limit=VOCABULARY_BYTES), path)


def parse_rank_file(contents: bytes, source: object) -> dict[bytes, int]:
    """The ranks in a rank file's contents; `source` is its name for messages.

    Raises:
        InputDataError: as `read_rank_file`.

    """
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    for number, line in enumerate(contents.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            shown = line[:40].decode("utf-8", "backslashreplace")
            raise InputDataError(
                f"{source}, line {number}: {shown!r} is not a base64 token and a rank"
            ) from None
        if not token or rank < 0 or rank >= 1 << 31 or token in ranks or rank in lines:
            reason = (
                "an empty token"
                if not token
                else f"token {token!r} or rank {rank} is out of range or repeated"
            )
            raise InputDataError(f"{source}, line {number}: {reason}")
        ranks[token] = rank
        lines[rank] = number
    if not ranks:
        raise InputDataError(f"{source} is empty; a rank file has a line for each token")
    return check_bytes(ranks, source)


def read_gpt2_pair(merges_path: Path, vocab_path: Path) -> Vocabulary:
    """Read GPT-2's two files, which must agree with one another.

    Raises:
        InputDataError: one is missing or damaged, or they disagree.

    """
    from gpt2x.tokenizer.huggingface import parse_json

    merges, ids = (read_bytes(path, limit=VOCABULARY_BYTES) for path in (merges_path, vocab_path))
    if (sha256(merges), sha256(ids)) == _GPT2_PAIR:
        parse = functools.partial(parse_merges, source=merges_path)
        return of_published(ENCODINGS["gpt2"], FileRanks(merges, parse, "from_merges"))
    ranks = parse_merges(merges, merges_path)
    text = read_text(vocab_path, limit=VOCABULARY_BYTES)
    special_tokens = _special_tokens_beside(ranks, parse_json(text, vocab_path))
    if special_tokens is None:
        raise InputDataError(
            f"{vocab_path} and {merges_path.name} do not belong together: their tokens or ids differ"
        )
    found = Vocabulary(merges_path.resolve().parent.name, patterns.GPT2, ranks, special_tokens)
    genuine = ENCODINGS["gpt2"]
    if special_tokens == genuine.special_tokens and found.fingerprint == genuine.ranks.sha256:
        return of_published(genuine, ranks)
    return found


def parse_merges(contents: bytes, source: object) -> dict[bytes, int]:
    """The ranks that a list of merges makes: the single bytes in GPT-2's order, then the merges in theirs.

    Raises:
        InputDataError: a line is no merge of two known tokens.

    """
    from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters

    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)}
    for number, line in enumerate(contents.decode("utf-8", "replace").split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        try:
            left, right = map(from_characters, line.split(" "))
            if left not in ranks or right not in ranks or left + right in ranks:
                raise ValueError(line)
        except (ValueError, KeyError):
            raise InputDataError(
                f"{source}, line {number}: {line[:40]!r} is no merge of known tokens"
            ) from None
        ranks[left + right] = len(ranks)
    return ranks


def _special_tokens_beside(ranks: dict[bytes, int], ids: dict[str, Any]) -> dict[str, int] | None:
    """What an ``encoder.json`` lists besides the ranks; None where it contradicts them."""
    from gpt2x.tokenizer.alphabet import from_characters

    special_tokens: dict[str, int] = {}
    listed: dict[bytes, int] = {}
    for spelling, token in ids.items():
        with contextlib.suppress(KeyError):
            spelled = from_characters(spelling)
            if spelled in ranks:
                listed[spelled] = token
                continue
        special_tokens[spelling] = token
    agree = listed == ranks and all(isinstance(token, int) for token in ids.values())
    return special_tokens if agree else None


def _read_ranks(path: Path) -> Vocabulary:
    """Read a rank file and add what it leaves out: from the block beside it, or because it is a published one.

    Where a checksum shows that the file is what it should be, its lines are left for the core to read.
    """
    contents = read_bytes(path, limit=VOCABULARY_BYTES)
    checksum = sha256(contents)
    name = path.name.removesuffix(".tiktoken")
    block = _read_block(path.parent)
    parse = functools.partial(parse_rank_file, source=path)
    if block.get("sha256") == checksum:
        return _described(Vocabulary(name, "", FileRanks(contents, parse), {}, checksum), block, path)
    if (path.name != RANK_FILE or not block) and (known := with_ranks(checksum)):
        return of_published(known, FileRanks(contents, parse))
    found = Vocabulary(name, patterns.GPT2, parse(contents), {})
    if block.get("sha256") == found.fingerprint:  # the same ranks, written in another order or with \r\n
        return _described(found, block, path)
    if block and path.name == RANK_FILE:
        raise InputDataError(f"{path} is not the vocabulary that {CONFIG} beside it describes; save it again")
    known = with_ranks(found.fingerprint)
    return of_published(known, found.mergeable_ranks) if known else found


def _described(found: Vocabulary, block: dict[str, Any], path: Path) -> Vocabulary:
    """A vocabulary with the pattern and special tokens that the block beside it names."""
    try:
        special_tokens = {str(text): int(token) for text, token in block["special_tokens"].items()}
        return found.described(_block_name(block) or found.name, str(block["pattern"]), special_tokens)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputDataError(f"{path.with_name(CONFIG)} has a damaged block 'gpt2x': {error!r}") from error


def sha256(contents: bytes) -> str:
    """The checksum in hexadecimal digits."""
    return hashlib.sha256(contents).hexdigest()


# ----------------------------------------------------------------------------------------------------------------
# Writing


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
            "unicode_version": unicode_version,
            "generator": f"gpt2x {__version__}",
            "sha256": vocabulary.fingerprint,
        },
    }


def _read_block(folder: Path) -> dict[str, Any]:
    """The block ``gpt2x`` of a tokenizer_config.json; empty where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        return {}
    from gpt2x._bpe import unicode_version
    from gpt2x.tokenizer.huggingface import parse_json

    block = parse_json(read_text(path, limit=CONFIG_BYTES, regular=True), path).get("gpt2x")
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
