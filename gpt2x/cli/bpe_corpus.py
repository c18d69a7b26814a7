"""`gpt2x bpe count-pieces`, and the text that `gpt2x bpe train` reads. `bpe_table` says what they take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2x.console import emit, emit_json, key_value_lines, progress, say
from gpt2x.errors import InputDataError, UsageError, quoted
from gpt2x.paths import is_standard_output

if TYPE_CHECKING:
    from gpt2x.cli.bpe_table import Errors, Pattern
    from gpt2x.tokenizer import Corpus

_SCALES = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "k": 10**3, "m": 10**6, "g": 10**9}


# ----------------------------------------------------------------------------------------------------------------
# count-pieces


def count_pieces(
    files: list[str],
    *,
    out: Path | None,
    counts: bool,
    pattern: Pattern | None,
    split_lines: bool,
    errors: Errors,
    limit_bytes: str | None,
    threads: int | None,
    json: bool,
    quiet: bool,
) -> None:
    """Count the pieces of some shards and save the counts."""
    if not files:
        raise UsageError("there is nothing to count; give the files")
    if out is None:
        raise UsageError("there is no place for the counts; name a file with --out")
    check_json_has_a_place(out, json=json)
    corpus = new_corpus(
        files,
        counts=counts,
        pattern=pattern,
        split_lines=split_lines,
        errors=errors,
        limit_bytes=limit_bytes,
        threads=threads,
    )
    fill(corpus, files, counts=counts)
    if corpus.num_pieces == 0:
        raise InputDataError(
            f"there is no text in {quoted(', '.join(files))[1:-1]}; give a file that is not empty"
        )
    corpus.save_counts(out)
    report = corpus_report(corpus, files) | {"out": str(out)}
    if is_standard_output(out):
        return  # nothing may come after the counts themselves
    if json:
        emit_json(report)
    else:
        text = f"{report['bytes']:,} bytes, {report['pieces']:,} pieces, {report['unique_pieces']:,} different ones"
        emit(key_value_lines({"text": text, "saved in": str(out)}))


def corpus_report(corpus: Corpus, sources: Sequence[str]) -> dict[str, Any]:
    """What was counted, for the JSON of a command."""
    from gpt2x._bpe import unicode_version

    return {
        "sources": list(sources),
        "pattern": corpus.pattern,
        "unicode_version": unicode_version,
        "split_lines": corpus.split_lines,
        "bytes": corpus.num_bytes,
        "pieces": corpus.num_pieces,
        "unique_pieces": corpus.num_unique,
    }


# ----------------------------------------------------------------------------------------------------------------
# What train reads, too


def check_threads(threads: int | None) -> None:
    """See that ``--threads`` is a number of threads.

    Raises:
        UsageError: it is below 1.

    """
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {quoted(threads)}; give 1 or more")


def check_json_has_a_place(out: Path | None, *, json: bool) -> None:
    """See that ``--json`` and the file of ``--out`` do not come through one stdout.

    Raises:
        UsageError: they would.

    """
    if json and out is not None and is_standard_output(out):
        raise UsageError(f"--out {quoted(str(out))} is where --json goes, too; leave out one of them")


def new_corpus(
    files: Sequence[str],
    *,
    counts: bool,
    pattern: str | None,
    split_lines: bool,
    errors: Errors,
    limit_bytes: str | None,
    threads: int | None,
) -> Corpus:
    """An empty corpus with these settings; what is not said about counts is read in the first file of them.

    Raises:
        UsageError, InputDataError: a setting is wrong, or has no meaning for counts.

    """
    from gpt2x.tokenizer import Corpus

    check_threads(threads)
    if counts:
        if not files:
            raise UsageError("--counts is for files that `gpt2x bpe count-pieces` wrote; give at least one")
        if "-" in files:
            raise UsageError("--counts reads each file twice, which standard input cannot be; give files")
        if limit_bytes or errors != "strict":
            option = "--limit-bytes" if limit_bytes else "--errors"
            raise UsageError(
                f"{option} is for text, and --counts takes counts of it; say it when the text is counted"
            )
        from gpt2x.tokenizer.counts import read_summary

        summary = read_summary(files[0])
        pattern = pattern or summary.pattern
        split_lines = split_lines or summary.split_lines
    limit = parse_number(limit_bytes, "--limit-bytes") if limit_bytes else None
    return Corpus(
        pattern or "gpt2",
        split_lines=split_lines,
        errors=errors,
        limit_bytes=limit,
        num_threads=threads,
    )


def fill(corpus: Corpus, files: Sequence[str], *, counts: bool) -> list[str]:
    """Count all input, with talk and progress; return what it was, for the report."""
    from gpt2x.tokenizer.corpus import label
    from gpt2x.tokenizer.utf8 import NotUtf8Error

    if not files:
        sources = []
        for source, title, text in default_texts():
            say(f"no files given: learning from {title}")
            corpus.add_text(text)
            sources.append(source)
        return sources
    with progress("counting", total=_megabytes(files), unit="MB") as advance:
        for name in files:
            if corpus.is_full:
                say(f"{label(name)} is left out: --limit-bytes is reached")
                continue
            say(f"reading {label(name)}")
            if counts:
                corpus.add_counts(name)
                advance(_megabytes([name]) or 0)
                continue
            try:
                corpus.add_file(name, lambda num_bytes: advance(num_bytes / 1e6))
            except NotUtf8Error as error:
                raise InputDataError(
                    f"{error.finding}; convert the file to UTF-8 first, or pass --errors replace"
                ) from error
    return list(files)


def default_texts() -> Iterator[tuple[str, str, str]]:
    """Real English text that is on every machine: songs that ship with gpt2x, documentation that ships with Python.

    Yields:
        A name for the report, a title, and the text, which is another one with each version of Python.

    """
    from gpt2x.data.lyrics import read_songs, song_document

    songs = read_songs()
    yield "packaged songs", f"the {len(songs)} packaged songs", "\n\n".join(map(song_document, songs))
    with contextlib.suppress(ImportError):  # some systems leave it out of their Python
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
        yield "pydoc_data", "Python's own documentation (pydoc_data)", text


def parse_number(text: str, option: str) -> int:
    """A whole number, plainly or in thousands: 512, 8k (8,000), 8Ki (8,192), 2M, 1G.

    Raises:
        UsageError: it is none.

    >>> parse_number("8k", "--vocab"), parse_number("8Ki", "--vocab"), parse_number("50_257", "--vocab")
    (8000, 8192, 50257)
    """
    word = text.strip()
    suffix = next((suffix for suffix in _SCALES if word.lower().endswith(suffix)), "")
    try:
        return int(word[: len(word) - len(suffix)]) * _SCALES.get(suffix, 1)
    except ValueError:
        raise UsageError(
            f"{option} is {quoted(text)}; give a whole number, such as 512, 8k (8,000) or 8Ki (8,192)"
        ) from None


def _megabytes(files: Sequence[str]) -> float | None:
    """How much will be read; None where only reading would tell."""
    paths = [Path(name) for name in files]
    if any(path.suffix in (".xz", ".gz") or not path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths) / 1e6
