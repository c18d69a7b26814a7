"""`gpt2x bench`: climb the training-optimisation ladder on this machine and show what each rung buys."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from gpt2x.cli import bench_bpe, bench_decode, bench_ops, bench_race, bench_show, bench_step
from gpt2x.cli.bench_common import DATA, MODEL, Text, look_at_machine, termination_as_interrupt
from gpt2x.cli.lengths import parse_seconds
from gpt2x.cli.options import Device, Json, Out, Quiet, Seed, examples
from gpt2x.console import columns, progress, say
from gpt2x.errors import Gpt2xError, UsageError

if TYPE_CHECKING:
    from gpt2x.bench.ladder.results import Results
    from gpt2x.bench.ladder.rungs import Rung

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
    "total_batch": "Tokens in one optimizer step from the accumulation rung on; 4 batches on a CPU, 524288 on a GPU.",
    "steps": "Timed steps in a round; by default what fits into 0.4 seconds, at least 2.",
    "rounds": "Rounds over all rungs, at most; by default 7, then the budget goes to the least certain pairs.",
    "budget": "No round after the second is started that would end later: 90s, 4m; by default 4.5m, 1h with "
    "--like-playground.",
    "timeout": "Give up a rung that takes longer to start, or for a round; 3m, 30m with a size of your own, 6h with "
    "--like-playground.",
    "rungs": "Which rungs to climb, by number or name: 1-6,fused.",
    "rungs_file": "Rungs of your own, from a TOML file.",
    "keep_all": "Build on every sound rung, also on one that makes the step slower here.",
    "leave_one_out": "Also measure the top of the ladder without each of its rungs.",
    "ladder_peer": "Measure beside the top what others use: nanogpt, hf, lightning; may be repeated.",
    "aa": "Instead of the ladder, measure the naive start and N rungs equal to it, and count those that are called "
    "different.",
    "like_playground": "The playground's setting: GPT-2 124M, batches of 8 × 1024 tokens, 524288 tokens in an "
    "accumulated step.",
}


@app.callback()
def bench(
    ctx: typer.Context,
    *,
    model: Annotated[str | None, Option(help=MODEL, metavar="NAME")] = None,
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
    aa: Annotated[int | None, Option("--aa", help=HELP["aa"], min=1, max=40, metavar="N")] = None,
    like_playground: Annotated[bool, Option("--like-playground", help=HELP["like_playground"])] = False,
    data: Annotated[Path | None, Option(help=DATA, metavar="FILE")] = None,
    device: Device = "auto",
    seed: Seed = 1,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Climb the ladder: each rung adds one optimisation to the training step of the rung before.

    Writes results.json (every sample), report.html and, with matplotlib, ladder.png and ladder.svg to
    bench-results/TIME, or to --out.
    """
    if ctx.invoked_subcommand is not None:
        return
    from gpt2x.bench import folder
    from gpt2x.bench.ladder import aa as equal
    from gpt2x.bench.ladder import rung_file, sizing
    from gpt2x.bench.ladder import rungs as ladder
    from gpt2x.bench.step import compare as step_peers

    known = rung_file.with_rungs_of(rungs_file, ladder.RUNGS) if rungs_file else ladder.RUNGS
    if aa is not None and (rungs_file or rungs != "all" or peer or leave_one_out):
        raise UsageError(
            "--aa measures equal rungs alone; leave out --rungs, --rungs-file, --peer and --leave-one-out"
        )
    if aa is not None:
        known = equal.equal_rungs(aa)
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
    text = Text(data, sizing.foresee(kind, visible_gpu, **asked).shape.vocab_size)
    with termination_as_interrupt():
        machine = look_at_machine(kind, visible_gpu)
    setting = sizing.make_setting(machine, device=kind, **asked)
    from gpt2x.bench.ladder.effort import MAX_ROUNDS, Effort
    from gpt2x.bench.ladder.results import Results

    results = Results(setting=setting, machine=machine, command=["gpt2x", *sys.argv[1:]])
    effort = Effort.within(
        budget_s, len(chosen), steps=steps, rounds=rounds or MAX_ROUNDS, sharpens=rounds is None
    )
    more = {"ladder": known, "keep_all": keep_all, "leave_one_out": leave_one_out, "peers": peers}
    try:
        _climb(chosen, results, text, effort, more, timeout_s=timeout_s, visible_gpu=visible_gpu)
    finally:
        # Also after Ctrl-C: what is finished is kept.
        if results.measured:
            _finish(results, results_folder, as_json=as_json)
    if not results.measured:
        raise Gpt2xError(f"no rung could be measured: {results.rows[0].title}: {results.rows[0].reason}")


def _climb(
    chosen: list[Rung],
    results: Results,
    text: Text,
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
    from gpt2x.bench.ladder.report import formatting, table
    from gpt2x.bench.ladder.report import text as report

    tokens, results.text = text.tokens(results.setting.shape.vocab_size)
    width = columns()
    for line in (
        report.setting_line(results),
        f"{results.text}; measured peak: {report.peak_line(results)}",
    ):
        say(report.wrap(line, width))
    say(f"\n{table.head_line(width)}")

    with ExitStack() as stack:
        stack.enter_context(termination_as_interrupt())
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
                say(table.row_line(results, row, width))

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
app.command(epilog=bench_race.EPILOG, short_help="Race the field's ideas to the same loss.")(bench_race.race)
app.command(epilog=bench_decode.EPILOG, short_help="Time writing token by token.")(bench_decode.decode)
app.command(epilog=bench_ops.EPILOG, short_help="Time each fused operator.")(bench_ops.ops)
app.command(epilog=bench_step.EPILOG, short_help="Time a training step beside its peers.")(bench_step.step)
app.command(epilog=bench_bpe.EPILOG, short_help="Time the tokenizer beside its peers.")(bench_bpe.bpe)
