"""The trainers that are compared, as records: how each is asked for the same merges.

All learn the same number of merges of bytes, from pieces that GPT-2's pattern cuts, without special tokens and without
a limit to a token's length. A trainer is optional: it takes part where its distribution is installed.

To add one: a function that makes its `Training`, and a line in `TRAINERS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.bench.bpe.encode.peers import OURS, address_of, installed_version
from gpt2x.errors import UsageError, quoted
from gpt2x.tokenizer import patterns
from gpt2x.tokenizer.alphabet import BYTE_ORDER, from_characters

if TYPE_CHECKING:
    from gpt2x.tokenizer.corpus import Corpus

Merge = tuple[bytes, ...]
"""The bytes of the left and of the right part; or those of both together, from trainers that report only the token."""

CHUNK_BYTES = 64 * 1024

FILE, TEXT = "a file", "text"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a trainer is to learn, and from what."""

    file: Path
    """UTF-8, one document."""
    num_merges: int
    threads: int
    pat_str: str = patterns.GPT2

    def read_chunks(self) -> list[str]:
        """The text in parts that are cut only where no piece can notice, for those that take an iterator."""
        from gpt2x.tokenizer.corpus import Corpus

        parts = Corpus().read_parts(self.file, window_bytes=CHUNK_BYTES)
        return [bytes(part).decode() for part in parts]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that can start: modules are imported, and a text that is to be in memory is there."""

    learn: Callable[[], Any]
    """What is timed."""
    merges: Callable[[Any], list[Merge]]
    """The merges in what `learn` gave, in order."""


Prepare = Callable[[Job], Training]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One trainer that can be compared."""

    name: str
    distribution: str
    """What `pip install` calls it."""
    given: str
    """Where it gets the text from: a file, or text in memory."""
    prepare: Prepare
    """A function of a module, since workers are other processes: they find it by its name."""
    uses: str = ""
    """What is called, for people."""

    @property
    def address(self) -> str:
        """Where a worker finds `prepare`: module:function."""
        return address_of(self.prepare)

    @property
    def version(self) -> str | None:
        """The version that is installed here; None when it is not."""
        return installed_version(self.distribution)


# ----------------------------------------------------------------------------------------------------------------
# How each is called


def gpt2x_file(job: Job) -> Training:
    """Ours, reading the file as `gpt2x bpe train` does."""
    return _gpt2x(job, lambda corpus: corpus.add_file(job.file))


def gpt2x_text(job: Job) -> Training:
    """Ours, given the text as one object."""
    data = job.file.read_bytes()
    return _gpt2x(job, lambda corpus: corpus.add_text(data))


def _gpt2x(job: Job, count: Callable[[Corpus], None]) -> Training:
    from gpt2x._bpe import learn_merges
    from gpt2x.tokenizer.corpus import Corpus

    def learn() -> Any:
        corpus = Corpus(num_threads=job.threads)
        count(corpus)
        return learn_merges(corpus.counter, job.num_merges, 1, None, consume=True)

    def merges(learned: Sequence[tuple[int, int, int]]) -> list[Merge]:
        return merged_bytes([(left, right) for left, right, _ in learned])

    return Training(learn=learn, merges=merges)


def merged_bytes(learned: Sequence[tuple[int, int]], byte_order: Sequence[int] = BYTE_ORDER) -> list[Merge]:
    """The parts of merges that are given as ids, of which the first 256 are bytes in that order."""
    tokens = [bytes([byte]) for byte in byte_order]
    merges: list[Merge] = []
    for left, right in learned:
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges


def tokenizers_file(job: Job) -> Training:
    """Hugging Face's, from the file, of which it takes each line as a text of its own."""
    return _tokenizers(job, lambda tokenizer, trainer: tokenizer.train([str(job.file)], trainer))


def tokenizers_text(job: Job) -> Training:
    """Hugging Face's, from an iterator."""
    chunks = job.read_chunks()
    return _tokenizers(job, lambda tokenizer, trainer: tokenizer.train_from_iterator(iter(chunks), trainer))


def _tokenizers(job: Job, train: Callable[[Any, Any], None]) -> Training:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    def learn() -> Any:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        train(
            tokenizer,
            trainers.BpeTrainer(
                vocab_size=256 + job.num_merges,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                special_tokens=[],
                show_progress=False,
            ),
        )
        return tokenizer

    return Training(learn=learn, merges=lambda tokenizer: _spelled(_hf_merges(tokenizer)))


def _hf_merges(tokenizer: Any) -> list[Sequence[str]]:
    merges: list[Sequence[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


def _spelled(merges: Sequence[Sequence[str]]) -> list[Merge]:
    return [(from_characters(left), from_characters(right)) for left, right in merges]


def gigabpe(job: Job) -> Training:
    """From the file. Its alphabet is what occurs in the text, so fewer ids are asked for to get as many merges."""
    import gigabpe as library

    vocab_size = len(set(job.file.read_bytes())) + job.num_merges

    def learn() -> Any:
        return library.train_bpe(
            [str(job.file)], vocab_size, special_tokens=[], pretokenizer="bytelevel", threads=job.threads
        )

    return Training(learn=learn, merges=lambda learned: _spelled(learned[1]))


def rustbpe(job: Job) -> Training:
    """From an iterator."""
    import rustbpe as library

    chunks = job.read_chunks()

    def learn() -> Any:
        tokenizer = library.Tokenizer()
        tokenizer.train_from_iterator(iter(chunks), 256 + job.num_merges, pattern=job.pat_str)
        return tokenizer

    return Training(learn=learn, merges=lambda tokenizer: _ranked(dict(tokenizer.get_mergeable_ranks())))


def bpeasy(job: Job) -> Training:
    """From an iterator. It asks for a greatest length of a token: that of the text."""
    import bpeasy as library

    chunks = job.read_chunks()
    longest = job.file.stat().st_size

    def learn() -> Any:
        return library.train_bpe(iter(chunks), job.pat_str, longest, 256 + job.num_merges)

    return Training(learn=learn, merges=_ranked)


def ffbpe(job: Job) -> Training:
    """From an iterator; it has settings for the order of the bytes and for ties, which are set as ours are."""
    from ffbpe import BpeTrainer, PreTokenizer

    chunks = job.read_chunks()

    def learn() -> Any:
        counter = PreTokenizer([], pat_str=job.pat_str).word_counter()
        counter.add_source(iter(chunks))
        trainer = BpeTrainer([], initial_alphabet="byte_level", tie_break="smallest_pair_id")
        trainer.add_word_counter(counter)
        trainer.train(256 + job.num_merges)
        return trainer.validate_model()

    return Training(learn=learn, merges=lambda model: _ranked(model.vocab))


def _ranked(ranks: Mapping[bytes, int]) -> list[Merge]:
    """The tokens of more than one byte, in the order in which they were made."""
    return [(token,) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]


# ----------------------------------------------------------------------------------------------------------------

BASE = "tokenizers, file"
"""The trainer whose time counts as 1."""

TRAINERS = (
    Trainer(
        name=BASE,
        distribution="tokenizers",
        given=FILE,
        prepare=tokenizers_file,
        uses="Tokenizer.train, BpeTrainer, ByteLevel",
    ),
    Trainer(
        name="tokenizers, text",
        distribution="tokenizers",
        given=TEXT,
        prepare=tokenizers_text,
        uses="Tokenizer.train_from_iterator, BpeTrainer, ByteLevel",
    ),
    Trainer(
        name="gpt2x, file",
        distribution=OURS,
        given=FILE,
        prepare=gpt2x_file,
        uses="Corpus.add_file, learn_merges",
    ),
    Trainer(
        name="gpt2x, text",
        distribution=OURS,
        given=TEXT,
        prepare=gpt2x_text,
        uses="Corpus.add_text, learn_merges",
    ),
    Trainer(name="gigabpe", distribution="gigabpe", given=FILE, prepare=gigabpe, uses="train_bpe"),
    Trainer(
        name="rustbpe",
        distribution="rustbpe",
        given=TEXT,
        prepare=rustbpe,
        uses="Tokenizer.train_from_iterator",
    ),
    Trainer(name="bpeasy", distribution="bpeasy", given=TEXT, prepare=bpeasy, uses="train_bpe"),
    Trainer(
        name="ffbpe",
        distribution="ffbpe",
        given=TEXT,
        prepare=ffbpe,
        uses="PreTokenizer.word_counter, BpeTrainer",
    ),
)


def select(names: str, trainers: Sequence[Trainer] = TRAINERS) -> list[Trainer]:
    """The trainers of these libraries, separated by commas, or ``all``; tokenizers and gpt2x always take part.

    Raises:
        UsageError: an unknown name.

    """
    known = list(dict.fromkeys(trainer.distribution for trainer in trainers))
    chosen = known if names == "all" else [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(
            f"--peers {quoted(unknown[0])} is unknown among trainers; known: all, {', '.join(known)}"
        )
    return [trainer for trainer in trainers if trainer.distribution in {*chosen, "tokenizers", OURS}]
