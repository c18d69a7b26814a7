"""The commands of `gpt2x bpe`: their names, arguments and options, as a table.

`bpe` makes a parser of each, which reads its line, writes its help and completes it. What a command does is in
`bpe_work`, or the module that it names, in a function of the same name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpt2x.cli.arguments import Argument, Option

Specials = Literal["refuse", "allow", "text"]
"""What to do with special tokens such as ``<|endoftext|>`` in a text."""

IdType = Literal["uint16", "uint32"]
"""How ids are stored in a binary file (little-endian)."""

Pattern = Literal["gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek"]
"""The splitting patterns that the core knows."""

ByteOrder = Literal["gpt2", "raw"]
"""Which bytes the ids 0 to 255 are."""

Errors = Literal["strict", "replace"]
"""What to do with bytes that are not valid UTF-8."""


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
        default="refuse",
    ),
    "any_bytes": Option(("--bytes",), "Take the input as bytes that need not be UTF-8.", bool, default=False),
    "out": Option(("--out", "-o"), "Where to write the result.", Path, metavar="PATH"),
    "dtype": Option(
        ("--dtype",), "Type of ids in a .bin file; by default the smallest that holds the vocabulary.", IdType
    ),
    "counts": Option(
        ("--counts",),
        "FILES are counts that `gpt2x bpe count-pieces` wrote, to be added up.",
        bool,
        default=False,
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
        default="strict",
    ),
    "limit_bytes": Option(
        ("--limit-bytes",), "Read no more text than this, such as 500M, in the order of FILES.", metavar="N"
    ),
    "limit": Option(("--limit",), "How many examples to show of each kind.", int, 10, "N"),
    "threads": Option(("--threads",), "How many threads; by default one for each core.", int, metavar="N"),
    "vocab": Option(
        ("--vocab",),
        "How many ids: 256 bytes, merges and special tokens. Several sizes, such as 512,8k,50k, come from one run.",
        default="512",
        metavar="N[,N…]",
    ),
    "folder": Option(
        ("--out", "-o"),
        "Folder for the result; for several sizes what their folders' names begin with: DIR-512, DIR-8000.  "
        "[default: bpe-<vocab>]",
        Path,
        metavar="DIR",
    ),
    "continue_from": Option(
        ("--continue-from",),
        "A vocabulary whose merges come first; pattern (where its files tell it), byte order and special tokens are "
        "its own.",
        metavar="NAME|PATH",
    ),
    "byte_order": Option(
        ("--byte-order",),
        "Ids 0 to 255: bytes as GPT-2 numbers them, or by value.  [default: gpt2]",
        ByteOrder,
    ),
    "min_frequency": Option(("--min-frequency",), "Pairs that occur less often are not merged.", int, 1, "N"),
    "special": Option(
        ("--special",),
        "A special token; may be repeated.  [default: <|endoftext|>]",
        metavar="TOKEN",
        repeated=True,
    ),
    "no_special": Option(("--no-special",), "No special token at all.", bool, default=False),
    "allow_fewer": Option(
        ("--allow-fewer",),
        "When the text gives fewer merges, keep the smaller vocabulary.",
        bool,
        default=False,
    ),
    "verbose": Option(("--verbose", "-v"), "Show each merge as it is learned.", bool, default=False),
    "json": Option(("--json",), "Print the result as JSON on stdout.", bool, default=False),
    "quiet": Option(("--quiet", "-q"), "No talk and no progress on stderr.", bool, default=False),
}

_FILES = Argument("files", "Text files; '-' is standard input.", "[FILES]...")

COMMANDS = (
    Command(
        "train",
        "Learn vocabularies from text.",
        "Learn vocabularies and save each as tokenizer.json and vocab.tiktoken in a folder of its own.",
        Argument(
            "files",
            "UTF-8 text files of any size, .xz and .gz too; '-' is standard input. Without any: the packaged songs and "
            "Python's own documentation (pydoc).",
            "[FILES]...",
        ),
        (
            *("vocab", "folder", "continue_from", "counts", "pattern", "split_lines", "byte_order"),
            *("min_frequency", "special", "no_special", "errors", "limit_bytes", "allow_fewer", "threads"),
            *("verbose", "json", "quiet"),
        ),
        (
            "gpt2x bpe train --vocab 512 book.txt",
            "gpt2x bpe train --vocab 300 --verbose book.txt",
            "gpt2x bpe train --vocab 512,8k,50k --out my-bpe *.txt news.csv.xz",
            "gpt2x bpe train --vocab 16k --continue-from bpe-8000 *.txt",
            "gpt2x bpe train --vocab 32k --counts shard-*.counts",
            "cat *.txt | gpt2x bpe train --vocab 1000 -",
        ),
        module="bpe_train",
    ),
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
            "[IDS|FILES]...",
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
        (("specials", "text"),),
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
            "words",
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
            "words", "A vocabulary, and text files to try it on; '-' is standard input.", "VOCAB [FILES]..."
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
