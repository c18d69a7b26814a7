"""``gpt2x ops``: for each fused operator, which implementation runs here, why, how exact and how fast it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2x.cli.bench_ops import show
from gpt2x.cli.options import Device, Json, Quiet, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.errors import MissingComponentError, UsageError
from gpt2x.tables import emit_table

if TYPE_CHECKING:
    from gpt2x.bench.ops.results import OpsResults

RATES_HELP = "Also measure times, and rates beside this machine's peaks; half a minute."
RATES_SIZES = {"V": 8192}  # an output layer that does not take most of the time

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    epilog=examples("gpt2x ops", "gpt2x ops --rates", "gpt2x ops --json", "GPT2X_OPS=reference gpt2x ops")
)
def ops(
    *,
    rates: Annotated[bool, typer.Option("--rates", help=RATES_HELP)] = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show which implementation of each fused operator runs here, why, and its error against float64.

    The error is the largest one over results and gradients on a small input, relative to the largest true element;
    the error of plain torch in the same dtype stands in brackets. GPT2X_OPS=auto|native|reference chooses. gpt2x
    bench ops measures speed at full size.
    """
    where = _resolve_device(device)
    timed = _measure_rates(where) if rates else None
    found = describe(where, timed)
    if json:
        emit_json(found)
        return
    dtypes = list(found["operators"][0]["errors"])
    rows = [
        [op["name"], op["implementation"], *(_errors(op["errors"][dtype]) for dtype in dtypes), op["reason"]]
        for op in found["operators"]
    ]
    emit_table(["operator", "runs", *(f"error {dtype}" for dtype in dtypes), "why"], rows)
    if timed is not None:
        emit("")
        show(timed)
    say(f"\ndevice {found['device']}, torch {found['torch']}, GPT2X_OPS={found['setting']}")


def describe(device: str, timed: OpsResults | None = None) -> dict[str, Any]:
    """What ``gpt2x ops --json`` prints.

    Args:
        device: cpu, cuda or cuda:N.
        timed: with ``--rates``, what was measured.

    """
    import torch

    from gpt2x.ops import backend, selfcheck

    errors: dict[str, dict[str, dict[str, float]]] = {}
    for error in selfcheck.measure_errors(device):
        figures = {"served": error.served, "reference": error.reference}
        errors.setdefault(error.name, {})[error.dtype] = figures
    found: dict[str, Any] = {
        "device": device,
        "torch": torch.__version__,
        "setting": backend.current_mode(),
        "operators": [
            {
                "name": status.name,
                "implementation": status.implementation,
                "reason": status.reason,
                "errors": errors[status.name],
            }
            for status in backend.report(device)
        ],
    }
    if timed is not None:
        found |= {"bandwidth": timed.bandwidth, "peak_flops": timed.peak_flops}
        for operator in found["operators"]:
            operator["rates"] = [timed.entry(op) for op in timed.operators if op.name == operator["name"]]
    return found


def _measure_rates(device: str) -> OpsResults:
    from gpt2x.bench.ops.measure import QUICK, bench_ops
    from gpt2x.ops import keep_freed_memory

    keep_freed_memory()
    say("measuring rates …")
    return bench_ops(device, sizes=RATES_SIZES, effort=QUICK)


def _resolve_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"--device {device!r} is not auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise MissingComponentError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    return device


def _errors(error: dict[str, float]) -> str:
    return f"{error['served']:.1e} ({error['reference']:.1e})"
