"""A signal ends any long call soon: Ctrl-C is not answered when all is done, but at once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gpt2x.tokenizer import Tokenizer
from gpt2x.tokenizer.patterns import GPT2

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")


class Interrupted(Exception):
    """What the signal's handler raises, as that of Ctrl-C raises KeyboardInterrupt."""


@pytest.fixture(scope="module")
def slow() -> Tokenizer:
    """A vocabulary that merging could not have learned, for which long pieces take longest."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"abc": 256, b"ab": 257, b"ca": 258}
    return Tokenizer("slow", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|end|>": 259})


@pytest.fixture(scope="module")
def word() -> str:
    return "".join(random.Random(1).choices("abc", k=8_000_000))


@pytest.fixture(scope="module")
def whole(slow: Tokenizer, word: str) -> float:
    """How much processor time the whole work takes."""
    start = time.process_time()
    slow.count(word)
    return time.process_time() - start


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.02)  # type: ignore[func-returns-value]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


CALLS: dict[str, Callable[[Tokenizer, str], object]] = {
    "encode": lambda tokenizer, word: tokenizer.encode(word),
    "encode beyond ASCII": lambda tokenizer, word: tokenizer.encode(word + "é中"),
    "encode with specials": lambda tokenizer, word: tokenizer.encode(f"<|end|>{word}", allowed_special="all"),
    "encode_bytes": lambda tokenizer, word: tokenizer.encode_bytes(word.encode() + b"\xff"),
    "encode_piece": lambda tokenizer, word: tokenizer.encode_piece(word.encode()),
    "encode_to_numpy": lambda tokenizer, word: tokenizer.encode_to_numpy(word),
    "encode_to_numpy into out": lambda tokenizer, word: tokenizer.encode_to_numpy(
        word, out=np.empty(len(word), dtype=np.uint32)
    ),
    "encode_batch": lambda tokenizer, word: tokenizer.encode_batch(["a", word, "b"], num_threads=2),
    "encode_ordinary_batch_to_numpy": lambda tokenizer, word: tokenizer.encode_ordinary_batch_to_numpy(
        [word]
    ),
    "count": lambda tokenizer, word: tokenizer.count(word),
    "count_ordinary_batch": lambda tokenizer, word: tokenizer.count_ordinary_batch(
        [word, "a"], num_threads=2
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_signal_is_answered_inside_a_single_piece(
    slow: Tokenizer,
    word: str,
    whole: float,
    alarm: Callable[[], None],
    call: Callable[[Tokenizer, str], object],
) -> None:
    start = time.process_time()
    alarm()
    with pytest.raises(Interrupted):
        call(slow, word)
    assert time.process_time() - start < 0.8 * whole
    assert slow.encode("abcab") == [256, 257]  # it goes on to serve


def test_a_handler_that_raises_nothing_does_not_end_the_work(slow: Tokenizer, word: str) -> None:
    answered: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: answered.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert slow.count(word[:3_000_000]) > 1_000_000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert answered == [signal.SIGALRM]


def test_long_lists_come_through_in_both_directions(slow: Tokenizer) -> None:
    text = "ab abc" * 400_000
    ids = slow.encode(text)
    assert len(ids) > 1 << 20
    assert slow.decode(ids) == slow.decode(np.array(ids)) == slow.decode(tuple(ids)) == text
