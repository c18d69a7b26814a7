r"""Learning a vocabulary from text: count the pieces, then merge the most frequent pair again and again.

Training sees a text only as a table of pieces and how often each occurs, so order, threads and chunks cannot
matter, as long as cutting a file into chunks does not change the pieces. `cut_before` finds such a place:

    between a character that is not white space and a following space or newline.

Why that is safe with GPT-2's pattern: (1) no alternative of it matches a character that is not white space
together with white space after it, so the piece that holds the character before the cut ends there, in the whole
text as in the chunk, and no lookahead of an earlier piece reaches past that character; (2) matching looks ahead but
never back, so from the cut on the pieces depend only on what follows. Hence the pieces of the two sides are the
pieces of the whole. A file without such a place is one chunk, whatever its size.
"""

from __future__ import annotations

import codecs
import contextlib
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt2x.errors import InputDataError, UsageError
from gpt2x.paths import open_input
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.encoding import Tokenizer, to_utf8
from gpt2x.tokenizer.special import END_OF_TEXT

if TYPE_CHECKING:
    from gpt2x._bpe import PieceCounter

CHUNK_BYTES = 16 << 20
"""How much of a file is read at a time."""

_SEARCH_BYTES = 1 << 20  # how far back a place to cut is looked for; bounds the work on a file of newlines

FEW_MERGES = 2048
"""With fewer merges than this, the core reports each one while it learns."""

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Merge:
    """One learned merge: token `id` is `left` followed by `right`, which stood side by side `count` times."""

    id: int
    left: bytes
    right: bytes
    count: int

    @property
    def token(self) -> bytes:
        """The bytes of the new token."""
        return self.left + self.right


def train(
    texts: Iterable[str | bytes],
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    min_frequency: int = 1,
    num_threads: int | None = None,
    on_merge: Callable[[Merge], None] | None = None,
    allow_fewer: bool = False,
    name: str = "trained",
) -> Tokenizer:
    """Learn a vocabulary from texts.

    The pair with the highest count wins, ties go to the smaller (left id, right id): the merges are those of
    Hugging Face's `BpeTrainer` with a ByteLevel pre-tokenizer and its full alphabet.

    Args:
        texts: documents; pieces never cross from one to the next, and their order does not matter.
        vocab_size: how many ids there shall be: 256 bytes, the merges, and the special tokens, which come last.
        special_tokens: texts that get an id each and are never merged.
        min_frequency: pairs that occur less often are not merged.
        num_threads: for counting; all cores by default. The result does not depend on it.
        on_merge: called with each merge in order; with fewer than 2,048 of them while they are learned, else after.
        allow_fewer: when the texts do not give that many merges, return the smaller vocabulary.
        name: the tokenizer's name.

    Raises:
        UsageError: `vocab_size` leaves no room for the bytes and special tokens, or a special token is repeated.
        InputDataError: there is no text, or it gives fewer merges than asked for.

    >>> train(["low lower lowest low low"], 259, special_tokens=()).encode("lowest")
    [257, 68, 82, 83]
    """
    num_merges = check_sizes(vocab_size, special_tokens)
    counter = new_counter()
    for text in texts:
        counter.add(text if isinstance(text, bytes) else to_utf8(text), num_threads or os.cpu_count() or 1)
    merges = learn(counter, num_merges, min_frequency, on_merge)
    return finish(
        counter,
        merges,
        num_merges,
        special_tokens,
        name,
        min_frequency=min_frequency,
        allow_fewer=allow_fewer,
    )


def train_files(
    paths: Sequence[str | os.PathLike[str]],
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    min_frequency: int = 1,
    num_threads: int | None = None,
    on_merge: Callable[[Merge], None] | None = None,
    allow_fewer: bool = False,
    name: str = "trained",
) -> Tokenizer:
    """Learn a vocabulary from UTF-8 text files of any size; each file is one document. Arguments as in `train`.

    ``.xz`` and ``.gz`` files are unpacked on the way. Files are read in chunks; memory grows with the number of
    different pieces, not with the files.

    Raises:
        UsageError: as in `train`.
        InputDataError: as in `train`; or a file is missing, damaged, or not UTF-8 (the sentence names the offset).

    """
    chunks = (chunk for path in paths for chunk in read_chunks(path))
    return train(
        chunks,
        vocab_size,
        special_tokens=special_tokens,
        min_frequency=min_frequency,
        num_threads=num_threads,
        on_merge=on_merge,
        allow_fewer=allow_fewer,
        name=name,
    )


# ----------------------------------------------------------------------------------------------------------------
# The steps of training, for those who want to see between them


def new_counter() -> PieceCounter:
    """An empty table of pieces and counts, with GPT-2's pattern."""
    from gpt2x._bpe import PieceCounter

    return PieceCounter(patterns.NATIVE[patterns.GPT2])


def learn(
    counter: PieceCounter,
    num_merges: int,
    min_frequency: int = 1,
    on_merge: Callable[[Merge], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Merge]:
    """Learn up to `num_merges` merges from a table of pieces; fewer where pairs run out.

    Args:
        counter: the table.
        num_merges: how many to learn at most.
        min_frequency: pairs that occur less often are not merged.
        on_merge: as in `train`.
        on_progress: called now and then with the number of merges that are done.

    Raises:
        InputDataError: the table is empty.

    """
    from gpt2x._bpe import learn_merges

    if counter.num_pieces == 0:
        raise InputDataError("there is no text to learn from; give a file that is not empty")
    tokens = list(SINGLE_BYTES)

    def to_merge(left: int, right: int, count: int) -> Merge:
        merge = Merge(len(tokens), tokens[left], tokens[right], count)
        tokens.append(merge.token)
        return merge

    def report(index: int, left: int, right: int, count: int) -> bool:
        if each is not None:
            each(to_merge(left, right, count))
        if on_progress is not None:
            on_progress(index + 1)
        return True

    each = on_merge if num_merges < FEW_MERGES else None
    learned = learn_merges(
        counter, num_merges, max(min_frequency, 1), report if each or on_progress else None
    )
    tokens = list(SINGLE_BYTES)
    merges = [to_merge(*one) for one in learned]
    if on_merge is not None and each is None:
        for merge in merges:
            on_merge(merge)
    return merges


def finish(
    counter: PieceCounter,
    merges: Sequence[Merge],
    num_merges: int,
    special_tokens: Sequence[str],
    name: str,
    *,
    min_frequency: int = 1,
    allow_fewer: bool = False,
) -> Tokenizer:
    """The tokenizer of 256 bytes, these merges, and special tokens after them.

    Raises:
        InputDataError: there are fewer merges than `num_merges`, and `allow_fewer` is not set.

    """
    if len(merges) < num_merges and not allow_fewer:
        raise _too_few(counter, len(merges), special_tokens, min_frequency)
    ranks = {token: rank for rank, token in enumerate(SINGLE_BYTES)} | {
        merge.token: merge.id for merge in merges
    }
    specials = {text: len(ranks) + i for i, text in enumerate(special_tokens)}
    return Tokenizer(name, pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens=specials)


def check_sizes(vocab_size: int, special_tokens: Sequence[str]) -> int:
    """How many merges a vocabulary of this size has.

    Raises:
        UsageError: it has no room for the bytes and the special tokens, or one of those is repeated.

    """
    if len(set(special_tokens)) != len(special_tokens) or "" in special_tokens:
        raise UsageError(
            f"special tokens must be different and not empty, not {', '.join(map(repr, special_tokens))}"
        )
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise UsageError(
            f"a vocabulary of {vocab_size} is too small: 256 bytes and {len(special_tokens)} special "
            f"token{'s' * (len(special_tokens) != 1)} need {smallest}"
        )
    return vocab_size - smallest


def _too_few(
    counter: PieceCounter, num_merges: int, special_tokens: Sequence[str], min_frequency: int
) -> InputDataError:
    largest = 256 + num_merges + len(special_tokens)
    rare = f" of pairs that occur {min_frequency} times" if min_frequency > 1 else ""
    return InputDataError(
        f"the text ({counter.num_unique:,} different pieces) gives only {num_merges:,} merges{rare}: "
        f"ask for a vocabulary of at most {largest} (--vocab {largest}), allow fewer (--allow-fewer), or give more text"
    )


# ----------------------------------------------------------------------------------------------------------------
# Reading files


def read_chunks(path: str | os.PathLike[str], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Read a UTF-8 file as chunks that are cut only where no piece can notice.

    Args:
        path: a text file, packed (``.xz``, ``.gz``) or not, or ``-`` for standard input.
        chunk_bytes: how much to read at a time.

    Raises:
        InputDataError: missing, damaged, or not UTF-8; the sentence names the byte offset.

    """
    name = "standard input" if str(path) == STDIN else str(path)
    with contextlib.nullcontext(sys.stdin.buffer) if str(path) == STDIN else open_input(path) as file:
        pending = b""
        offset = 0
        while True:
            try:
                block = file.read(chunk_bytes)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise InputDataError(f"cannot read {name}: {error}; is the file complete?") from error
            pending += block
            end = cut_before(pending) if block else len(pending)
            if end:
                _check_utf8(pending[:end], offset, name)
                yield pending[:end]
                offset += end
                pending = pending[end:]
            if not block:
                return


def cut_before(data: bytes) -> int:
    r"""The last place at which UTF-8 text may be cut without changing any piece; 0 where none is near the end.

    >>> cut_before(b"one two\n\n  three"), cut_before(b"onetwo\n"), cut_before(b"   ")
    (7, 6, 0)
    """
    nearest = max(0, len(data) - _SEARCH_BYTES)
    for space in (b"\n", b" "):
        end = len(data)
        while (end := data.rfind(space, nearest, end)) > 0:
            # The character before: the last one of at most four bytes. A damaged one is "" and counts as none.
            before = data[max(0, end - 4) : end].decode("utf-8", "ignore")[-1:]
            if before and not before.isspace():
                return end
    return 0


def _check_utf8(data: bytes, offset: int, name: str) -> None:
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{name} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {offset + error.start}; "
            "convert the file to UTF-8 first"
        ) from error
