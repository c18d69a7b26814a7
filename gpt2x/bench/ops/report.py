"""What people see of `gpt2x bench ops`: a line about the machine, and a row for each case. Loads no torch."""

from __future__ import annotations

from gpt2x.bench.ops.results import NATIVE, REFERENCE, TORCH, OpsResults, OpTimes
from gpt2x.bench.stats import Spread

HEAD = (
    "operator",
    "",
    "on",
    "ms",
    "±",
    "torch ms",
    "×",
    "reference ms",
    "×",
    "rate",
    "of peak",
    "error (reference's)",
)
RIGHT = (False, False, False, *(True for _ in HEAD[3:]))


def headline(results: OpsResults) -> str:
    """The machine, its peaks, and what the letters stand for."""
    peaks = ", ".join(f"{flops / 1e9:.0f} GFLOP/s {dtype}" for dtype, flops in results.peak_flops.items())
    sizes = ", ".join(f"{letter} = {results.sizes[letter]}" for letter in "NCVHSB")
    P = results.sizes["matrices"] * 4 * results.sizes["C"] ** 2
    return (
        f"{results.device_name}, torch {results.torch}, {results.threads} threads\n"
        f"measured: {results.bandwidth / 1e9:.1f} GB/s, {peaks}\n{sizes}, P = {P / 1e6:.1f}M"
    )


def failure_lines(results: OpsResults) -> list[str]:
    """One line for each case that failed."""
    return [f"{label(f.name, f.case)} in {f.dtype} failed: {f.reason}" for f in results.failed]


def label(name: str, case: str) -> str:
    """The operator, and which part of it.

    >>> label("gemv", "int8 weight"), label("adamw_", "")
    ('gemv int8 weight', 'adamw_')
    """
    return f"{name} {case}".rstrip()


def table_rows(results: OpsResults, dtype: str) -> list[list[str]]:
    """One row a case, under `HEAD`."""
    return [_row(results, op) for op in results.operators if op.dtype == dtype]


def _row(results: OpsResults, op: OpTimes) -> list[str]:
    native, share = op.times.get(NATIVE), results.share(op)
    return [
        op.name,
        op.case,
        op.shape,
        _ms(native),
        f"{native.relative:.0%}" if native else "–",
        _ms(op.times.get(TORCH)),
        _times(op.speedup(TORCH)),
        _ms(op.times.get(REFERENCE)),
        _times(op.speedup(REFERENCE)),
        rate_text(op),
        "–" if share is None else f"{share:.0%}",
        f"{op.error:.0e} ({op.reference_error:.0e})",
    ]


def rate_text(op: OpTimes) -> str:
    """The rate with its unit.

    >>> at = Spread(median=2.0, q1=2.0, q3=2.0, count=1)
    >>> nothing = {"case": "", "dtype": "", "shape": "", "reason": "", "difference": None}
    >>> times = {"times": {"native": at}, "error": 0.0, "reference_error": 0.0}
    >>> rate_text(OpTimes(name="gemv", num_bytes=10**8, flops=None, **nothing, **times))
    '50 GB/s'
    """
    unit = "GB/s" if op.num_bytes else "GFLOP/s"
    return f"{op.rate / 1e9:.3g} {unit}" if op.rate < 1e12 else f"{op.rate / 1e9:.0f} {unit}"


def _ms(times: Spread | None) -> str:
    return "–" if times is None else f"{times.median:.3f}" if times.median < 10 else f"{times.median:.1f}"


def _times(speedup: float | None) -> str:
    return "–" if speedup is None else f"{speedup:.2f}"
