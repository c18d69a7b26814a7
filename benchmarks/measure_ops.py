"""`gpt2x bench ops` for a machine without typer: JSON on stdout, the tables as Markdown in a file.

    python benchmarks/measure_ops.py --device cuda --tables ops.md > ops.json

Needs torch and numpy alone. Fails when a case fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gpt2x.bench.ops import measure as ops
from gpt2x.bench.ops import report
from gpt2x.bench.ops.results import OpsResults
from gpt2x.boundary import exit_with_one_sentence
from gpt2x.console import say
from gpt2x.ops import keep_freed_memory
from gpt2x.tables import format_table


def main() -> int:
    """Measure; 1 when a case failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--rows", type=int, help="rows of the activations")
    parser.add_argument("--vocab", type=int, help="rows of the output layer")
    parser.add_argument("--tables", type=Path, help="where to write the tables")
    options = parser.parse_args()
    keep_freed_memory()
    sizes = {letter: size for letter, size in (("N", options.rows), ("V", options.vocab)) if size}
    effort = ops.QUICK if options.quick else ops.Effort()
    with exit_with_one_sentence():
        results = ops.bench_ops(options.device, sizes=sizes, effort=effort, stage=say)
    print(json.dumps(results.as_dict(), indent=2))
    if options.tables:
        options.tables.write_text(tables(results), encoding="utf-8")
    for line in report.failure_lines(results):
        say(line)
    return int(bool(results.failed))


def tables(results: OpsResults) -> str:
    """The machine and a table for each dtype, as Markdown."""
    text = f"# The operators\n\n```\n{report.headline(results)}\n"
    for dtype in dict.fromkeys(op.dtype for op in results.operators):
        table = format_table(report.HEAD, report.table_rows(results, dtype), right=report.RIGHT)
        text += f"\n{dtype}\n{table}\n"
    return text + "".join(f"\n{line}" for line in report.failure_lines(results)) + "```\n"


if __name__ == "__main__":
    sys.exit(main())
