"""`gpt2x bench step`: our training step beside those that people know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from gpt2x.cli.bench_common import DATA, MODEL, Text, look_at_machine, termination_as_interrupt
from gpt2x.cli.lengths import parse_seconds
from gpt2x.cli.options import Device, Json, Quiet, Seed, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.tables import emit_table

if TYPE_CHECKING:
    from gpt2x.bench.ladder.config import Setting
    from gpt2x.bench.ladder.launch import Launcher
    from gpt2x.bench.step.compare import Comparison

HELP = {
    "peer": "Whom to measure beside us: naive, nanogpt, nanogpt-kept, compile, hf; may be repeated; by default all.",
    "dtype": "bfloat16 or float32: the dtype of the matrix products.",
    "steps": "Timed steps in a round.",
    "rounds": "Rounds over all of them, in turn.",
    "timeout": "Give up a peer that takes longer to start, or for a round.",
}

EPILOG = examples(
    "gpt2x bench step",
    "gpt2x bench step --model gpt2 --seq 64 --peer nanogpt-kept --peer compile",
    "gpt2x bench step --dtype float32 --peer nanogpt --json",
)


def step(
    *,
    peer: Annotated[list[str] | None, Option(help=HELP["peer"], metavar="NAME")] = None,
    dtype: Annotated[str, Option(help=HELP["dtype"])] = "bfloat16",
    model: Annotated[str | None, Option(help=MODEL, metavar="NAME")] = None,
    batch: Annotated[int | None, Option(help="Sequences in a batch (B).", min=1, metavar="B")] = None,
    seq: Annotated[int | None, Option(help="Tokens in a sequence (T).", min=1, metavar="T")] = None,
    steps: Annotated[int, Option(help=HELP["steps"], min=1, metavar="N")] = 2,
    rounds: Annotated[int, Option(help=HELP["rounds"], min=1, metavar="N")] = 5,
    timeout: Annotated[str, Option(help=HELP["timeout"], metavar="TIME")] = "10m",
    data: Annotated[Path | None, Option(help=DATA, metavar="FILE")] = None,
    device: Device = "auto",
    seed: Seed = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time our training step beside a plain model's, torch.compile's and transformers', in turn.

    A peer that is not installed is left out, with the reason. JSON: see docs/reference/bench-step.md.
    """
    from gpt2x.bench.ladder import sizing
    from gpt2x.bench.step import compare as step_peers

    contestants = step_peers.select(peer or [])
    step_peers.check_dtype(dtype)
    kind, visible_gpu = sizing.parse_device(device)
    timeout_s = parse_seconds("--timeout", timeout)
    naive = any(contestant.name == "naive" for contestant in contestants)
    asked: dict[str, Any] = {"model": model, "batch": batch, "seq": seq, "seed": seed, "naive": naive}
    text = Text(data, sizing.foresee(kind, visible_gpu, **asked).shape.vocab_size)
    with termination_as_interrupt():
        setting = sizing.make_setting(look_at_machine(kind, visible_gpu), device=kind, **asked)
        with _launcher(setting, text, timeout_s=timeout_s, visible_gpu=visible_gpu) as launcher:
            found = step_peers.compare(
                contestants, setting, launcher.launch, dtype=dtype, rounds=rounds, steps=steps, stage=say
            )
    _show(found, as_json=as_json)
    if not found.complete:
        raise KeyboardInterrupt


def _show(found: Comparison, *, as_json: bool) -> None:
    """Print the table and what belongs to it, or the JSON."""
    from gpt2x.bench.records import to_json
    from gpt2x.bench.step import compare as step_peers

    if as_json:
        emit_json(to_json(found))
        return
    say("")
    emit_table(list(step_peers.HEAD), step_peers.table_rows(found), right=list(step_peers.RIGHT))
    lines = step_peers.failures(found)
    distance = step_peers.loss_difference(found)
    if distance is not None:
        lines.append(f"losses after the same steps differ by at most {distance:.4f} nats")
    if lines:
        emit("\n" + "\n".join(lines))


@contextmanager
def _launcher(
    setting: Setting, text: Text, *, timeout_s: float, visible_gpu: str | None
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
