"""`gpt2x bench ops`: every operator is measured beside torch's functions, and its figures are what they say."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from gpt2x import ops
from gpt2x.bench import machine
from gpt2x.bench.ops import measure as bench
from gpt2x.bench.ops import report, stopwatch, torch_ops
from gpt2x.bench.ops.cases import CASES, DTYPES, Draw, Sizes
from gpt2x.bench.ops.results import Failure, OpsResults, OpTimes
from gpt2x.bench.ops.stopwatch import Stopwatch
from gpt2x.bench.stats import Spread
from gpt2x.cli.app import app
from gpt2x.errors import UsageError
from gpt2x.ops import backend, library, reference

TINY = {"N": 24, "C": 48, "V": 80, "H": 3, "S": 10, "B": 2, "matrices": 2}
FEW = bench.Effort(budget_s=0.0, min_rounds=2)
TINY_SIZES = Sizes(**TINY)


@pytest.fixture(autouse=True)
def _known_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roofs without the seconds that measuring them takes."""
    monkeypatch.setattr(machine, "measure_bandwidth", lambda device: 5e10)
    monkeypatch.setattr(machine, "measure_peak", lambda device: {"float32": 2e11, "bfloat16": 8e11})


def test_every_operator_is_measured_in_both_dtypes_and_equals_its_reference() -> None:
    found = bench.bench_ops("cpu", sizes=TINY, effort=FEW)
    assert not found.failed
    assert {(op.name, op.dtype) for op in found.operators} == {
        (name, dtype) for name in library.OPERATORS for dtype in DTYPES
    }
    for op in found.operators:
        allowed = 1e-5 if op.dtype == "float32" else 0.05
        assert op.difference is None or op.difference < allowed, f"{op.name} {op.case} in {op.dtype}"
        assert 0 < op.error < allowed
        assert all(times.median > 0 and times.count == FEW.min_rounds for times in op.times.values())
        assert {"reference"} < set(op.times) or not _native()


def _native() -> bool:
    return backend.report("cpu")[0].implementation == "native"


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{bench.label(case.name, case.case)} in {dtype}")
        for case in CASES
        for dtype in case.dtypes
        if case.in_torch
    ],
)
def test_torchs_own_functions_do_the_work_of_the_reference(case, dtype: str) -> None:
    def results(ops) -> list[torch.Tensor]:
        call = case.build(TINY_SIZES, Draw(torch.device("cpu"), DTYPES[dtype]))
        return [t.detach().float() for t in call.run(ops, call.prepare(ops))]

    # torch has no product of two dtypes, so its float32 x is rounded to that of the weight
    rounded = dtype == "bfloat16" or case.case == "bfloat16 weight"
    for one, other in zip(results(torch_ops), results(reference), strict=True):
        allowed = (0.03 if rounded else 1e-5) * float(other.abs().max())
        assert float((one - other).abs().max()) <= allowed


def test_a_call_starts_from_the_same_state_every_time() -> None:
    for case in CASES:
        call = case.build(TINY_SIZES, Draw(torch.device("cpu"), torch.float32))
        first = [t.detach().clone() for t in call.run(ops, call.prepare(ops))]
        again = [t.detach().clone() for t in call.run(ops, call.prepare(ops))]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), case.name


def test_the_work_is_counted_as_by_hand() -> None:
    """For N = 24, C = 48, V = 80, H = 3, S = 10, B = 2, two matrices, in bfloat16."""
    work = {
        (case.name, case.case): case.num_bytes(TINY_SIZES, 2) if case.num_bytes else case.flops(TINY_SIZES)
        for case in CASES
        if case.num_bytes or case.flops
    }
    rows = len(set(TINY_SIZES.ids.tolist()))
    assert work == {
        ("add_layer_norm", "forward"): 4 * 24 * 48 * 2,
        ("add_layer_norm", "backward"): 4 * 24 * 48 * 2,
        ("bias_gelu", "forward"): 2 * 24 * 192 * 2,
        ("bias_gelu", "backward"): 3 * 24 * 192 * 2,
        ("bias_relu2", "forward"): 2 * 24 * 192 * 2,
        ("bias_relu2", "backward"): 3 * 24 * 192 * 2,
        ("linear", "forward"): 2 * 24 * 48 * 192,
        ("linear", "backward"): 4 * 24 * 48 * 192,
        ("linear_cross_entropy", "forward"): 2 * 24 * 48 * 80,
        ("linear_cross_entropy", "both"): 6 * 24 * 48 * 80,
        ("qk_norm_rotary", "forward"): 2 * 24 * 144 * 2,
        ("qk_norm_rotary", "backward"): 8 * 24 * 48 * 2,
        ("causal_attention", "forward"): 2 * 24 * 24 * 48,
        ("causal_attention", "backward"): 4 * 24 * 24 * 48,
        ("embedding_backward_", ""): (24 + 2 * rows) * 48 * 2,
        ("adamw_", ""): 28 * 2 * 48 * 192,
        ("global_norm", ""): 2 * 48 * 192 * 2,
        ("mean_", ""): (2 + 2 + 4) * 2 * 48 * 192,
        ("gemv", "float32 weight"): 80 * 48 * 4,
        ("gemv", "bfloat16 weight"): 80 * 48 * 2,
        ("gemv", "int8 weight"): 80 * 48 + 80 * 4,
        ("decode_attention", ""): 2 * 2 * 3 * 10 * 16 * 2,
    }
    assert len(work) == len(CASES)


def test_ids_are_those_of_a_text_and_within_the_vocabulary() -> None:
    sizes = Sizes(N=20_000, V=1000)
    counts = torch.bincount(sizes.ids, minlength=1000)
    assert len(counts) == 1000
    assert counts[:10].sum() > 3 * counts[500:].sum(), "frequent ids should be as frequent as in a text"
    assert int(counts.count_nonzero()) == sizes.U


def _op(**changes) -> OpTimes:
    def at(ms: float) -> Spread:
        return Spread(median=ms, q1=ms, q3=ms, count=1)

    values = {
        "name": "gemv",
        "case": "",
        "dtype": "float32",
        "shape": "",
        "reason": "",
        "times": {"native": at(2.0), "torch": at(1.0), "reference": at(8.0)},
        "num_bytes": 50_000_000,
        "flops": None,
        "difference": 0.0,
        "error": 1e-7,
        "reference_error": 2e-7,
    }
    return OpTimes(**{**values, **changes})


def _results(*operators: OpTimes) -> OpsResults:
    return OpsResults(
        device="cpu",
        device_name="a CPU",
        threads=2,
        torch="2",
        bandwidth=5e10,
        peak_flops={"float32": 2e11},
        sizes=TINY,
        operators=list(operators),
    )


def test_a_rate_is_held_against_the_roof_of_its_kind() -> None:
    memory, arithmetic = _op(), _op(num_bytes=None, flops=200_000_000)
    without_peak = _op(num_bytes=None, flops=1, dtype="bfloat16")
    results = _results(memory, arithmetic, without_peak)
    assert (memory.rate, results.share(memory)) == (2.5e10, 0.5)
    assert (arithmetic.rate, results.share(arithmetic)) == (1e11, 0.5)
    assert results.share(without_peak) is None


def test_an_operator_that_is_slower_than_torch_is_seen_to_be() -> None:
    op = _op()
    assert (op.speedup("torch"), op.speedup("reference")) == (0.5, 4.0)
    row = dict(zip(report.HEAD[:8], report.table_rows(_results(op), "float32")[0], strict=False))
    assert row["×"] == "0.50"
    assert (row["ms"], row["torch ms"], row["reference ms"]) == ("2.000", "1.000", "8.000")


def test_without_native_operators_the_reference_has_the_rate() -> None:
    op = _op(times={"reference": _op().times["reference"]}, difference=None)
    assert (op.served, op.speedup("torch"), op.rate) == ("reference", None, 50_000_000 / 8e-3)
    assert report.table_rows(_results(op), "float32")[0][3] == "–"


def test_every_contender_takes_its_next_set_of_inputs_at_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Set:
        def __init__(self, number: int) -> None:
            self.number = number

        def prepare(self, ops) -> str:
            return f"ready {self.number}"

        def run(self, ops, prepared: str) -> list:
            seen.append((ops, prepared))
            return []

    contender = bench.OpContender("torch", [Set(0), Set(1)], Stopwatch(torch.device("cpu")))
    contender.start()
    for _ in range(4):
        assert contender.measure() >= 0
    assert seen == [(torch_ops, f"ready {number}") for number in (0, 1, 0, 1)]


def test_enough_sets_lie_between_two_calls_to_fill_the_cache_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "last_cache_bytes", lambda: 30)
    clock = Stopwatch(torch.device("cpu"))
    assert clock.num_sets(4, 3) == 6  # five others of three contenders at 4 bytes: 60
    assert clock.num_sets(1000, 3) == 1
    assert clock.num_sets(None, 3) == 1
    assert clock.num_sets(0, 1) <= stopwatch.MOST_SETS + 1


def test_one_case_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(tensors) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory left\nfor anything")

    monkeypatch.setattr(torch_ops, "global_norm", no_memory)
    found = bench.bench_ops("cpu", names=["global_norm", "gemv"], dtypes=["float32"], sizes=TINY, effort=FEW)
    assert [op.name for op in found.operators] == ["gemv"] * 3
    assert report.failure_lines(found) == ["global_norm in float32 failed: no memory left"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"names": ["gmev"]}, "--op 'gmev' is unknown; choose among adamw_, add_layer_norm"),
        ({"dtypes": ["float16"]}, "--dtype 'float16' is unknown; choose among float32, bfloat16"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
    ],
)
def test_what_is_unknown_is_refused_by_name(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench.bench_ops(**{"device": "cpu", **arguments})


def test_the_command_prints_a_table_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", FEW)
    monkeypatch.setattr("gpt2x.ops.keep_freed_memory", lambda: True)
    command = ["bench", "ops", "--device", "cpu", "--quick", "--quiet", "--rows", "8", "--vocab", "64"]
    chosen = ["--op", "gemv", "--op", "bias_gelu", "--dtype", "float32"]
    table = CliRunner().invoke(app, [*command, *chosen])
    assert table.exit_code == 0, table.output
    assert "N = 8, C = 768, V = 64" in table.stdout
    assert "measured: 50.0 GB/s, 200 GFLOP/s float32" in table.stdout
    found = json.loads(CliRunner().invoke(app, [*command, *chosen, "--json"]).stdout)
    assert (found["format"], found["schema"], found["failed"]) == ("gpt2x-bench-ops", 1, [])
    cases = [(op["name"], op["case"]) for op in found["operators"]]
    assert cases == [
        ("bias_gelu", "forward"),
        ("bias_gelu", "backward"),
        ("gemv", "float32 weight"),
        ("gemv", "bfloat16 weight"),
        ("gemv", "int8 weight"),
    ]
    for op in found["operators"]:
        roof = found["bandwidth"]
        assert op["share_of_peak"] == pytest.approx(op["rate"] / roof)
        assert op["rate"] == pytest.approx(op["num_bytes"] / op[f"{op['served']}_ms"] * 1e3)
        assert (op["torch_ms"] is None) == (op["case"] == "int8 weight")


def test_a_failed_case_is_the_commands_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = _results()
    failed.failed.append(Failure(name="gemv", case="", dtype="float32", reason="no kernel"))
    monkeypatch.setattr(bench, "bench_ops", lambda *args, **options: failed)
    monkeypatch.setattr("gpt2x.ops.keep_freed_memory", lambda: True)
    done = CliRunner().invoke(app, ["bench", "ops", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"][0]["reason"] == "no kernel"
