"""A fuzzer for whatever reads vocabularies and counts: any file is refused in one sentence, or what it gives works.

    python -m tests.tokenizer.fuzz_files --seconds 600 [--seed N] [--keep FOLDER]

Files of each kind are changed as bytes, as lines and, where they are JSON, as values; the checksum of a file of counts
is often made right again, so that what lies behind it is read, too. A case is a number. It is told when something else
happens than a refusal (no memory left, say), or nothing for ten seconds; ``--case KIND NUMBER`` runs that one again.
`test_damaged_files.py` runs the first cases of each kind.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt2x.errors import InputDataError
from gpt2x.tokenizer import Corpus, Tokenizer, train
from gpt2x.tokenizer.alphabet import to_characters

HANG_SECONDS = 10
MOST_MEMORY = 2 << 30  # bytes of address space, so that a file which asks for more is noticed
LONGEST_SENTENCE = 700

PAIR = ("merges.txt", "vocab.json", "added_tokens.json", "special_tokens_map.json")
KINDS = {
    "vocab.tiktoken": ("vocab.tiktoken",),
    "tokenizer_config.json": ("vocab.tiktoken", "tokenizer_config.json"),
    "tokenizer.json": ("tokenizer.json",),
    **dict.fromkeys(PAIR, PAIR),
    "pieces.counts": ("pieces.counts",),
}
"""The file that is changed, and those that are read together with it."""

# fmt: off
WORDS = [
    *(b"\n", b"\r\n", b" ", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"#version: 0.2", b"=", b"==", b"-1", b"0"),
    *(b"1e400", b"9" * 30, b"9" * 5000, b"NaN", b"Infinity", b"null", b"true", b"{", b"}", b"[", b"]", b'"', b":"),
    *(b",", b"\\", b'"\\ud83d"', b"\\u0000", b"[" * 3000, b'{"a":' * 3000, b"YQ== 1", b"YQ==", "Ġ".encode()),
    *(b"9223372036854775807", b"16777215", b"16777216", b"4294967296", "Ġ Ġ 😀".encode(), b"\x1b[2J", b"a" * 70_000),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**24, 2**63, 10**30, 1.0, 1e308, float("inf"), float("nan"), "", "x", "\ud83d"),
    *("\x00", "\x1b[2J", "a" * 70_000, "<|endoftext|>", "Ġ", [], {}, [[]], ["x"], [["a", "b"]], [1] * 1000),
    *({"type": "ByteLevel"}, {"Regex": "(a|aa)+$"}, {"type": "Sequence", "pretokenizers": []}),
    *({"content": "x", "id": 1}, {"Ġ": 1, "x": 1}),
]
# fmt: on


def make_good(folder: Path) -> None:
    """One good file of each kind."""
    text = "low lower lowest abc 愛 😀\n"
    learned = train([text], 272, allow_fewer=True)
    mine = Tokenizer(
        "mine",
        pat_str=learned.pat_str,
        mergeable_ranks=learned.mergeable_ranks,
        special_tokens=learned.special_tokens,
        added_tokens={"<call>": learned.n_vocab},
    )
    mine.save(folder)
    merges = [f"{to_characters(left)} {to_characters(right)}" for left, right in mine.vocabulary.merges]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    ids = {to_characters(token): rank for token, rank in mine.mergeable_ranks.items()} | mine.special_tokens
    names = {"bos_token": "<|endoftext|>", "additional_special_tokens": [{"content": "<|endoftext|>"}]}
    for name, value in (
        ("vocab", ids),
        ("added_tokens", dict(mine.added_tokens)),
        ("special_tokens_map", names),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    corpus = Corpus()
    corpus.add_text(text * 3)
    corpus.save_counts(folder / "pieces.counts")


# ---------------------------------------------------------------------------------------------------------------------
# Changes


def change_bytes(data: bytes, chance: random.Random) -> bytes:
    """Put bytes or words in, take some out, say some twice, or cut the end off."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        start = chance.randrange(len(changed) + 1)
        end = min(len(changed), start + chance.choice([0, 1, 1, 4, 50, 1000]))
        kind = chance.randrange(5)
        if kind == 0:
            changed[start:end] = chance.choice(WORDS)
        elif kind == 1:
            changed[start:end] = chance.randbytes(chance.randrange(5))
        elif kind == 2:
            changed[start:start] = changed[start:end]
        elif kind == 3 and start < len(changed):
            changed[start] ^= 1 << chance.randrange(8)
        elif kind == 4:
            del changed[start : end if chance.random() < 0.8 else len(changed)]
    return bytes(changed)


def change_lines(data: bytes, chance: random.Random) -> bytes:
    """Move, repeat, take out or change whole lines and words in them."""
    lines = data.split(b"\n")
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(lines))
        words = lines[at].split(b" ")
        words[chance.randrange(len(words))] = chance.choice(WORDS)
        lines[at : at + 1] = chance.choice(
            [
                [],
                [lines[at]] * 2,
                [b" ".join(words)],
                [chance.choice(lines), lines[at]],
                [chance.choice(WORDS)],
            ]
        )
        lines = lines or [b""]
    return b"\n".join(lines)


def change_values(data: bytes, chance: random.Random) -> bytes:
    """Change values of a JSON file, or of a line of JSON in a file of counts."""
    lines = data.split(b"\n") if data.startswith(b'{"format"') else [data]
    at = chance.choice([i for i, line in enumerate(lines) if line.startswith(b"{")])
    value = json.loads(lines[at])
    for _ in range(chance.choice([1, 1, 2, 4])):
        value = _with_change(value, chance)
    lines[at] = json.dumps(value).encode()
    return b"\n".join(lines)


def _with_change(value: Any, chance: random.Random) -> Any:
    """The value with another one at some place in it."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(VALUES)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return (
            value[:at]
            + chance.choice([[], [_with_change(value[at], chance)], value[at : at + 1] * 2])
            + value[at + 1 :]
        )
    key = chance.choice(list(value))
    rest = {name: one for name, one in value.items() if name != key}
    other = chance.choice([key, key, key, *value, "x", ""])
    return rest if chance.random() < 0.2 else rest | {other: _with_change(value[key], chance)}


def with_right_checksum(data: bytes) -> bytes:
    """A file of counts whose end is the sum of what is before it."""
    lines = data.splitlines(keepends=True)
    try:
        end = json.loads(lines[-1])
        end["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    except (IndexError, ValueError, TypeError, RecursionError):
        return data
    return b"".join(lines[:-1]) + json.dumps(end).encode() + b"\n"


def changed(kind: str, data: bytes, number: int) -> bytes:
    """The file of that kind, changed; the same for the same number."""
    chance = random.Random(f"{kind} {number}")
    changes: list[Callable[[bytes, random.Random], bytes]] = [change_bytes, change_lines]
    if kind.endswith((".json", ".counts")):
        changes += [change_values] * 2
    result = chance.choice(changes)(data, chance)
    return with_right_checksum(result) if kind.endswith(".counts") and chance.random() < 0.7 else result


# ---------------------------------------------------------------------------------------------------------------------
# What must hold


def run_case(good: Path, folder: Path, kind: str, number: int) -> bool:
    """Read a changed file; True if it is refused.

    Raises:
        AssertionError: the refusal is no single sentence, or what was read does not work.

    """
    for name in KINDS[kind]:
        data = (good / name).read_bytes()
        (folder / name).write_bytes(changed(kind, data, number) if name == kind else data)
    source = folder / ("merges.txt" if kind in PAIR else KINDS[kind][0])
    corpus = Corpus()
    try:
        if kind.endswith(".counts"):
            corpus.add_counts(source)
            assert corpus.num_pieces >= corpus.num_unique == len(corpus.items())
        else:
            _use(source)
    except InputDataError as refusal:
        sentence = str(refusal).replace(str(folder), "")
        assert "\n" not in sentence, sentence
        assert "\x1b" not in sentence, sentence
        assert 10 < len(sentence) < LONGEST_SENTENCE, sentence
        assert corpus.num_unique == 0, "some counts of a refused file were added"
        return True
    return False


def _use(source: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loaded = Tokenizer.load(source)
    text = "lowest abc<|endoftext|> <call>"
    ids = loaded.encode(text, allowed_special="all")
    assert loaded.n_vocab > max(ids, default=0)
    assert isinstance(loaded.decode(ids), str)
    assert loaded.vocabulary.fingerprint


def main(arguments: list[str] | None = None) -> int:
    """Run cases until the time is over; 1 if something else than a refusal happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case")
    parser.add_argument("--keep", type=Path, help="where the files of failed cases are put")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "NUMBER"), help="run this one again")
    options = parser.parse_args(arguments)
    import resource  # not on every system

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    stop = time.monotonic() + options.seconds
    refused = total = failed = 0
    with tempfile.TemporaryDirectory() as good, tempfile.TemporaryDirectory() as folder:
        make_good(Path(good))
        cases = ((number, kind) for number in itertools.count(options.seed) for kind in KINDS)
        if options.case:
            run_case(Path(good), Path(folder), options.case[0], int(options.case[1]))
            return 0
        for number, kind in itertools.takewhile(lambda _: time.monotonic() < stop, cases):
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            total += 1
            try:
                refused += run_case(Path(good), Path(folder), kind, number)
            except Exception as error:
                failed += 1
                print(f"--case {kind} {number}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                if options.keep:
                    shutil.copytree(folder, options.keep / f"{kind}-{number}", dirs_exist_ok=True)
        faulthandler.cancel_dump_traceback_later()
    print(
        f"{total:,} files: {refused:,} refused in a sentence, {total - refused - failed:,} read, {failed:,} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
