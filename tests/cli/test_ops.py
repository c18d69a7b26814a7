"""`gpt2x ops`: what runs, why, and its measured error."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gpt2x.bench import machine
from gpt2x.bench.ops import measure as bench
from gpt2x.cli import ops as cli
from gpt2x.cli.ops import app
from gpt2x.errors import UsageError
from gpt2x.ops import library


def test_the_table_has_a_line_for_every_operator() -> None:
    done = CliRunner().invoke(app, ["--device", "cpu"])
    assert done.exit_code == 0, done.output
    for name in library.OPERATORS:
        assert name in done.output


def test_json_gives_the_errors_that_were_measured() -> None:
    done = CliRunner().invoke(app, ["--json", "--device", "cpu", "--quiet"])
    found = json.loads(done.stdout)
    assert found["device"] == "cpu"
    assert [op["name"] for op in found["operators"]] == list(library.OPERATORS)
    for op in found["operators"]:
        assert op["implementation"] in ("native", "reference")
        for dtype, largest in (("float32", 1e-5), ("bfloat16", 0.05)):
            errors = op["errors"][dtype]
            assert 0 < errors["served"] < largest
            assert errors["served"] <= 4 * errors["reference"] + 1e-6


def test_rates_are_those_of_every_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "measure_bandwidth", lambda device: 5e10)
    monkeypatch.setattr(machine, "measure_peak", lambda device: {"float32": 2e11, "bfloat16": 8e11})
    monkeypatch.setattr(bench, "QUICK", bench.Effort(budget_s=0.0, min_rounds=1))
    monkeypatch.setattr(cli, "RATES_SIZES", {"N": 8, "C": 48, "V": 64, "H": 3, "S": 8, "matrices": 1})
    monkeypatch.setattr("gpt2x.ops.keep_freed_memory", lambda: True)
    done = CliRunner().invoke(app, ["--json", "--device", "cpu", "--quiet", "--rates"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["bandwidth"] == 5e10
    for op in found["operators"]:
        assert {rate["name"] for rate in op["rates"]} == {op["name"]}
        assert {rate["dtype"] for rate in op["rates"]} == {"float32", "bfloat16"}
        assert all(rate["rate"] > 0 and rate["share_of_peak"] > 0 for rate in op["rates"])
    table = CliRunner().invoke(app, ["--device", "cpu", "--quiet", "--rates"])
    assert "measured: 50.0 GB/s, 200 GFLOP/s float32" in table.stdout


def test_an_unknown_device_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["--device", "toaster"])
    assert isinstance(done.exception, UsageError)
    assert "'toaster' is not auto, cpu, cuda or cuda:N" in str(done.exception)


@pytest.fixture(autouse=True)
def _talk_again() -> object:
    from gpt2x.console import set_quiet

    yield
    set_quiet(False)
