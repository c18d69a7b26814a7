"""The commands of `gpt2x bpe` that work with a vocabulary: their names, arguments and options, as a table.

Two readers share it: `bpe` makes typer's commands of it, with all their help, and `quick` reads a plain command line by
it without waiting for typer. What a command does is in `bpe_work`, or the module that it names, in a function of the
same name. `train` is not here: its options may be repeated, which typer reads better.
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


class Pattern(str, Enum):
    """The splitting patterns that the core knows."""

    gpt2 = "gpt2"
    cl100k = "cl100k"
    o200k = "o200k"
    llama3 = "llama3"
    qwen2 = "qwen2"
    deepseek = "deepseek"


class ByteOrder(str, Enum):
    """Which bytes the ids 0 to 255 are."""

    gpt2 = "gpt2"
    raw = "raw"


class Errors(Enum):  # no str, which has a method `replace`
    """What to do with bytes that are not valid UTF-8."""

    strict = "strict"
    replace = "replace"


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
    summary: str
    """For the list of commands, at most 45 characters."""
    help: str
    argument: Argument
    options: tuple[str, ...]
    examples: tuple[str, ...]
    defaults: tuple[tuple[str, Any], ...] = ()
    module: str = "bpe_work"
    """Where its function is, in `gpt2x.cli`."""

    @property
    def function(self) -> str:
        """The name of its function."""
        return self.name.replace("-", "_")

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
    "vocab_pattern": Option(
        ("--pattern",),
        "What splits text, where the vocabulary's own files do not tell: gpt2, cl100k, o200k, or a regular expression.",
        metavar="NAME|REGEX",
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
    "counts": Option(
        ("--counts",), "FILES are counts that this command wrote; add them up.", bool, default=False
    ),
    "pattern": Option(("--pattern",), "What splits text; gpt2 by default.", Pattern),
    "split_lines": Option(
        ("--split-lines",),
        "Take each line as a document, as Hugging Face's trainer does with files.",
        bool,
        default=False,
    ),
    "errors": Option(
        ("--errors",),
        "Bytes that are not valid UTF-8: refuse them, or take U+FFFD instead.",
        Errors,
        Errors.strict,
    ),
    "limit_bytes": Option(
        ("--limit-bytes",), "Read no more text than this, such as 500M, in the order of FILES.", metavar="N"
    ),
    "limit": Option(("--limit",), "How many examples to show of each kind.", int, 10, metavar="N"),
    "threads": Option(("--threads",), "How many threads; by default one for each core.", int, metavar="N"),
    "json": Option(("--json",), "Print the result as JSON on stdout.", bool, default=False),
    "quiet": Option(("--quiet", "-q"), "No talk and no progress on stderr.", bool, default=False),
}

_FILES = Argument("files", "Text files; '-' is standard input.", "FILES")

COMMANDS = (
    Command(
        "encode",
        "Turn text into token ids.",
        "Turn text into ids: a line of numbers for each input, or a binary file with --out.",
        _FILES,
        (
            "text",
            "tokenizer",
            "vocab_pattern",
            "specials",
            "any_bytes",
            "out",
            "dtype",
            "threads",
            "json",
            "quiet",
        ),
        (
            'gpt2x bpe encode --text "hello world"',
            "gpt2x bpe encode --tokenizer bpe-512 book.txt",
            "gpt2x bpe encode --dtype uint16 --out book.bin book.txt",
            "echo hello | gpt2x bpe encode --json",
        ),
    ),
    Command(
        "decode",
        "Turn token ids back into text.",
        "Turn ids back into exactly the bytes that they stand for.",
        Argument(
            "ids",
            "Ids, or files of ids: numbers as text, or binary if the name ends in .bin; '-' is standard input.",
            "IDS|FILES",
        ),
        ("tokenizer", "vocab_pattern", "out", "dtype", "json", "quiet"),
        (
            "gpt2x bpe decode 31373 995",
            "gpt2x bpe decode --tokenizer bpe-512 ids.txt",
            "gpt2x bpe decode --dtype uint16 book.bin > book.txt",
            "gpt2x bpe encode book.txt | gpt2x bpe decode -",
        ),
    ),
    Command(
        "count",
        "Count the tokens of text.",
        "Count tokens; special tokens in the text count as text unless --specials says otherwise.",
        _FILES,
        ("text", "tokenizer", "vocab_pattern", "specials", "any_bytes", "threads", "json", "quiet"),
        (
            "gpt2x bpe count book.txt",
            "gpt2x bpe count --tokenizer bpe-512 *.txt",
            'gpt2x bpe count --text "How many tokens is this?"',
        ),
        (("specials", Specials.text),),
    ),
    Command(
        "explain",
        "Show how a word becomes tokens.",
        "Show merge by merge how a word becomes tokens.",
        Argument("text", "A word or a short text; '-', or nothing, is standard input.", "[TEXT]", many=False),
        ("tokenizer", "vocab_pattern", "json", "quiet"),
        ('gpt2x bpe explain "tokenization"', 'gpt2x bpe explain --tokenizer bpe-512 " the café"'),
    ),
    Command(
        "count-pieces",
        "Count pieces, to learn from elsewhere.",
        "Count the pieces of some text and save the counts, for `gpt2x bpe train --counts` on any machine.",
        _FILES,
        (
            *("out", "counts", "pattern", "split_lines", "errors", "limit_bytes"),
            *("threads", "json", "quiet"),
        ),
        (
            "gpt2x bpe count-pieces shard-0.txt.xz --out shard-0.counts",
            "gpt2x bpe count-pieces --counts shard-*.counts --out all.counts",
            "gpt2x bpe train --counts --vocab 32k shard-*.counts",
        ),
        module="bpe_corpus",
    ),
    Command(
        "diff",
        "Compare two vocabularies or patterns.",
        "Show where two vocabularies or splitting patterns differ, and what that costs in tokens.",
        Argument(
            "sides",
            "Two vocabularies, or patterns such as pattern:cl100k; NAME@regex splits by the Unicode version of the "
            "`regex` package. Then a text to compare them on; '-' is standard input.",
            "A B [FILE]",
        ),
        ("vocab_pattern", "limit", "json", "quiet"),
        (
            "gpt2x bpe diff bpe-8000 bpe-16000",
            "gpt2x bpe diff gpt2 bpe-50000 book.txt",
            "gpt2x bpe diff pattern:gpt2 pattern:o200k book.txt",
            "gpt2x bpe diff gpt2 gpt2@regex book.txt",
        ),
        module="bpe_compare",
    ),
    Command(
        "stats",
        "Describe a vocabulary.",
        "Describe a vocabulary, and how it serves a text: bytes per token, unused tokens, scripts.",
        Argument(
            "words", "A vocabulary, and text files to try it on; '-' is standard input.", "VOCAB [FILES]"
        ),
        ("vocab_pattern", "limit", "threads", "json", "quiet"),
        (
            "gpt2x bpe stats bpe-8000",
            "gpt2x bpe stats gpt2 book.txt",
            "gpt2x bpe stats --json bpe-8000 *.txt",
        ),
        module="bpe_compare",
    ),
)
