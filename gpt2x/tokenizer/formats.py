"""Reading files that hold a vocabulary: tiktoken's rank file, GPT-2's pair of files, Hugging Face's `tokenizer.json`.

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

What a file leaves out is written beside it: `saving` adds a ``tokenizer_config.json`` (which transformers
reads, too) with a block ``gpt2x`` that records pattern, special tokens, Unicode version, generator and a checksum.
A file is never half believed: whatever does not fit raises `InputDataError` with the file and the line. Where nothing
tells the pattern (not the checksum, not a file beside it), the vocabulary carries a note that it is guessed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError, quoted
from gpt2x.paths import CONFIG_BYTES, VOCABULARY_BYTES, read_bytes, read_text
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.published import ENCODINGS, with_beginning, with_ranks
from gpt2x.tokenizer.rank_lists import parse_merges, parse_rank_file, parts_of_merges
from gpt2x.tokenizer.ranks import FileRanks
from gpt2x.tokenizer.saving import CONFIG, RANK_FILE, TOKENIZER_JSON
from gpt2x.tokenizer.vocabulary import Vocabulary, of_published

GPT2_PAIRS = (("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json"))
SPECIAL_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"

# sha256 of OpenAI's vocab.bpe and encoder.json, which hold the ranks of R50K.
_GPT2_PAIR = (
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
)


def read(source: str | os.PathLike[str], pattern: str | None = None) -> Vocabulary:
    """Read a vocabulary from a file, or from a folder that holds one.

    Args:
        source: the file or folder.
        pattern: what splits text where nothing tells it; without it, a pattern is guessed and the vocabulary's `note`
            says so.

    Raises:
        InputDataError: missing, damaged, or of an unknown kind; or without a pattern, and the beginning of a published
            vocabulary that was cut off.

    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, pattern)
    if not path.exists():
        raise InputDataError(
            f"there is no tokenizer at {path}: give a rank file, a tokenizer.json, a folder that holds one, or 'gpt2'"
        )
    for merges_name, vocab_name in GPT2_PAIRS:
        if path.name in (merges_name, vocab_name):
            return read_gpt2_pair(path.with_name(merges_name), path.with_name(vocab_name), pattern)
    if path.suffix == ".json":
        return _read_json(path)
    return _read_ranks(path, pattern)


def _read_folder(folder: Path, pattern: str | None) -> Vocabulary:
    if (folder / TOKENIZER_JSON).is_file():
        return _read_json(folder / TOKENIZER_JSON)
    rank_files = sorted(file for file in folder.glob("*.tiktoken") if file.is_file())
    if (folder / RANK_FILE) in rank_files:
        rank_files = [folder / RANK_FILE]
    if len(rank_files) > 1:
        raise InputDataError(f"{folder} holds {len(rank_files)} rank files; name the one to use")
    if rank_files:
        return _read_ranks(rank_files[0], pattern)
    for merges_name, vocab_name in GPT2_PAIRS:
        if (folder / merges_name).is_file() and (folder / vocab_name).is_file():
            return read_gpt2_pair(folder / merges_name, folder / vocab_name, pattern)
    raise InputDataError(
        f"{folder} holds no tokenizer: neither {TOKENIZER_JSON}, nor a rank file, nor vocab.bpe with encoder.json"
    )


def _read_json(path: Path) -> Vocabulary:
    from gpt2x.tokenizer.huggingface import read_tokenizer_json

    name = _named(path.resolve().parent.name if path.name == TOKENIZER_JSON else path.stem)
    vocabulary = read_tokenizer_json(read_text(path, limit=VOCABULARY_BYTES), path, name)
    block = _read_block(path.parent) if path.name == TOKENIZER_JSON else {}
    if block.get("sha256") not in (None, vocabulary.fingerprint):
        raise InputDataError(f"{path} is not the vocabulary that {CONFIG} beside it describes; save it again")
    name = _block_name(block) or vocabulary.name
    return vocabulary.described(name, vocabulary.pat_str, vocabulary.special_tokens, vocabulary.added_tokens)


def _named(name: str) -> str:
    """What a file's name says, where it may hold bytes that are no text."""
    return os.fsencode(name).decode("utf-8", "replace")


def read_gpt2_pair(merges_path: Path, vocab_path: Path, pattern: str | None = None) -> Vocabulary:
    """Read GPT-2's two files, which must agree with one another.

    Of the tokens that the vocabulary lists and no merge makes, those are special that look like it (``<|endoftext|>``)
    or that a file beside it names; any other one means that merges are missing.

    Raises:
        InputDataError: one is missing or damaged, or they disagree.

    """
    from gpt2x.tokenizer.huggingface import check_ids, check_merges, parse_json

    merges, listed = (read_bytes(path, limit=VOCABULARY_BYTES) for path in (merges_path, vocab_path))
    if (sha256(merges), sha256(listed)) == _GPT2_PAIR:
        parse = functools.partial(parse_merges, source=merges_path)
        return of_published(ENCODINGS["gpt2"], FileRanks(merges, parse, "from_merges"))
    ranks = parse_merges(merges, merges_path)
    ids = parse_json(_as_text(listed, vocab_path), vocab_path)
    unmade = _check_pair(ranks, ids, merges_path, vocab_path)
    check_ids(ids, vocab_path, "is damaged: ")
    beside = _tokens_beside(merges_path.parent, ids)
    unknown = [text for text in unmade if text not in beside and not _SPECIAL.fullmatch(text)]
    if unknown:
        raise InputDataError(
            f"{vocab_path} lists {len(unknown):,} tokens that no merge in {merges_path.name} makes, such as "
            f"{quoted(unknown[0])}: the merges are cut off or another vocabulary's; get both files again"
        )
    check_merges(list(parts_of_merges(merges, merges_path)), merges_path)
    special = {text: ids[text] for text in unmade if text not in beside or beside[text].special}
    special |= {token.content: token.id for token in beside.values() if token.special}
    added = {token.content: token.id for token in beside.values() if not token.special}
    found = Vocabulary(
        _named(merges_path.resolve().parent.name), patterns.GPT2, ranks, special, added_tokens=added
    )
    genuine = ENCODINGS["gpt2"]
    if found.fingerprint == genuine.ranks.sha256:
        if special == genuine.special_tokens and not added:
            return of_published(genuine, ranks)
        return found
    return (
        _told_beside(found, merges_path)
        or _told_by_class(found, merges_path)
        or _guess(found, merges_path, pattern)
    )


# What marks a special token in a vocabulary that lists it among the others.
_SPECIAL = re.compile(r"<\|[^<>]*\|>|<(s|/s|pad|unk|mask)>")


def _check_pair(
    ranks: dict[bytes, int], ids: dict[str, Any], merges_path: Path, vocab_path: Path
) -> list[str]:
    """See that an ``encoder.json`` gives each token the id that the merges give it; return what it lists besides.

    Raises:
        InputDataError: it does not.

    """
    from gpt2x.tokenizer.alphabet import from_characters

    unmade: list[str] = []
    made: dict[bytes, Any] = {}
    for spelling, token in ids.items():
        with contextlib.suppress(KeyError):
            spelled = from_characters(spelling)
            if spelled in ranks:
                made[spelled] = token
                continue
        unmade.append(spelling)
    if made != ranks:
        raise InputDataError(
            f"{vocab_path} and {merges_path.name} do not belong together: their tokens or ids differ"
        )
    return unmade


def _tokens_beside(folder: Path, ids: Mapping[str, int]) -> dict[str, Any]:
    """The added tokens that other files in a folder name, by their texts, with the ids that these or `ids` give them.

    Raises:
        InputDataError: a file is damaged, or one token gets two ids.

    """
    from gpt2x.tokenizer.huggingface import check_ids
    from gpt2x.tokenizer.huggingface_added import AddedToken, is_text, read_added_token

    config, config_path = _json_beside(folder, CONFIG)
    special_map, map_path = _json_beside(folder, SPECIAL_MAP)
    numbers, numbers_path = _json_beside(folder, ADDED_TOKENS)
    check_ids(numbers, numbers_path, "is damaged: ")
    special = {*_special_texts(config, config_path), *_special_texts(special_map, map_path)}
    found = {
        text: AddedToken(text, token, special=text in special, normalized=True)
        for text, token in numbers.items()
    }
    decoder = config.get("added_tokens_decoder") or {}
    for digits, entry in decoder.items() if isinstance(decoder, dict) else ():
        number = int(digits) if digits.isdecimal() and len(digits) < 10 else digits
        token = read_added_token(entry | {"id": number} if isinstance(entry, dict) else entry, config_path)
        if found.get(token.content, token).id != token.id:
            raise InputDataError(f"{config_path} and {ADDED_TOKENS} give {quoted(token.content)} two ids")
        found[token.content] = token._replace(special=token.special or token.content in special)
    for text in special & ids.keys():
        found.setdefault(text, AddedToken(text, ids[text], special=True, normalized=False))
    for text, token in found.items():
        if not is_text(text) or ids.get(text, token.id) != token.id:
            raise InputDataError(
                f"{folder} has the added token {quoted(text)} with the id {token.id}, which is no text or has another "
                "id in the vocabulary"
            )
    return found


def _json_beside(folder: Path, name: str) -> tuple[dict[str, Any], Path]:
    """What a file of a folder holds; nothing where there is none."""
    from gpt2x.tokenizer.huggingface import parse_json

    path = folder / name
    return parse_json(read_text(path, limit=VOCABULARY_BYTES), path) if path.is_file() else {}, path


def _special_texts(data: dict[str, Any], path: Path) -> Iterator[str]:
    """The texts that transformers takes for special: ``bos_token``, ``additional_special_tokens`` and so on."""
    for key, value in data.items():
        if not key.endswith("_token") and key not in ("additional_special_tokens", "extra_special_tokens"):
            continue
        for entry in value if isinstance(value, list) else [value]:
            text = entry.get("content") if isinstance(entry, dict) else entry
            for option in ("single_word", "lstrip", "rstrip") if isinstance(entry, dict) else ():
                if entry.get(option):
                    raise InputDataError(
                        f"{path} has the token {quoted(text)} with {option}, which we do not do"
                    )
            if isinstance(text, str) and text:
                yield text


def _told_by_class(found: Vocabulary, path: Path) -> Vocabulary | None:
    """A vocabulary of which transformers knows that GPT-2's pattern splits for it; None if it says nothing.

    Raises:
        InputDataError: it is one of those, with a setting that changes what is encoded.

    """
    config, config_path = _json_beside(path.parent, CONFIG)
    kind = config.get("tokenizer_class")
    if not isinstance(kind, str) or kind.removesuffix("Fast") not in _GPT2_CLASSES:
        return None
    for key in ("add_prefix_space", "add_bos_token", "add_eos_token"):
        if config.get(key):
            raise InputDataError(
                f"{config_path} sets {key} = {quoted(config[key])}, which this tokenizer does not do"
            )
    return found


_GPT2_CLASSES = ("GPT2Tokenizer", "CodeGenTokenizer")


def _read_ranks(path: Path, pattern: str | None) -> Vocabulary:
    """Read a rank file and add what it leaves out: from the block beside it, or because it is a published one.

    Where a checksum shows that the file is what it should be, its lines are left for the core to read.
    """
    contents = read_bytes(path, limit=VOCABULARY_BYTES)
    checksum = sha256(contents)
    name = _named(path.name.removesuffix(".tiktoken"))
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
    if known:
        return of_published(known, found.mergeable_ranks)
    return _told_beside(found, path) or _guess(found, path, pattern)


def _described(found: Vocabulary, block: dict[str, Any], path: Path) -> Vocabulary:
    """A vocabulary with the pattern and the tokens that the block beside it names."""
    config = path.with_name(CONFIG)
    tokens = []
    for key in ("special_tokens", "added_tokens"):
        ids = block.get(key, {} if key == "added_tokens" else None)
        if not isinstance(ids, dict) or not all(map(_is_token, ids.items())):
            raise InputDataError(f"{config} has a damaged block 'gpt2x': {key} is {quoted(ids)}")
        tokens.append(ids)
    if not isinstance(block.get("pattern"), str):
        raise InputDataError(
            f"{config} has a damaged block 'gpt2x': pattern is {quoted(block.get('pattern'))}"
        )
    ranks = found.mergeable_ranks
    if isinstance(ranks, FileRanks):
        lowest = min((token for ids in tokens for token in ids.values()), default=len(ranks.contents))
        if lowest < ranks.contents.count(
            b"\n"
        ):  # a token may have its id from the ranks, which must then be known
            found = Vocabulary(found.name, "", ranks.parsed, {}, found.fingerprint)
    return found.described(_block_name(block) or found.name, block["pattern"], *tokens)


def _is_token(item: tuple[Any, Any]) -> bool:
    from gpt2x.tokenizer.huggingface_added import is_id, is_text

    return is_text(item[0]) and is_id(item[1])


def _told_beside(found: Vocabulary, path: Path) -> Vocabulary | None:
    """The vocabulary as the block or the tokenizer.json beside it describes the same ranks; None if none does."""
    block = _read_block(path.parent)
    if block.get("sha256") == found.fingerprint:
        return _described(found, block, path)
    beside = path.with_name(TOKENIZER_JSON)
    if not beside.is_file():
        return None
    try:
        told = _read_json(beside)
    except InputDataError:
        return None
    if told.fingerprint != found.fingerprint:
        return None
    return found.described(told.name, told.pat_str, told.special_tokens, told.added_tokens)


def _guess(found: Vocabulary, path: Path, pattern: str | None) -> Vocabulary:
    """The vocabulary with the pattern that is given, or else with a guessed one and a note.

    Raises:
        InputDataError: without a pattern, and by its name or its beginning a published vocabulary, which it is not.

    """
    tokens = found.special_tokens, found.added_tokens
    if pattern is not None:
        return found.described(found.name, patterns.resolve(pattern), *tokens)
    num_ranks = len(found.mergeable_ranks)
    remedy = "give its pattern with pattern= in Python or --pattern on the command line"
    beginning = with_beginning(found.rank_file)
    if beginning is not None and num_ranks <= beginning.encoding.ranks.num_ranks:
        whole = beginning.encoding.ranks
        raise InputDataError(
            f"{path} begins as {whole.name} does (the first {beginning.num_same:,} ranks are the same), but has "
            f"{num_ranks:,} ranks of its {whole.num_ranks:,} and another checksum: it is cut off or changed; get it "
            f"whole, or {remedy} to take it as it is"
        )
    named = next((one.ranks for one in ENCODINGS.values() if path.name in one.ranks.file_names), None)
    if named is not None:
        raise InputDataError(
            f"{path} has the name of {named.name}, but {num_ranks:,} ranks instead of {named.num_ranks:,} and another "
            f"checksum; get the right file, or {remedy} to take it as it is"
        )
    like = beginning.encoding if beginning else ENCODINGS["gpt2"]
    because = f", since it begins as {like.ranks.name} does" if beginning else ""
    return found.described(
        found.name,
        like.pat_str,
        *tokens,
        note=f"{path} does not say how text is split for it; {like.pattern}'s pattern is guessed{because}: {remedy}",
    )


def _as_text(contents: bytes, path: Path) -> str:
    """What `read_text` gives, of contents that were read before."""
    try:
        return contents.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{path} is not UTF-8 text: byte 0x{contents[error.start]:02x} at offset {error.start}; get it again"
        ) from error


def sha256(contents: bytes) -> str:
    """The checksum in hexadecimal digits."""
    return hashlib.sha256(contents).hexdigest()


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
        other = quoted(block["unicode_version"]).strip("'")
        warnings.warn(
            f"{path} says Unicode {other}; characters that are new since or "
            f"were changed may be split by the rules of {unicode_version}",
            RuntimeWarning,
            stacklevel=4,
        )
    return block


def _block_name(block: dict[str, Any]) -> str | None:
    from gpt2x.tokenizer.huggingface_added import is_text

    name = block.get("name")
    return name if is_text(name) else None
