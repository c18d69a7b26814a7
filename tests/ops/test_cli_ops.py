"""`gpt2x ops`: what runs, why, and its measured error."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gpt2x.cli.ops import app
from gpt2x.errors import UsageError
from gpt2x.ops import backend


def test_the_table_has_a_line_for_every_operator() -> None:
    done = CliRunner().invoke(app, ["--device", "cpu"])
    assert done.exit_code == 0, done.output
    for name in backend.OPERATORS:
        assert name in done.output


def test_json_gives_the_errors_that_were_measured() -> None:
    done = CliRunner().invoke(app, ["--json", "--device", "cpu", "--quiet"])
    found = json.loads(done.stdout)
    assert found["device"] == "cpu"
    assert [op["name"] for op in found["operators"]] == list(backend.OPERATORS)
    for op in found["operators"]:
        assert op["implementation"] in ("native", "reference")
        for dtype, largest in (("float32", 1e-5), ("bfloat16", 0.05)):
            errors = op["errors"][dtype]
            assert 0 < errors["served"] < largest
            assert errors["served"] <= 4 * errors["reference"] + 1e-6


def test_an_unknown_device_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["--device", "toaster"])
    assert isinstance(done.exception, UsageError)
    assert "'toaster' is not auto, cpu, cuda or cuda:N" in str(done.exception)


@pytest.fixture(autouse=True)
def _talk_again() -> object:
    from gpt2x.console import set_quiet

    yield
    set_quiet(False)
