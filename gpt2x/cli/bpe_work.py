"""What `gpt2x bpe encode | decode | count | explain` do; `bpe_table` says what they take."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from gpt2x.cli.bpe_corpus import check_json_has_a_place, check_threads
from gpt2x.console import emit, emit_bytes, emit_json, say
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import atomic_write, open_input, read_bytes, read_stream
from gpt2x.tables import emit_table

if TYPE_CHECKING:
    from gpt2x.cli.bpe_table import IdType, Specials
    from gpt2x.tokenizer import Tokenizer

STDIN = "-"


# ----------------------------------------------------------------------------------------------------------------
# encode


def encode(
    files: list[str],
    *,
    text: str | None,
    tokenizer: str,
    vocab_pattern: str | None,
    specials: Specials,
    any_bytes: bool,
    out: Path | None,
    dtype: IdType | None,
    threads: int | None,
    json: bool,
    quiet: bool,
) -> None:
    """Print the ids of each input, or write all of them to a file."""
    if dtype is not None and out is None:
        raise UsageError("--dtype is for the binary file that --out names; give both or neither")
    check_json_has_a_place(out, json=json)
    num_threads = _threads(threads)
    loaded = load(tokenizer, vocab_pattern)
    report: dict[str, Any] = {"tokenizer": loaded.name, "n_vocab": loaded.n_vocab}
    sources = _sources(files, text, any_bytes, specials)
    if out is None:
        rows = [_encode_source(loaded, source, specials) for source in sources]
    else:
        kind = _id_type(loaded, dtype)
        with atomic_write(out) as target:
            rows = [
                _encode_into(target, loaded, source, specials, kind=kind, threads=num_threads)
                for source in sources
            ]
        report |= {"out": str(out), "dtype": kind}
        say(f"wrote {sum(row['tokens'] for row in rows):,} ids as {kind} to {out}")
    if json:
        emit_json(report | {"inputs": rows})
    elif out is None:
        for row in rows:
            emit(" ".join(map(str, row["ids"])))


def _encode_source(tokenizer: Tokenizer, source: Source, rule: Specials) -> dict[str, Any]:
    with _remedies():
        data = source.read()
        if source.any_bytes:
            ids = tokenizer.encode_bytes(data)
        else:
            ids = tokenizer.encode(_decode(data, source), **_special_arguments(rule))
    return {"name": source.name, "bytes": len(data), "tokens": len(ids), "ids": ids}


def _encode_into(
    target: IO[bytes], tokenizer: Tokenizer, source: Source, rule: Specials, *, kind: str, threads: int
) -> dict[str, Any]:
    """Write the ids of a source to an open file, stretch by stretch: memory does not grow with the source."""
    import numpy as np

    from gpt2x.tokenizer.files import write_ids

    num_tokens = num_bytes = 0
    with _remedies(), contextlib.ExitStack() as stack:
        if source.any_bytes:
            data = source.read()
            stretches = iter([(np.array(tokenizer.encode_bytes(data), dtype=kind), len(data))])
        else:
            reader = tokenizer.text_reader(**_special_arguments(rule))
            file = stack.enter_context(source.open())
            stretches = reader.encode(file, source.label, np.dtype(kind), threads)
        for ids, size in stretches:
            write_ids(target, ids)
            num_tokens += len(ids)
            num_bytes += size
    return {"name": source.name, "bytes": num_bytes, "tokens": num_tokens}


# ----------------------------------------------------------------------------------------------------------------
# decode


def decode(
    ids: list[str],
    *,
    tokenizer: str,
    vocab_pattern: str | None,
    out: Path | None,
    dtype: IdType | None,
    json: bool,
    quiet: bool,
) -> None:
    """Print or write the bytes that ids stand for."""
    check_json_has_a_place(out, json=json)
    loaded = load(tokenizer, vocab_pattern)
    groups = [_read_ids(word, _id_type(loaded, dtype)) for word in _join_numbers(ids or [STDIN])]
    data = b"".join(map(loaded.decode_bytes, groups))
    if out is not None:
        with atomic_write(out) as file:
            file.write(data)
    if json:
        text = data.decode("utf-8", "replace")
        num_tokens = sum(map(len, groups))
        report = {"tokenizer": loaded.name, "tokens": num_tokens, "bytes": len(data), "text": text}
        emit_json(report | ({"out": str(out)} if out is not None else {}))
    elif out is None:
        emit_bytes(data)


def _join_numbers(words: list[str]) -> Iterator[str | list[int]]:
    """Numbers that follow one another as one list; names of files as they are."""
    numbers: list[int] = []
    for word in words:
        with contextlib.suppress(ValueError):
            numbers.append(int(word))
            continue
        if numbers:
            yield numbers
            numbers = []
        yield word
    if numbers:
        yield numbers


def _read_ids(word: str | list[int], kind: str) -> Any:
    """The ids that an argument stands for: itself, or those in a file."""
    if isinstance(word, list):
        return word
    data = Source(word, None, any_bytes=True).read()
    if word.endswith(".bin"):
        import numpy as np

        dtype = np.dtype(kind).newbyteorder("<")
        if len(data) % dtype.itemsize:
            raise InputDataError(
                f"{word} has {len(data)} bytes, no multiple of {dtype.itemsize}: not {kind} ids, or cut off"
            )
        return np.frombuffer(data, dtype=dtype)
    numbers = []
    for item in data.split():
        try:
            numbers.append(int(item))
        except ValueError:
            shown = item[:40].decode("utf-8", "backslashreplace")
            raise InputDataError(
                f"{_label(word)} holds {quoted(shown)}, which is no id; give whole numbers"
            ) from None
    return numbers


# ----------------------------------------------------------------------------------------------------------------
# count


def count(
    files: list[str],
    *,
    text: str | None,
    tokenizer: str,
    vocab_pattern: str | None,
    specials: Specials,
    any_bytes: bool,
    threads: int | None,
    json: bool,
    quiet: bool,
) -> None:
    """Print how many tokens each input has."""
    num_threads = _threads(threads)
    loaded = load(tokenizer, vocab_pattern)
    sources = _sources(files, text, any_bytes, specials)
    rows = [_count_source(loaded, source, specials, num_threads) for source in sources]
    total = sum(row["tokens"] for row in rows)
    if json:
        emit_json({"tokenizer": loaded.name, "n_vocab": loaded.n_vocab, "inputs": rows, "tokens": total})
    elif len(rows) == 1:
        emit(str(total))
    else:
        cells = [[row["tokens"], row["bytes"], row["bytes_per_token"] or 0.0, row["name"]] for row in rows]
        emit_table(["tokens", "bytes", "bytes/token", "file"], cells)
        emit(f"{total} in all")


def _count_source(tokenizer: Tokenizer, source: Source, rule: Specials, threads: int) -> dict[str, Any]:
    with _remedies():
        if source.any_bytes:
            data = source.read()
            num_tokens, num_bytes = len(tokenizer.encode_bytes(data)), len(data)
        else:
            reader = tokenizer.text_reader(**_special_arguments(rule))
            with source.open() as file:
                num_tokens, num_bytes = reader.count(file, source.label, threads)
    ratio = round(num_bytes / num_tokens, 4) if num_tokens else None
    return {"name": source.name, "bytes": num_bytes, "tokens": num_tokens, "bytes_per_token": ratio}


# ----------------------------------------------------------------------------------------------------------------
# explain


def explain(text: str | None, *, tokenizer: str, vocab_pattern: str | None, json: bool, quiet: bool) -> None:
    """Print every merge of every piece."""
    loaded = load(tokenizer, vocab_pattern)
    with _remedies("convert it first"):
        if text is None or text == STDIN:
            source = Source(STDIN, None, any_bytes=False)
            text = _decode(source.read(), source)
        else:
            text = _decode(_argument_bytes(text), Source("TEXT", None, any_bytes=False))
    pieces = [_explain_piece(piece, loaded) for piece in loaded.split(text)]
    if json:
        emit_json({"tokenizer": loaded.name, "text": text, "pieces": pieces})
        return
    for piece in pieces:
        emit(f"piece {piece['piece']!r}: {len(piece['start'])} bytes, {len(piece['tokens'])} tokens")
        emit(f"  {'start':>12}  {' | '.join(piece['start'])}")
        for step in piece["merges"]:
            emit(f"  {'rank ' + str(step['rank']):>12}  {' | '.join(step['tokens'])}")
        emit(f"  {'ids':>12}  {' '.join(str(token['id']) for token in piece['tokens'])}")


def _explain_piece(piece: str, tokenizer: Tokenizer) -> dict[str, Any]:
    from gpt2x.tokenizer import reference

    data = piece.encode("utf-8")
    if piece in tokenizer.added_tokens:  # which no merge makes
        whole = {"id": tokenizer.added_tokens[piece], "text": _plain(data)}
        return {"piece": piece, "start": [_plain(data)], "merges": [], "tokens": [whole]}
    steps = [
        {"rank": rank, "tokens": [_plain(token) for token in tokens]}
        for rank, tokens in reference.merge_steps(data, tokenizer.mergeable_ranks)
    ]
    ids = tokenizer.encode_piece(data)
    return {
        "piece": piece,
        "start": [_plain(data[i : i + 1]) for i in range(len(data))],
        "merges": steps,
        "tokens": [
            {"id": token, "text": _plain(tokenizer.decode_single_token_bytes(token))} for token in ids
        ],
    }


def _plain(token: bytes) -> str:
    r"""A token for people, without quotes: broken characters as ``\xe2``, a space visible as ``␣``."""
    shown = token.decode("utf-8", "backslashreplace").replace(" ", "␣")
    return shown if shown.isprintable() else repr(shown)[1:-1]


# ----------------------------------------------------------------------------------------------------------------
# Input


class Source(NamedTuple):
    """One text to work on."""

    name: str
    data: bytes | None
    """The text, where it is no file."""
    any_bytes: bool

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return _label(self.name)

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it as a binary file."""
        if self.data is not None:
            yield io.BytesIO(self.data)
        elif self.name == STDIN:
            if sys.stdin.isatty():
                say("reading standard input; end it with Ctrl-D")
            yield sys.stdin.buffer
        else:
            with open_input(self.name) as file:
                yield file

    def read(self) -> bytes:
        """All of it.

        Raises:
            InputDataError: it is damaged, or has more than is read of such a file (`paths.read_bytes`).

        """
        if self.data is None and self.name != STDIN:
            return read_bytes(self.name)
        with self.open() as file:
            return read_stream(file, self.label)


def _sources(files: list[str], text: str | None, any_bytes: bool, rule: Specials) -> list[Source]:
    if any_bytes and rule == "allow":
        raise UsageError("--bytes takes special tokens as any other bytes; leave it out, or --specials allow")
    if text is None:
        return [Source(name, None, any_bytes) for name in files or [STDIN]]
    if files:
        raise UsageError(
            f"--text and files ({quoted(', '.join(files))[1:-1]}) exclude one another; give one of them"
        )
    return [Source("--text", os.fsencode(text) if any_bytes else _argument_bytes(text), any_bytes)]


def _argument_bytes(text: str) -> bytes:
    """The bytes of an argument, where invalid UTF-8 has reached Python as halves of surrogate pairs."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other surrogates, which can come on Windows
        return text.encode("utf-8", "surrogatepass")


def _label(name: str) -> str:
    return "standard input" if name == STDIN else name


def _decode(data: bytes, source: Source) -> str:
    from gpt2x.tokenizer.utf8 import NotUtf8Error

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotUtf8Error(source.label, data[error.start], error.start) from error


def _threads(threads: int | None) -> int:
    check_threads(threads)
    return min(threads or os.cpu_count() or 1, 1 << 16)


def _id_type(tokenizer: Tokenizer, dtype: IdType | None) -> str:
    largest = tokenizer.max_token_value
    if dtype is None:
        return "uint16" if largest < 1 << 16 else "uint32"
    if dtype == "uint16" and largest >= 1 << 16:
        raise UsageError(f"--dtype uint16 cannot hold the ids of {quoted(tokenizer.name)}: take uint32")
    return dtype


def _special_arguments(rule: Specials) -> dict[str, Any]:
    arguments: dict[Specials, dict[str, Any]] = {
        "refuse": {},
        "allow": {"allowed_special": "all"},
        "text": {"disallowed_special": ()},
    }
    return arguments[rule]


@contextlib.contextmanager
def _remedies(against_bytes: str = "convert it, or take it as it is with --bytes") -> Iterator[None]:
    """Say what helps on the command line, instead of what helps in Python."""
    from gpt2x.tokenizer import DisallowedSpecialError
    from gpt2x.tokenizer.utf8 import NotUtf8Error

    try:
        yield
    except DisallowedSpecialError as error:
        raise UsageError(
            f"{error.finding}: pass --specials allow to encode it as such, or --specials text to take it as plain text"
        ) from error
    except NotUtf8Error as error:
        raise InputDataError(f"{error.finding}; {against_bytes}") from error


def load(name: str, pattern: str | None = None) -> Tokenizer:
    """Load a vocabulary; what is worth a warning (a guessed or slow pattern, another Unicode version) is said as talk.

    Raises:
        UsageError: `pattern` is none, or another one than the vocabulary's own.

    """
    from gpt2x.tokenizer import Tokenizer
    from gpt2x.tokenizer.tokenizer import OwnPatternError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            tokenizer = Tokenizer.load(name, pattern=pattern)
        except OwnPatternError as error:
            raise OwnPatternError(str(error).replace("leave pattern", "leave --pattern")) from error
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"note: {message}")
    return tokenizer


def load_each(names: list[str], pattern: str | None) -> list[Tokenizer]:
    """Load several vocabularies, of which those without a pattern of their own get this one.

    Raises:
        UsageError: all have another one of their own.

    """
    from gpt2x.tokenizer.tokenizer import OwnPatternError

    loaded = []
    refused = []
    for name in names:
        try:
            loaded.append(load(name, pattern))
        except OwnPatternError as error:
            refused.append(error)
            loaded.append(load(name))
    if names and len(refused) == len(names):
        raise refused[0]
    return loaded
