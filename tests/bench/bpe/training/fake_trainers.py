"""Trainers for the tests of `gpt2x bench bpe --train`: ours in other ways, and some that fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from gpt2x.bench.bpe.training import merges
from gpt2x.bench.bpe.training.merges import Way
from gpt2x.bench.bpe.training.trainers import TEXT, Job, Merge, Trainer, Training


def _as(
    way: Way = merges.OUR_WAY, change: Callable[[list[Merge]], list[Merge]] = list
) -> Callable[..., Training]:
    def prepare(job: Job) -> Training:
        return Training(
            learn=lambda: merges.learn(job.file, job.num_merges, way).merges,
            merges=lambda found: change(list(found)),
        )

    return prepare


def right(job: Job) -> Training:
    return _as()(job)


def only_tokens(job: Job) -> Training:
    return _as(change=lambda found: [(b"".join(merge),) for merge in found])(job)


def by_lines(job: Job) -> Training:
    return _as(Way(what="", by_lines=True))(job)


def raw_bytes(job: Job) -> Training:
    return _as(Way(what="", byte_order="raw"))(job)


def raising(job: Job) -> Training:
    def learn() -> list[Merge]:
        raise ValueError("cannot learn this")

    return Training(learn=learn, merges=lambda found: found)


def hanging(job: Job) -> Training:
    return Training(learn=lambda: time.sleep(60), merges=lambda found: [])


def crashing(job: Job) -> Training:
    return Training(learn=lambda: os.kill(os.getpid(), signal.SIGSEGV), merges=lambda found: [])


def greedy(job: Job) -> Training:
    """Touches 50 MB and gives them back before it is done."""

    def learn() -> list[Merge]:
        buffer = bytearray(b"x") * 50_000_000
        del buffer
        return []

    return Training(learn=learn, merges=lambda found: found)


FAKES = {
    prepare.__name__: Trainer(name=prepare.__name__, distribution="numpy", given=TEXT, prepare=prepare)
    for prepare in (
        right,
        only_tokens,
        by_lines,
        raw_bytes,
        raising,
        hanging,
        crashing,
        greedy,
    )
}
ABSENT = Trainer(name="absent", distribution="gpt2x-no-such-distribution", given=TEXT, prepare=right)
