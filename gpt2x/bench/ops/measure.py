"""`gpt2x bench ops`: each operator of gpt2x.ops beside torch's own functions and its plain-torch twin, with rates.

Ours and the twin are first held against each other, then ours, torch's and the twin's are timed in turn (A B C B C A
…). Each has several sets of inputs and takes the next one at each turn, so that no input is in a cache when it is read;
on a GPU a large array is read in between instead. Results go where the allocator puts them. What the calls are, and how
much they must move or compute, is the table in `ops_cases`. Loads torch when called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpt2x.bench.stats import MS_PER_SECOND, Spread, spread
from gpt2x.errors import UsageError, quoted

if TYPE_CHECKING:
    import torch

    from gpt2x.bench.ops.cases import Call, Case, Sizes
    from gpt2x.ops.selfcheck import OpError

NATIVE, TORCH, TWIN = "native", "torch", "reference"
WARM_UP = 2
GPU_SCRATCH_BYTES = (
    2**30
)  # reading it takes longer than launching any call, so that the GPU never waits for Python
MOST_SETS = 64
CPU_CACHE_BYTES = 2**25  # of the last cache, where the system does not tell of a larger one


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to measure one case."""

    seconds: float = 1.5
    """No further round is begun after this much time in calls …"""
    rounds: int = 5
    """… but there are at least this many …"""
    most_rounds: int = 30
    """… and at most so many."""


QUICK = Effort(seconds=0.2, rounds=3)


@dataclass(frozen=True, kw_only=True)
class OpTimes:
    """One case in one dtype: times of all implementations, and what they have to be held against."""

    name: str
    case: str
    dtype: str
    shape: str
    reason: str
    """Why it is the native one or the twin that serves here."""
    times: dict[str, Spread]
    """Milliseconds, by implementation: native, torch, reference (the twin)."""
    num_bytes: int | None
    """The least that has to be moved; None for a case of arithmetic."""
    flops: int | None
    difference: float | None
    """The largest difference between a result of the native one and the twin's, as a share of the largest value."""
    error: float
    """Of what serves here, against float64, on a small input (`gpt2x.ops.selfcheck`)."""
    reference_error: float
    """Of the twin in this dtype, on the same input."""

    @property
    def served(self) -> str:
        """The implementation that serves here."""
        return NATIVE if NATIVE in self.times else TWIN

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
        """For ``--json``; the shape is in docs/reference/bench.md."""
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
        for name in (NATIVE, TORCH, TWIN):
            times = op.times.get(name)
            entry[f"{name}_ms"] = times.median if times else None
            entry[f"{name}_spread"] = times.relative if times else None
        return {
            **entry,
            "served": op.served,
            "speedup": op.speedup(TWIN),
            "speedup_over_torch": op.speedup(TORCH),
            "rate": op.rate,
            "share_of_peak": self.share(op),
        }


def bench_ops(
    device: str = "auto",
    *,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    names: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    effort: Effort | None = None,
    stage: Callable[[str], None] = lambda text: None,
) -> OpsResults:
    """Measure the operators.

    Args:
        device: auto, cpu, cuda or cuda:N.
        dtypes: of float32 and bfloat16.
        names: which operators; all for none.
        sizes: what shall differ, by letter, from GPT-2 124M's with 512 rows on a CPU, 16384 on a GPU.
        effort: how long to measure.
        stage: told what happens now.

    Raises:
        UsageError: an unknown dtype, operator or device.
        MissingComponentError: the device is not here.

    """
    import torch

    from gpt2x.bench import machine
    from gpt2x.bench.ops.cases import CASES, DTYPES, GPU_SIZES, Sizes
    from gpt2x.model.device import pick_device
    from gpt2x.ops import backend, selfcheck

    for kind, given, known in (("dtype", dtypes, DTYPES), ("op", names, backend.OPERATORS)):
        for word in given:
            if word not in known:
                raise UsageError(f"--{kind} {quoted(word)} is unknown; choose among {', '.join(known)}")
    where = pick_device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    actual = dataclasses.replace(GPU_SIZES if where.type == "cuda" else Sizes(), **(sizes or {}))
    _check_memory(actual, where)
    stage("measuring the peaks of this machine")
    bandwidths, peaks = [machine.measure_bandwidth(where.type)], [machine.measure_peak(where.type)]
    errors = {
        (error.name, error.dtype): error
        for error in selfcheck.measure_errors(str(where), [DTYPES[name] for name in dtypes])
    }
    clock = _Stopwatch(where)
    operators: list[OpTimes] = []
    failed: list[Failure] = []
    for dtype, case in itertools.product(dtypes, CASES):
        if dtype not in case.dtypes or (names and case.name not in names):
            continue
        stage(f"{label(case.name, case.case)} in {dtype}")
        error = errors[case.name, dtype]
        try:
            times = _measure(case, dtype, sizes=actual, clock=clock, error=error, effort=effort or Effort())
        except RuntimeError as failure:  # no memory left, or a kernel that does not start: the others go on
            reason = str(failure).strip().split("\n")[0]
            failed.append(Failure(name=case.name, case=case.case, dtype=dtype, reason=reason))
        else:
            operators.append(times)
    with contextlib.suppress(
        RuntimeError
    ):  # once more, since a peak that others disturbed flatters every share
        bandwidths.append(machine.measure_bandwidth(where.type))
        peaks.append(machine.measure_peak(where.type))
    return OpsResults(
        device=str(where),
        device_name=_device_name(where),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        bandwidth=max(bandwidths),
        peak_flops={name: max(peak[name] for peak in peaks) for name in peaks[0]},
        sizes=dataclasses.asdict(actual),
        operators=operators,
        failed=failed,
    )


def _check_memory(sizes: Sizes, where: torch.device) -> None:
    """Refuse sizes whose largest arrays, the logits and the output layer, do not fit into the memory."""
    import torch

    from gpt2x.bench.machine import memory_bytes

    needed = 4 * max(sizes.N * sizes.V, sizes.N * 4 * sizes.C, sizes.V * sizes.C)  # one of them, in float32
    there = (
        torch.cuda.get_device_properties(where).total_memory
        if where.type == "cuda"
        else memory_bytes("MemTotal")
    )
    if there and needed > there:
        raise UsageError(
            f"--rows {sizes.N} and --vocab {sizes.V} need {needed / 1e9:.3g} GB for one array and there are "
            f"{there / 1e9:.0f} GB; choose fewer"
        )


def _device_name(where: torch.device) -> str:
    import torch

    from gpt2x.bench.machine import without_torch

    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    return without_torch().describe("cpu")


def _measure(
    case: Case, dtype: str, *, sizes: Sizes, clock: _Stopwatch, error: OpError, effort: Effort
) -> OpTimes:
    from gpt2x.bench.ops.cases import DTYPES, Draw
    from gpt2x.ops import backend

    storage = DTYPES[dtype]
    status = next(s for s in backend.report(clock.device.type, storage) if s.name == case.name)
    names = [NATIVE] if status.implementation == "native" else []
    names += [TORCH] if case.in_torch else []
    names.append(TWIN)
    num_bytes = case.num_bytes(sizes, storage.itemsize) if case.num_bytes else None
    num_sets = clock.num_sets(num_bytes, len(names))

    def make(name: str) -> _Contestant:
        draws = (Draw(clock.device, storage) for _ in range(num_sets))  # the same numbers in every set
        return _Contestant(name, [case.build(sizes, draw) for draw in draws])

    contestants = [make(name) for name in names]
    results = {c.name: c.first_results() for c in contestants if c.name != TORCH}
    difference = _difference(results[NATIVE], results[TWIN]) if NATIVE in results else None
    del results
    times = _take_turns(contestants, clock, effort)
    return OpTimes(
        name=case.name,
        case=case.case,
        dtype=dtype,
        shape=case.shape,
        reason=status.reason,
        times=times,
        num_bytes=num_bytes,
        flops=case.flops(sizes) if case.flops else None,
        difference=difference,
        error=error.served,
        reference_error=error.reference,
    )


class _Contestant:
    """One implementation with its sets of inputs, each of them prepared for its next call."""

    def __init__(self, name: str, calls: Sequence[Call]) -> None:
        self.name, self.calls = name, calls
        self.ready: deque[tuple[Call, Any]] = deque()

    def first_results(self) -> list[torch.Tensor]:
        """What it computes from the first set."""
        with _implementation(self.name) as ops:
            call = self.calls[0]
            return [t.detach().clone() for t in call.run(ops, call.prepare(ops))]

    def prepare(self) -> None:
        """Make all sets ready."""
        with _implementation(self.name) as ops:
            self.ready = deque((call, call.prepare(ops)) for call in self.calls)

    def turn(self, clock: _Stopwatch) -> float:
        """Milliseconds of one call with the inputs that have waited longest, which are then prepared again."""
        call, prepared = self.ready.popleft()
        with _implementation(self.name) as ops:
            elapsed_ms = clock.time_ms(lambda: call.run(ops, prepared))
            self.ready.append((call, call.prepare(ops)))
        return elapsed_ms


def _take_turns(contestants: Sequence[_Contestant], clock: _Stopwatch, effort: Effort) -> dict[str, Spread]:
    samples: dict[str, list[float]] = {c.name: [] for c in contestants}
    for contestant in contestants:
        contestant.prepare()
    spent_s, number = 0.0, 0
    while number < WARM_UP + effort.rounds or (
        spent_s < effort.seconds and number < WARM_UP + effort.most_rounds
    ):
        first = number % len(contestants)  # nobody always runs in the wake of the same other
        for contestant in (*contestants[first:], *contestants[:first]):
            elapsed_ms = contestant.turn(clock)
            spent_s += elapsed_ms / MS_PER_SECOND
            if number >= WARM_UP:
                samples[contestant.name].append(elapsed_ms)
        number += 1
    return {name: spread(values) for name, values in samples.items()}


@contextlib.contextmanager
def _implementation(name: str) -> Iterator[Any]:
    """The module whose functions are called."""
    from gpt2x.bench.ops import torch_ops
    from gpt2x.ops import backend, functional, reference

    if name == NATIVE:
        with backend.using("native"):
            yield functional
    else:
        yield torch_ops if name == TORCH else reference


def _difference(a: Sequence[Any], b: Sequence[Any]) -> float:
    pairs = [(x.float(), y.float()) for x, y in zip(a, b, strict=True)]
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-30)) for x, y in pairs)


class _Stopwatch:
    """Times single calls that find nothing of their inputs in a cache."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.device = device
        self.scratch = torch.ones(GPU_SCRATCH_BYTES // 4, device=device) if device.type == "cuda" else None

    def num_sets(self, num_bytes: int | None, num_contestants: int) -> int:
        """How many sets of inputs each contestant needs, so that twice the last cache lies between two calls of one.

        One for arithmetic, which hardly notices, and on a GPU, where the scratch array does it.
        """
        if num_bytes is None or self.scratch is not None:
            return 1
        return 1 + min(MOST_SETS, 2 * _last_cache_bytes() // (num_contestants * max(1, num_bytes)))

    def time_ms(self, run: Callable[[], Sequence[torch.Tensor]]) -> float:
        """Milliseconds of one call.

        On a GPU the scratch array is read before: that empties the caches, and keeps the stream busy while Python
        launches the call, so that the time between the two events is the GPU's own.
        """
        import torch

        if self.scratch is None:
            begin = time.perf_counter()
            run()
            return (time.perf_counter() - begin) * MS_PER_SECOND
        self.scratch.sum()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


def _last_cache_bytes() -> int:
    """Of the processor's last cache, or a usual size where the system does not tell."""
    try:
        return max(CPU_CACHE_BYTES, os.sysconf("SC_LEVEL3_CACHE_SIZE"))
    except (ValueError, OSError, AttributeError):  # not Linux
        return CPU_CACHE_BYTES


# ----------------------------------------------------------------------------------------------------------------
# What people see

HEAD = ("operator", "", "on", "ms", "±", "torch ms", "×", "twin ms", "×", "rate", "of peak", "error (twin's)")
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
        _ms(op.times.get(TWIN)),
        _times(op.speedup(TWIN)),
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
