"""Lists of tokens as text: tiktoken's rank file, and the merges of GPT-2's ``vocab.bpe``."""

from __future__ import annotations

import base64
import binascii
import codecs
import itertools
import os
from collections.abc import Iterator

from gpt2x.errors import InputDataError, quoted
from gpt2x.paths import VOCABULARY_BYTES, read_bytes
from gpt2x.tokenizer.alphabet import SINGLE_BYTES, from_characters
from gpt2x.tokenizer.special import LARGEST_ID
from gpt2x.tokenizer.vocabulary import check_bytes


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
    for number, line in enumerate(contents.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            encoded, digits = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(digits)
        except (ValueError, binascii.Error):
            shown = line[:40].decode("utf-8", "backslashreplace")
            raise InputDataError(
                f"{source}, line {number}: {quoted(shown)} is not a base64 token and a rank"
            ) from None
        if not token or rank < 0 or rank > LARGEST_ID or token in ranks or rank in lines:
            reason = (
                "an empty token"
                if not token
                else f"token {quoted(token)} or rank {quoted(rank)} is out of range or repeated"
            )
            raise InputDataError(f"{source}, line {number}: {reason}")
        ranks[token] = rank
        lines[rank] = number
    if not ranks:
        raise InputDataError(f"{source} is empty; a rank file has a line for each token")
    return check_bytes(ranks, source)


def parse_merges(contents: bytes, source: object) -> dict[bytes, int]:
    """The ranks that a list of merges makes: the single bytes in GPT-2's order, then the merges in theirs.

    Raises:
        InputDataError: a line is no merge of two known tokens.

    """
    tokens = (left + right for left, right in parts_of_merges(contents, source))
    return {token: rank for rank, token in enumerate(itertools.chain(SINGLE_BYTES, tokens))}


def parts_of_merges(contents: bytes, source: object) -> Iterator[tuple[bytes, bytes]]:
    """The two parts of each merge, of tokens that are known by then.

    Raises:
        InputDataError: a line is none.

    """
    known = set(SINGLE_BYTES)
    text = contents.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        merge = line.removesuffix("\r")
        if not merge or (number == 1 and merge.startswith("#version")):
            continue
        try:
            left, right = map(from_characters, merge.split(" "))
            if left not in known or right not in known or left + right in known:
                raise ValueError(merge)
        except (ValueError, KeyError):
            raise InputDataError(
                f"{source}, line {number}: {quoted(merge[:40])} is no merge of known tokens"
            ) from None
        known.add(left + right)
        yield left, right
