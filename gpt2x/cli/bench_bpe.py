"""`gpt2x bench bpe`: our tokenizer beside every other one that is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from gpt2x.cli.bench_common import termination_as_interrupt
from gpt2x.cli.options import Json, Quiet, examples
from gpt2x.console import emit, emit_json, on_terminal, progress, say
from gpt2x.errors import UsageError
from gpt2x.tables import table_width

if TYPE_CHECKING:
    from gpt2x.bench.bpe.encode.results import BpeResults
    from gpt2x.bench.bpe.training.results import TrainResults

HELP = {
    "data": "A folder or file of texts; takes the place of the built-in input of its name. May be given repeatedly.",
    "inputs": "Which texts to measure, by name: lyrics,code.",
    "peers": "Which tokenizers to measure, by name; tiktoken (with --train: tokenizers) and gpt2x always take part.",
    "floor": "Also encode the documents of this file of JSON lines one at a time, each with a new tokenizer, and say "
    "which is slowest.",
    "train": "Measure learning a vocabulary instead of encoding.",
    "quick": "Shorter texts, fewer rounds; half a minute.",
    "out": "Also write results.json and README.md, a page with the tables, into this folder.",
}

EPILOG = examples(
    "gpt2x bench bpe --quick",
    "gpt2x bench bpe --peers tokenizers,gigatoken --inputs lyrics,code",
    "gpt2x bench bpe book.txt --json",
    "gpt2x bench bpe --data corpora/lyrics --data corpora/multilingual --out bench-results/bpe",
    "gpt2x bench bpe --train --quick",
    "gpt2x bench bpe --train lyrics.csv news.jsonl",
)


def bpe(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Measure these texts, and no others.", metavar="[FILE]..."),
    ] = None,
    *,
    data: Annotated[
        list[Path] | None, Option(help=HELP["data"], metavar="FOLDER", show_default=False)
    ] = None,
    inputs: Annotated[str, Option(help=HELP["inputs"], metavar="LIST")] = "all",
    peers: Annotated[str, Option(help=HELP["peers"], metavar="LIST")] = "all",
    floor: Annotated[Path | None, Option(help=HELP["floor"], metavar="FILE", show_default=False)] = None,
    train: Annotated[bool, Option("--train", help=HELP["train"])] = False,
    quick: Annotated[bool, Option("--quick", help=HELP["quick"])] = False,
    out: Annotated[
        Path | None,
        Option("--out", "--output", "-o", help=HELP["out"], metavar="FOLDER", show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time our tokenizer beside every other one that is installed: same vocabulary, same texts, results compared.

    The others are optional: pip install "gpt2x[bench]". JSON: as in results.json, see docs/reference/bench-bpe.md.
    """
    if files and data:
        raise UsageError(f"--data {data[0]} and the file {files[0]} exclude one another; give one kind")
    if out is not None:
        from gpt2x.bench import folder

        folder.check(out, (folder.RESULTS, folder.PAGE))
    if train:
        if inputs != "all":
            raise UsageError(f"--inputs {inputs} is for encoding; name the texts to learn from as files")
        if floor is not None:
            raise UsageError(f"--floor {floor} is for encoding; leave it out with --train")
        _bench_training(files or data or (), peers, quick=quick, out=out, as_json=as_json)
    else:
        names = ",".join(map(_own_name, files)) if files and inputs == "all" else inputs
        _bench_encoding(files or data or (), names, peers, floor=floor, quick=quick, out=out, as_json=as_json)


def _own_name(path: Path) -> str:
    from gpt2x.bench.bpe.encode.inputs import own_name

    return own_name(path)


def _bench_encoding(
    data: Sequence[Path],
    inputs: str,
    peers: str,
    *,
    floor: Path | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    from gpt2x.bench.bpe.encode import report
    from gpt2x.bench.bpe.encode.measure import QUICK, Effort
    from gpt2x.bench.bpe.encode.peers import select
    from gpt2x.bench.bpe.encode.run import bench_bpe

    effort = QUICK if quick else Effort()
    measure = partial(bench_bpe, select(peers), data=data, inputs=inputs, effort=effort, floor=floor)
    _run_bpe(measure, report, out, as_json=as_json)


def _bench_training(
    data: Sequence[Path], peers: str, *, quick: bool, out: Path | None, as_json: bool
) -> None:
    from gpt2x.bench.bpe.training import report
    from gpt2x.bench.bpe.training.measure import QUICK, Effort, bench_training
    from gpt2x.bench.bpe.training.trainers import select

    measure = partial(bench_training, select(peers), data=data, effort=QUICK if quick else Effort())
    _run_bpe(measure, report, out, as_json=as_json)


def _run_bpe(measure: Callable[..., Any], report: Any, out: Path | None, *, as_json: bool) -> None:
    """Measure with progress on the screen; show and write with `report`, the module for this kind of results."""

    def finish(results: BpeResults | TrainResults) -> None:
        text, page = report.as_text(results, table_width()), report.as_markdown(results)
        _finish_bpe(results, text, page, out, as_json=as_json)

    with termination_as_interrupt(), _steps_on_screen() as listener:
        measure(command=["gpt2x", *sys.argv[1:]], listener=listener, show=finish)


@contextmanager
def _steps_on_screen() -> Iterator[Any]:
    """Show on a terminal what is measured now; elsewhere one line for each text."""
    from gpt2x.bench.interleave import Listener

    with progress("measuring", unit="steps") as advance:

        class Screen(Listener):
            said = ""

            def stage(self, text: str) -> None:
                advance(1, note=text)
                head = text.partition(":")[0]
                if not on_terminal() and head != self.said:
                    say(f"{head} …")
                    self.said = head

        yield Screen()


def _finish_bpe(
    results: BpeResults | TrainResults, text: str, page: str, folder: Path | None, *, as_json: bool
) -> None:
    """Write the files, then print the tables."""
    from gpt2x.bench.records import save, to_json
    from gpt2x.paths import atomic_write

    try:
        if folder is not None:
            save(results, folder / "results.json")
            with atomic_write(folder / "README.md", text=True) as file:
                file.write(page)
    finally:  # a disk that is full by now does not take the figures away
        if as_json:
            emit_json(to_json(results))
        else:
            emit(text)
    if folder is not None:
        say(f"\nwritten: {folder / 'results.json'}, {folder / 'README.md'}")
