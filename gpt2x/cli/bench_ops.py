"""`gpt2x bench ops`: every operator beside torch's own functions, with the rates that it reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Option

from gpt2x.cli.options import Device, Json, Quiet, examples
from gpt2x.console import emit, emit_json, say
from gpt2x.errors import Gpt2xError
from gpt2x.tables import format_table, table_width

if TYPE_CHECKING:
    from gpt2x.bench.ops.results import OpsResults

EPILOG = examples(
    "gpt2x bench ops",
    "gpt2x bench ops --op gemv --op decode_attention --dtype bfloat16",
    "gpt2x bench ops --quick",
    "gpt2x bench ops --device cuda --rows 65536 --json",
)
HELP = {
    "op": "Which operator to measure; may be repeated; by default all.",
    "dtype": "float32 or bfloat16; may be repeated; by default both.",
    "rows": "Rows (B × T) of the activations; by default 512 on a CPU, 16384 on a GPU.",
    "vocab": "Rows of the output layer (V); by default 50304.",
    "quick": "Fewer repetitions.",
}


def ops(
    *,
    op: Annotated[list[str] | None, Option(help=HELP["op"], metavar="NAME")] = None,
    dtype: Annotated[list[str] | None, Option(help=HELP["dtype"], metavar="DTYPE")] = None,
    rows: Annotated[int | None, Option(help=HELP["rows"], min=1, metavar="N")] = None,
    vocab: Annotated[int | None, Option(help=HELP["vocab"], min=2, metavar="V")] = None,
    quick: Annotated[bool, Option("--quick", help=HELP["quick"])] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time each operator of gpt2x.ops, forward and backward, beside torch's own functions and plain torch.

    Rates are held against the memory bandwidth and the matrix products that this machine was measured to reach. JSON:
    see docs/reference/bench-ops.md.
    """
    from gpt2x.bench.ops import measure as bench
    from gpt2x.bench.ops import report
    from gpt2x.ops import keep_freed_memory

    keep_freed_memory()  # else page faults of new results are measured, and most of all in torch's calls
    sizes = {letter: size for letter, size in (("N", rows), ("V", vocab)) if size is not None}
    results = bench.bench_ops(
        device,
        dtypes=dtype or ("float32", "bfloat16"),
        names=op or (),
        sizes=sizes,
        effort=bench.QUICK if quick else bench.Effort(),
        stage=say,
    )
    if as_json:
        emit_json(results.as_dict())
    else:
        show(results)
    if results.failed:
        raise Gpt2xError("; ".join(report.failure_lines(results)))


def show(results: OpsResults) -> None:
    """The machine and its peaks, and a table for each dtype."""
    from gpt2x.bench.ops import report

    emit(report.headline(results))
    for dtype in dict.fromkeys(op.dtype for op in results.operators):
        rows = report.table_rows(results, dtype)
        emit(f"\n{dtype}\n{format_table(report.HEAD, rows, right=report.RIGHT, width=table_width())}")
    for line in report.failure_lines(results):
        emit(line)
