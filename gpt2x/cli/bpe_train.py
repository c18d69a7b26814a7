"""`gpt2x bpe train`: learn a vocabulary from files, from standard input, or from text that is on every machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.options import Json, Quiet, examples
from gpt2x.console import emit, emit_json, key_value_lines, progress, say
from gpt2x.errors import OutputError, UsageError

if TYPE_CHECKING:
    from gpt2x._bpe import PieceCounter
    from gpt2x.tokenizer import Merge, Tokenizer

STDIN = "-"

EXAMPLES = examples(
    "gpt2x bpe train --vocab 512 book.txt",
    "gpt2x bpe train --vocab 300 --verbose book.txt",
    "gpt2x bpe train --vocab 8000 --out my-bpe *.txt news.csv.xz",
    "cat *.txt | gpt2x bpe train --vocab 1000 -",
)


def train(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="UTF-8 text files, .xz and .gz too; '-' is standard input. Without any: the packaged songs and "
            "Python's own documentation (pydoc).",
            metavar="FILES",
        ),
    ] = None,
    *,
    vocab: Annotated[
        int, typer.Option("--vocab", help="How many ids: 256 bytes, merges and special tokens.")
    ] = 512,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the result.  [default: bpe-<vocab>]", metavar="DIR"),
    ] = None,
    min_frequency: Annotated[
        int, typer.Option("--min-frequency", min=1, help="Pairs that occur less often are not merged.")
    ] = 1,
    special: Annotated[
        list[str] | None,
        typer.Option("--special", help="A special token; may be repeated.  [default: <|endoftext|>]"),
    ] = None,
    no_special: Annotated[bool, typer.Option("--no-special", help="No special token at all.")] = False,
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
    """Learn a vocabulary and save it as tokenizer.json and vocab.tiktoken."""
    from gpt2x.tokenizer import training

    if special and no_special:
        raise UsageError("--special and --no-special contradict one another; give one of them")
    specials = [] if no_special else special or [training.END_OF_TEXT]
    folder = out or Path(f"bpe-{vocab}")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder with --out")
    num_merges = training.check_sizes(vocab, specials)
    counter = training.new_counter()
    sources = _count(files or [], counter, threads or os.cpu_count() or 1)
    with progress("merging", total=num_merges, unit="merges") as advance:
        done = 0

        def on_progress(merges: int) -> None:
            nonlocal done
            advance(merges - done)
            done = merges

        show = _show_merge if verbose else None
        merges = training.learn(counter, num_merges, min_frequency, on_merge=show, on_progress=on_progress)
    tokenizer = training.finish(
        counter,
        merges,
        num_merges,
        specials,
        folder.name,
        min_frequency=min_frequency,
        allow_fewer=allow_fewer,
    )
    report = _train_report(tokenizer, counter, merges, sources, folder)
    tokenizer.save(folder)
    if len(merges) < num_merges:
        say(f"the text gave only {len(merges):,} merges instead of {num_merges:,}")
    if json:
        emit_json(report)
    else:
        emit(_train_summary(report))


def _count(files: list[str], counter: PieceCounter, threads: int) -> list[str]:
    """Count the pieces of all input; return what it was, for the report."""
    from gpt2x.tokenizer.training import read_chunks

    if not files:
        for name, text in _default_texts():
            say(f"no files given: learning from {name}")
            counter.add(text.encode("utf-8"), threads)
        return ["packaged songs", "pydoc_data"]
    sizes = [Path(name).stat().st_size for name in files if Path(name).is_file()]
    with progress("counting", total=sum(sizes) / 1e6 or None, unit="MB") as advance:
        for name in files:
            say(f"reading {'standard input' if name == STDIN else name}")
            for chunk in read_chunks(name):
                counter.add(chunk, threads)
                advance(len(chunk) / 1e6)
    return files


def _default_texts() -> Iterator[tuple[str, str]]:
    """Real English text that is on every machine: songs that ship with gpt2x, documentation that ships with Python."""
    from gpt2x.data.lyrics import read_songs, song_document

    songs = read_songs()
    yield f"the {len(songs)} packaged songs", "\n\n".join(map(song_document, songs))
    with contextlib.suppress(ImportError):  # some systems leave it out of their Python
        from pydoc_data.topics import topics

        yield "Python's own documentation (pydoc_data)", "\n\n".join(topics[name] for name in sorted(topics))


def _show_merge(merge: Merge) -> None:
    left, right, token = map(_readable, (merge.left, merge.right, merge.token))
    say(f"merge {merge.id - 255:>6}  id {merge.id:>6}  {left} + {right} = {token}  ({merge.count:,} times)")


def _train_report(
    tokenizer: Tokenizer, counter: PieceCounter, merges: list[Merge], sources: list[str], folder: Path
) -> dict[str, Any]:
    num_bytes = num_tokens = 0
    for piece, count in counter.items():
        num_bytes += count * len(piece)
        num_tokens += count * len(tokenizer.encode_piece(piece))
    return {
        "vocab_size": tokenizer.n_vocab,
        "merges": len(merges),
        "special_tokens": dict(tokenizer.special_tokens),
        "sources": sources,
        "bytes": num_bytes,
        "pieces": counter.num_pieces,
        "unique_pieces": counter.num_unique,
        "tokens": num_tokens,
        "bytes_per_token": round(num_bytes / num_tokens, 4),
        "out": str(folder),
        "files": ["tokenizer.json", "vocab.tiktoken", "tokenizer_config.json"],
    }


def _train_summary(report: dict[str, Any]) -> str:
    specials = ", ".join(f"{text} = {token}" for text, token in report["special_tokens"].items()) or "none"
    return key_value_lines(
        {
            "vocabulary": f"{report['vocab_size']:,} ids: 256 bytes, {report['merges']:,} merges, "
            f"{len(report['special_tokens'])} special",
            "special": specials,
            "text": f"{report['bytes']:,} bytes, {report['unique_pieces']:,} different pieces",
            "tokens": f"{report['tokens']:,}, {report['bytes_per_token']:.2f} bytes each",
            "saved in": f"{report['out']}/ ({', '.join(report['files'])})",
        }
    )


def _readable(token: bytes) -> str:
    """A token for people: quoted text, or quoted bytes where it is only a part of a character."""
    try:
        return repr(token.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(token)
