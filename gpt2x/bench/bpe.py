"""`gpt2x bench bpe`: our tokenizer beside tiktoken, on one thread, with the same vocabulary and the same text.

Both are first held against each other, token for token; then each call is timed in turn (A B A B …). Loads no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt2x.bench.measure import spread
from gpt2x.bench.text import choose_tokenizer, load_documents

ROUNDS = 7
MIN_BYTES = 1_000_000
"""A shorter text is repeated up to this size, as documents of their own, so that a clock can tell the difference."""


@dataclass(frozen=True, kw_only=True)
class BpeRate:
    """One call, measured for both."""

    call: str
    ours_mb_per_second: float
    tiktoken_mb_per_second: float
    exact: bool
    """Whether both gave the same result on every document."""

    @property
    def speedup(self) -> float:
        """How many times as fast ours is."""
        return self.ours_mb_per_second / self.tiktoken_mb_per_second


@dataclass(frozen=True, kw_only=True)
class BpeReport:
    """All calls, and what they were measured on."""

    text: str
    num_bytes: int
    num_tokens: int
    rates: list[BpeRate]


def bench_bpe(files: Sequence[Path] = ()) -> BpeReport:
    """Measure encoding and decoding of the files, or of the packaged songs.

    Raises:
        InputDataError: a file is missing, empty or not UTF-8.

    """
    documents = [document for file in files or (None,) for document in load_documents(file)]
    tokenizer, vocabulary = choose_tokenizer(documents, 2**31)
    theirs = _tiktoken(tokenizer)
    size = sum(len(document.encode()) for document in documents)
    texts = documents * max(1, -(-MIN_BYTES // size))
    num_bytes = size * (len(texts) // len(documents))
    ids = [tokenizer.encode_ordinary(text) for text in texts]
    name = ", ".join(file.name for file in files) if files else "the packaged songs"

    def rate(
        call: str, ours: Callable[[Any], Any], other: Callable[[Any], Any], inputs: Sequence[Any]
    ) -> BpeRate:
        exact = all(_same(ours(item), other(item)) for item in inputs)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for function, samples in zip((ours, other), times, strict=True):
                start = time.perf_counter()
                for item in inputs:
                    function(item)
                samples.append(time.perf_counter() - start)
        megabytes = num_bytes / 1e6
        return BpeRate(
            call=call,
            ours_mb_per_second=megabytes / spread(times[0]).median,
            tiktoken_mb_per_second=megabytes / spread(times[1]).median,
            exact=exact,
        )

    rates = [
        rate("encode_ordinary", tokenizer.encode_ordinary, theirs.encode_ordinary, texts),
        rate("encode_to_numpy", tokenizer.encode_to_numpy, theirs.encode_to_numpy, texts),
        rate("decode", tokenizer.decode, theirs.decode, ids),
    ]
    return BpeReport(
        text=f"{name}, {len(documents)} documents, {vocabulary}",
        num_bytes=num_bytes,
        num_tokens=sum(map(len, ids)),
        rates=rates,
    )


def _same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, str) else list(a) == list(b)


def _tiktoken(tokenizer: Any) -> Any:
    import tiktoken

    return tiktoken.Encoding(
        "same-vocabulary",
        pat_str=tokenizer.pat_str,
        mergeable_ranks=dict(tokenizer.mergeable_ranks),
        special_tokens=dict(tokenizer.special_tokens),
    )
