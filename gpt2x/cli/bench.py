"""`gpt2x bench`: climb the training-optimisation ladder on this machine and show what each rung buys."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from gpt2x.cli import bench_decode, bench_ops, bench_show
from gpt2x.cli.lengths import parse_seconds
from gpt2x.cli.options import Device, Json, Out, Quiet, Seed, examples
from gpt2x.console import emit, emit_json, format_table, on_terminal, progress, say
from gpt2x.errors import UsageError

if TYPE_CHECKING:
    from gpt2x.bench.bpe.encode.results import BpeResults
    from gpt2x.bench.bpe.training.results import TrainResults
    from gpt2x.bench.ladder.config import Setting
    from gpt2x.bench.ladder.launch import Launcher
    from gpt2x.bench.ladder.results import Results
    from gpt2x.bench.ladder.rungs import Rung
    from gpt2x.bench.machine import Machine

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Climb the training-optimisation ladder on this machine and show what each rung buys.",
    epilog=examples(
        "gpt2x bench",
        "gpt2x bench --rungs 1-6,fused --out before",
        "gpt2x bench --peer nanogpt --peer hf --leave-one-out --budget 15m",
        "gpt2x bench --like-playground --data tinyshakespeare.txt",
        "gpt2x bench --model gpt2 --batch 8 --seq 1024",
        "gpt2x bench compare before after",
        "gpt2x bench show before",
        "gpt2x bench explain flash",
    ),
)

HELP = {
    "model": "small, micro, mini, gpt2, gpt2-medium …; by default small on a CPU, gpt2 on a GPU.",
    "total_batch": "Tokens in one optimizer step from the accumulation rung on; 4 batches on a CPU, 524288 on a GPU.",
    "steps": "Timed steps in a round; by default what fits into 1.5 seconds, at least 2.",
    "rounds": "Rounds over all rungs, at most; by default as many as the budget allows.",
    "budget": "No round after the second is started that would end later: 90s, 4m; by default 4.5m, 1h with "
    "--like-playground.",
    "timeout": "Give up a rung that takes longer to start, or for a round; 3m, 30m with a size of your own, 6h with "
    "--like-playground.",
    "rungs": "Which rungs to climb, by number or name: 1-6,fused.",
    "rungs_file": "Rungs of your own, from a TOML file.",
    "keep_all": "Build on every sound rung, also on one that makes the step slower here.",
    "leave_one_out": "Also measure the top of the ladder without each of its rungs.",
    "ladder_peer": "Measure beside the top what others use: nanogpt, hf, lightning; may be repeated.",
    "like_playground": "The playground's setting: GPT-2 124M, batches of 8 × 1024 tokens, 524288 tokens in an "
    "accumulated step.",
    "data": "A text or csv file to learn from; by default the packaged songs.",
}

STEP_HELP = {
    "peer": "Whom to measure beside us: seed, nanogpt, nanogpt-kept, compile, hf; may be repeated; by default all.",
    "dtype": "bfloat16 or float32: the dtype of the matrix products.",
    "steps": "Timed steps in a round.",
    "rounds": "Rounds over all of them, in turn.",
    "timeout": "Give up a peer that takes longer to start, or for a round.",
}

BPE_HELP = {
    "data": "A folder or file of texts; takes the place of the built-in input of its name. May be given repeatedly.",
    "inputs": "Which texts to measure, by name: lyrics,code.",
    "peers": "Which tokenizers to measure, by name; tiktoken (with --train: tokenizers) and gpt2x always take part.",
    "train": "Measure learning a vocabulary instead of encoding.",
    "quick": "Shorter texts, fewer rounds; half a minute.",
    "out": "Also write results.json and README.md, a page with the tables, into this folder.",
}


@app.callback()
def bench(
    ctx: typer.Context,
    *,
    model: Annotated[str | None, Option(help=HELP["model"], metavar="NAME")] = None,
    batch: Annotated[int | None, Option(help="Sequences in a batch (B).", min=1, metavar="B")] = None,
    seq: Annotated[int | None, Option(help="Tokens in a sequence (T).", min=1, metavar="T")] = None,
    total_batch: Annotated[int | None, Option(help=HELP["total_batch"], min=1, metavar="N")] = None,
    steps: Annotated[int | None, Option(help=HELP["steps"], min=1, metavar="N")] = None,
    rounds: Annotated[int | None, Option(help=HELP["rounds"], min=1, metavar="N")] = None,
    budget: Annotated[str, Option(help=HELP["budget"], metavar="TIME", show_default=False)] = "",
    timeout: Annotated[str, Option(help=HELP["timeout"], metavar="TIME", show_default=False)] = "",
    rungs: Annotated[str, Option(help=HELP["rungs"], metavar="LIST")] = "all",
    rungs_file: Annotated[Path | None, Option(help=HELP["rungs_file"], metavar="FILE")] = None,
    keep_all: Annotated[bool, Option("--keep-all", help=HELP["keep_all"])] = False,
    leave_one_out: Annotated[bool, Option("--leave-one-out", help=HELP["leave_one_out"])] = False,
    peer: Annotated[list[str] | None, Option(help=HELP["ladder_peer"], metavar="NAME")] = None,
    like_playground: Annotated[bool, Option("--like-playground", help=HELP["like_playground"])] = False,
    data: Annotated[Path | None, Option(help=HELP["data"], metavar="FILE")] = None,
    device: Device = "auto",
    seed: Seed = 1,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Climb the ladder: each rung adds one optimisation to the training step of the rung before.

    Writes results.json (every sample), report.html, ladder.png and ladder.svg to bench-results/TIME, or to --out.
    """
    if ctx.invoked_subcommand is not None:
        return
    from gpt2x.bench import folder
    from gpt2x.bench.ladder import rung_file, sizing
    from gpt2x.bench.ladder import rungs as ladder
    from gpt2x.bench.step import compare as step_peers

    known = rung_file.with_rungs_of(rungs_file, ladder.RUNGS) if rungs_file else ladder.RUNGS
    chosen = ladder.select(rungs, known)
    peers = step_peers.ladder_peers(peer or [])
    kind, visible_gpu = sizing.parse_device(device)
    if like_playground:
        model, batch, seq, total_batch = sizing.like_playground(model, batch, seq, total_batch)
    budget_s = parse_seconds("--budget", budget or ("1h" if like_playground else "4.5m"))
    # A step of the size that was asked for may take minutes; one of the default size may not.
    default_timeout = (
        "6h" if like_playground else "3m" if model is None and batch is None and seq is None else "30m"
    )
    timeout_s = parse_seconds("--timeout", timeout or default_timeout)
    results_folder = out or Path("bench-results") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    folder.check(results_folder, (folder.RESULTS, *folder.PICTURES))
    asked: dict[str, Any] = {
        "model": model,
        "batch": batch,
        "seq": seq,
        "total_batch": total_batch,
        "seed": seed,
    }
    text = _Text(data, sizing.foresee(kind, visible_gpu, **asked).shape.vocab_size)
    with _termination_as_interrupt():
        machine = _look_at_machine(kind, visible_gpu)
    setting = sizing.make_setting(machine, device=kind, **asked)
    from gpt2x.bench.ladder.effort import MAX_ROUNDS, Effort
    from gpt2x.bench.ladder.results import Results

    results = Results(setting=setting, machine=machine, command=["gpt2x", *sys.argv[1:]])
    effort = Effort.within(budget_s, len(chosen), steps=steps, rounds=rounds or MAX_ROUNDS)
    more = {"ladder": known, "keep_all": keep_all, "leave_one_out": leave_one_out, "peers": peers}
    try:
        _climb(chosen, results, text, effort, more, timeout_s=timeout_s, visible_gpu=visible_gpu)
    finally:
        # Also after Ctrl-C: what is finished is kept.
        if results.measured:
            _finish(results, results_folder, as_json=as_json)


class _Text:
    """What the models learn from: read and tokenized before anything is measured, since it may be missing.

    Args:
        data: a text or csv file; None for the packaged songs.
        vocab_size: of the model that is most likely trained.

    """

    def __init__(self, data: Path | None, vocab_size: int) -> None:
        self.data, self.vocab_size = data, vocab_size
        self.found = self._read()

    def tokens(self, vocab_size: int) -> tuple[Any, str]:
        """The ids for a model with that vocabulary, and a line that says what they are."""
        if vocab_size != self.vocab_size:
            self.vocab_size = vocab_size
            self.found = self._read()
        return self.found

    def _read(self) -> tuple[Any, str]:
        from gpt2x.bench.text import token_stream

        return token_stream(self.data, self.vocab_size)


def _look_at_machine(kind: str, visible_gpu: str | None) -> Machine:
    from dataclasses import replace

    from gpt2x.bench.machine import load_average
    from gpt2x.bench.process import WorkerFailed, probe
    from gpt2x.errors import Gpt2xError

    say("looking at this machine and measuring its peak …")
    busy = load_average()
    try:
        return replace(probe(kind, visible_gpu=visible_gpu), load_average=busy)
    except WorkerFailed as failed:
        raise Gpt2xError(f"torch does not work here: {failed}") from failed


def _climb(
    chosen: list[Rung],
    results: Results,
    text: _Text,
    effort: Any,
    more: dict[str, Any],
    *,
    timeout_s: float,
    visible_gpu: str | None,
) -> None:
    """Measure, with rows on stderr as they come and a progress bar on a terminal."""
    import tempfile

    import numpy as np

    from gpt2x.bench.ladder.climb import Climb, Listener
    from gpt2x.bench.ladder.launch import Launcher
    from gpt2x.bench.ladder.report import formatting
    from gpt2x.bench.ladder.report import text as report

    tokens, results.text = text.tokens(results.setting.shape.vocab_size)
    say(f"{report.setting_line(results)}\n{results.text}; measured peak: {report.peak_line(results)}\n")
    say(report.head_line(results))

    with ExitStack() as stack:
        stack.enter_context(_termination_as_interrupt())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpt2x-bench-")))
        np.save(folder / "tokens.npy", tokens)
        launcher = stack.enter_context(
            Launcher(results.setting, folder / "tokens.npy", timeout_s=timeout_s, visible_gpu=visible_gpu)
        )
        advance = stack.enter_context(progress("climbing", total=len(chosen), unit="rungs"))

        class Screen(Listener):
            def stage(self, text: str) -> None:
                advance(0, note=text)

            def row(self, results: Results, row: Any) -> None:
                advance(1)
                say(report.row_line(results, row))

            def beside(self, results: Results, row: Any, what: str) -> None:
                say(
                    f"{what}: {formatting.format_ms(row.step.median)} ms"
                    if row.is_measured
                    else f"{what}: {row.reason}"
                )

            def round(self, number: int, of: int) -> None:
                if number == 2:
                    say("")
                say(f"round {number}, over all in turn")

        Climb(chosen, results, launcher.launch, effort=effort, listener=Screen(), **more).run()


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: keep what is finished, and leave no process behind."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # `timeout` sends it twice; the second must not stop the writing
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is interrupt:
            signal.signal(signal.SIGTERM, before)


def _finish(results: Results, folder: Path, *, as_json: bool) -> None:
    """Write the files, then print the tables, the bars, what limits the trust in them, and the sentence."""
    from gpt2x.bench.records import save

    results.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        save(results, folder / "results.json")
        written = [folder / "results.json", *bench_show.write_pictures(results, folder)]
    finally:  # a disk that is full by now does not take the figures away
        bench_show.show_results(results, as_json=as_json)
    bench_show.say_written(written)


bench_show.add_to(app)
app.command(epilog=bench_decode.EPILOG)(bench_decode.decode)
app.command(epilog=bench_ops.EPILOG)(bench_ops.ops)


@app.command(
    epilog=examples(
        "gpt2x bench step",
        "gpt2x bench step --model gpt2 --seq 64 --peer nanogpt-kept --peer compile",
        "gpt2x bench step --dtype float32 --peer nanogpt --json",
    )
)
def step(
    *,
    peer: Annotated[list[str] | None, Option(help=STEP_HELP["peer"], metavar="NAME")] = None,
    dtype: Annotated[str, Option(help=STEP_HELP["dtype"])] = "bfloat16",
    model: Annotated[str | None, Option(help=HELP["model"], metavar="NAME")] = None,
    batch: Annotated[int | None, Option(help="Sequences in a batch (B).", min=1, metavar="B")] = None,
    seq: Annotated[int | None, Option(help="Tokens in a sequence (T).", min=1, metavar="T")] = None,
    steps: Annotated[int, Option(help=STEP_HELP["steps"], min=1, metavar="N")] = 2,
    rounds: Annotated[int, Option(help=STEP_HELP["rounds"], min=1, metavar="N")] = 5,
    timeout: Annotated[str, Option(help=STEP_HELP["timeout"], metavar="TIME")] = "10m",
    data: Annotated[Path | None, Option(help=HELP["data"], metavar="FILE")] = None,
    device: Device = "auto",
    seed: Seed = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time our training step beside a plain model's, torch.compile's and transformers', in turn.

    A peer that is not installed is left out, with the reason. JSON: see docs/reference/bench.md.
    """
    from gpt2x.bench.ladder import sizing
    from gpt2x.bench.step import compare as step_peers

    contestants = step_peers.select(peer or [])
    step_peers.check_dtype(dtype)
    kind, visible_gpu = sizing.parse_device(device)
    timeout_s = parse_seconds("--timeout", timeout)
    naive = any(contestant.name == "seed" for contestant in contestants)
    asked: dict[str, Any] = {"model": model, "batch": batch, "seq": seq, "seed": seed, "naive": naive}
    text = _Text(data, sizing.foresee(kind, visible_gpu, **asked).shape.vocab_size)
    with _termination_as_interrupt():
        setting = sizing.make_setting(_look_at_machine(kind, visible_gpu), device=kind, **asked)
        with _workshop(setting, text, timeout_s=timeout_s, visible_gpu=visible_gpu) as launcher:
            found = step_peers.compare(
                contestants, setting, launcher.launch, dtype=dtype, rounds=rounds, steps=steps, stage=say
            )
    if as_json:
        emit_json(found.as_dict())
        return
    say("")
    emit(format_table(list(step_peers.HEAD), step_peers.table_rows(found), right=list(step_peers.RIGHT)))
    distance = step_peers.loss_difference(found)
    if distance is not None:
        emit(f"\nlosses after the same steps differ by at most {distance:.4f} nats")


@contextmanager
def _workshop(
    setting: Setting, text: _Text, *, timeout_s: float, visible_gpu: str | None
) -> Iterator[Launcher]:
    """Where workers are made, with the tokens that all of them see."""
    import tempfile

    import numpy as np

    from gpt2x.bench.ladder.launch import Launcher

    tokens, description = text.tokens(setting.shape.vocab_size)
    say(f"{setting.model}, B = {setting.batch}, T = {setting.seq} on {setting.device}; {description}")
    with tempfile.TemporaryDirectory(prefix="gpt2x-bench-") as name:
        np.save(Path(name) / "tokens.npy", tokens)
        with Launcher(
            setting, Path(name) / "tokens.npy", timeout_s=timeout_s, visible_gpu=visible_gpu
        ) as launcher:
            yield launcher


@app.command(
    epilog=examples(
        "gpt2x bench bpe --quick",
        "gpt2x bench bpe --peers tokenizers,gigatoken --inputs lyrics,code",
        "gpt2x bench bpe book.txt --json",
        "gpt2x bench bpe --data corpora/lyrics --data corpora/multilingual --out bench-results/bpe",
        "gpt2x bench bpe --train --quick",
        "gpt2x bench bpe --train lyrics.csv news.jsonl",
    )
)
def bpe(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Measure these texts, and no others.", metavar="[FILE]..."),
    ] = None,
    *,
    data: Annotated[
        list[Path] | None, Option(help=BPE_HELP["data"], metavar="FOLDER", show_default=False)
    ] = None,
    inputs: Annotated[str, Option(help=BPE_HELP["inputs"], metavar="LIST")] = "all",
    peers: Annotated[str, Option(help=BPE_HELP["peers"], metavar="LIST")] = "all",
    train: Annotated[bool, Option("--train", help=BPE_HELP["train"])] = False,
    quick: Annotated[bool, Option("--quick", help=BPE_HELP["quick"])] = False,
    out: Annotated[
        Path | None,
        Option("--out", "--output", "-o", help=BPE_HELP["out"], metavar="FOLDER", show_default=False),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time our tokenizer beside every other one that is installed: same vocabulary, same texts, results compared.

    The others are optional: pip install "gpt2x[bench]". JSON: as in results.json, see docs/reference/bench.md.
    """
    if files and data:
        raise UsageError(f"--data {data[0]} and the file {files[0]} exclude one another; give one kind")
    if out is not None:
        from gpt2x.bench import folder

        folder.check(out, (folder.RESULTS, folder.PAGE))
    if train:
        if inputs != "all":
            raise UsageError(f"--inputs {inputs} is for encoding; name the texts to learn from as files")
        _bench_training(files or data or (), peers, quick=quick, out=out, as_json=as_json)
    else:
        names = ",".join(map(_own_name, files)) if files and inputs == "all" else inputs
        _bench_encoding(files or data or (), names, peers, quick=quick, out=out, as_json=as_json)


def _own_name(path: Path) -> str:
    from gpt2x.bench.bpe.encode.inputs import own_name

    return own_name(path)


def _bench_encoding(
    data: Sequence[Path], inputs: str, peers: str, *, quick: bool, out: Path | None, as_json: bool
) -> None:
    from gpt2x.bench.bpe.encode import report
    from gpt2x.bench.bpe.encode.measure import QUICK, Effort
    from gpt2x.bench.bpe.encode.peers import select
    from gpt2x.bench.bpe.encode.run import bench_bpe

    measure = partial(bench_bpe, select(peers), data=data, inputs=inputs, effort=QUICK if quick else Effort())
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
        text, page = report.as_text(results), report.as_markdown(results)
        _finish_bpe(results, text, page, out, as_json=as_json)

    with _termination_as_interrupt(), _steps_on_screen() as listener:
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
