"""`gpt2x classify predict`: the labels of texts by a classifier that was kept, and what decided."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gpt2x.cli.classify_options import print_result
from gpt2x.cli.options import Json, Quiet, examples
from gpt2x.console import emit_json, say
from gpt2x.errors import InputDataError, UsageError, quoted

EXAMPLES = examples(
    'gpt2x classify predict news-classifier "senate passes climate bill"',
    'gpt2x classify predict news-classifier --explain --abstain 0.8 "ten easy pasta recipes"',
    "gpt2x classify predict news-classifier --top-k 3 - < headlines.txt",
)

STDIN = "-"

MOST_WORDS = 8
"""So many words are named by --explain."""


def predict(
    folder: Annotated[Path, typer.Argument(help="A classifier that classify train kept.", metavar="FOLDER")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts; '-' or nothing reads one a line from standard input.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    *,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", metavar="K", min=1, help="How many labels to name for each text.")
    ] = 1,
    abstain: Annotated[
        float,
        typer.Option(
            "--abstain",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Name no label of a lower probability: '?' stands for it.",
        ),
    ] = 0.0,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also name the words that decided, most first (nb, linear, tfidf)."),
    ] = False,
    fields: Annotated[
        bool,
        typer.Option(
            "--fields",
            help="A tab in a text separates its fields, for a classifier trained with --input full.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name the label of each text, one line a text: the label, a tab, its probability.

    Lines of standard input end with \\n or \\r\\n and nothing else, so that each gives one line.

    JSON: {folder, model, predictions: [{text, labels: [{label, probability}], has_known_word}]}, labels by falling
    probability; with --explain also words: [{word, weight}].
    """
    from gpt2x.classify.kinds import KINDS, read_header
    from gpt2x.classify.loading import load
    from gpt2x.classify.report import one_line
    from gpt2x.data.news import FIELD_SEPARATOR

    header = read_header(folder)
    given = _texts(texts)
    classifier = load(folder)
    say(f"{folder}: {KINDS[header['kind']].title}, {len(classifier.classes_)} classes")
    asked = [text.replace("\t", FIELD_SEPARATOR) for text in given] if fields else given
    shares = classifier.predict_proba(asked)  # (N, K)
    order = (-shares).argsort(axis=1, kind="stable")[:, :top_k]
    classes = classifier.classes_.tolist()
    known = classifier.knows(asked)
    _say_unknown(given, known)
    found = [
        [(classes[k], float(row[k])) for k in ranking if row[k] >= abstain]
        for row, ranking in zip(shares, order, strict=True)
    ]
    words = [classifier.explain(text)[:MOST_WORDS] if explain else [] for text in asked]
    if as_json:
        rows = zip(given, found, known.tolist(), words, strict=True)
        emit_json(
            {
                "folder": str(folder),
                "model": header["kind"],
                "predictions": [_as_object(*row, explain=explain) for row in rows],
            }
        )
        return
    lines = []
    for labels, own in zip(found, words, strict=True):
        cells = [f"{one_line(label)}\t{share:.4f}" for label, share in labels] or ["?"]
        cells += [" ".join(f"{word}{part:+.2f}" for word, part in own)] if explain else []
        lines.append("\t".join(cells))
    print_result("\n".join(lines))


def _as_object(
    text: str, labels: list[tuple[Any, float]], known: bool, words: list[tuple[str, float]], *, explain: bool
) -> dict[str, Any]:
    """One prediction for JSON."""
    found: dict[str, Any] = {
        "text": text,
        "labels": [{"label": label, "probability": share} for label, share in labels],
        "has_known_word": known,
    }
    if explain:
        found["words"] = [{"word": word, "weight": part} for word, part in words]
    return found


def _say_unknown(texts: list[str], known: Any) -> None:
    unknown = [text for text, is_known in zip(texts, known, strict=True) if not is_known]
    if unknown:
        more = f" (and {len(unknown) - 1:,} more)" if len(unknown) > 1 else ""
        say(
            f"the text {quoted(unknown[0])}{more} has no word that the classifier knows; its label is a guess"
        )


def _texts(given: list[str] | None) -> list[str]:
    if given and STDIN not in given:
        if any("\udc80" <= character <= "\udcff" for text in given for character in text):
            raise InputDataError("a text on the command line is not UTF-8; convert it first")
        return given
    if given and len(given) > 1:
        raise UsageError("give texts or '-', not both")
    if not given and sys.stdin.isatty():
        say("reading one text a line from the keyboard; Ctrl-D ends")
    lines = split_lines(sys.stdin.buffer.read())
    if not lines:
        raise InputDataError("standard input is empty; give one text a line")
    return lines


def split_lines(data: bytes) -> list[str]:
    r"""The texts of standard input, one a line and so one line of output for each.

    Lines end with ``\n`` or ``\r\n`` and with nothing else; a byte order mark at the very beginning is dropped.

    Raises:
        InputDataError: not UTF-8.

    >>> split_lines(b"one\r\n\ntwo\x0c\xe2\x80\xa8three")
    ['one', '', 'two\x0c\u2028three']
    """
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "not UTF-8 text"
        raise InputDataError(
            f"standard input is {kind}: byte 0x{data[error.start]:02x} at offset {error.start}; convert it to UTF-8 "
            "first"
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what is behind the last line end is no line
    return [line.removesuffix("\r") for line in lines]
