"""`gpt2x bench decode`: writing token by token, our ways beside the plain ones and transformers'."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from gpt2x.cli.options import Device, Json, Quiet, Seed, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.errors import Gpt2xError, MissingComponentError
from gpt2x.tables import emit_table

EPILOG = examples(
    "gpt2x bench decode",
    "gpt2x bench decode --model gpt2-medium --prompt 512 --tokens 64",
    "gpt2x bench decode --peer hf --rounds 9 --json",
)
HELP = {
    "peer": "Whom to measure beside us: plain, naive, hf, ct2, ct2-int8; may be repeated; by default all.",
    "model": "small, micro, mini, gpt2, gpt2-medium …; its weights are random.",
    "prompt": "Tokens of the prompt.",
    "tokens": "Tokens to write after it.",
    "rounds": "Rounds over all of them, in turn.",
    "timeout": "Give up one that takes longer to start, or for a round.",
}


def decode(
    *,
    peer: Annotated[list[str] | None, Option(help=HELP["peer"], metavar="NAME")] = None,
    model: Annotated[str, Option(help=HELP["model"], metavar="NAME")] = "gpt2",
    prompt: Annotated[int, Option(help=HELP["prompt"], metavar="N")] = 64,
    tokens: Annotated[int, Option(help=HELP["tokens"], metavar="N")] = 32,
    rounds: Annotated[int, Option(help=HELP["rounds"], min=1, metavar="N")] = 5,
    timeout: Annotated[str, Option(help=HELP["timeout"], metavar="TIME")] = "5m",
    device: Device = "auto",
    seed: Seed = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time writing token by token: float32, bfloat16 and int8 weights, a plain model, and transformers' generate.

    A peer that is not installed is left out, with the reason. JSON: see docs/reference/bench-decode.md.
    """
    from gpt2x.bench.decode import compare as bench
    from gpt2x.bench.decode import report
    from gpt2x.bench.ladder.sizing import parse_device, shape_of
    from gpt2x.bench.machine import foreseen, without_torch
    from gpt2x.bench.process import WorkerFailed
    from gpt2x.cli.lengths import parse_seconds

    kind, visible_gpu = parse_device(device)
    ways = bench.select(peer or [])
    setting = bench.DecodeSetting(
        model=model, shape=shape_of(model), device=kind, prompt=prompt, tokens=tokens, seed=seed
    )
    timeout_s = parse_seconds("--timeout", timeout)
    if kind == "cuda" and not foreseen(kind, visible_gpu).gpus:
        raise MissingComponentError(
            f"--device {device} needs an NVIDIA GPU and a torch that finds it; use --device cpu"
        )
    try:
        with bench.processes(timeout_s=timeout_s, visible_gpu=visible_gpu) as launch:
            found = bench.compare(ways, setting, launch, without_torch(), rounds=rounds, stage=say)
    except WorkerFailed as failed:
        raise Gpt2xError(f"torch does not work here: {failed}") from failed
    if as_json:
        emit_json(found.as_dict())
    else:
        emit("\n".join(report.sentences(found)) + "\n")
        emit_table(list(report.HEAD), report.table_rows(found), right=list(report.RIGHT))
    if not found.complete:
        raise KeyboardInterrupt
