"""The commands of `gpt2x bpe` that work with a vocabulary: their names, arguments and options, as a table.

Two readers share it: `bpe` makes typer's commands of it, with all their help, and `quick` reads a plain command line by
it without waiting for typer. What a command does is in `bpe_work`, in a function of the same name.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple


class Specials(str, Enum):
    """What to do with special tokens such as ``<|endoftext|>`` in a text."""

    refuse = "refuse"
    allow = "allow"
    text = "text"


class IdType(str, Enum):
    """How ids are stored in a binary file (little-endian)."""

    uint16 = "uint16"
    uint32 = "uint32"


class Option(NamedTuple):
    """An option of a command."""

    names: tuple[str, ...]
    help: str
    type: type = str
    """`bool` for a flag."""
    default: Any = None
    metavar: str | None = None


class Argument(NamedTuple):
    """The words of a command that are no options."""

    name: str
    help: str
    metavar: str
    many: bool = True


class Command(NamedTuple):
    """A command; ``options`` are names in `OPTIONS`, ``defaults`` replace the defaults there."""

    name: str
    help: str
    argument: Argument
    options: tuple[str, ...]
    examples: tuple[str, ...]
    defaults: tuple[tuple[str, Any], ...] = ()

    def default(self, name: str) -> Any:
        """The value that an option has when it is not given."""
        return dict(self.defaults).get(name, OPTIONS[name].default)


OPTIONS = {
    "tokenizer": Option(
        ("--tokenizer", "-t"),
        "'gpt2' or another published encoding, or the path of a vocabulary.",
        default="gpt2",
        metavar="NAME|PATH",
    ),
    "text": Option(("--text",), "Take this text instead of files.", metavar="TEXT"),
    "specials": Option(
        ("--specials",),
        "Special tokens in the text: refuse them, allow them, or take them as text.",
        Specials,
        Specials.refuse,
    ),
    "any_bytes": Option(("--bytes",), "Take the input as bytes that need not be UTF-8.", bool, default=False),
    "out": Option(("--out", "-o"), "Where to write the result.", Path, metavar="PATH"),
    "dtype": Option(
        ("--dtype",), "Type of ids in a .bin file; by default the smallest that holds the vocabulary.", IdType
    ),
    "threads": Option(("--threads",), "How many threads; by default one for each core.", int, metavar="N"),
    "json": Option(("--json",), "Print the result as JSON on stdout.", bool, default=False),
    "quiet": Option(("--quiet", "-q"), "No talk and no progress on stderr.", bool, default=False),
}

_FILES = Argument("files", "Text files; '-' is standard input.", "FILES")

COMMANDS = (
    Command(
        "encode",
        "Turn text into ids: a line of numbers for each input, or a binary file with --out.",
        _FILES,
        ("text", "tokenizer", "specials", "any_bytes", "out", "dtype", "threads", "json", "quiet"),
        (
            'gpt2x bpe encode --text "hello world"',
            "gpt2x bpe encode --tokenizer bpe-512 book.txt",
            "gpt2x bpe encode --dtype uint16 --out book.bin book.txt",
            "echo hello | gpt2x bpe encode --json",
        ),
    ),
    Command(
        "decode",
        "Turn ids back into exactly the bytes that they stand for.",
        Argument(
            "ids",
            "Ids, or files of ids: numbers as text, or binary if the name ends in .bin; '-' is standard input.",
            "IDS|FILES",
        ),
        ("tokenizer", "out", "dtype", "json", "quiet"),
        (
            "gpt2x bpe decode 31373 995",
            "gpt2x bpe decode --tokenizer bpe-512 ids.txt",
            "gpt2x bpe decode --dtype uint16 book.bin > book.txt",
            "gpt2x bpe encode book.txt | gpt2x bpe decode -",
        ),
    ),
    Command(
        "count",
        "Count tokens; special tokens in the text count as text unless --specials says otherwise.",
        _FILES,
        ("text", "tokenizer", "specials", "any_bytes", "threads", "json", "quiet"),
        (
            "gpt2x bpe count book.txt",
            "gpt2x bpe count --tokenizer bpe-512 *.txt",
            'gpt2x bpe count --text "How many tokens is this?"',
        ),
        (("specials", Specials.text),),
    ),
    Command(
        "explain",
        "Show merge by merge how a word becomes tokens.",
        Argument("text", "A word or a short text; '-', or nothing, is standard input.", "[TEXT]", many=False),
        ("tokenizer", "json", "quiet"),
        ('gpt2x bpe explain "tokenization"', 'gpt2x bpe explain --tokenizer bpe-512 " the café"'),
    ),
)
