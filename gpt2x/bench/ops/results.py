"""What `gpt2x bench ops` found: times by implementation, and what they are held against. Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from gpt2x.bench.stats import MS_PER_SECOND, Spread

NATIVE, TORCH, REFERENCE = "native", "torch", "reference"


@dataclass(frozen=True, kw_only=True)
class OpTimes:
    """One case in one dtype: times of all implementations, and what they have to be held against."""

    name: str
    case: str
    dtype: str
    shape: str
    reason: str
    """Why it is the native one or the reference implementation that serves here."""
    times: dict[str, Spread]
    """Milliseconds, by implementation: native, torch, reference (the plain-torch implementation)."""
    num_bytes: int | None
    """The least that has to be moved; None for a case of arithmetic."""
    flops: int | None
    difference: float | None
    """The largest difference between a native result and the reference's, as a share of the largest value."""
    error: float
    """Of what serves here, against float64, on a small input (`gpt2x.ops.selfcheck`)."""
    reference_error: float
    """Of the reference in this dtype, on the same input."""

    @property
    def served(self) -> str:
        """The implementation that serves here."""
        return NATIVE if NATIVE in self.times else REFERENCE

    @property
    def rate(self) -> float:
        """Bytes or flops a second of what serves here."""
        return float(self.num_bytes or self.flops or 0) * MS_PER_SECOND / self.times[self.served].median

    def speedup(self, over: str) -> float | None:
        """How many times as fast the native one is as `over`."""
        if NATIVE not in self.times or over not in self.times:
            return None
        return self.times[over].median / self.times[NATIVE].median


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case that could not be measured."""

    name: str
    case: str
    dtype: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class OpsResults:
    """All cases, and the roofs of this machine."""

    device: str
    device_name: str
    threads: int
    torch: str
    bandwidth: float
    """Bytes a second, measured."""
    peak_flops: dict[str, float]
    """Of a matrix product, by dtype, measured."""
    sizes: dict[str, int]
    operators: list[OpTimes] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def share(self, op: OpTimes) -> float | None:
        """The rate as a share of the roof that is its own."""
        roof = self.bandwidth if op.num_bytes else self.peak_flops.get(op.dtype, 0.0)
        return op.rate / roof if roof else None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; the shape is in docs/reference/bench-ops.md."""
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            "format": "gpt2x-bench-ops",
            "schema": 1,
            **facts,
            "operators": [self.entry(op) for op in self.operators],
            "failed": [dataclasses.asdict(failure) for failure in self.failed],
        }

    def entry(self, op: OpTimes) -> dict[str, Any]:
        """One of the operators of `as_dict`."""
        entry = {f.name: getattr(op, f.name) for f in dataclasses.fields(op) if f.name != "times"}
        for name in (NATIVE, TORCH, REFERENCE):
            times = op.times.get(name)
            entry[f"{name}_ms"] = times.median if times else None
            entry[f"{name}_spread"] = times.relative if times else None
        return {
            **entry,
            "served": op.served,
            "speedup": op.speedup(REFERENCE),
            "speedup_over_torch": op.speedup(TORCH),
            "rate": op.rate,
            "share_of_peak": self.share(op),
        }
