"""Run every operator, forward and backward, on sizes that kernels stumble over: odd, prime, one row, many channels.

    python benchmarks/sanitize_kernels.py [--device cuda|cpu] [--op NAME]
    compute-sanitizer --tool memcheck --error-exitcode 9 python benchmarks/sanitize_kernels.py

By itself it holds the results against float64, and fails when an error is larger than twice that of plain torch in the
same dtype. Under compute-sanitizer it also shows reads and writes out of bounds (memcheck) and unordered ones
(racecheck). Needs torch and the built kernels, nothing else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from gpt2x.ops import backend, library, selfcheck
from gpt2x.ops.selfcheck import Shape

SHAPES = (
    Shape(rows=1, channels=2, vocabulary=3, padded=3),
    Shape(rows=37, channels=129, vocabulary=65, padded=65),
    Shape(rows=5, channels=768, vocabulary=1000, padded=1024),
    Shape(rows=600, channels=33, vocabulary=128, padded=129),
    Shape(rows=8, channels=1601, vocabulary=257, padded=384),
)
FLOORS = {"float32": 2e-6, "bfloat16": 2.0**-9}  # as the table in tests/ops/ops_support.py


def main() -> int:
    """Print a line for each operator, and one for each result that is too far off; 1 when there are such."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--op", action="append", choices=list(library.OPERATORS))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device; --device cpu runs the CPU kernels", file=sys.stderr)
        return 4
    wrong = 0
    served = backend.report(options.device)
    if not backend.serves(options.device, torch.float32):
        print(f"no native operators on {options.device}: {served[0].reason}", file=sys.stderr)
        return 1
    for status in served:
        if options.op is None or status.name in options.op:
            found = sum(check(options.device, status.name, shape) for shape in SHAPES)
            print(f"{status.name}: {f'{found} WRONG' if found else 'fine'}", flush=True)
            wrong += found
    return int(wrong > 0)


def check(device: str, name: str, shape: Shape) -> int:
    """How many dtypes are too far off."""
    wrong = 0
    for error in selfcheck.measure_errors(device, names=[name], shape=shape):
        allowed = 2 * error.reference + FLOORS[error.dtype]
        fine = error.served <= allowed  # not so for NaN
        wrong += not fine
        if not fine:
            print(f"{name} in {error.dtype}, {shape}: off by {error.served:.1e}, allowed are {allowed:.1e}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
