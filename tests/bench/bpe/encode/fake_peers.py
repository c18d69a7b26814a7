"""Tokenizers that go wrong in every way that one can; workers import this file."""

from __future__ import annotations

import os
import signal
import time

from gpt2x.bench.bpe.encode.peers import Calls, Peer, Vocabulary


def right(vocabulary: Vocabulary, threads: int) -> Calls:
    tokenizer = vocabulary.tokenizer
    return Calls(encode=tokenizer.encode_ordinary, batch=tokenizer.encode_ordinary_batch)


def inexact(vocabulary: Vocabulary, threads: int) -> Calls:
    """Changes the third id, leaves the last one of an array out, and decodes to something else."""
    tokenizer = vocabulary.tokenizer

    def encode(text: str) -> list[int]:
        ids = tokenizer.encode_ordinary(text)
        return [*ids[:2], (ids[2] + 1) % 256, *ids[3:]]

    return Calls(
        encode=encode,
        encode_array=lambda text: tokenizer.encode_to_numpy(text)[:-1],
        decode=lambda ids: b"?" + tokenizer.decode_bytes(ids)[1:],
    )


def raising(vocabulary: Vocabulary, threads: int) -> Calls:
    def encode(text: str) -> list[int]:
        raise ValueError(f"cannot encode {text[:1]!r}")

    return Calls(encode=encode, batch=vocabulary.tokenizer.encode_ordinary_batch)


def hanging(vocabulary: Vocabulary, threads: int) -> Calls:
    def encode(text: str) -> list[int]:
        time.sleep(600)
        return []

    return Calls(encode=encode)


def crashing(vocabulary: Vocabulary, threads: int) -> Calls:
    def encode(text: str) -> list[int]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return []

    return Calls(encode=encode)


def late(vocabulary: Vocabulary, threads: int) -> Calls:
    """Right once in each process, and then no more."""
    tokenizer, made = vocabulary.tokenizer, []

    def encode(text: str) -> list[int]:
        made.append(text)
        if len(made) > 1:
            raise RuntimeError("only once")
        return tokenizer.encode_ordinary(text)

    return Calls(encode=encode)


def only_online(vocabulary: Vocabulary, threads: int) -> Calls:
    raise ConnectionError("cannot be given a vocabulary offline")


FAKES = {
    build.__name__: Peer(name=build.__name__, distribution="numpy", build=build)
    for build in (right, inexact, raising, hanging, crashing, late, only_online)
}
ABSENT = Peer(name="absent", distribution="gpt2x-no-such-distribution", build=right)
