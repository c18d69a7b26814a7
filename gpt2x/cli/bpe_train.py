"""`gpt2x bpe train`: learn vocabularies from files, from saved counts, or from text that is on every machine.

`bpe_table` says what it takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.cli.bpe_corpus import check_threads, corpus_report, fill, new_corpus, parse_number
from gpt2x.console import emit, emit_json, key_value_lines, progress, say
from gpt2x.errors import OutputError, UsageError
from gpt2x.tables import format_table, table_width

if TYPE_CHECKING:
    from gpt2x.cli.bpe_table import ByteOrder, Errors, Pattern
    from gpt2x.tokenizer import Corpus, Merge, Tokenizer
    from gpt2x.tokenizer.training import Plan

SAVED_FILES = ("tokenizer.json", "vocab.tiktoken", "tokenizer_config.json")


def train(
    files: list[str],
    *,
    vocab: str,
    folder: Path | None,
    continue_from: str | None,
    counts: bool,
    pattern: Pattern | None,
    split_lines: bool,
    byte_order: ByteOrder | None,
    min_frequency: int,
    special: list[str] | None,
    no_special: bool,
    errors: Errors,
    limit_bytes: str | None,
    allow_fewer: bool,
    threads: int | None,
    verbose: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Learn vocabularies and save each in a folder of its own."""
    from gpt2x.tokenizer.training import Plan

    if special and no_special:
        raise UsageError("--special and --no-special contradict one another; give one of them")
    if min_frequency < 1:
        raise UsageError(f"--min-frequency is {min_frequency}; give 1 or more")
    check_threads(threads)
    sizes = [parse_number(word, "--vocab") for word in vocab.split(",")]
    base = _load(continue_from, pattern) if continue_from else None
    plan = Plan.of(
        sizes,
        pattern=pattern,
        special_tokens=[] if no_special else special or None,
        min_frequency=min_frequency,
        byte_order=byte_order,
        continue_from=base,
        allow_fewer=allow_fewer,
    )
    folders = _folders(plan.sizes, folder)
    corpus = new_corpus(
        files,
        counts=counts,
        pattern=plan.pattern if pattern or base else None,
        split_lines=split_lines,
        errors=errors,
        limit_bytes=limit_bytes,
        threads=threads,
    )
    plan = dataclasses.replace(
        plan, pattern=corpus.pattern
    )  # that of the counts, where nothing else was said
    sources = fill(corpus, files, counts=counts)
    tokenizers = _learn(plan, corpus, [place.name for place in folders], verbose=verbose)
    rows = [_row(tokenizer, corpus, place) for tokenizer, place in zip(tokenizers, folders, strict=True)]
    for tokenizer, place in zip(tokenizers, folders, strict=True):
        tokenizer.save(place)
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
        if not prefix.name:
            raise UsageError(
                f"--out {prefix} is no name that sizes can be added to; give one, such as {prefix / 'bpe'}"
            )
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
        return f"{key_value_lines({'text': text})}\n\n{format_table(columns, cells, width=table_width())}"
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
