"""Learning a vocabulary from text: count the pieces, then merge the most frequent pair again and again.

Training sees a text only as a table of pieces and how often each occurs (`corpus`), so order, threads, chunks and
machines cannot matter. The merges are the same for every size, only fewer or more of them: all vocabularies that are
wanted come from one run, and a run can go on from the vocabulary of an earlier one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import SINGLE_BYTES
from gpt2x.tokenizer.corpus import Corpus, Errors
from gpt2x.tokenizer.special import END_OF_TEXT
from gpt2x.tokenizer.tokenizer import Tokenizer

ByteOrder: TypeAlias = Literal["gpt2", "raw"]

BYTE_ORDERS: dict[ByteOrder, tuple[bytes, ...]] = {
    "gpt2": tuple(SINGLE_BYTES),
    "raw": tuple(bytes([byte]) for byte in range(256)),
}
"""Which bytes the ids 0 to 255 are: in the order of GPT-2's byte-to-unicode characters, or in that of their values."""

LARGEST_VOCABULARY = 1 << 24
"""The core's limit."""

_PROGRESS_EVERY = 256  # merges between two calls for progress: a few milliseconds of work


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


@dataclass(frozen=True, slots=True)
class Start:
    """What learning begins with: 256 bytes, and the merges of an earlier run where there was one."""

    tokens: tuple[bytes, ...]
    """The bytes of each id."""
    merges: tuple[tuple[bytes, bytes], ...] = ()
    """The two parts of each token from 256 on."""
    byte_order: ByteOrder = "gpt2"

    @classmethod
    def new(cls, byte_order: ByteOrder = "gpt2") -> Start:
        """The 256 bytes alone.

        Raises:
            UsageError: an unknown byte order.

        """
        if byte_order not in BYTE_ORDERS:
            raise UsageError(f"byte order {quoted(byte_order)} is neither 'gpt2' nor 'raw'")
        return cls(BYTE_ORDERS[byte_order], byte_order=byte_order)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Start:
        """The merges of a vocabulary.

        Raises:
            InputDataError: it was not learned by merging, or its ids do not follow its merges.

        """
        ranks = tokenizer.mergeable_ranks
        tokens = tuple(sorted(ranks, key=ranks.__getitem__))
        byte_order = next((name for name, order in BYTE_ORDERS.items() if order == tokens[:256]), None)
        if byte_order is None or [ranks[token] for token in tokens] != list(range(len(tokens))):
            raise InputDataError(
                f"the vocabulary {quoted(tokenizer.name)} cannot be continued: its ids are not the 256 bytes, in "
                "GPT-2's order or by value, and then one merge after the other"
            )
        return cls(tokens, tuple(tokenizer.vocabulary.merges), byte_order)

    def pairs(self) -> list[tuple[int, int]]:
        """The merges as pairs of ids."""
        ids = {token: token_id for token_id, token in enumerate(self.tokens)}
        return [(ids[left], ids[right]) for left, right in self.merges]


# ----------------------------------------------------------------------------------------------------------------
# All in one


def train(
    texts: Iterable[str | bytes],
    vocab_size: int,
    *,
    pattern: str | None = None,
    special_tokens: Sequence[str] | None = None,
    min_frequency: int = 1,
    byte_order: ByteOrder | None = None,
    split_lines: bool = False,
    continue_from: Tokenizer | None = None,
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
        pattern: what splits text: "gpt2" (the default) or another name in `patterns.BY_NAME`.
        special_tokens: texts that get an id each and are never merged; by default those of `continue_from`, or
            ``<|endoftext|>``.
        min_frequency: pairs that occur less often are not merged.
        byte_order: which bytes the ids 0 to 255 are: "gpt2" (the default) or "raw", by value. It decides ties.
        split_lines: take each line as a document of its own.
        continue_from: a vocabulary whose merges come first; with the same counts, the result is that of one run.
        num_threads: for counting; all cores by default. The result does not depend on it.
        on_merge: called with each new merge in order, while they are learned.
        allow_fewer: when the texts do not give that many merges, return the smaller vocabulary.
        name: the tokenizer's name.

    Raises:
        UsageError: `vocab_size` leaves no room for the bytes and special tokens, a special token is repeated, or an
            argument contradicts `continue_from`.
        InputDataError: there is no text, or it gives fewer merges than asked for.

    >>> train(["low lower lowest low low"], 259, special_tokens=()).encode("lowest")
    [257, 68, 82, 83]
    """
    plan = Plan.of(
        [vocab_size],
        pattern=pattern,
        special_tokens=special_tokens,
        min_frequency=min_frequency,
        byte_order=byte_order,
        continue_from=continue_from,
        allow_fewer=allow_fewer,
    )
    corpus = Corpus(plan.pattern, split_lines=split_lines, num_threads=num_threads)
    for text in texts:
        corpus.add_text(text)
    return plan.learn(corpus, [name], on_merge, consume=True)[0]


def train_files(
    paths: Sequence[str | os.PathLike[str]],
    vocab_size: int,
    *,
    pattern: str | None = None,
    special_tokens: Sequence[str] | None = None,
    min_frequency: int = 1,
    byte_order: ByteOrder | None = None,
    split_lines: bool = False,
    continue_from: Tokenizer | None = None,
    errors: Errors = "strict",
    limit_bytes: int | None = None,
    num_threads: int | None = None,
    on_merge: Callable[[Merge], None] | None = None,
    allow_fewer: bool = False,
    name: str = "trained",
) -> Tokenizer:
    """Learn a vocabulary from UTF-8 text files of any size; each file is one document. Arguments as in `train`.

    ``.xz`` and ``.gz`` files are unpacked on the way. Files are read in windows; memory grows with the number of
    different pieces, not with the files. `errors` and `limit_bytes` are those of `Corpus`.

    Raises:
        UsageError: as in `train`.
        InputDataError: as in `train`; or a file is missing, damaged, or not UTF-8 (the sentence names the offset).

    """
    plan = Plan.of(
        [vocab_size],
        pattern=pattern,
        special_tokens=special_tokens,
        min_frequency=min_frequency,
        byte_order=byte_order,
        continue_from=continue_from,
        allow_fewer=allow_fewer,
    )
    corpus = Corpus(
        plan.pattern,
        split_lines=split_lines,
        errors=errors,
        limit_bytes=limit_bytes,
        num_threads=num_threads,
    )
    for path in paths:
        corpus.add_file(path)
    return plan.learn(corpus, [name], on_merge, consume=True)[0]


# ----------------------------------------------------------------------------------------------------------------
# Step by step


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be learned, settled and checked before any text is read."""

    sizes: tuple[int, ...]
    """How many ids each vocabulary shall have, in rising order."""
    pattern: str = "gpt2"
    special_tokens: tuple[str, ...] = (END_OF_TEXT,)
    min_frequency: int = 1
    start: Start = field(default_factory=Start.new)
    allow_fewer: bool = False

    @classmethod
    def of(
        cls,
        vocab_sizes: Sequence[int],
        *,
        pattern: str | None = None,
        special_tokens: Sequence[str] | None = None,
        min_frequency: int = 1,
        byte_order: ByteOrder | None = None,
        continue_from: Tokenizer | None = None,
        allow_fewer: bool = False,
    ) -> Plan:
        """Fill in what is not said; arguments as in `train`, with several sizes.

        Raises:
            UsageError, InputDataError: as `train`.

        """
        start = Start.new(byte_order or "gpt2")
        if continue_from is not None:
            if continue_from.added_tokens:
                raise UsageError(
                    f"the vocabulary {quoted(continue_from.name)} has added tokens, which training does not keep; "
                    "continue from one without"
                )
            start = Start.of(continue_from)
            pattern = _same_pattern(continue_from, pattern)
            if byte_order not in (None, start.byte_order):
                raise UsageError(
                    f"byte order {quoted(byte_order)} contradicts the vocabulary {quoted(continue_from.name)}, which "
                    f"has {start.byte_order!r}"
                )
            if special_tokens is None:
                special_tokens = sorted(
                    continue_from.special_tokens, key=continue_from.special_tokens.__getitem__
                )
        if special_tokens is None:
            special_tokens = (END_OF_TEXT,)
        for size in vocab_sizes:
            check_size(size, special_tokens, start)
        return cls(
            sizes=tuple(sorted(set(vocab_sizes))),
            pattern=pattern or "gpt2",
            special_tokens=tuple(special_tokens),
            min_frequency=min_frequency,
            start=start,
            allow_fewer=allow_fewer,
        )

    @property
    def num_merges(self) -> int:
        """How many new merges the largest vocabulary needs."""
        return self.sizes[-1] - len(self.special_tokens) - len(self.start.tokens)

    def learn(
        self,
        corpus: Corpus,
        names: Sequence[str],
        on_merge: Callable[[Merge], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
        *,
        consume: bool = False,
    ) -> list[Tokenizer]:
        """Learn all vocabularies from a corpus in one run, the smallest first.

        Args:
            corpus: what to learn from.
            names: a name for each size.
            on_merge: as in `train`.
            on_progress: called now and then with the number of merges that are done.
            consume: empty the corpus before the first merge, which saves its memory.

        Raises:
            InputDataError: the corpus is empty, or gives too few merges and `allow_fewer` is not set.

        """
        num_unique = corpus.num_unique
        merges = learn(
            corpus,
            self.num_merges,
            min_frequency=self.min_frequency,
            start=self.start,
            on_merge=on_merge,
            on_progress=on_progress,
            consume=consume,
        )
        if len(merges) < self.num_merges and not self.allow_fewer:
            raise self._too_few(num_unique, len(merges))
        parts = [*self.start.merges, *((merge.left, merge.right) for merge in merges)]
        return [self._tokenizer(name, size, parts) for name, size in zip(names, self.sizes, strict=True)]

    def _tokenizer(self, name: str, size: int, parts: Sequence[tuple[bytes, bytes]]) -> Tokenizer:
        """The bytes, as many merges as there is room for, and the special tokens after them."""
        parts = parts[: size - 256 - len(self.special_tokens)]
        tokens = itertools.chain(self.start.tokens[:256], (left + right for left, right in parts))
        ranks = {token: rank for rank, token in enumerate(tokens)}
        specials = {text: len(ranks) + i for i, text in enumerate(self.special_tokens)}
        pat_str = patterns.named(self.pattern)
        tokenizer = Tokenizer(name, pat_str=pat_str, mergeable_ranks=ranks, special_tokens=specials)
        # They are known here, and need not be found again from the tokens' bytes.
        tokenizer.vocabulary.__dict__["merges"] = list(parts)
        return tokenizer

    def _too_few(self, num_unique: int, num_merges: int) -> InputDataError:
        largest = len(self.start.tokens) + num_merges + len(self.special_tokens)
        rare = f" of pairs that occur {self.min_frequency} times" if self.min_frequency > 1 else ""
        return InputDataError(
            f"the text ({num_unique:,} different pieces) gives only {num_merges:,} merges{rare}: ask for a vocabulary "
            f"of at most {largest} (--vocab {largest}), allow fewer (--allow-fewer), or give more text"
        )


def learn(
    corpus: Corpus,
    num_merges: int,
    *,
    min_frequency: int = 1,
    start: Start | None = None,
    on_merge: Callable[[Merge], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    consume: bool = False,
) -> list[Merge]:
    """Learn up to `num_merges` merges after those of `start`; fewer where pairs run out.

    Arguments and errors as in `Plan.learn`.
    """
    from gpt2x._bpe import learn_merges

    if corpus.num_pieces == 0:
        raise InputDataError("there is no text to learn from; give a file that is not empty")
    start = start or Start.new()
    tokens = list(start.tokens)

    def to_merge(left: int, right: int, count: int) -> Merge:
        merge = Merge(len(tokens), tokens[left], tokens[right], count)
        tokens.append(merge.token)
        return merge

    def report(index: int, left: int, right: int, count: int) -> bool:
        if on_merge is not None:
            on_merge(to_merge(left, right, count))
        if on_progress is not None:
            on_progress(index + 1)
        return True

    learned = learn_merges(
        corpus.counter,
        num_merges,
        max(min_frequency, 1),
        report if on_merge or on_progress else None,
        byte_order=start.byte_order,
        continue_from=start.pairs(),
        consume=consume,
        report_every=1 if on_merge else _PROGRESS_EVERY,
    )
    tokens = list(start.tokens)
    return [to_merge(*one) for one in learned]


def check_size(vocab_size: int, special_tokens: Sequence[str], start: Start) -> None:
    """See that a vocabulary of this size can be.

    Raises:
        UsageError: it has no room for what it begins with and the special tokens, is larger than any can be, or a
            special token is empty, repeated, or no text.

    """
    if len(set(special_tokens)) != len(special_tokens) or "" in special_tokens:
        raise UsageError(
            f"special tokens must be different and not empty, not {', '.join(map(quoted, special_tokens[:9]))}"
        )
    for text in special_tokens:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UsageError(f"the special token {quoted(text)} is not valid UTF-8 text; give one that is")
    smallest = len(start.tokens) + len(special_tokens)
    if vocab_size < smallest:
        known = f"256 bytes, {len(start.merges):,} merges" if start.merges else "256 bytes"
        raise UsageError(
            f"a vocabulary of {vocab_size} is too small: {known} and {len(special_tokens)} special "
            f"token{'s' * (len(special_tokens) != 1)} need {smallest}"
        )
    if vocab_size > LARGEST_VOCABULARY:
        raise UsageError(f"a vocabulary of {vocab_size} is too large; ask for at most {LARGEST_VOCABULARY}")


def _same_pattern(base: Tokenizer, pattern: str | None) -> str:
    """The name of the pattern of the vocabulary to continue from."""
    name = patterns.NATIVE.get(base.pat_str)
    if name is None:
        raise UsageError(
            f"the vocabulary {quoted(base.name)} splits by {quoted(base.pat_str)}, which the trainer does not know; "
            f"continue from one with a pattern of {', '.join(patterns.BY_NAME)}"
        )
    if pattern not in (None, name):
        raise UsageError(
            f"pattern {quoted(pattern)} contradicts the vocabulary {quoted(base.name)}, which has {name!r}"
        )
    return name
