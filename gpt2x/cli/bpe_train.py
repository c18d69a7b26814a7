"""`gpt2x bpe train`: learn vocabularies from files, from saved counts, or from text that is on every machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.bpe_corpus import corpus_report, fill, new_corpus, parse_number
from gpt2x.cli.bpe_table import ByteOrder, Errors, Pattern
from gpt2x.cli.options import Json, Quiet, examples
from gpt2x.console import emit, emit_json, format_table, key_value_lines, progress, say
from gpt2x.errors import OutputError, UsageError

if TYPE_CHECKING:
    from gpt2x.tokenizer import Corpus, Merge, Tokenizer
    from gpt2x.tokenizer.training import Plan

SAVED_FILES = ("tokenizer.json", "vocab.tiktoken", "tokenizer_config.json")

EXAMPLES = examples(
    "gpt2x bpe train --vocab 512 book.txt",
    "gpt2x bpe train --vocab 300 --verbose book.txt",
    "gpt2x bpe train --vocab 512,8k,50k --out my-bpe *.txt news.csv.xz",
    "gpt2x bpe train --vocab 16k --continue-from bpe-8000 *.txt",
    "gpt2x bpe train --vocab 32k --counts shard-*.counts",
    "cat *.txt | gpt2x bpe train --vocab 1000 -",
)


def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="UTF-8 text files of any size, .xz and .gz too; '-' is standard input. Without any: the packaged "
            "songs and Python's own documentation (pydoc).",
            metavar="FILES",
        ),
    ] = None,
    *,
    vocab: Annotated[
        str,
        typer.Option(
            "--vocab",
            help="How many ids: 256 bytes, merges and special tokens. Several sizes, such as 512,8k,50k, come from one "
            "run.",
            metavar="N[,N…]",
        ),
    ] = "512",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the result; for several sizes what their folders' names begin with: DIR-512, DIR-8000.  "
            "[default: bpe-<vocab>]",
            metavar="DIR",
        ),
    ] = None,
    continue_from: Annotated[
        str | None,
        typer.Option(
            "--continue-from",
            help="A vocabulary whose merges come first; pattern (where its files tell it), byte order and special "
            "tokens are its own.",
            metavar="NAME|PATH",
        ),
    ] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="FILES are counts that `gpt2x bpe count-pieces` wrote.")
    ] = False,
    pattern: Annotated[
        Pattern | None, typer.Option("--pattern", help="What splits text.  [default: gpt2]")
    ] = None,
    split_lines: Annotated[
        bool,
        typer.Option(
            "--split-lines", help="Take each line as a document, as Hugging Face's trainer does with files."
        ),
    ] = False,
    byte_order: Annotated[
        ByteOrder | None,
        typer.Option(
            "--byte-order", help="Ids 0 to 255: bytes as GPT-2 numbers them, or by value.  [default: gpt2]"
        ),
    ] = None,
    min_frequency: Annotated[
        int, typer.Option("--min-frequency", min=1, help="Pairs that occur less often are not merged.")
    ] = 1,
    special: Annotated[
        list[str] | None,
        typer.Option("--special", help="A special token; may be repeated.  [default: <|endoftext|>]"),
    ] = None,
    no_special: Annotated[bool, typer.Option("--no-special", help="No special token at all.")] = False,
    errors: Annotated[
        Errors,
        typer.Option("--errors", help="Bytes that are not valid UTF-8: refuse them, or take U+FFFD instead."),
    ] = Errors.strict,
    limit_bytes: Annotated[
        str | None,
        typer.Option(
            "--limit-bytes",
            help="Read no more text than this, such as 500M, in the order of FILES.",
            metavar="N",
        ),
    ] = None,
    allow_fewer: Annotated[
        bool,
        typer.Option("--allow-fewer", help="When the text gives fewer merges, keep the smaller vocabulary."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="For counting.  [default: all]")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show each merge as it is learned.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn vocabularies and save each as tokenizer.json and vocab.tiktoken in a folder of its own."""
    from gpt2x.tokenizer.training import Plan

    if special and no_special:
        raise UsageError("--special and --no-special contradict one another; give one of them")
    sizes = [parse_number(word, "--vocab") for word in vocab.split(",")]
    base = _load(continue_from, pattern.value if pattern else None) if continue_from else None
    plan = Plan.of(
        sizes,
        pattern=pattern.value if pattern else None,
        special_tokens=[] if no_special else special or None,
        min_frequency=min_frequency,
        byte_order="raw" if byte_order is ByteOrder.raw else "gpt2" if byte_order else None,
        continue_from=base,
        allow_fewer=allow_fewer,
    )
    folders = _folders(plan.sizes, out)
    corpus = new_corpus(
        files or [],
        counts=counts,
        pattern=plan.pattern if pattern or base else None,
        split_lines=split_lines,
        errors=errors.value,
        limit_bytes=limit_bytes,
        threads=threads,
    )
    plan = dataclasses.replace(
        plan, pattern=corpus.pattern
    )  # that of the counts, where nothing else was said
    sources = fill(corpus, files or [], counts=counts)
    tokenizers = _learn(plan, corpus, [folder.name for folder in folders], verbose=verbose)
    rows = [_row(tokenizer, corpus, folder) for tokenizer, folder in zip(tokenizers, folders, strict=True)]
    for tokenizer, folder in zip(tokenizers, folders, strict=True):
        tokenizer.save(folder)
    if tokenizers[-1].n_vocab < plan.sizes[-1]:
        num_learned = plan.num_merges - (plan.sizes[-1] - tokenizers[-1].n_vocab)
        say(f"the text gave only {num_learned:,} merges instead of {plan.num_merges:,}")
    report = rows[-1] | corpus_report(corpus, sources) | {"vocabularies": rows}
    if json:
        emit_json(report)
    else:
        emit(_summary(report))


def _load(name: str, pattern: str | None) -> Tokenizer:
    from gpt2x.cli.bpe_work import load
    from gpt2x.tokenizer.tokenizer import OwnPatternError

    try:
        return load(name, pattern)
    except OwnPatternError:  # the plan says what contradicts what
        return load(name)


def _folders(sizes: Sequence[int], out: Path | None) -> list[Path]:
    """Where each vocabulary goes: one into DIR itself, several into DIR-<size>; refused before anything is learned."""
    from gpt2x.tokenizer.saving import check_folder

    if len(sizes) == 1 and out is not None:
        folders = [out]
    else:
        prefix = out or Path("bpe")
        folders = [prefix.with_name(f"{prefix.name}-{size}") for size in sizes]
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        check_folder(folder)
    return folders


def _learn(plan: Plan, corpus: Corpus, names: Sequence[str], *, verbose: bool) -> list[Tokenizer]:
    if verbose:
        return plan.learn(corpus, names, on_merge=_show_merge)
    with progress("merging", total=plan.num_merges, unit="merges") as advance:
        done = 0

        def on_progress(merges: int) -> None:
            nonlocal done
            advance(merges - done)
            done = merges

        return plan.learn(corpus, names, on_progress=on_progress)


def _show_merge(merge: Merge) -> None:
    from gpt2x.tokenizer.comparing import readable

    left, right, token = map(readable, (merge.left, merge.right, merge.token))
    say(f"merge {merge.id - 255:>6}  id {merge.id:>6}  {left} + {right} = {token}  ({merge.count:,} times)")


def _row(tokenizer: Tokenizer, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """What one vocabulary is, and what it makes of the text."""
    num_tokens = corpus.counter.count_tokens(list(tokenizer.mergeable_ranks))
    return {
        "vocab_size": tokenizer.n_vocab,
        "merges": len(tokenizer.mergeable_ranks) - 256,
        "special_tokens": dict(tokenizer.special_tokens),
        "tokens": num_tokens,
        "bytes_per_token": round(corpus.num_bytes / num_tokens, 4),
        "out": str(folder),
        "files": list(SAVED_FILES),
    }


def _summary(report: dict[str, Any]) -> str:
    text = f"{report['bytes']:,} bytes, {report['unique_pieces']:,} different pieces"
    rows = report["vocabularies"]
    if len(rows) > 1:
        columns = ["ids", "merges", "tokens", "bytes/token", "saved in"]
        cells = [
            [row["vocab_size"], row["merges"], row["tokens"], row["bytes_per_token"], f"{row['out']}/"]
            for row in rows
        ]
        return f"{key_value_lines({'text': text})}\n\n{format_table(columns, cells)}"
    specials = ", ".join(f"{text} = {token}" for text, token in report["special_tokens"].items()) or "none"
    return key_value_lines(
        {
            "vocabulary": f"{report['vocab_size']:,} ids: 256 bytes, {report['merges']:,} merges, "
            f"{len(report['special_tokens'])} special",
            "special": specials,
            "text": text,
            "tokens": f"{report['tokens']:,}, {report['bytes_per_token']:.2f} bytes each",
            "saved in": f"{report['out']}/ ({', '.join(report['files'])})",
        }
    )
