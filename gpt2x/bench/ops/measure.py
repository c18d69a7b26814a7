"""`gpt2x bench ops`: each operator of gpt2x.ops beside torch's own functions and the reference in plain torch.

Ours and the reference are first held against each other, then ours, torch's and the reference's are timed in turn (A B
C B C A …). Each has several sets of inputs and takes the next one at each turn, so that no input is in a cache when it
is read; on a GPU a large array is read in between instead. Results go where the allocator puts them. What the calls
are, and how much they must move or compute, is the table in `cases`. Loads torch when called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2x.bench import effort as shared
from gpt2x.bench.contender import Contender
from gpt2x.bench.interleave import interleave
from gpt2x.bench.ops.report import label
from gpt2x.bench.ops.results import NATIVE, REFERENCE, TORCH, Failure, OpsResults, OpTimes
from gpt2x.bench.ops.stopwatch import Stopwatch
from gpt2x.bench.stats import MS_PER_SECOND, Spread, spread
from gpt2x.errors import UsageError, quoted

if TYPE_CHECKING:
    import torch

    from gpt2x.bench.ops.cases import Call, Case, Sizes
    from gpt2x.ops.selfcheck import OpError


@dataclass(frozen=True, kw_only=True)
class Effort(shared.Effort):
    """How long to measure one case."""

    warm_up: int = 2
    min_rounds: int = 5
    rounds: int = 30
    budget_s: float = 1.5


QUICK = Effort(budget_s=0.2, min_rounds=3)


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
    from gpt2x.ops import library, selfcheck

    for kind, given, known in (("dtype", dtypes, DTYPES), ("op", names, tuple(library.OPERATORS))):
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
    clock = Stopwatch(where)
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
    case: Case, dtype: str, *, sizes: Sizes, clock: Stopwatch, error: OpError, effort: Effort
) -> OpTimes:
    from gpt2x.bench.ops.cases import DTYPES, Draw
    from gpt2x.ops import backend

    storage = DTYPES[dtype]
    status = next(s for s in backend.report(clock.device.type, storage) if s.name == case.name)
    names = [NATIVE] if status.implementation == "native" else []
    names += [TORCH] if case.in_torch else []
    names.append(REFERENCE)
    num_bytes = case.num_bytes(sizes, storage.itemsize) if case.num_bytes else None
    num_sets = clock.num_sets(num_bytes, len(names))

    def make(name: str) -> OpContender:
        draws = (Draw(clock.device, storage) for _ in range(num_sets))  # the same numbers in every set
        return OpContender(name, [case.build(sizes, draw) for draw in draws], clock)

    contenders = [make(name) for name in names]
    results = {c.name: c.first_results() for c in contenders if c.name != TORCH}
    difference = _difference(results[NATIVE], results[REFERENCE]) if NATIVE in results else None
    del results
    times = _take_turns(contenders, clock, effort)
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


class OpContender(Contender):
    """One implementation with its sets of inputs, each of them prepared for its next call."""

    def __init__(self, name: str, calls: Sequence[Call], clock: Stopwatch) -> None:
        super().__init__(name)
        self.calls, self.clock = calls, clock
        self.ready: deque[tuple[Call, Any]] = deque()

    def first_results(self) -> list[torch.Tensor]:
        """What it computes from the first set."""
        with _implementation(self.name) as ops:
            call = self.calls[0]
            return [t.detach().clone() for t in call.run(ops, call.prepare(ops))]

    def start(self) -> None:
        """Make all sets ready."""
        with _implementation(self.name) as ops:
            self.ready = deque((call, call.prepare(ops)) for call in self.calls)

    def measure(self) -> float:
        """Milliseconds of one call with the inputs that have waited longest, which are then prepared again."""
        call, prepared = self.ready.popleft()
        with _implementation(self.name) as ops:
            elapsed_ms = self.clock.time_ms(lambda: call.run(ops, prepared))
            self.ready.append((call, call.prepare(ops)))
        return elapsed_ms

    def keep(self, measured: float) -> float:
        """The same in seconds."""
        return measured / MS_PER_SECOND

    def expected_s(self) -> float:
        """Nothing: the budget of a case is used up when a round is begun, not when it will be over."""
        return 0.0


def _take_turns(contenders: Sequence[OpContender], clock: Stopwatch, effort: Effort) -> dict[str, Spread]:
    """Milliseconds of a call, by implementation; the budget is of the time in calls, warm-up among it."""
    for contender in contenders:
        contender.start()
    interleave(contenders, effort, clock=lambda: clock.spent_s, rotate=True)
    return {c.name: spread([MS_PER_SECOND * s for s in c.seconds]) for c in contenders}


@contextlib.contextmanager
def _implementation(name: str) -> Iterator[Any]:
    """The module whose functions are called."""
    from gpt2x import ops
    from gpt2x.bench.ops import torch_ops
    from gpt2x.ops import backend, reference

    if name == NATIVE:
        with backend.using("native"):
            yield ops
    else:
        yield torch_ops if name == TORCH else reference


def _difference(a: Sequence[Any], b: Sequence[Any]) -> float:
    pairs = [(x.float(), y.float()) for x, y in zip(a, b, strict=True)]
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-30)) for x, y in pairs)
