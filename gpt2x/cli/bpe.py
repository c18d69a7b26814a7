"""`gpt2x bpe`: learn a byte-level BPE vocabulary, encode, decode and count with it, and see how it works."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli import bpe_train
from gpt2x.cli.options import Json, Out, Quiet, examples
from gpt2x.console import emit, emit_json, format_table, say
from gpt2x.errors import InputDataError, UsageError

if TYPE_CHECKING:
    from gpt2x.tokenizer import Tokenizer

app = typer.Typer(
    help="Learn a byte-level BPE vocabulary; encode, decode and count with one. No command here loads torch.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(name="train", epilog=bpe_train.EXAMPLES)(bpe_train.train)

STDIN = "-"


class Specials(str, Enum):
    """What to do with special tokens such as ``<|endoftext|>`` in a text."""

    refuse = "refuse"
    allow = "allow"
    text = "text"


class IdType(str, Enum):
    """How ids are stored in a binary file (little-endian)."""

    uint16 = "uint16"
    uint32 = "uint32"


Name = Annotated[
    str, typer.Option("--tokenizer", "-t", help="'gpt2', or the path of a vocabulary.", metavar="NAME|PATH")
]
Files = Annotated[
    list[str] | None, typer.Argument(help="Text files; '-' is standard input.", metavar="FILES")
]
Text = Annotated[str | None, typer.Option("--text", help="Take this text instead of files.", metavar="TEXT")]
AnyBytes = Annotated[bool, typer.Option("--bytes", help="Take the input as bytes that need not be UTF-8.")]
SpecialRule = Annotated[
    Specials,
    typer.Option(
        "--specials", help="Special tokens in the text: refuse them, allow them, or take them as text."
    ),
]
BinaryType = Annotated[
    IdType | None,
    typer.Option(
        "--dtype", help="Type of ids in a .bin file; by default the smallest that holds the vocabulary."
    ),
]


# ----------------------------------------------------------------------------------------------------------------
# encode, decode, count


@dataclass(frozen=True)
class Input:
    """One text to work on."""

    name: str
    data: bytes
    any_bytes: bool

    def ids(self, tokenizer: Tokenizer, rule: Specials) -> Any:
        """Its ids as a NumPy array."""
        import numpy as np

        if self.any_bytes:
            return np.array(tokenizer.encode_bytes(self.data), dtype=np.uint32)
        return tokenizer.encode_to_numpy(self.data.decode("utf-8"), **_special_arguments(rule))

    def count(self, tokenizer: Tokenizer, rule: Specials) -> int:
        """The number of its ids."""
        if self.any_bytes:
            return len(tokenizer.encode_bytes(self.data))
        return tokenizer.count(self.data.decode("utf-8"), **_special_arguments(rule))


def _inputs(files: list[str] | None, text: str | None, any_bytes: bool) -> Iterator[Input]:
    from gpt2x.tokenizer.encoding import to_utf8

    if text is not None:
        if files:
            raise UsageError(f"--text and files ({', '.join(files)}) exclude one another; give one of them")
        # An argument that is no UTF-8 reaches Python as surrogates; --bytes gets its bytes back.
        yield Input("--text", os.fsencode(text) if any_bytes else to_utf8(text), any_bytes)
        return
    for name in files or [STDIN]:
        data = _read_bytes(name)
        if not any_bytes:
            _check_utf8(data, name)
        yield Input(name, data, any_bytes)


def _read_bytes(name: str) -> bytes:
    from gpt2x.paths import read_bytes

    if name != STDIN:
        return read_bytes(name)
    if sys.stdin.isatty():
        say("reading standard input; end it with Ctrl-D")
    return sys.stdin.buffer.read()


def _check_utf8(data: bytes, name: str) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputDataError(
            f"{'standard input' if name == STDIN else name} is not UTF-8 text: byte 0x{data[error.start]:02x} at "
            f"offset {error.start}; convert it, or take it as it is with --bytes"
        ) from error


def _special_arguments(rule: Specials) -> dict[str, Any]:
    arguments: dict[Specials, dict[str, Any]] = {
        Specials.refuse: {},
        Specials.allow: {"allowed_special": "all"},
        Specials.text: {"disallowed_special": ()},
    }
    return arguments[rule]


@contextlib.contextmanager
def _special_remedy() -> Iterator[None]:
    """Say how the command line allows a special token, instead of how Python does."""
    from gpt2x.tokenizer import DisallowedSpecialError

    try:
        yield
    except DisallowedSpecialError as error:
        raise UsageError(
            f"the text holds the special token {error.token!r} at character {error.position}: pass --specials allow to "
            "encode it as such, or --specials text to take it as plain text"
        ) from error


def _load(name: str) -> Tokenizer:
    """Load a vocabulary; what is worth a warning (a slow pattern, another Unicode version) is said as talk."""
    from gpt2x.tokenizer import Tokenizer

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer = Tokenizer.load(name)
    for warning in caught:
        say(f"note: {warning.message}")
    return tokenizer


@app.command(
    epilog=examples(
        'gpt2x bpe encode --text "hello world"',
        "gpt2x bpe encode --tokenizer bpe-512 book.txt",
        "gpt2x bpe encode --dtype uint16 --out book.bin book.txt",
        "echo hello | gpt2x bpe encode --json",
    )
)
def encode(
    files: Files = None,
    *,
    text: Text = None,
    tokenizer: Name = "gpt2",
    specials: SpecialRule = Specials.refuse,
    any_bytes: AnyBytes = False,
    out: Out = None,
    dtype: BinaryType = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn text into ids: a line of numbers for each input, or a binary file with --out."""
    loaded = _load(tokenizer)
    if dtype is not None and out is None:
        raise UsageError("--dtype is for the binary file that --out names; give both or neither")
    kind = _id_type(loaded, dtype)
    with _special_remedy():
        encoded = [(source, source.ids(loaded, specials)) for source in _inputs(files, text, any_bytes)]
    report: dict[str, Any] = {"tokenizer": loaded.name, "n_vocab": loaded.n_vocab}
    if out is not None:
        from gpt2x.paths import atomic_write

        with atomic_write(out) as file:
            for _, ids in encoded:
                file.write(ids.astype(f"<u{kind.itemsize}").tobytes())
        report |= {"out": str(out), "dtype": kind.name}
        say(f"wrote {sum(len(ids) for _, ids in encoded):,} ids as {kind.name} to {out}")
    if json:
        report["inputs"] = [
            {"name": source.name, "bytes": len(source.data), "tokens": len(ids)}
            | ({} if out is not None else {"ids": ids.tolist()})
            for source, ids in encoded
        ]
        emit_json(report)
    elif out is None:
        for _, ids in encoded:
            emit(" ".join(map(str, ids.tolist())))


def _id_type(tokenizer: Tokenizer, dtype: IdType | None) -> Any:
    import numpy as np

    if dtype is None:
        return np.dtype("uint16" if tokenizer.max_token_value < 1 << 16 else "uint32")
    kind = np.dtype(dtype.value)
    if tokenizer.max_token_value > np.iinfo(kind).max:
        raise UsageError(f"--dtype {kind} cannot hold the ids of {tokenizer.name!r}: take uint32")
    return kind


@app.command(
    epilog=examples(
        "gpt2x bpe decode 31373 995",
        "gpt2x bpe decode --tokenizer bpe-512 ids.txt",
        "gpt2x bpe decode --dtype uint16 book.bin > book.txt",
        "gpt2x bpe encode book.txt | gpt2x bpe decode -",
    )
)
def decode(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids, or files of ids: numbers as text, or binary if the name ends in .bin; '-' is standard input.",
            metavar="IDS|FILES",
        ),
    ] = None,
    *,
    tokenizer: Name = "gpt2",
    out: Out = None,
    dtype: BinaryType = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn ids back into exactly the bytes that they stand for."""
    loaded = _load(tokenizer)
    numbers = [token for word in ids or [STDIN] for token in _read_ids(word, _id_type(loaded, dtype))]
    data = loaded.decode_bytes(numbers)
    if out is not None:
        from gpt2x.paths import atomic_write

        with atomic_write(out) as file:
            file.write(data)
    if json:
        text = data.decode("utf-8", "replace")
        report = {"tokenizer": loaded.name, "tokens": len(numbers), "bytes": len(data), "text": text}
        emit_json(report | ({"out": str(out)} if out is not None else {}))
    elif out is None:
        sys.stdout.buffer.write(data)
        if sys.stdout.isatty() and not data.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def _read_ids(word: str, kind: Any) -> list[int]:
    """The ids that one argument stands for: itself, or those in a file."""
    with contextlib.suppress(ValueError):
        return [int(word)]
    data = _read_bytes(word)
    if word.endswith(".bin"):
        import numpy as np

        if len(data) % kind.itemsize:
            raise InputDataError(
                f"{word} has {len(data)} bytes, no multiple of {kind.itemsize}: not {kind.name} ids, or cut off"
            )
        return np.frombuffer(data, dtype=f"<u{kind.itemsize}").tolist()
    numbers = []
    for item in data.split():
        try:
            numbers.append(int(item))
        except ValueError:
            shown = item[:40].decode("utf-8", "backslashreplace")
            raise InputDataError(
                f"{'standard input' if word == STDIN else word} holds {shown!r}, which is no id; give whole numbers"
            ) from None
    return numbers


@app.command(
    epilog=examples(
        "gpt2x bpe count book.txt",
        "gpt2x bpe count --tokenizer bpe-512 *.txt",
        'gpt2x bpe count --text "How many tokens is this?"',
    )
)
def count(
    files: Files = None,
    *,
    text: Text = None,
    tokenizer: Name = "gpt2",
    specials: SpecialRule = Specials.text,
    any_bytes: AnyBytes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count tokens; special tokens in the text count as text unless --specials says otherwise."""
    loaded = _load(tokenizer)
    rows: list[dict[str, Any]] = []
    with _special_remedy():
        for source in _inputs(files, text, any_bytes):
            num_tokens = source.count(loaded, specials)
            ratio = round(len(source.data) / num_tokens, 4) if num_tokens else None
            rows.append(
                {
                    "name": source.name,
                    "bytes": len(source.data),
                    "tokens": num_tokens,
                    "bytes_per_token": ratio,
                }
            )
    total = sum(row["tokens"] for row in rows)
    if json:
        emit_json({"tokenizer": loaded.name, "n_vocab": loaded.n_vocab, "inputs": rows, "tokens": total})
    elif len(rows) == 1:
        emit(str(total))
    else:
        cells = [[row["tokens"], row["bytes"], row["bytes_per_token"] or 0.0, row["name"]] for row in rows]
        emit(format_table(["tokens", "bytes", "bytes/token", "file"], cells))
        emit(f"{total} in all")


# ----------------------------------------------------------------------------------------------------------------
# explain


@app.command(
    epilog=examples('gpt2x bpe explain "tokenization"', 'gpt2x bpe explain --tokenizer bpe-512 " the café"')
)
def explain(
    text: Annotated[str, typer.Argument(help="A word or a short text.")],
    tokenizer: Name = "gpt2",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show merge by merge how a word becomes tokens."""
    loaded = _load(tokenizer)
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
